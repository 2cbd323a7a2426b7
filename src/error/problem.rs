//! What is wrong, and the error that says so.

use std::fmt;
use std::io;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// What is wrong, in words for a user, and the error that the words are made of.
#[derive(Debug)]
pub struct Problem {
    text: String,
    source: Option<Source>,
}

impl Problem {
    /// What an error says.
    pub fn of(source: impl Into<Source>) -> Self {
        let source = source.into();
        Self { text: source.to_string(), source: Some(source) }
    }

    /// An error in other words.
    pub fn because(text: impl Into<String>, source: impl Into<Source>) -> Self {
        Self { text: text.into(), source: Some(source.into()) }
    }
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self { text, source: None }
    }
}

impl From<&str> for Problem {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::of(error)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Problem {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::error::Error;
    use crate::error::snapshot::Backend;
    use crate::time::phase::Phase;

    fn refused() -> io::Error {
        io::Error::other("connection refused")
    }

    #[test]
    fn every_error_made_of_another_keeps_it() {
        let problem = || Problem::because("no answer", refused());
        let fault = || Box::new(Backend { source: Some(refused()) });
        let target = String::new;
        for error in [
            Error::file(Path::new("/f"), problem(), "h"),
            Error::credential("o", problem(), "h"),
            Error::network(Phase::TCP, "t", problem()),
            Error::protocol("t", problem()),
            Error::Untrusted { target: target(), problem: problem(), hint: None },
            Error::Target { target: target(), problem: problem() },
            Error::Cut { problem: problem() },
            Error::local_io("w")(refused()),
            Error::Other(refused().into()),
            Error::Backend(fault()),
            Error::NotOffered { rejection: fault(), stream: "s".into(), builtin: "echo" },
        ] {
            let sources = std::iter::successors(std::error::Error::source(&error), |error| error.source());
            let found = sources.filter(|error| error.downcast_ref::<io::Error>().is_some()).count();
            assert_eq!(found, 1, "{error:?}");
        }
    }

    #[test]
    fn a_cause_is_told_where_the_message_leaves_it_out() {
        let causes = |problem: Problem| Error::network(Phase::TCP, "t", problem).causes();
        assert_eq!(causes("no answer".into()), [""; 0]);
        assert_eq!(causes(refused().into()), [""; 0]);
        assert_eq!(causes(Problem::because("no answer: connection refused", refused())), [""; 0]);
        assert_eq!(causes(Problem::because("no answer", refused())), ["connection refused"]);
    }
}
