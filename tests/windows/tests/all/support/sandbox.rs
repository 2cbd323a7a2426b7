use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::variable;

/// A test's own directory, with a user's home in it.
pub struct Sandbox {
    directory: PathBuf,
}

impl Sandbox {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = Path::new(&variable("TEST_SCRATCH")).join(count.to_string());
        let sandbox = Self { directory };
        fs::create_dir_all(sandbox.home(r"AppData\Local")).unwrap();
        sandbox
    }

    /// A path in the home of the Windows user, which has a blank and a letter beyond ASCII.
    pub fn home(&self, name: &str) -> PathBuf {
        self.path("Jörg D").join(name)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The same path as a Linux program names it.
    pub fn linux(&self, name: &str) -> String {
        linux_path(&self.path(name))
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }
}

/// A path on Z:, which is the root directory of Linux.
pub fn linux_path(path: &Path) -> String {
    let path = path.to_str().unwrap().strip_prefix("Z:").expect("a path on Z:");
    path.replace('\\', "/").trim_end_matches('/').to_owned()
}
