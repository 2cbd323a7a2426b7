//! The Include in a user's ssh configuration: whatever is in there, it is added once, and taken out without a trace.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use iotstream::fuzzing::ssh::include;
use iotstream_fuzz::Input;
use libfuzzer_sys::fuzz_target;

/// A directory in memory, if there is one.
static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let directory = parent.join(format!("iotstream-fuzz-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir(&directory).expect("a directory");
    directory
});

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let has_config = input.bit();
    let blocks = input.text();
    include(&DIRECTORY, has_config.then_some(input.0), blocks);
});
