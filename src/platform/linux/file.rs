//! Properties of a file beyond its mode.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{fstatfs, lgetxattr};

/// Whether the file or directory at `path` has a POSIX access control list.
pub(crate) fn has_access_list(path: &Path) -> bool {
    lgetxattr(path, "system.posix_acl_access", &mut [0_u8; 0]).is_ok()
}

/// Whether `path` names a descriptor of this process, such as /dev/stdin. Nobody else can replace an open file, and the
/// name the kernel gives it may belong to another mount namespace, or lie in a directory that is closed to this process.
pub(crate) fn is_descriptor(path: &Path) -> bool {
    let directory = path.parent().and_then(|parent| parent.canonicalize().ok());
    let link = fs::read_link(path).is_ok_and(|target| target.starts_with("/proc/self/fd"));
    link || directory
        .is_some_and(|directory| directory == Path::new(&format!("/proc/{}/fd", std::process::id())))
}

/// Whether `file` is on a file system whose locks may have to be asked for over a network.
///
/// # Errors
/// When the kernel does not tell the file system's type.
pub(crate) fn is_remote(file: &File) -> io::Result<bool> {
    // NFS, SMB (three of them), AFS, Ceph, 9P and FUSE, which is sshfs: linux/magic.h.
    const REMOTE: [u32; 8] =
        [0x6969, 0x517B, 0xFF53_4D42, 0xFE53_4D42, 0x5346_414F, 0x00C3_6400, 0x0102_1997, 0x6573_5546];
    let kind = fstatfs(file)?.f_type;
    Ok(REMOTE.iter().any(|remote| i128::from(*remote) == i128::from(kind)))
}
