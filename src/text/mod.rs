//! Text formats: durations, sizes, patterns, percent-encoding, and the content of files and pastes.

pub mod content;
pub mod duration;
pub mod pattern;
pub mod percent;
pub mod size;
