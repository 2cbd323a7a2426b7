//! The completion scripts and the packages.

mod completions;
mod container;
mod installer;
mod packages;
mod repository;
