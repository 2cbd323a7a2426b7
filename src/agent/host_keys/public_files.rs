//! The `.pub` files of host keys.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::Problem;
use crate::text::pattern;
use crate::text::public_key::PublicKey;

/// The names that `ssh-keygen -A` gives.
const NAMES: &str = "ssh_host_*_key.pub";

/// The longest file that is read, in bytes.
const LONGEST: u64 = 16 * 1024;

/// Reads the public key in a file. May block.
///
/// # Errors
/// Returns an error if the file cannot be read, or contains no key.
pub(super) fn read(path: &Path) -> Result<PublicKey, Problem> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    read.map_err(|error| Problem::because(format!("{}: {error}", path.display()), error))?;
    let key = text.lines().next().and_then(|line| PublicKey::parse(line.trim_end()));
    key.ok_or_else(|| format!("{} contains no public key", path.display()).into())
}

/// The public key's file beside a private key.
pub(super) fn beside(private: &Path) -> PathBuf {
    let mut path = private.as_os_str().to_owned();
    path.push(".pub");
    path.into()
}

/// The files of host keys in `directory`, sorted. May block.
pub(super) fn list(directory: &Path) -> Vec<PathBuf> {
    let is_key = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| pattern::matches(NAMES, name))
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).filter(is_key).collect();
    files.sort();
    files
}

/// The key of the type `wanted` among the host keys in `directory`, if they belong to the server that has shown `shown`: one
/// of those is among them. May block.
pub(super) fn sibling(directory: &Path, shown: &[PublicKey], wanted: &str) -> Option<PublicKey> {
    let keys: Vec<_> = list(directory).iter().filter_map(|file| read(file).ok()).collect();
    if !shown.iter().any(|key| keys.contains(key)) {
        return None;
    }
    let mut wanted = keys.into_iter().filter(|key| key.key_type() == wanted);
    // Of two, nothing shows which one is in use.
    let key = wanted.next()?;
    wanted.next().is_none().then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key_type: &str, content: &[u8]) -> PublicKey {
        let length = u32::try_from(key_type.len()).unwrap().to_be_bytes();
        PublicKey::of_blob(&[&length, key_type.as_bytes(), content].concat()).unwrap()
    }

    #[test]
    fn reads_one_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ssh_host_x_key.pub");
        let problem = || read(&path).unwrap_err().to_string();
        assert!(problem().contains("ssh_host_x_key.pub: No such file"), "{}", problem());
        let expected = key("ssh-ed25519", b"1");
        for text in [format!("{expected} root@gw-07\r\n"), format!("{expected}")] {
            fs::write(&path, text).unwrap();
            assert_eq!(read(&path).unwrap(), expected);
        }
        for text in ["", "\n", "-----BEGIN OPENSSH PRIVATE KEY-----\n"] {
            fs::write(&path, text).unwrap();
            assert!(problem().ends_with("ssh_host_x_key.pub contains no public key"), "{}", problem());
        }
    }

    #[test]
    fn a_key_beside_one_that_the_server_has_shown_is_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let (shown, wanted) = (key("ssh-ed25519", b"1"), key("ecdsa-sha2-nistp521", b"2"));
        let write =
            |name: &str, key: &PublicKey| fs::write(directory.path().join(name), format!("{key}\n")).unwrap();
        let found =
            |shown: &PublicKey| sibling(directory.path(), std::slice::from_ref(shown), "ecdsa-sha2-nistp521");
        write("ssh_host_ecdsa_key.pub", &wanted);
        assert_eq!(found(&shown), None, "no file has the key that was shown");
        write("id_ed25519.pub", &shown);
        assert_eq!(found(&shown), None, "a user's key is no host key");
        write("ssh_host_ed25519_key.pub", &shown);
        assert_eq!(found(&shown), Some(wanted.clone()));
        assert_eq!(found(&key("ssh-ed25519", b"3")), None, "the files are another server's");
        write("ssh_host_other_key.pub", &key("ecdsa-sha2-nistp521", b"4"));
        assert_eq!(found(&shown), None, "there are two");
        assert_eq!(sibling(&directory.path().join("none"), &[shown], "ssh-dss"), None);
    }
}
