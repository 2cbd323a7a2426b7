//! Asks the system for owners, access lists and accounts, and sets access lists.

use std::fs::File;
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;

use windows_permissions::constants::{SeObjectType, SecurityInformation};
use windows_permissions::utilities::current_process_sid;
use windows_permissions::wrappers::{
    ConvertSecurityDescriptorToStringSecurityDescriptor as to_text,
    ConvertStringSecurityDescriptorToSecurityDescriptor as from_text, GetSecurityInfo, LookupAccountSid,
    SetSecurityInfo,
};
use windows_permissions::{LocalBox, Sid};

use crate::error::Account;
use crate::platform::access_list::AccessList;

const READ_CONTROL: u32 = 0x2_0000;
const WRITE_DAC: u32 = 0x4_0000;
/// A directory is opened only with it.
const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;

/// Opens a file or a directory for its access list alone, which no other process can prevent.
fn open(path: &Path, access: u32) -> io::Result<File> {
    let mut options = File::options();
    options.access_mode(access).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(path)
}

/// The owner and the access list of an open file; `None` if the file system has no access lists.
///
/// # Errors
/// When the list is not understood.
pub(super) fn of_file(file: &File) -> io::Result<Option<AccessList>> {
    let parts = SecurityInformation::Owner | SecurityInformation::Dacl;
    let descriptor = match GetSecurityInfo(file, SeObjectType::SE_FILE_OBJECT, parts) {
        Ok(descriptor) => descriptor,
        Err(error) => {
            log::debug!("no access list: {error}");
            return Ok(None);
        }
    };
    let text = to_text(&descriptor, parts)?;
    let unknown = || io::Error::other(format!("unknown access list {}", text.display()));
    text.to_str().and_then(AccessList::parse).map(Some).ok_or_else(unknown)
}

/// The owner and the access list of a directory; `None` if it cannot be opened, and as of [`of_file`].
///
/// # Errors
/// When the list is not understood.
pub(super) fn of_directory(path: &Path) -> io::Result<Option<AccessList>> {
    open(path, READ_CONTROL).map_or(Ok(None), |directory| of_file(&directory))
}

/// The account that runs this program, as access lists write it.
///
/// # Errors
/// Returns the error of the system.
pub(super) fn us() -> io::Result<String> {
    let owned = from_text(&format!("O:{}", current_process_sid()?))?;
    let text = to_text(&owned, SecurityInformation::Owner)?;
    Ok(text.to_string_lossy().trim_start_matches("O:").to_owned())
}

/// Who an account of an access list is.
pub(super) fn account(text: &str) -> Account {
    let Ok(sid) = text.parse::<LocalBox<Sid>>() else {
        return Account { sid: text.to_owned(), name: text.to_owned() };
    };
    let name = match LookupAccountSid(&sid) {
        Ok((name, domain)) if domain.is_empty() => name.to_string_lossy().into_owned(),
        Ok((name, domain)) => format!(r"{}\{}", domain.display(), name.display()),
        Err(_) => sid.to_string(),
    };
    Account { sid: sid.to_string(), name }
}

/// Leaves a new file or directory, and what will be made in it, to its user and the administrators. One that inherits no
/// access for others stays as it is.
///
/// # Errors
/// Returns the error of the system.
pub(super) fn close_to_others(path: &Path) -> io::Result<()> {
    let (us, inherit) = (us()?, if path.is_dir() { "OICI" } else { "" });
    let entries = [&us, "SY", "BA"].map(|account| format!("(A;{inherit};FA;;;{account})"));
    let mut file = open(path, READ_CONTROL | WRITE_DAC)?;
    // As a file, wine adds to it the entries of the directory above, from which this list is protected.
    for kind in [SeObjectType::SE_FILE_OBJECT, SeObjectType::SE_KERNEL_OBJECT] {
        if is_open_to_others(&file, &us)? {
            set(&mut file, kind, &format!("D:P{}", entries.concat()))?;
        }
    }
    Ok(())
}

fn is_open_to_others(file: &File, us: &str) -> io::Result<bool> {
    let Some(list) = of_file(file)? else { return Ok(false) };
    Ok(list.readers(us, account).or_else(|| list.writers(us, false, account)).is_some())
}

/// Lets the accounts access the file at `to` that can access the one at `from`.
///
/// # Errors
/// Returns the error of the system.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let from = open(from, READ_CONTROL)?;
    if !is_open_to_others(&from, &us()?)? {
        return close_to_others(to);
    }
    let part = SecurityInformation::Dacl;
    let text = to_text(&*GetSecurityInfo(&from, SeObjectType::SE_FILE_OBJECT, part)?, part)?;
    set(&mut open(to, READ_CONTROL | WRITE_DAC)?, SeObjectType::SE_FILE_OBJECT, &text.to_string_lossy())
}

/// Sets a file's access list.
fn set(file: &mut File, kind: SeObjectType, text: &str) -> io::Result<()> {
    let descriptor = from_text(text)?;
    // Entries that are marked as inherited are replaced by those of the directory above.
    let inheritance = match text.split('(').next() {
        Some(flags) if flags.contains('P') => SecurityInformation::ProtectedDacl,
        _ => SecurityInformation::UnprotectedDacl,
    };
    let parts = SecurityInformation::Dacl | inheritance;
    SetSecurityInfo(file, kind, parts, None, None, descriptor.dacl(), None)
}
