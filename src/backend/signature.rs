//! The form of a shared access signature, which is the same at each service. What is signed, and how a key signs, is not.

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit};
use percent_encoding::percent_decode_str;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::malformed::Malformed;
use crate::secret::Secret;
use crate::text::percent::encode;
use crate::time::clock::UnixSeconds;

const SCHEME: &str = "SharedAccessSignature ";

/// The fields of a shared access signature. They may have any order \[S]\[M]\[D].
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    /// `sr`, encoded as received, because that is signed.
    pub resource: &'a str,
    /// `sig`.
    pub signature: Vec<u8>,
    /// `se`, as received.
    pub expires: &'a str,
    /// `se`.
    pub expiry: UnixSeconds,
    /// `skn`, the name of the key.
    pub key_name: Option<String>,
}

impl<'a> Fields<'a> {
    /// Parses a token from a header or a password.
    ///
    /// # Errors
    /// Returns [`Malformed`] if the scheme or a field is missing, duplicate or malformed.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Malformed> {
        let wrong = |problem: &str| Malformed::new(format!("the shared access signature {problem}"));
        let fields =
            text.strip_prefix(SCHEME).ok_or_else(|| wrong("does not begin with 'SharedAccessSignature '"))?;
        let (mut sr, mut sig, mut se, mut skn) = (None, None, None, None);
        for field in fields.split('&') {
            let (name, value) = field.split_once('=').ok_or_else(|| wrong("has a field without '='"))?;
            let slot = match name {
                "sr" => &mut sr,
                "sig" => &mut sig,
                "se" => &mut se,
                "skn" => &mut skn,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(wrong("has a field twice"));
            }
        }
        let decoded = |value: &str| percent_decode_str(value).decode_utf8().map(std::borrow::Cow::into_owned);
        let signature = sig
            .and_then(|sig| decoded(sig).ok())
            .and_then(|sig| BASE64.decode(sig.as_bytes()).ok())
            .ok_or_else(|| wrong("has no base64 in sig="))?;
        let resource = sr.filter(|sr| !sr.is_empty()).ok_or_else(|| wrong("has no sr="))?;
        let time = se.and_then(|se| Some((se, UnixSeconds(se.parse().ok()?))));
        let (expires, expiry) = time.ok_or_else(|| wrong("has no time in se="))?;
        let key_name = skn
            .map(decoded)
            .transpose()
            .map_err(|_| wrong("has no text in skn="))?
            .filter(|name| !name.is_empty());
        Ok(Self { resource, signature, expires, expiry, key_name })
    }
}

/// What a signature signs: `SR "\n" SE`, without a line feed at the end \[D]\[S].
pub(crate) fn message(resource: &str, expires: &str) -> String {
    format!("{resource}\n{expires}")
}

/// HMAC-SHA256 with a key in base64.
///
/// # Errors
/// Returns [`Malformed`] if `key` is not base64, or empty.
pub(crate) fn mac(key: &Secret) -> Result<Hmac<Sha256>, Malformed> {
    let key = BASE64.decode(key.expose().as_bytes()).ok().filter(|key| !key.is_empty());
    let key = Zeroizing::new(key.ok_or_else(|| Malformed::new("the key is not base64"))?);
    Ok(Hmac::new_from_slice(&key).expect("HMAC takes keys of any length"))
}

/// The text of a token. `resource` is encoded.
pub(crate) fn text(resource: &str, signature: &[u8], expiry: UnixSeconds, key_name: Option<&str>) -> Secret {
    let mut text = format!("{SCHEME}sr={resource}&sig={}&se={}", encode(&BASE64.encode(signature)), expiry.0);
    if let Some(name) = key_name {
        text += &format!("&skn={}", encode(name));
    }
    Secret::new(text)
}
