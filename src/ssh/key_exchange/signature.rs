//! The server's signature of the exchange hash.

use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};

use super::algorithms::{Choice, KeyType};
use super::fields::Fields;
use super::quote::quoted;
use crate::error::Problem;
use crate::text::public_key::PublicKey;

/// The sizes of RSA keys that can be verified, in bytes of the modulus, and the longest exponent.
const RSA_MODULUS: std::ops::RangeInclusive<usize> = 128..=1024;
const LONGEST_RSA_EXPONENT: usize = 4;

/// The result of a verification that found nothing wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Verified,
    /// The key has a size that cannot be verified.
    Unverifiable,
}

/// Verifies that `signature` is of `hash` and by the owner of `key`, in the algorithm that was chosen.
///
/// # Errors
/// Returns an error if the signature is wrong, or the key or the signature is malformed or of another type.
pub(super) fn verify(
    choice: &Choice,
    key: &PublicKey,
    signature: &[u8],
    hash: &[u8],
) -> Result<Verdict, Problem> {
    let (mut key, mut signature) = (Fields(key.blob()), Fields(signature));
    if key.string()? != choice.key_type.name().as_bytes() {
        return Err(format!("its host key is not of the type {}", choice.key_type.name()).into());
    }
    let algorithm = signature.string()?;
    if algorithm != choice.algorithm.as_bytes() {
        return Err(format!("it signed with {} instead of {}", quoted(algorithm), choice.algorithm).into());
    }
    let value = signature.string()?;
    signature.end()?;
    let verified = match choice.key_type {
        KeyType::Ed25519 => {
            let point = key.string()?;
            UnparsedPublicKey::new(&signature::ED25519, point).verify(hash, value)
        }
        KeyType::EcdsaP256 => ecdsa(&mut key, "nistp256", value, hash)?,
        KeyType::EcdsaP384 => ecdsa(&mut key, "nistp384", value, hash)?,
        KeyType::Rsa => {
            let (e, n) = (key.positive()?, key.positive()?);
            if !RSA_MODULUS.contains(&n.len()) || e.len() > LONGEST_RSA_EXPONENT {
                return Ok(Verdict::Unverifiable);
            }
            let parameters = match choice.algorithm {
                "rsa-sha2-512" => &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
                "rsa-sha2-256" => &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
                _ => &signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
            };
            // Some servers leave zeros at the start out.
            let value = padded(value, n.len())?;
            RsaPublicKeyComponents { n, e }.verify(parameters, hash, &value)
        }
    };
    key.end()?;
    verified.map_err(|_unspecified| "its signature is wrong: it does not have the key that it showed")?;
    Ok(Verdict::Verified)
}

/// Verifies a signature of ECDSA (RFC 5656, section 3.1). `key` is a public key after its type.
fn ecdsa(
    key: &mut Fields<'_>,
    curve: &str,
    signature: &[u8],
    hash: &[u8],
) -> Result<Result<(), ring::error::Unspecified>, Problem> {
    if key.string()? != curve.as_bytes() {
        return Err(format!("its host key is not on the curve {curve}").into());
    }
    let point = key.string()?;
    let (algorithm, size) = match curve {
        "nistp256" => (&signature::ECDSA_P256_SHA256_FIXED, 32),
        _ => (&signature::ECDSA_P384_SHA384_FIXED, 48),
    };
    let mut numbers = Fields(signature);
    let fixed = [padded(numbers.positive()?, size)?, padded(numbers.positive()?, size)?].concat();
    numbers.end()?;
    Ok(UnparsedPublicKey::new(algorithm, point).verify(hash, &fixed))
}

/// A number with zeros before it.
fn padded(number: &[u8], size: usize) -> Result<Vec<u8>, Problem> {
    let zeros = size.checked_sub(number.len()).ok_or("its signature is too long")?;
    let mut padded = vec![0; zeros];
    padded.extend_from_slice(number);
    Ok(padded)
}
