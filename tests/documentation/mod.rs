//! The examples of the manual pages and of the README, run as their reader would: those of a page, or of a section of
//! the README, one after the other, in an empty home directory.

mod man_pages;
mod reader;
mod readme;
mod terminal_session;

pub use man_pages::examples as man_examples;
pub use reader::Example;
