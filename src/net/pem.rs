//! Certificates and keys in files: DER, or PEM in the forms that copying leaves it in.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::text::content;

/// The content between a BEGIN and its END.
pub(super) struct Section {
    pub(super) label: String,
    pub(super) der: Zeroizing<Vec<u8>>,
    /// The section is encrypted with a passphrase; `der` is empty.
    pub(super) encrypted: bool,
}

/// Parses all sections of a file, in order. Text around them is skipped. Lines may be indented, rewrapped or joined. A
/// single certificate or key may also be DER, or base64 without a BEGIN.
///
/// # Errors
/// Returns which section is damaged, and never its content.
pub(super) fn sections(bytes: &[u8]) -> Result<Vec<Section>, String> {
    if let Some(kind @ ("a certificate in DER" | "a private key in DER")) = content::kind(bytes) {
        let label = if kind.contains("key") { "PRIVATE KEY" } else { "CERTIFICATE" };
        let der = Zeroizing::new(bytes.to_vec());
        return Ok(vec![Section { label: label.into(), der, encrypted: false }]);
    }
    // The text around the sections may be in any encoding.
    let is_pem = bytes.windows(11).any(|part| part == b"-----BEGIN ") && !bytes.contains(&0);
    let text = match content::text(bytes) {
        Err(_) if is_pem => Secret::new(String::from_utf8_lossy(bytes).into_owned()),
        text => text?,
    };
    let text = text.expose();
    if !text.contains("-----BEGIN ") {
        // A Kubernetes secret contains PEM in base64; web pages show DER in base64.
        return match base64(text).filter(|inner| content::kind(inner).is_some() && inner.len() < bytes.len())
        {
            Some(inner) => sections(&inner),
            None => Ok(Vec::new()),
        };
    }
    // JSON and environment variables contain escaped line ends.
    let text = Zeroizing::new(text.replace("\\r", "").replace("\\n", "\n"));
    let mut found = Vec::new();
    let (mut rest, mut line) = (text.as_str(), 1);
    while let Some((before, after)) = rest.split_once("-----BEGIN ") {
        line += before.matches('\n').count();
        let cut = |label: &str, what: &str| format!("the {} in line {line} {what}", label.to_lowercase());
        let (label, body) =
            after.split_once("-----").ok_or_else(|| cut("section", "has an incomplete BEGIN"))?;
        let end = format!("-----END {label}-----");
        let (body, after) = body.split_once(&end).ok_or_else(|| cut(label, "has no END"))?;
        let encrypted = body.contains("Proc-Type:") || label.starts_with("ENCRYPTED");
        let der = if encrypted { Some(Zeroizing::default()) } else { base64(body) };
        let der = der.ok_or_else(|| cut(label, "is not base64"))?;
        found.push(Section { label: label.to_owned(), der, encrypted });
        line += body.matches('\n').count();
        rest = after;
    }
    Ok(found)
}

fn base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text = Zeroizing::new(text.split(content::BLANK).collect::<String>());
    BASE64.decode(text.as_bytes()).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Starts like a certificate and spans several lines of base64.
    fn der() -> Vec<u8> {
        [&[0x30, 0x81, 0x85, 0x30, 0x81, 0x82, 0xa0, 0x03][..], &[7; 128]].concat()
    }

    #[test]
    fn text_around_sections_may_be_in_any_encoding() {
        let bundle = [b"subject=O=T\xfcrktrust\n", pem("CERTIFICATE").as_bytes()].concat();
        assert_eq!(*sections(&bundle).unwrap()[0].der, der());
    }

    fn pem(label: &str) -> String {
        let body = BASE64.encode(&der());
        let lines: Vec<&str> =
            body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    }

    #[test]
    fn reads_pem_in_the_forms_copying_leaves() {
        let pem = pem("CERTIFICATE");
        let forms: Vec<Vec<u8>> = vec![
            pem.clone().into(),
            format!("\u{feff}subject=/CN=x\n\n{pem}the end").into(),
            pem.replace('\n', "\r\n").into(),
            pem.replace('\n', "\n    ").into(),
            pem.replace('\n', "\\n").into(),
            pem.replace('\n', " ").into(),
            pem.trim_end().into(),
            pem.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            BASE64.encode(pem.as_bytes()).into(),
            BASE64.encode(&der()).into(),
            der(),
        ];
        for form in forms {
            let found = sections(&form).unwrap();
            let shown = String::from_utf8_lossy(&form);
            assert_eq!(found.len(), 1, "{shown}");
            assert_eq!((&*found[0].label, &**found[0].der), ("CERTIFICATE", &*der()), "{shown}");
        }
        let two = sections(format!("{pem}{pem}").as_bytes()).unwrap();
        assert_eq!(two.len(), 2);
    }

    #[test]
    fn errors_name_the_line_of_a_damaged_section() {
        let pem = pem("CERTIFICATE");
        for (text, problem) in [
            (format!("x\n{}", &pem[..90]), "the certificate in line 2 has no END"),
            (pem.replacen("MIGF", "MIG", 1), "the certificate in line 1 is not base64"),
            (format!("{pem}-----BEGIN CERT"), "the section in line 6 has an incomplete BEGIN"),
        ] {
            assert_eq!(sections(text.as_bytes()).map(|found| found.len()).unwrap_err(), problem);
        }
        assert_eq!(sections(b"no more than text").unwrap().len(), 0);
    }

    proptest! {
        #[test]
        fn sections_never_panics(text in "(-----(BEGIN|END) ?[A-Z]{0,3}-{0,5}\n?|[A-Za-z0-9=]{0,4}){0,8}") {
            let _ = sections(text.as_bytes());
        }
    }
}
