//! iotstream.exe from outside; `run` starts these tests, and the Linux programs that they ask for.

mod support;

mod command_line;
mod commands;
mod endings;
mod failures;
mod home;
mod roles;
mod ssh;
mod stdio;
