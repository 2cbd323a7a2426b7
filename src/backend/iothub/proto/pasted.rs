//! What users paste of a hub's connection string.

use std::borrow::Cow;

use zeroize::Zeroizing;

use crate::backend::pasted_text::Form;
use crate::text::content::BLANK;

/// The names of a connection string's parts.
pub(super) const PARTS: [&str; 8] = [
    "HostName",
    "GatewayHostName",
    "SharedAccessKeyName",
    "SharedAccessKey",
    "SharedAccessSignature",
    "DeviceId",
    "ModuleId",
    "x509",
];

/// A hub's connection string.
pub(super) const FORM: Form = Form { mark: "hostname=", parts: &PARTS, name: "a hub's connection string" };

/// Removes white space from a broken line, and adds the final `=` that a double click does not select. A key that is
/// neither 32 nor 64 bytes long gets no `=`.
pub(crate) fn key(text: &str) -> Cow<'_, str> {
    if !text.contains(BLANK) && text.len().is_multiple_of(4) {
        return Cow::Borrowed(text);
    }
    let key: String = text.split(BLANK).collect();
    let missing = key.len().next_multiple_of(4) - key.len();
    let whole = key.clone() + &"=="[..missing.min(2)];
    let decoded = data_encoding::BASE64.decode(whole.as_bytes()).map(Zeroizing::new);
    let as_hubs_make_it = decoded.is_ok_and(|decoded| matches!(decoded.len(), 32 | 64));
    Cow::Owned(if as_hubs_make_it { whole } else { key })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{ConnectionString, Key};

    const KEY: &str = "aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMmh1bnQ=";

    fn string() -> String {
        format!("HostName=contoso.azure-devices.net;DeviceId=dev=1;SharedAccessKey={KEY}")
    }

    #[track_caller]
    fn is_taken(text: &str) {
        let parsed = ConnectionString::parse(text).unwrap_or_else(|problem| panic!("{text:?}: {problem}"));
        assert_eq!(parsed.hub.name, "contoso.azure-devices.net", "{text}");
        assert_eq!(parsed.identity.unwrap().device(), "dev=1", "{text}");
        assert!(matches!(parsed.key, Key::Shared(key) if key.expose() == KEY), "{text}");
    }

    #[test]
    fn accepts_pasted_forms() {
        let s = string();
        let middle = s.len() / 2;
        for text in [
            format!("\u{feff}{s}\r\n"),
            format!("\u{200b} {s}\u{a0}"),
            format!("\"{s}\""),
            format!("'{s}',"),
            format!("“{s}”"),
            format!("`{s}`;"),
            format!("connection-string = \"{s}\""),
            format!("connection-string-file = '{s}'"),
            format!("export IOTHUB_DEVICE_CONNECTION_STRING=\"{s}\""),
            format!("X={s}"),
            format!("set X={s}"),
            format!("$env:X = '{s}'"),
            format!("connectionString: {s}"),
            format!("\"connectionString\": \"{s}\","),
            format!("--connection-string \"{s}\""),
            format!("# of the hub in Zürich\n\n{s}\n"),
            format!("{s}\nuser: me\nurl: https://portal.azure.com"),
            format!("{}\n{}", &s[..middle], &s[middle..]),
            format!("{}\r\n   {}\r\n", &s[..s.len() - 20], &s[s.len() - 20..]),
            format!("X=\"{}\n{}\"", &s[..middle], &s[middle..]),
            format!("{}\n{}\n{}", &s[..4], &s[4..middle], &s[middle..]),
            s.replace(';', " ; ").replace("HostName=", "HostName = "),
            s.replace(KEY, KEY.trim_end_matches('=')),
            s.replace(KEY, &KEY.replace("aHVu", "aHVu ")),
            s.replace('=', "%3D").replace(';', "%3B"),
            s.replace('=', "%3d").replace(';', "%3b"),
            s.replacen("contoso", "https://contoso", 1).replacen(".net", ".net/", 1),
            format!("{{\n  \"connectionString\": \"{s}\"\n}}"),
            format!("[{{\"connectionString\": [\"{s}\", \"{}\"]}}]", s.replace(KEY, "AAAA")),
            s.replace("HostName", "hostname"),
            format!("SharedAccessKey={KEY};DeviceId=dev=1;HostName=contoso.azure-devices.net;"),
            format!("X=SharedAccessKey={KEY};DeviceId=dev=1;HostName=contoso.azure-devices.net;"),
        ] {
            is_taken(&text);
        }
    }

    #[test]
    fn ids_keep_trailing_punctuation() {
        for id in ["'", "a,", "#", "it's"] {
            let parsed = ConnectionString::parse(&format!("HostName=h;SharedAccessKey=AAAA;DeviceId={id}"));
            assert_eq!(parsed.unwrap().identity.unwrap().device(), id);
        }
    }

    #[test]
    fn errors_name_other_content() {
        let s = string();
        for (text, problem) in [
            ("", "the connection string is empty"),
            (" \r\n\u{feff}", "the connection string is empty"),
            (KEY, "it is a key alone, not a hub's connection string"),
            (
                "SharedAccessSignature sr=h&sig=AAAA&se=1",
                "it is a shared access signature alone, not a hub's connection string",
            ),
            (
                "Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=a;SharedAccessKey=AAAA",
                "it is a connection string of Event Hubs or Service Bus, not a hub's connection string",
            ),
            ("-----BEGIN CERTIFICATE-----\nAAAA", "it is a certificate, not a hub's connection string"),
            ("https://contoso.azure-devices.net", "it is a URL, not a hub's connection string"),
            ("/etc/iotstream/dev.conn", "it is a file's path, not a hub's connection string"),
            ("{\"deviceId\": \"dev-1\"}", "it is JSON without a connection string"),
            ("{\"connectionString\": \"HostName=h", "it begins as JSON but is incomplete"),
            (&format!("{s}\n{s}"), "there is more than one connection string: keep one"),
            (
                &format!("[\"{s}\", \"{}\"]", s.replace("contoso", "fabrikam")),
                "there is more than one connection string: keep one",
            ),
            (
                "HostName=h;SharedAccessKey=<your key>",
                "SharedAccessKey is a placeholder in the connection string",
            ),
            ("HostName=h;SharedAccessKey=****", "SharedAccessKey is a placeholder in the connection string"),
            (
                "HostName=x.azure-devices-provisioning.net;SharedAccessKey=AAAA",
                "HostName is that of a provisioning service, not of a hub",
            ),
        ] {
            assert_eq!(ConnectionString::parse(text).unwrap_err().0, problem, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "([a-zA-Z\"'“= ;:{}\\[\\]\n\u{feff}]{0,6}(HostName=|SharedAccessKey=|hostname%3D)?){0,4}") {
            let _ = ConnectionString::parse(&text);
        }
    }
}
