//! Sockets under a path, for services on this machine.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::sleep;

pub(crate) use tokio::net::UnixStream as LocalStream;

/// Whether the system has such sockets.
pub(crate) const ARE_SUPPORTED: bool = true;

/// How often a directory that another process locks is tried, and how long apart.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Connects to the service at `path`.
///
/// # Errors
/// When no service listens there.
pub(crate) async fn connect(path: &Path) -> io::Result<LocalStream> {
    LocalStream::connect(path).await
}

/// The two directions of a connection.
pub(crate) fn split(stream: LocalStream) -> (OwnedReadHalf, OwnedWriteHalf) {
    stream.into_split()
}

/// The number of the user at the other end of a connection.
///
/// # Errors
/// What the kernel refuses.
pub(crate) fn peer(stream: &LocalStream) -> io::Result<u32> {
    Ok(stream.peer_cred()?.uid())
}

/// A listening socket. Dropping it removes its file, unless another process has replaced it.
#[derive(Debug)]
pub(crate) struct LocalListener {
    listener: UnixListener,
    path: PathBuf,
    /// The device and the inode of the file.
    file: (u64, u64),
}

impl LocalListener {
    /// Listens at `path`, with permissions `mode`, in place of a process that has ended. The directory is created for its
    /// owner alone if only that is missing.
    ///
    /// # Errors
    /// Another process listens there, the path is that of another file, or what the file system refuses.
    pub(crate) async fn claim(path: &Path, mode: u32) -> io::Result<Self> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        match fs::DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists && !directory.is_dir() => {
                return Err(error);
            }
            _ => {}
        }
        // Otherwise two processes that start at the same time could each remove the other's socket.
        let _lock = lock(directory).await?;
        match LocalStream::connect(path).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                if !path.symlink_metadata()?.file_type().is_socket() {
                    return Err(io::Error::new(ErrorKind::AlreadyExists, "it exists and is not a socket"));
                }
                fs::remove_file(path)?;
            }
            // The queue of one that is busy is full.
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            Ok(_) | Err(_) => {
                return Err(io::Error::new(ErrorKind::AddrInUse, "another process listens there"));
            }
        }
        let listener = UnixListener::bind(path)?;
        let found = path.symlink_metadata()?;
        let listener = Self { listener, path: path.to_owned(), file: (found.dev(), found.ino()) };
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        Ok(listener)
    }

    /// Waits for the next connection. Cancel-safe.
    ///
    /// # Errors
    /// What the kernel refuses, such as one more file.
    pub(crate) async fn accept(&self) -> io::Result<LocalStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        // It still listens, so that nobody takes it for a dead one's.
        if self.path.symlink_metadata().is_ok_and(|found| (found.dev(), found.ino()) == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Locks a directory against other processes that claim a socket in it, until the file is closed.
async fn lock(directory: &Path) -> io::Result<File> {
    let file = File::open(directory)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => sleep(LOCK_PAUSE).await,
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(ErrorKind::AddrInUse, "another process keeps its directory locked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/control.sock");
        let first = LocalListener::claim(&path, 0o600).await.unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(LocalListener::claim(&path, 0o600).await.unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(first);
        assert!(path.symlink_metadata().is_err(), "its owner removes it");

        // The standard library's listener leaves its file behind, as a process does that is killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let second = LocalListener::claim(&path, 0o600).await.unwrap();
        let (connected, accepted) = tokio::join!(connect(&path), second.accept());
        drop(connected.unwrap());
        assert_eq!(peer(&accepted.unwrap()).unwrap(), rustix::process::geteuid().as_raw());

        // A file in its place belongs to somebody else.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "x").unwrap();
        drop(second);
        assert!(path.is_file());
        assert_eq!(LocalListener::claim(&path, 0o600).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(LocalListener::claim(&directory.path().join("no/such/x"), 0o600).await.is_err());
    }

    #[tokio::test]
    async fn one_of_those_that_start_together_gets_the_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let claims = futures_util::future::join_all((0..8).map(|_| LocalListener::claim(&path, 0o600))).await;
        assert_eq!(claims.iter().filter(|claim| claim.is_ok()).count(), 1, "{claims:?}");
        connect(&path).await.unwrap();
    }
}
