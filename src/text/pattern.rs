//! Patterns of names with `*` and `?`, as in ssh.

/// Whether `pattern` matches the whole of `name`. `*` matches any text, `?` any one character.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // The position of the last star, and the end of the text it matches, which grows whenever the rest does not match.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, covered)) = star else { return false };
                star = Some((at, covered + 1));
                p = at + 1;
                n = covered + 1;
            }
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_stars_and_question_marks() {
        for (pattern, name, fits) in [
            ("ssh", "ssh", true),
            ("ssh", "SSH", false),
            ("tcp-*", "tcp-2222", true),
            ("tcp-*", "tcp", false),
            ("tcp-80??", "tcp-8080", true),
            ("tcp-80??", "tcp-808", false),
            ("*-log-*", "a-log-b-log-c", true),
            ("*", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
