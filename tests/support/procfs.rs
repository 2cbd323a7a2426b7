use std::collections::HashSet;
use std::fmt;
use std::fs;

use rustix::process::Pid;

/// A process in /proc.
pub struct Seen {
    pub pid: u32,
    pub parent: u32,
    pub cmdline: String,
    environ: Vec<u8>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (child of {}): {}", self.pid, self.parent, self.cmdline)
    }
}

impl Seen {
    pub fn pid(&self) -> Pid {
        i32::try_from(self.pid).ok().and_then(Pid::from_raw).unwrap()
    }

    /// None for a process that has ended, reaped or not, and for a kernel thread.
    fn read(pid: u32) -> Option<Self> {
        let file = |name: &str| fs::read(format!("/proc/{pid}/{name}")).ok();
        let stat = String::from_utf8_lossy(&file("stat")?).into_owned();
        // The program's name comes first, in parentheses, and may contain anything.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        let parent = fields.next()?.parse().ok()?;
        let cmdline = String::from_utf8_lossy(&file("cmdline")?).replace('\0', " ");
        Some(Self { pid, parent, cmdline, environ: file("environ").unwrap_or_default() })
    }

    fn has(&self, variable: &str) -> bool {
        self.environ.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
    }
}

/// Every living process with `mark` in its environment, every one of `roots`, and all that descend from either.
pub fn marked_or_below(mark: &str, roots: &[u32]) -> Vec<Seen> {
    let entries = fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let all: Vec<Seen> = pids.filter_map(Seen::read).collect();
    let mut ours: HashSet<u32> = all.iter().filter(|seen| seen.has(mark)).map(|seen| seen.pid).collect();
    ours.extend(roots);
    loop {
        let before = ours.len();
        let children = all.iter().filter(|seen| ours.contains(&seen.parent)).map(|seen| seen.pid);
        let children: Vec<u32> = children.collect();
        ours.extend(children);
        if ours.len() == before {
            return all.into_iter().filter(|seen| ours.contains(&seen.pid)).collect();
        }
    }
}

/// Whether a process lives and is not stopped.
pub fn is_running(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().next());
    matches!(state, Some("R" | "S" | "D"))
}

/// The peak resident memory of a living process.
pub fn peak_rss_kib(pid: u32) -> u64 {
    status_kib(pid, "VmHWM:")
}

/// The resident memory of a living process.
pub fn resident_kib(pid: u32) -> u64 {
    status_kib(pid, "VmRSS:")
}

fn status_kib(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
