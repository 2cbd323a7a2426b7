//! Users and groups, as /etc/passwd and /etc/group list them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::platform::extra::users::unmapped_user;

/// The first uid of people; those below are system users (`SYS_UID_MAX` of every distribution).
const FIRST_PERSON: u32 = 1000;

/// The users whose files are trusted, and the files that tell whether a group is private.
#[derive(Debug)]
pub(crate) struct Owners {
    /// The user who runs this program.
    us: u32,
    /// The uid of users that the user namespace does not map, if there are any.
    unmapped: Option<u32>,
    passwd: PathBuf,
    group: PathBuf,
}

impl Owners {
    /// The users of this machine.
    pub(crate) fn here() -> Self {
        Self {
            us: rustix::process::geteuid().as_raw(),
            unmapped: unmapped_user(),
            passwd: "/etc/passwd".into(),
            group: "/etc/group".into(),
        }
    }

    pub(crate) fn us(&self) -> u32 {
        self.us
    }

    /// Whether files of `user` are trusted.
    pub(crate) fn trusts(&self, user: u32) -> bool {
        user == 0 || user == self.us || Some(user) == self.unmapped
    }

    /// Whether `group` is private to `owner`: the owner is in it, and besides root nobody else. For a file that is not
    /// secret, a group of root's may have system users in it too, as that of /var/log has syslog.
    pub(crate) fn is_private(&self, group: u32, owner: u32, secret: bool) -> bool {
        let allowed =
            |user: u32| user == owner || user == 0 || (!secret && owner == 0 && user < FIRST_PERSON);
        let users = fs::read_to_string(&self.passwd).unwrap_or_default();
        let users: Vec<(&str, u32, u32)> = users.lines().filter_map(user).collect();
        let groups = fs::read_to_string(&self.group).unwrap_or_default();
        let named = groups.lines().filter_map(|line| members(line, group)).flatten();
        let ids = named.map(|name| users.iter().find(|user| user.0 == name).map(|user| user.1));
        let primary = users.iter().filter(|user| user.2 == group).map(|user| Some(user.1));
        let all: Vec<Option<u32>> = ids.chain(primary).collect();
        if all.is_empty() && !users.iter().any(|user| user.1 == owner) {
            // Users of a directory service are in neither file. Their private group has their number.
            return group == owner && !groups.lines().any(|line| members(line, group).is_some());
        }
        // A member without an entry in /etc/passwd may be anybody.
        !all.is_empty() && all.iter().all(|user| user.is_some_and(allowed))
    }
}

/// The name, uid and primary gid in a line of /etc/passwd.
fn user(line: &str) -> Option<(&str, u32, u32)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let (user, group) = (fields.nth(1)?, fields.next()?);
    Some((name, user.parse().ok()?, group.parse().ok()?))
}

/// The members in a line of /etc/group, if it is the line of `group`.
fn members(line: &str, group: u32) -> Option<impl Iterator<Item = &str>> {
    let mut fields = line.split(':').skip(2);
    let is_it = fields.next()?.parse() == Ok(group);
    is_it.then(|| fields.next().unwrap_or_default().split(',').filter(|name| !name.is_empty()))
}

/// The home directory of the user who runs this program, from /etc/passwd.
pub(crate) fn home(passwd: &Path) -> Option<PathBuf> {
    let us = rustix::process::geteuid().as_raw();
    let text = fs::read_to_string(passwd).ok()?;
    let line = text.lines().find(|line| user(line).is_some_and(|user| user.1 == us))?;
    line.split(':').nth(5).map(PathBuf::from).filter(|home| home.is_absolute())
}

/// The name of a user, if /etc/passwd has it.
pub(crate) fn name(uid: u32) -> Option<String> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    text.lines().filter_map(user).find(|user| user.1 == uid).map(|user| user.0.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The users of a machine with these files, where `us` runs this program.
    pub(crate) fn machine(us: u32, directory: &Path, passwd: &str, group: &str) -> Owners {
        let (users, groups) = (directory.join("passwd"), directory.join("group"));
        fs::write(&users, passwd).unwrap();
        fs::write(&groups, group).unwrap();
        Owners { us, unmapped: None, passwd: users, group: groups }
    }

    #[test]
    fn only_the_owner_is_in_a_private_group() {
        let directory = tempfile::tempdir().unwrap();
        let passwd = "root:x:0:0::/root:/bin/sh\nsyslog:x:104:111::/:/bin/false\nann:x:1000:1000::/home/ann:/bin/sh\n\
                      ben:x:1001:100::/home/ben:/bin/sh\nnot a line\nx:y:z\n";
        let group = "root:x:0:\nann:x:1000:\nusers:x:100:ann\nstaff:x:50:\nadm:x:4:syslog,ann\nsyslog:x:111:\n\
                     team:x:200:ann\nodd:x:201:ann,who\nrooted:x:202:root,ann\n";
        let owners = machine(1000, directory.path(), passwd, group);
        for (group, owner, secret, private) in [
            (1000, 1000, true, true),
            (200, 1000, true, true),
            (202, 1000, true, true),
            (0, 0, true, true),
            // Ben's primary group is Ann's too.
            (100, 1000, true, false),
            (100, 1001, true, false),
            // It is empty, but may get members.
            (50, 0, true, false),
            (201, 1000, true, false),
            (1000, 0, true, false),
            (111, 0, true, false),
            (111, 0, false, true),
            (4, 0, false, false),
            // The user or the group is a directory service's.
            (7000, 7000, true, true),
            (7000, 7001, true, false),
            (200, 7001, true, false),
        ] {
            assert_eq!(owners.is_private(group, owner, secret), private, "{group} of {owner}, {secret}");
        }
        let nothing = Owners { passwd: "/no/such".into(), group: "/no/such".into(), ..owners };
        assert!(nothing.is_private(1000, 1000, true) && !nothing.is_private(100, 1000, true));
    }
}
