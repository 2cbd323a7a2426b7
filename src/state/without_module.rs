//! The devices that have been reached themselves, because they have no such module as their profile names. They are asked
//! first next time, for a day.

use std::io;
use std::time::{Duration, SystemTime};

use super::directory::{self, LOCK_LIMIT, lock};
use crate::platform::is_remote;
use crate::time::clock::unix_seconds;

const FILE: &str = "without-module";
const LOCK: &str = "without-module.lock";

/// How long a device is remembered.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The most devices that are remembered.
const MOST: usize = 4096;

/// A device of a service, and the module that it does not have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Absent<'a> {
    /// The service's key.
    pub service: &'a str,
    /// The device id.
    pub device: &'a str,
    /// The module id.
    pub module: &'a str,
}

impl Absent<'_> {
    /// Whether this is remembered.
    pub(crate) fn is_known(self) -> bool {
        let text = directory::read(FILE).unwrap_or_default();
        lines(&text, unix_seconds(SystemTime::now()).0).any(|line| self.is(line))
    }

    /// Remembers this.
    pub(crate) fn keep(self) {
        self.store(true);
    }

    /// Forgets this.
    pub(crate) fn forget(self) {
        if self.is_known() {
            self.store(false);
        }
    }

    fn store(self, is_absent: bool) {
        let now = unix_seconds(SystemTime::now()).0;
        // A failure costs the next connection a request.
        let replaced = replace(|text| self.replaced(text, now, is_absent));
        if let Err(error) = replaced {
            log::debug!("cannot remember which devices have no module: {error}");
        }
    }

    /// The text of the file with or without this, and without what is too old or too much.
    pub(super) fn replaced(self, text: &str, now: u64, is_absent: bool) -> String {
        let mut kept: Vec<String> =
            lines(text, now).filter(|line| !self.is(line)).map(str::to_owned).collect();
        if is_absent {
            kept.push(format!("{now} {}", self.name()));
        }
        // The last ones are the newest.
        let from = kept.len().saturating_sub(MOST);
        kept[from..].iter().flat_map(|line| [line, "\n"]).collect()
    }

    fn is(self, line: &str) -> bool {
        line.split_once(' ').is_some_and(|(_, name)| name == self.name())
    }

    fn name(self) -> String {
        // An address and ids contain no space, and ids no slash.
        format!("{} {}/{}", self.service, self.device, self.module)
    }
}

/// The lines that are not too old at `now`, in seconds since 1970. A time in the future is that of a wrong clock.
pub(super) fn lines(text: &str, now: u64) -> impl Iterator<Item = &str> {
    text.lines().filter(move |line| {
        let time = line.split_once(' ').and_then(|(time, _)| time.parse().ok());
        time.and_then(|time| now.checked_sub(time)).is_some_and(|age| age < LIFE.as_secs())
    })
}

/// Replaces the file's text. A lock keeps what other helpers add at the same time.
fn replace(change: impl FnOnce(&str) -> String) -> io::Result<()> {
    let failed = |problem: crate::platform::private_file::Unwritable| io::Error::other(problem.to_string());
    let file = directory::open(LOCK).map_err(failed)?;
    // Locks of a network file system may hang. Without one, an entry may get lost.
    if !is_remote(&file)? {
        lock(&file, LOCK_LIMIT)?;
    }
    let text = directory::read(FILE).unwrap_or_default();
    directory::write(FILE, &change(&text)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn absent(device: &str) -> Absent<'_> {
        Absent { service: "contoso.azure-devices.net", device, module: "iotstream" }
    }

    #[test]
    fn remembers_each_device_once_for_a_day() {
        let text = absent("a").replaced("", NOW, true);
        assert_eq!(text, format!("{NOW} contoso.azure-devices.net a/iotstream\n"));
        let text = absent("b").replaced(&text, NOW + 1, true);
        let text = absent("a").replaced(&text, NOW + 2, true);
        let found = |text: &str, now| {
            lines(text, now).map(|line| line.rsplit_once(' ').unwrap().1.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found(&text, NOW + 2), ["b/iotstream", "a/iotstream"]);
        assert_eq!(found(&text, NOW + 1 + LIFE.as_secs()), ["a/iotstream"]);
        assert_eq!(found(&text, NOW), Vec::<String>::new());
        assert_eq!(found(&absent("b").replaced(&text, NOW + 3, false), NOW + 3), ["a/iotstream"]);
        assert!(lines(&text, NOW + 2).all(|line| !Absent { module: "iot", ..absent("a") }.is(line)));
    }

    #[test]
    fn the_file_stays_small_and_a_corrupt_line_is_dropped() {
        let mut text: String = (0..MOST).map(|at| format!("{NOW} hub d{at}/m\n")).collect();
        text.insert_str(0, "garbage\n\n9 x\n99999999999999999999 hub a/m\n\u{0}\n");
        let text = absent("new").replaced(&text, NOW, true);
        assert_eq!(text.lines().count(), MOST);
        assert!(text.starts_with(&format!("{NOW} hub d1/m\n")) && text.ends_with(" new/iotstream\n"));
    }
}
