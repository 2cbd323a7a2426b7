//! What a certificate says: its dates and its subject's common name. Any version of X.509: rustls and webpki read these of
//! version 3 alone, and the service's tutorials make version 1.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::text::content::element;

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// The version, which version 1 does not state.
const VERSION: u8 = 0xa0;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The object identifier of commonName, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// When a certificate is valid. Both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second. 1970 for an earlier one.
    pub not_before: SystemTime,
    /// The last second.
    pub not_after: SystemTime,
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) validity: Validity,
    /// The first common name of the subject.
    pub(crate) common_name: Option<String>,
}

/// Reads a certificate in DER; `None` if it is damaged, or a date has a form that RFC 5280 forbids.
pub(crate) fn facts(certificate: &[u8]) -> Option<Facts> {
    let certificate = inside(&mut &*certificate, SEQUENCE)?;
    let signed = &mut inside(&mut &*certificate, SEQUENCE)?;
    if signed.first() == Some(&VERSION) {
        inside(signed, VERSION)?;
    }
    let (_serial, _algorithm, _issuer) =
        (inside(signed, INTEGER)?, inside(signed, SEQUENCE)?, inside(signed, SEQUENCE)?);
    let dates = &mut inside(signed, SEQUENCE)?;
    let validity = Validity { not_before: date(dates)?, not_after: date(dates)? };
    Some(Facts { validity, common_name: common_name(inside(signed, SEQUENCE)?) })
}

/// Takes the element at the start of `bytes`, which must have `tag`, and returns its content.
fn inside<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (found, content, rest) = element(bytes)?;
    *bytes = rest;
    (found == tag).then_some(content)
}

/// Takes a date: `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`.
fn date(bytes: &mut &[u8]) -> Option<SystemTime> {
    let (tag, text, rest) = element(bytes)?;
    *bytes = rest;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match tag {
        // Of two digits, those from 50 are of the previous century (RFC 5280, 4.1.2.5.1).
        UTC_TIME if text >= "50" => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    if text.len() != 14 || !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| &text[from..to];
    if part(0, 4) < "1970" {
        return Some(UNIX_EPOCH);
    }
    let (day, time) = (
        format!("{}-{}-{}", part(0, 4), part(4, 6), part(6, 8)),
        format!("{}:{}:{}", part(8, 10), part(10, 12), part(12, 14)),
    );
    // A leap second counts as the one before it.
    humantime::parse_rfc3339(&format!("{day}T{time}Z")).ok()
}

/// The first common name in a subject.
fn common_name(mut subject: &[u8]) -> Option<String> {
    while !subject.is_empty() {
        let mut names = inside(&mut subject, SET)?;
        while !names.is_empty() {
            let mut name = inside(&mut names, SEQUENCE)?;
            if inside(&mut name, OBJECT_IDENTIFIER)? == COMMON_NAME {
                let (tag, value, _) = element(name)?;
                return text(tag, value);
            }
        }
    }
    None
}

/// The text of a DirectoryString, or of one in ASCII.
fn text(tag: u8, value: &[u8]) -> Option<String> {
    match tag {
        // UTF8String, NumericString, PrintableString and IA5String.
        12 | 18 | 19 | 22 => String::from_utf8(value.to_vec()).ok(),
        // T61String: everybody writes Latin-1 into it.
        20 => Some(value.iter().map(|&byte| char::from(byte)).collect()),
        // UniversalString.
        28 => value.chunks(4).map(|unit| char::from_u32(u32::from_be_bytes(unit.try_into().ok()?))).collect(),
        // BMPString.
        30 => {
            let units = value.chunks(2).map(|unit| Some(u16::from_be_bytes(unit.try_into().ok()?)));
            String::from_utf16(&units.collect::<Option<Vec<u16>>>()?).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, date_time_ymd};

    use super::*;

    fn made(name: Option<DnValue>, years: (i32, i32)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "contoso");
        if let Some(name) = name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 2, 28), date_time_ymd(years.1, 3, 1));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn at(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).unwrap()
    }

    /// An element of at most 127 bytes.
    fn der(tag: u8, content: &[&[u8]]) -> Vec<u8> {
        let content = content.concat();
        [&[tag, u8::try_from(content.len()).unwrap()], &content[..]].concat()
    }

    #[test]
    fn reads_dates_in_both_forms() {
        // rcgen writes years from 2050, and before 1950, as GeneralizedTime.
        for (years, begin, end) in [
            ((2026, 2027), "2026-02-28T00:00:00Z", "2027-03-01T00:00:00Z"),
            ((1999, 2049), "1999-02-28T00:00:00Z", "2049-03-01T00:00:00Z"),
            ((2026, 2050), "2026-02-28T00:00:00Z", "2050-03-01T00:00:00Z"),
            ((1949, 9999), "1970-01-01T00:00:00Z", "9999-03-01T00:00:00Z"),
            ((1955, 2050), "1970-01-01T00:00:00Z", "2050-03-01T00:00:00Z"),
        ] {
            let validity = facts(&made(None, years)).unwrap().validity;
            assert_eq!(validity, Validity { not_before: at(begin), not_after: at(end) }, "{years:?}");
        }
        let read = |tag, text: &str| date(&mut &der(tag, &[text.as_bytes()])[..]);
        assert_eq!(read(UTC_TIME, "270301120059Z"), Some(at("2027-03-01T12:00:59Z")));
        assert_eq!(read(GENERALIZED_TIME, "99991231235959Z"), Some(at("9999-12-31T23:59:59Z")));
        for wrong in ["2703011200Z", "270301120000+0100", "271301120000Z", "270301120000", "２703011200Z", ""]
        {
            assert_eq!(read(UTC_TIME, wrong), None, "{wrong}");
        }
        assert_eq!(read(GENERALIZED_TIME, "20270301120000.5Z"), None);
        assert_eq!(read(SEQUENCE, "270301120000Z"), None);
    }

    #[test]
    fn reads_the_common_name_in_every_form() {
        for (name, expected) in [
            (DnValue::Utf8String("gw-07".into()), "gw-07"),
            (DnValue::Utf8String("grün".into()), "grün"),
            (DnValue::PrintableString("gw-07".try_into().unwrap()), "gw-07"),
            (DnValue::Ia5String("gw_07@x".try_into().unwrap()), "gw_07@x"),
            (DnValue::TeletexString("gw-07".try_into().unwrap()), "gw-07"),
            (DnValue::BmpString("grün".try_into().unwrap()), "grün"),
            (DnValue::UniversalString("gw-07 €".try_into().unwrap()), "gw-07 €"),
        ] {
            let found = facts(&made(Some(name.clone()), (2026, 2027))).unwrap().common_name;
            assert_eq!(found.as_deref(), Some(expected), "{name:?}");
        }
        assert_eq!(facts(&made(None, (2026, 2027))).unwrap().common_name, None);
        assert_eq!(text(20, b"gr\xfcn").as_deref(), Some("grün"));
        assert_eq!((text(30, b"\0a\0"), text(28, b"\0\x11\0\0"), text(1, b"a")), (None, None, None));
    }

    #[test]
    fn reads_version_1() {
        // As `openssl x509 -req` makes it: no version, no extensions, two names in one set.
        let name = |identifier: &[u8], text: &str| {
            der(SEQUENCE, &[&der(OBJECT_IDENTIFIER, &[identifier]), &der(12, &[text.as_bytes()])])
        };
        let (organization, common) = (name(&[0x55, 4, 10], "contoso"), name(COMMON_NAME, "dev-1"));
        let subject = der(SEQUENCE, &[&der(SET, &[&organization, &common])]);
        let dates = [der(UTC_TIME, &[b"261126120000Z"]), der(UTC_TIME, &[b"261128120000Z"])];
        let validity = der(SEQUENCE, &[&dates[0], &dates[1]]);
        let signed = der(
            SEQUENCE,
            &[&der(INTEGER, &[b"\x07"]), &der(SEQUENCE, &[]), &der(SEQUENCE, &[]), &validity, &subject],
        );
        let found = facts(&der(SEQUENCE, &[&signed])).unwrap();
        assert_eq!(found.common_name.as_deref(), Some("dev-1"));
        let (not_before, not_after) = (at("2026-11-26T12:00:00Z"), at("2026-11-28T12:00:00Z"));
        assert_eq!(found.validity, Validity { not_before, not_after });
    }

    proptest! {
        #[test]
        fn a_damaged_certificate_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut certificate = made(Some(DnValue::Utf8String("gw-07".into())), (2026, 2027));
            let at = at.index(certificate.len());
            certificate[at] = byte;
            let _ = (facts(&certificate), facts(&certificate[..at]));
        }
    }
}
