//! The device's side as a service: what it lets in, who it is, and how it lives.

mod check;
mod identity;
mod install;
