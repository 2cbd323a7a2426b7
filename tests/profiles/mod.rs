//! The profile file and what it refers to.

mod credential_sources;
mod file_permissions;
mod windows_files;
