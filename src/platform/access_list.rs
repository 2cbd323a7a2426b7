//! The access list of a file on Windows, in the text form of the system (SDDL), and what it lets other users do.

use crate::error::{Account, Grant, Grants, How};

/// Rights to a file. On a directory, the same bits are the rights to list it, to add a file and to add a directory.
const READ_DATA: u32 = 0x1;
const WRITE_DATA: u32 = 0x2;
const APPEND_DATA: u32 = 0x4;
/// To delete or rename what is in a directory, whatever the access list of that says.
const DELETE_CHILD: u32 = 0x40;
const DELETE: u32 = 0x1_0000;
const WRITE_DAC: u32 = 0x4_0000;
const WRITE_OWNER: u32 = 0x8_0000;
const GENERIC_ALL: u32 = 0x1000_0000;
const GENERIC_WRITE: u32 = 0x4000_0000;
const GENERIC_READ: u32 = 0x8000_0000;

/// The names of rights in SDDL, and their bits. Bits of a file may be shown by the name of a right to a registry key.
const RIGHTS: &[(&str, u32)] = &[
    ("CC", READ_DATA),
    ("DC", WRITE_DATA),
    ("LC", APPEND_DATA),
    ("SW", 0x8),
    ("RP", 0x10),
    ("WP", 0x20),
    ("DT", DELETE_CHILD),
    ("LO", 0x80),
    ("CR", 0x100),
    ("SD", DELETE),
    ("RC", 0x2_0000),
    ("WD", WRITE_DAC),
    ("WO", WRITE_OWNER),
    ("FA", 0x1f_01ff),
    ("FR", 0x12_0089),
    ("FW", 0x12_0116),
    ("FX", 0x12_00a0),
    ("KA", 0xf_003f),
    ("KR", 0x2_0019),
    ("KW", 0x2_0006),
    ("KX", 0x2_0019),
    ("GA", GENERIC_ALL),
    ("GR", GENERIC_READ),
    ("GW", GENERIC_WRITE),
    ("GX", 0x2000_0000),
];

/// What lets others change a file, and the words for it.
const CHANGE_FILE: &[(u32, &str)] = &[
    (WRITE_DATA | APPEND_DATA, "write"),
    (DELETE, "delete"),
    (WRITE_DAC, "change permissions"),
    (WRITE_OWNER, "take ownership"),
];

/// What lets others replace the files in a directory. The right to add files does not, and a directory put in the place of
/// this one belongs to the user who made it.
const CHANGE_DIRECTORY: &[(u32, &str)] =
    &[(DELETE_CHILD, "delete files"), (WRITE_DAC, "change permissions"), (WRITE_OWNER, "take ownership")];

const READ: &[(u32, &str)] = &[(READ_DATA, "read")];

const EVERYONE: &str = "WD";

/// The accounts that are no other users: SYSTEM, Administrators and TrustedInstaller can access every file anyway. Nobody
/// logs in as LocalService or NetworkService; a file of theirs is one of a service, which an administrator may examine.
const TRUSTED: [&str; 5] =
    ["SY", "BA", "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464", "LS", "NS"];

/// Placeholders for the owner and its group.
const OWNER: [&str; 3] = ["CO", "CG", "OW"];

/// Sandboxes: an entry for one admits a program only where its user is admitted as well.
const SANDBOXES: [&str; 3] = ["AC", "S-1-15-2-", "S-1-15-3-"];

/// A file's owner and access list. Accounts are written as SDDL does: some as two letters, others as `S-1-…`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AccessList {
    owner: String,
    /// `None` if there is no list, which leaves everything to everyone. An empty one denies all access.
    entries: Option<Vec<Entry>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    denies: bool,
    inherited: bool,
    rights: u32,
    account: String,
}

impl AccessList {
    /// Parses the text of a security descriptor with an owner and an access list. `None` if it is not such a text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("O:")?;
        let (owner, list) = text.split_once("D:").unwrap_or((text, "NO_ACCESS_CONTROL"));
        let entries = match list.find('(') {
            _ if list.contains("NO_ACCESS_CONTROL") => None,
            None => Some(Vec::new()),
            Some(start) => Some(entries(&list[start..])?),
        };
        Some(Self { owner: owner.to_owned(), entries })
    }

    /// What lets others than `us` read a file. `account` finds out who an account of this list is.
    pub(crate) fn readers(&self, us: &str, account: impl Fn(&str) -> Account) -> Option<How> {
        self.grants(us, READ, account).map(How::ReadGranted)
    }

    /// What lets others than `us` change a file, or replace files in a directory.
    pub(crate) fn writers(
        &self,
        us: &str,
        is_directory: bool,
        account: impl Fn(&str) -> Account,
    ) -> Option<How> {
        if !self.is_made_up() && self.owner != us && !TRUSTED.contains(&&*self.owner) {
            return Some(How::OwnAccount { owner: account(&self.owner), us: account(us) });
        }
        let rights = if is_directory { CHANGE_DIRECTORY } else { CHANGE_FILE };
        self.grants(us, rights, account).map(How::WriteGranted)
    }

    /// Whether the file system keeps no access lists, as FAT: the system then makes one up, and no file belongs to everyone
    /// elsewhere.
    fn is_made_up(&self) -> bool {
        self.owner == EVERYONE
    }

    fn grants(
        &self,
        us: &str,
        rights: &[(u32, &'static str)],
        account: impl Fn(&str) -> Account,
    ) -> Option<Grants> {
        if self.is_made_up() {
            return None;
        }
        let mut others: Vec<Grant> = Vec::new();
        for (index, entry) in self.entries.iter().flatten().enumerate() {
            if entry.denies || is_trusted(&entry.account, us) {
                continue;
            }
            let granted = entry.rights & !self.denied_before(index, &entry.account);
            let Some((_, right)) = rights.iter().find(|(bits, _)| granted & bits != 0) else { continue };
            let (account, inherited) = (account(&entry.account), entry.inherited);
            match others.iter_mut().find(|grant| grant.account == account) {
                Some(grant) => grant.inherited &= inherited,
                None => others.push(Grant { account, right, inherited }),
            }
        }
        (self.entries.is_none() || !others.is_empty()).then(|| Grants { others, us: account(us) })
    }

    /// The rights that earlier entries deny to everyone who is `account`. Entries for other groups may leave some out.
    fn denied_before(&self, index: usize, account: &str) -> u32 {
        let before = self.entries.iter().flatten().take(index);
        let denied =
            before.filter(|entry| entry.denies && (entry.account == account || entry.account == EVERYONE));
        denied.fold(0, |rights, entry| rights | entry.rights)
    }
}

fn is_trusted(account: &str, us: &str) -> bool {
    account == us
        || TRUSTED.contains(&account)
        || OWNER.contains(&account)
        || SANDBOXES.iter().any(|sandbox| account.starts_with(sandbox))
}

/// The entries in `text`, without those that only files below a directory inherit.
fn entries(text: &str) -> Option<Vec<Entry>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.strip_prefix('(') {
        let end = closing(start)?;
        let fields: Vec<&str> = start[..end].splitn(7, ';').collect();
        let [kind, flags, rights, _, _, account, ..] = fields[..] else { return None };
        rest = &start[end + 1..];
        if !pairs(flags).any(|flag| flag == "IO") {
            // The entry's condition decides on which users it denies access to: perhaps none.
            let is_conditional = fields.len() > 6;
            let denies = kind.contains('D');
            if !(denies && is_conditional) {
                found.push(Entry {
                    denies,
                    inherited: pairs(flags).any(|flag| flag == "ID"),
                    rights: bits(rights)?,
                    account: account.to_owned(),
                });
            }
        }
    }
    Some(found)
}

/// Where the parenthesis closes that stands before `text`: a condition has parentheses and quoted texts of its own.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quoted) = (0, false);
    text.char_indices().find_map(|(index, c)| {
        match c {
            '"' => quoted = !quoted,
            ')' if !quoted && depth == 0 => return Some(index),
            ')' if !quoted => depth -= 1,
            '(' if !quoted => depth += 1,
            _ => {}
        }
        None
    })
}

fn pairs(text: &str) -> impl Iterator<Item = &str> {
    text.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok())
}

/// The rights of an entry as those to files: a generic right stands for several.
fn bits(rights: &str) -> Option<u32> {
    let raw = match rights.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None if rights.starts_with(|c: char| c.is_ascii_digit()) => rights.parse().ok()?,
        None => {
            let known = |pair| RIGHTS.iter().find(|(name, _)| *name == pair).map(|(_, bits)| *bits);
            pairs(rights).map(known).try_fold(0, |all, bits| Some(all | bits?))?
        }
    };
    let generic = [(GENERIC_ALL, 0x1f_01ff), (GENERIC_READ, 0x12_0089), (GENERIC_WRITE, 0x12_0116)];
    Some(generic.iter().filter(|(bit, _)| raw & bit != 0).fold(raw, |all, (_, bits)| all | bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: &str = "S-1-5-21-1-2-3-1001";
    const BEN: &str = "S-1-5-21-1-2-3-1002";

    fn account(text: &str) -> Account {
        Account { sid: text.to_owned(), name: text.to_owned() }
    }

    fn told(how: Option<How>) -> String {
        match how {
            None => "none".into(),
            Some(How::ReadGranted(grants) | How::WriteGranted(grants)) => grants.to_string(),
            Some(How::OwnAccount { owner, .. }) => format!("owner {}", owner.name),
            Some(how) => panic!("{how:?}"),
        }
    }

    /// What is said of readers, of writers, and of those who replace files, if this is the descriptor of a directory.
    fn judged(text: &str) -> [String; 3] {
        let list = AccessList::parse(text).unwrap_or_else(|| panic!("{text} is not parsed"));
        [list.readers(ANN, account), list.writers(ANN, false, account), list.writers(ANN, true, account)]
            .map(told)
    }

    #[test]
    fn entries_for_others_are_found() {
        let private = format!("(A;;FA;;;{ANN})(A;ID;FA;;;SY)(A;ID;FA;;;BA)");
        for (list, [readers, writers, replacers]) in [
            // What a user's own directories and files have.
            ("", ["none", "none", "none"]),
            ("(A;;0x1200a9;;;BU)", ["BU: read", "none", "none"]),
            ("(A;ID;FR;;;WD)", ["WD: read", "none", "none"]),
            ("(A;;GR;;;WD)(A;;CC;;;BU)", ["WD: read, BU: read", "none", "none"]),
            ("(A;;FR;;;WD)(A;ID;FR;;;WD)", ["WD: read", "none", "none"]),
            ("(A;;GA;;;WD)", ["WD: read", "WD: write", "WD: delete files"]),
            (
                "(A;;FA;;;S-1-5-21-1-2-3-1002)",
                [
                    "S-1-5-21-1-2-3-1002: read",
                    "S-1-5-21-1-2-3-1002: write",
                    "S-1-5-21-1-2-3-1002: delete files",
                ],
            ),
            // Modify, which every user has below a directory on C:\.
            ("(A;ID;0x1301bf;;;AU)", ["AU: read", "AU: write", "none"]),
            ("(A;;LC;;;AU)", ["none", "AU: write", "none"]),
            ("(A;;GW;;;AU)", ["none", "AU: write", "none"]),
            ("(A;;SD;;;AU)", ["none", "AU: delete", "none"]),
            ("(A;;DT;;;AU)", ["none", "none", "AU: delete files"]),
            ("(A;;WD;;;AU)", ["none", "AU: change permissions", "AU: change permissions"]),
            ("(A;;RCWO;;;AU)", ["none", "AU: take ownership", "AU: take ownership"]),
            ("(A;;FX;;;WD)(A;;0x100080;;;WD)", ["none", "none", "none"]),
            // Only for files to be made in the directory.
            ("(A;OICIIO;GA;;;WD)(A;OICIIO;FA;;;CO)", ["none", "none", "none"]),
            // The directory of an agent that runs as LocalService.
            ("(A;OICI;0x1301bf;;;LS)", ["none", "none", "none"]),
            // The owner, and programs of ours in a sandbox.
            ("(A;;FA;;;CO)(A;;FA;;;OW)", ["none", "none", "none"]),
            ("(A;;FA;;;AC)(A;;FA;;;S-1-15-2-2)(A;;FA;;;S-1-15-3-1)", ["none", "none", "none"]),
            (
                "(A;;FA;;;S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464)",
                ["none", "none", "none"],
            ),
            (
                "(A;;FA;;;S-1-5-80-1-2-3-4-5)",
                ["S-1-5-80-1-2-3-4-5: read", "S-1-5-80-1-2-3-4-5: write", "S-1-5-80-1-2-3-4-5: delete files"],
            ),
            // Conditions do not matter, nor do types of objects.
            ("(XA;;FR;;;WD;((@User.A==\")\")||(1)))(A;;FR;;;BU)", ["WD: read, BU: read", "none", "none"]),
            ("(OA;;FR;c434c045-9b91-4504-a2a0-aea9e781ec69;;WD)", ["WD: read", "none", "none"]),
        ] {
            let text = format!("O:{ANN}D:PAI{private}{list}");
            assert_eq!(judged(&text), [readers, writers, replacers], "{text}");
        }
    }

    #[test]
    fn an_account_is_named_once_and_is_inherited_only_if_all_its_entries_are() {
        let text = format!("O:{ANN}D:AI(A;;FR;;;BU)(A;ID;FR;;;WD)(A;ID;FR;;;BU)(A;CIID;FA;;;WD)");
        let found = AccessList::parse(&text).unwrap().readers(ANN, account);
        let Some(How::ReadGranted(grants)) = found else { panic!("{found:?}") };
        let others: Vec<_> =
            grants.others.iter().map(|grant| (&*grant.account.sid, grant.inherited)).collect();
        assert_eq!(others, [("BU", false), ("WD", true)]);
    }

    #[test]
    fn only_a_denial_that_covers_an_account_takes_its_right() {
        for (list, readers) in [
            ("(D;;FR;;;WD)(A;;FR;;;WD)", "none"),
            ("(D;;FR;;;WD)(A;;FR;;;BU)", "none"),
            ("(D;;FR;;;BU)(A;;FR;;;BU)", "none"),
            // Others than users are everyone too.
            ("(D;;FR;;;BU)(A;;FR;;;WD)", "WD: read"),
            // The first entry decides.
            ("(A;;FR;;;WD)(D;;FR;;;WD)", "WD: read"),
            ("(D;;FW;;;WD)(A;;FA;;;WD)", "WD: read"),
            ("(D;OIIO;FR;;;WD)(A;;FR;;;WD)", "WD: read"),
            ("(XD;;FR;;;WD;(@User.A==1))(A;;FR;;;WD)", "WD: read"),
        ] {
            let text = format!("O:{ANN}D:{list}");
            assert_eq!(judged(&text)[0], readers, "{text}");
        }
    }

    #[test]
    fn the_owner_is_us_or_an_administrator() {
        for owner in [ANN, "BA", "SY", "LS"] {
            assert_eq!(judged(&format!("O:{owner}D:PAI(A;;FA;;;SY)"))[1..], ["none", "none"]);
        }
        for owner in [BEN, "BU", "AN"] {
            let list = AccessList::parse(&format!("O:{owner}D:P(A;;FA;;;{ANN})")).unwrap();
            let us = account(ANN);
            assert_eq!(
                list.writers(ANN, false, account),
                Some(How::OwnAccount { owner: account(owner), us })
            );
        }
        // The account of a service is us to the service, and to nobody else.
        let service = "S-1-5-80-1-2-3-4-5";
        let list = AccessList::parse(&format!("O:{service}D:(A;;FA;;;{service})")).unwrap();
        assert_eq!((list.readers(service, account), list.writers(service, false, account)), (None, None));
        assert_eq!(told(list.readers(ANN, account)), format!("{service}: read"));
    }

    #[test]
    fn a_missing_list_is_not_an_empty_one() {
        for text in
            [format!("O:{ANN}D:NO_ACCESS_CONTROL"), format!("O:{ANN}"), "O:BAD:NO_ACCESS_CONTROL".into()]
        {
            assert_eq!(judged(&text), ["no access list"; 3], "{text}");
        }
        assert_eq!(judged(&format!("O:{ANN}D:P")), ["none"; 3]);
        // As for a file on FAT.
        assert_eq!(judged("O:WDD:NO_ACCESS_CONTROL"), ["none"; 3]);
    }

    #[test]
    fn another_text_is_not_parsed() {
        for text in [
            "",
            "D:(A;;FA;;;WD)",
            "O:BAD:(A;;FA;;;WD",
            "O:BAD:(A;;XX;;;WD)",
            "O:BAD:(A;;FA)",
            "O:BAD:(A;;0xg;;;WD)",
        ] {
            assert_eq!(AccessList::parse(text), None, "{text}");
        }
    }
}
