//! Command lines: what Win32-OpenSSH makes of a ProxyCommand, and what Windows makes of that.

use std::io;
use std::slice;

use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::UI::Shell::CommandLineToArgvW;

use crate::pipe::wide;

/// The lines that Win32-OpenSSH hands to CreateProcessW for a ProxyCommand, one after the other while no program is
/// found: `build_commandline_string` and `spawn_child_internal` of its w32fd.c.
pub fn attempts(proxy_command: &str) -> Vec<String> {
    if proxy_command.starts_with('"') {
        return vec![proxy_command.to_owned()];
    }
    let blank = proxy_command.find(".exe").and_then(|exe| Some(exe + proxy_command[exe..].find(' ')?));
    let first = match blank {
        Some(blank) => format!("\"{}\"{}", &proxy_command[..blank], &proxy_command[blank..]),
        None => format!("\"{proxy_command}\""),
    };
    // It cuts the first character and the last one, whatever they are.
    let second = first[1..first.len() - 1].to_owned();
    vec![first, second]
}

/// The arguments of a command line, the program first.
pub fn arguments(line: &str) -> io::Result<Vec<String>> {
    let (line, mut count) = (wide(line), 0);
    // SAFETY: the line ends in a zero. The result is `count` strings that end in zeros, in one allocation.
    unsafe {
        let found = CommandLineToArgvW(line.as_ptr(), &mut count);
        if found.is_null() {
            return Err(io::Error::last_os_error());
        }
        let found_strings = slice::from_raw_parts(found, usize::try_from(count).unwrap_or(0));
        let arguments = found_strings.iter().map(|&text| {
            let length = (0..).take_while(|&at| *text.add(at) != 0).count();
            String::from_utf16_lossy(slice::from_raw_parts(text, length))
        });
        let arguments = arguments.collect();
        LocalFree(found.cast());
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_quoted_as_win32_openssh_quotes_it() {
        assert_eq!(attempts(r#""C:/a b/x.exe" -- "h""#), [r#""C:/a b/x.exe" -- "h""#]);
        assert_eq!(attempts(r"C:/a b/x.exe -- h"), [r#""C:/a b/x.exe" -- h"#, r#"C:/a b/x.exe" -- "#]);
        assert_eq!(attempts("x h 22"), [r#""x h 22""#, "x h 22"]);
    }

    #[test]
    fn quotes_group_and_backslashes_escape_quotes() {
        let seen = arguments(r#""C:/a b/x.exe" "--name=A B" -- "" c:\d\ "e\"f""#).unwrap();
        assert_eq!(seen, ["C:/a b/x.exe", "--name=A B", "--", "", r"c:\d\", "e\"f"]);
    }
}
