//! The examples of the manual pages and of the README, run as their reader would: those of a page, or of a section of the
//! README, one after the other, in a home of their own.

mod pages;
mod reader;
mod readme;
mod session;
