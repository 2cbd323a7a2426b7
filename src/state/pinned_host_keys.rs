//! The host keys that a user trusts for a device. They are in the data directory: without them, the next keys that the
//! device reports are trusted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::directory::lock;
use crate::error::{Error, Result};
use crate::platform::private_file::{Access, Unwritable, create_directories, destination, read, replace};
use crate::platform::{directories, is_remote};
use crate::text::percent::encode;
use crate::text::public_key::PublicKey;

/// The longest wait for other processes that pin keys.
const LOCK_LIMIT: Duration = Duration::from_millis(500);

/// The most characters of a device's name in the name of its file.
const MAX_NAME: usize = 100;

/// The device of a file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct PinnedDevice {
    /// The service's key.
    pub service: String,
    /// The device id.
    pub device: String,
    /// The module that the user names. Not a module that the device may or may not have: its absence would lead to
    /// another file, without pins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
}

/// A host key that a user trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    /// The key.
    pub key: PublicKey,
    /// When it was reported, in the service's format, if the service tells.
    pub since: Option<String>,
}

/// The pins of a device by stream.
pub(crate) type Pins = BTreeMap<String, Vec<Pin>>;

/// The text of a file.
#[derive(Deserialize, Serialize)]
struct Document {
    #[serde(flatten)]
    device: PinnedDevice,
    streams: BTreeMap<String, Vec<PinText>>,
}

#[derive(Deserialize, Serialize)]
struct PinText {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
}

/// The file with the pins of a device.
#[derive(Debug)]
pub(crate) struct PinFile {
    path: PathBuf,
    device: PinnedDevice,
}

/// The result of [`PinFile::pin`].
#[derive(Debug)]
pub(crate) enum Pinned {
    /// The pins of the stream, which are now in the file.
    Kept(Vec<Pin>),
    /// The file could not be written.
    NotKept(Unwritable),
}

impl PinFile {
    /// The file of `device`: `iotstream/host-keys/` in the user's data directory, `~/.local/share` on Linux.
    ///
    /// # Errors
    /// Returns an error without a home directory.
    pub(crate) fn of(device: PinnedDevice) -> Result<Self> {
        let directory = directories::data()
            .map(|data| data.join("host-keys"))
            .ok_or(io::Error::other("there is no home directory"))
            .map_err(Error::local_io("pinned host keys"))?;
        Ok(Self::within(directory, device))
    }

    /// The file of `device` in `directory`.
    pub(crate) fn within(directory: PathBuf, device: PinnedDevice) -> Self {
        let PinnedDevice { service, device: id, module } = &device;
        let hash = Sha256::digest(format!("{service}\n{id}\n{}", module.as_deref().unwrap_or_default()));
        let mut name = encode(id).to_string();
        // The hash tells devices apart, also on a file system that ignores case.
        name.truncate(MAX_NAME);
        let name = format!("{name}-{}", data_encoding::HEXLOWER.encode(&hash[..8]));
        Self { path: directory.join(name), device }
    }

    /// The file's path.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// The pins; none if there is no file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, is damaged, or other users can change it.
    pub(crate) fn read(&self) -> Result<Pins> {
        let unusable = |problem: io::Error| {
            Error::file(
                &self.path,
                problem,
                "correct the file, or accept the device's keys anew with --accept",
            )
        };
        let found = match read(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound && !self.path.is_symlink() => {
                return Ok(Pins::new());
            }
            found => found.map_err(unusable)?,
        };
        if let Some(exposure) = found.changeable.into_iter().next() {
            return Err(Error::Permissions(exposure));
        }
        self.parse(&found.bytes).map_err(|problem| unusable(io::Error::other(problem)))
    }

    pub(super) fn parse(&self, text: &[u8]) -> std::result::Result<Pins, &'static str> {
        let document: Document = serde_json::from_slice(text).map_err(|_| "it is damaged")?;
        if document.device != self.device {
            return Err("it is for another device");
        }
        let pin = |PinText { key, since }| Some(Pin { key: PublicKey::parse(&key)?, since });
        let pins = document.streams.into_iter().map(|(stream, pins)| {
            let pins = pins.into_iter().map(pin).collect::<Option<Vec<Pin>>>();
            pins.filter(|pins| !pins.is_empty()).map(|pins| (stream, pins))
        });
        pins.collect::<Option<Pins>>().ok_or("it is damaged")
    }

    /// Pins `keys` for `stream`, which had no pins when the file was read. Where another process has pinned keys
    /// meanwhile, those stay.
    ///
    /// # Errors
    /// Returns the errors of [`Self::read`].
    pub(crate) fn pin(&self, stream: &str, keys: Vec<Pin>) -> Result<Pinned> {
        let _lock = match self.lock() {
            Ok(lock) => Some(lock),
            Err(problem) => {
                log::debug!("pinned host keys are not locked: {problem}");
                None
            }
        };
        let mut pins = self.read()?;
        if let Some(pinned) = pins.get(stream) {
            return Ok(Pinned::Kept(pinned.clone()));
        }
        pins.insert(stream.to_owned(), keys.clone());
        Ok(match self.write(&pins) {
            Ok(()) => Pinned::Kept(keys),
            Err(problem) => Pinned::NotKept(problem),
        })
    }

    /// Replaces the file by one with `pins`.
    ///
    /// # Errors
    /// Returns an error if it cannot be written, or other users can change its directory.
    pub(crate) fn write(&self, pins: &Pins) -> std::result::Result<(), Unwritable> {
        let text = |pin: &Pin| PinText { key: pin.key.to_string(), since: pin.since.clone() };
        let streams = pins.iter().map(|(stream, pins)| (stream.clone(), pins.iter().map(text).collect()));
        let document = Document { device: self.device.clone(), streams: streams.collect() };
        let text = serde_json::to_string_pretty(&document).map_err(io::Error::other)?;
        replace(&self.path, format!("{text}\n").as_bytes(), Access::Owner)
    }

    /// Locks the directory of all files.
    fn lock(&self) -> std::result::Result<File, Unwritable> {
        let path = destination(&self.path)?;
        let directory = path.parent().ok_or(io::Error::from(ErrorKind::NotADirectory))?;
        create_directories(directory, Access::Owner)?;
        let directory = File::open(directory)?;
        // Locks of a network file system may hang. Without one, the keys of another stream of this device may get lost.
        if !is_remote(&directory)? {
            lock(&directory, LOCK_LIMIT)?;
        }
        Ok(directory)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::thread;

    use super::*;

    fn device(id: &str) -> PinnedDevice {
        PinnedDevice { service: "contoso.azure-devices.net".into(), device: id.into(), module: None }
    }

    fn pin(number: u8) -> Pin {
        let blob = [&[0, 0, 0, 11][..], b"ssh-ed25519", &[number]].concat();
        Pin { key: PublicKey::of_blob(&blob).unwrap(), since: Some("2026-11-26T10:00:00Z".into()) }
    }

    fn file(directory: &Path, id: &str) -> PinFile {
        PinFile::within(directory.join("host-keys"), device(id))
    }

    fn kept(pinned: Pinned) -> Vec<Pin> {
        match pinned {
            Pinned::Kept(pins) => pins,
            Pinned::NotKept(problem) => panic!("{problem}"),
        }
    }

    #[test]
    fn the_first_keys_of_a_stream_stay() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path(), "gw-07");
        assert_eq!(file.read().unwrap(), Pins::new());
        assert_eq!(kept(file.pin("ssh", vec![pin(1)]).unwrap()), [pin(1)]);
        assert_eq!(kept(file.pin("ssh", vec![pin(2)]).unwrap()), [pin(1)]);
        assert_eq!(kept(file.pin("tcp-2222", vec![pin(2), pin(3)]).unwrap()), [pin(2), pin(3)]);
        let pins = Pins::from([("ssh".into(), vec![pin(1)]), ("tcp-2222".into(), vec![pin(2), pin(3)])]);
        assert_eq!(file.read().unwrap(), pins);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file.path), mode(file.path.parent().unwrap())), (0o600, 0o700));
        assert!(fs::read_to_string(&file.path).unwrap().contains("\"device\": \"gw-07\""));
        file.write(&Pins::from([("ssh".into(), vec![pin(9)])])).unwrap();
        assert_eq!(file.read().unwrap(), Pins::from([("ssh".into(), vec![pin(9)])]));
    }

    #[test]
    fn each_device_has_a_file() {
        let here = Path::new("/d");
        let names = [
            device("gw-07"),
            device("GW-07"),
            PinnedDevice { module: Some("m".into()), ..device("gw-07") },
            PinnedDevice { service: "other".into(), ..device("gw-07") },
            device(&"(".repeat(128)),
        ];
        let mut paths: Vec<_> = names
            .into_iter()
            .map(|device| PinFile::within(here.into(), device).path.to_str().unwrap().to_lowercase())
            .collect();
        assert!(paths.iter().all(|path| path.len() < 128), "{paths:?}");
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), 5);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_no_first_use() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path(), "gw-07");
        file.pin("ssh", vec![pin(1)]).unwrap();
        let whole = fs::read_to_string(&file.path).unwrap();
        for (text, problem) in [
            ("", "it is damaged"),
            (&whole[..whole.len() / 2], "it is damaged"),
            (&whole.replace("ssh-ed25519 ", "ssh-ed25519 A"), "it is damaged"),
            (&whole.replace("[", "[],\"x\":["), "it is damaged"),
            (&whole.replace("gw-07", "gw-08"), "it is for another device"),
        ] {
            fs::write(&file.path, text).unwrap();
            assert!(file.read().unwrap_err().to_string().ends_with(problem), "{text}");
            assert!(file.pin("ssh", vec![pin(2)]).is_err());
            assert_eq!(fs::read_to_string(&file.path).unwrap(), text);
        }
        fs::write(&file.path, &whole).unwrap();
        fs::set_permissions(&file.path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(file.read(), Err(Error::Permissions(_))));
        fs::remove_file(&file.path).unwrap();
        symlink("nowhere", &file.path).unwrap();
        assert!(matches!(file.read(), Err(Error::File { .. })));
        fs::remove_file(&file.path).unwrap();
        fs::create_dir(&file.path).unwrap();
        assert!(matches!(file.read(), Err(Error::File { .. })));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let open = directory.path().join("host-keys");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let pinned = file(directory.path(), "gw-07").pin("ssh", vec![pin(1)]).unwrap();
        assert!(matches!(pinned, Pinned::NotKept(Unwritable::Exposed(_))));
        assert_eq!(fs::read_dir(open).unwrap().count(), 0);
    }

    #[test]
    fn first_uses_at_the_same_time_agree() {
        let directory = tempfile::tempdir().unwrap();
        let streams = ["ssh", "tcp-1", "tcp-2"];
        let mut seen: Vec<(&str, Vec<Pin>)> = thread::scope(|scope| {
            let threads: Vec<_> = (0..24)
                .map(|number| {
                    let (file, stream) = (file(directory.path(), "gw-07"), streams[usize::from(number) % 3]);
                    scope.spawn(move || (stream, kept(file.pin(stream, vec![pin(number)]).unwrap())))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let pins = file(directory.path(), "gw-07").read().unwrap();
        seen.dedup_by(|a, b| a == b);
        assert_eq!(pins.len(), 3);
        assert!(seen.iter().all(|(stream, seen)| pins[*stream] == *seen));
    }
}
