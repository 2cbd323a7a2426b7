//! What a package installs.

mod completions;
mod packages;
