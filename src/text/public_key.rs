//! Public keys as OpenSSH writes them: `TYPE BASE64 [COMMENT]`.

use std::fmt;

use data_encoding::{BASE64, BASE64_NOPAD};
use sha2::{Digest, Sha256};

/// The longest key in bytes. An RSA key of 16,384 bits has some 2 KiB.
const LONGEST: usize = 8 * 1024;

/// The longest name of a key type (RFC 4251, section 6).
const LONGEST_TYPE: usize = 64;

/// A public key: its type, and the encoding of both (RFC 4253, section 6.6). What follows the type is not interpreted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey {
    key_type: String,
    blob: Vec<u8>,
}

impl PublicKey {
    /// Parses `TYPE BASE64 [COMMENT]`; `None` if it is no key, or the type within the key differs.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (key_type, encoded) = (words.next()?, words.next()?);
        if encoded.len() > LONGEST / 3 * 4 || words.any(|word| word.contains(char::is_control)) {
            return None;
        }
        let key = Self::of_blob(&BASE64.decode(encoded.as_bytes()).ok()?)?;
        // The decoder takes several padded texts in one.
        (key.key_type == key_type && BASE64.encode(&key.blob) == encoded).then_some(key)
    }

    /// The key in the form of the wire; `None` if it is no key.
    pub(crate) fn of_blob(blob: &[u8]) -> Option<Self> {
        let (length, rest) = blob.split_first_chunk::<4>()?;
        let (key_type, key) = rest.split_at_checked(u32::from_be_bytes(*length).try_into().ok()?)?;
        let is_type = (1..=LONGEST_TYPE).contains(&key_type.len())
            && key_type.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.@_+".contains(byte));
        (is_type && !key.is_empty() && blob.len() <= LONGEST)
            .then(|| Self { key_type: String::from_utf8_lossy(key_type).into_owned(), blob: blob.to_owned() })
    }

    /// The type, such as `ssh-ed25519`.
    pub(crate) fn key_type(&self) -> &str {
        &self.key_type
    }

    /// The key in the form of the wire.
    pub(crate) fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The fingerprint as ssh shows it: `SHA256:…`.
    pub(crate) fn fingerprint(&self) -> String {
        format!("SHA256:{}", BASE64_NOPAD.encode(&Sha256::digest(&self.blob)))
    }
}

/// `TYPE BASE64`.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key_type, BASE64.encode(&self.blob))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// From `ssh-keygen -t ed25519`, and `ssh-keygen -l` of it.
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIVtFrHytwaZL3m9OUD8cc+0fKjIcD9TeQjPH4JYN4pf";
    const FINGERPRINT: &str = "SHA256:v2iPDXLLzTrZbJSaxWzqK8ZfE75Gl/uEX7Igh8WeXeY";

    #[test]
    fn reads_what_ssh_keygen_writes() {
        for line in [KEY.to_owned(), format!("{KEY} root@gw-07"), format!("{KEY} a comment")] {
            let key = PublicKey::parse(&line).unwrap();
            assert_eq!((key.key_type(), key.to_string().as_str()), ("ssh-ed25519", KEY));
            assert_eq!(key.fingerprint(), FINGERPRINT);
            assert_eq!(PublicKey::of_blob(key.blob()), Some(key));
        }
    }

    #[test]
    fn refuses_what_is_no_key() {
        let (key_type, encoded) = KEY.split_once(' ').unwrap();
        let blob = BASE64.decode(encoded.as_bytes()).unwrap();
        for line in [
            format!("{key_type} {}{}", BASE64.encode(&blob[..25]), BASE64.encode(&blob[25..])),
            "".to_owned(),
            key_type.into(),
            format!("ssh-rsa {encoded}"),
            format!("@revoked {KEY}"),
            format!("* {KEY}"),
            format!(" {KEY}"),
            format!("{KEY}\n"),
            format!("{KEY} a\nb"),
            format!("{key_type}\t{encoded}"),
            format!("{key_type} {}", &encoded[..encoded.len() - 1]),
            format!("{key_type} {}", BASE64.encode(b"\0\0\0\x0bssh-ed25519")),
            format!("x {}", BASE64.encode(b"\0\0\0\xffx")),
            format!("{KEY}{}", "A".repeat(1 << 20)),
        ] {
            assert_eq!(PublicKey::parse(&line), None, "{line:.80}");
        }
        assert_eq!(PublicKey::of_blob(b"\0\0\0\x03a bkey"), None);
        assert_eq!(PublicKey::of_blob(b"\0\0\0\x00key"), None);
    }

    proptest! {
        #[test]
        fn a_key_is_one_line_of_two_words(blob in any::<Vec<u8>>(), text in "[ -~]{0,80}", any_text in ".*") {
            let keys = [PublicKey::of_blob(&blob), PublicKey::parse(&text), PublicKey::parse(&any_text)];
            for key in keys.into_iter().flatten() {
                let line = key.to_string();
                prop_assert_eq!(line.split_whitespace().count(), 2);
                prop_assert_eq!(line.split(' ').count(), 2);
                prop_assert_eq!(PublicKey::parse(&line), Some(key));
            }
        }
    }
}
