//! The program as its users run it: the binary as helper, agent and hub on loopback, with real programs around it. The
//! folders are named for what they test. One test binary, so that heavy tests take turns, tests that wait do so at the
//! same time, and the harness is compiled once.

#![allow(unreachable_pub, reason = "no other crate can name the items of a test")]

mod agent;
mod commands;
mod documentation;
mod emulator;
mod failures;
mod interop;
mod packaging;
mod profiles;
mod proxycommand;
mod recipes;
mod support;
