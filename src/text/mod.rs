//! Text that people write and read: durations, sizes, patterns, and what a file or a paste holds.

pub mod content;
pub mod duration;
pub mod pattern;
pub mod percent;
pub mod size;
