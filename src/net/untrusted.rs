//! Explains why a server's certificate is not trusted, from the certificate and the clock alone.

use rustls::CertificateError;
use rustls::pki_types::UnixTime;

use crate::time::clock::{self, UnixSeconds, iso8601};

/// The problem and the hint, if there is one.
pub(super) fn explain(error: &CertificateError) -> (String, Option<String>) {
    let date = |time: &UnixTime| {
        UnixSeconds(time.as_secs()).time().map_or_else(String::new, iso8601).replace(".000Z", "Z")
    };
    let hint = |time: &UnixTime, otherwise: &'static str| {
        let wrong = "set the clock here: it is earlier than the build of this program";
        if clock::is_past(*time) { wrong } else { otherwise }
    };
    let (problem, hint) = match error {
        CertificateError::UnknownIssuer => (
            "this machine does not know its issuer".into(),
            "if you trust the issuer, name its CA with --ca-file or ca-file: an emulator or a company proxy has its own",
        ),
        CertificateError::ExpiredContext { time, not_after } => (
            format!("it expired at {}, and the clock here says {}", date(not_after), date(time)),
            hint(time, "set the clock here if it is ahead; otherwise the server needs a new certificate"),
        ),
        CertificateError::NotValidYetContext { time, not_before } => (
            format!("it is valid from {}, and the clock here says {}", date(not_before), date(time)),
            hint(time, "set the clock here if it is behind; otherwise the server needs another certificate"),
        ),
        CertificateError::NotValidForNameContext { expected, presented } => {
            // rustls formats names as `DnsName("localhost")` and `IpAddress(::1)`.
            let name = |shown: &String| {
                let inner =
                    shown.split_once('(').map_or(shown.as_str(), |(_, inner)| inner.trim_end_matches(')'));
                inner.trim_matches('"').to_owned()
            };
            let names: Vec<String> = presented.iter().take(8).map(name).collect();
            let names = if names.is_empty() { "no name".into() } else { names.join(", ") };
            (
                format!("it is for {names} and not for {}", expected.to_str()),
                "use one of its names (subjectAltName), or give the server another certificate",
            )
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(webpki::Error::UnsupportedCertVersion) => (
                "it, or one that issued it, is of X.509 version 1, and version 3 is required".into(),
                "make a new one: openssl x509 -req … -extfile FILE, with subjectAltName=DNS:HOST in FILE",
            ),
            Some(webpki::Error::CaUsedAsEndEntity) => (
                "it is a CA's, not a server's".into(),
                "give the server a certificate that this CA has signed (basicConstraints=CA:FALSE)",
            ),
            _ => return (plain(error), None),
        },
        _ => return (plain(error), None),
    };
    (problem, Some(hint.into()))
}

/// The problem alone, where the certificate shows no more.
fn plain(error: &CertificateError) -> String {
    let known = match error {
        CertificateError::Expired => "it has expired",
        CertificateError::NotValidYet => "it is not valid yet",
        CertificateError::NotValidForName => "it is for another name",
        CertificateError::Revoked => "it has been revoked",
        CertificateError::BadSignature => "its signature is wrong",
        CertificateError::BadEncoding => "it is damaged",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not for servers"
        }
        // Its own Display shows what is inside as Debug does.
        CertificateError::Other(inner) => return inner.to_string(),
        other => return other.to_string(),
    };
    known.into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use std::sync::Arc;

    use rustls::OtherError;
    use rustls::pki_types::ServerName;

    use super::*;

    #[test]
    fn explains_each_certificate_problem() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expected = ServerName::try_from("h").unwrap();
        for (error, problem, hint) in [
            (
                CertificateError::ExpiredContext { time: at(4_000_000_000), not_after: at(0) },
                "it expired at 1970-01-01T00:00:00Z, and the clock here says 2096-10-02T07:06:40Z",
                "set the clock here if it is ahead",
            ),
            (
                CertificateError::NotValidYetContext {
                    time: at(1_800_000_000),
                    not_before: at(1_800_086_400),
                },
                "it is valid from 2027-01-16T08:00:00Z, and the clock here says 2027-01-15T08:00:00Z",
                "set the clock here if it is behind",
            ),
            (
                CertificateError::NotValidYetContext { time: at(0), not_before: at(86_400) },
                "it is valid from 1970-01-02T00:00:00Z, and the clock here says 1970-01-01T00:00:00Z",
                "set the clock here: it is earlier",
            ),
            (
                CertificateError::NotValidForNameContext {
                    expected,
                    presented: vec!["DnsName(\"localhost\")".into(), "IpAddress(::1)".into()],
                },
                "it is for localhost, ::1 and not for h",
                "use one of its names",
            ),
            (
                CertificateError::Other(OtherError(Arc::new(webpki::Error::UnsupportedCertVersion))),
                "version 1, and version 3 is required",
                "openssl x509 -req",
            ),
        ] {
            let (said, hinted) = explain(&error);
            let hinted = hinted.unwrap();
            assert!(said.contains(problem) && hinted.contains(hint), "{said}; {hinted}");
            assert!(!hinted.contains("company"), "{hinted}");
        }
        assert!(explain(&CertificateError::UnknownIssuer).1.unwrap().contains("--ca-file"));
    }
}
