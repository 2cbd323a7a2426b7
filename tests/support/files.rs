use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use rustix::fs::{CWD, Mode, mkfifoat};

/// A user, and a group of the same number, that no file of the system names.
pub const OTHER_USER: u32 = 54_321;

pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

pub fn give(path: &Path, user: Option<u32>, group: Option<u32>) {
    chown(path, user, group).expect("giving files to other users takes root");
}

pub fn make_fifo(path: &Path) {
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}
