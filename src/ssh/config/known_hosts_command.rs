//! The `KnownHostsCommand` of a block. ssh splits it into words itself, and runs no shell \[S].

use std::path::Path;

/// ssh's tokens, as `iotstream host-keys` takes them.
const TOKENS: &str = r#""--host=%h" --presented "%t" "%K" -- "%n" "%H" "%p""#;

/// The command with the profile `profile`; `None` if a word cannot be written.
pub(super) fn known_hosts_command(program: &Path, config: Option<&Path>, profile: &str) -> Option<String> {
    // ssh takes the first word as it is, and expands tokens and variables in the others.
    let program = word(program.to_str()?)?;
    let mut words = vec![program, "host-keys".into(), argument(&format!("--profile={profile}"))?];
    if let Some(config) = config {
        words.push(argument(&format!("--config={}", config.to_str()?))?);
    }
    words.push(TOKENS.into());
    Some(words.join(" "))
}

/// A word in quotes.
fn word(text: &str) -> Option<String> {
    let is_writable = !text.is_empty() && !text.contains(char::is_control);
    is_writable.then(|| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// A word whose tokens are not expanded. Nothing keeps a variable from expansion.
fn argument(text: &str) -> Option<String> {
    word(&text.replace('%', "%%")).filter(|_| !text.contains("${"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_ssh() {
        let command = |program: &str, config: Option<&str>, profile: &str| {
            known_hosts_command(Path::new(program), config.map(Path::new), profile)
        };
        assert_eq!(
            command("/usr/bin/iotstream", None, "factory").unwrap(),
            "\"/usr/bin/iotstream\" host-keys \"--profile=factory\" \"--host=%h\" --presented \"%t\" \"%K\" -- \
             \"%n\" \"%H\" \"%p\""
        );
        let odd = command("/my tools/100% $HOME ${x} \"it's\" \\o/i", Some("/c 5%"), "a\"b").unwrap();
        let expected =
            r#""/my tools/100% $HOME ${x} \"it's\" \\o/i" host-keys "--profile=a\"b" "--config=/c 5%%" "#;
        assert!(odd.starts_with(expected), "{odd}");
        assert_eq!(command("/i", Some("/${HOME}/c"), "x"), None);
        assert_eq!(command("/i", None, "a\nb"), None);
        assert_eq!(command("/a\tb", None, "x"), None);
    }
}
