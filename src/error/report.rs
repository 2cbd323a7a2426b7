//! An error as text for a terminal.

use super::Error;

impl Error {
    /// The lines on stderr: the message, and the hint if there is one.
    pub fn report(&self) -> String {
        let mut text = format!("iotstream: error: {}\n", escape(&self.to_string()));
        if let Some(hint) = self.hint() {
            text += &format!("iotstream: hint: {}\n", escape(&hint));
        }
        text
    }

    /// What the errors behind this one say beyond its message, the nearest first.
    pub fn causes(&self) -> Vec<String> {
        let mut said = vec![self.to_string()];
        let sources = std::iter::successors(std::error::Error::source(self), |error| error.source());
        for text in sources.map(ToString::to_string) {
            if !said.iter().any(|before| before.contains(&text)) {
                said.push(text);
            }
        }
        said.split_off(1)
    }
}

/// Foreign text made safe for a terminal: control characters are shown, not obeyed.
pub fn escape(text: &str) -> String {
    let dangerous = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if dangerous(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_drive_a_terminal() {
        assert_eq!(escape("a\x1b[2Jb\r\nc\u{202e}ä"), "a\\u{1b}[2Jb\\r\\nc\\u{202e}ä");
    }
}
