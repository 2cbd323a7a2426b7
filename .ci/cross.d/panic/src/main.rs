//! Panics in the main thread and in another one, and succeeds if both panics can be caught.

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::thread;

fn main() -> ExitCode {
    let here = catch_unwind(|| panic!("in the main thread")).is_err();
    let there = thread::spawn(|| panic!("in another thread")).join().is_err();
    if here && there { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
