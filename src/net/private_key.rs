//! The kind of a private key, for errors about keys that cannot be used.

/// The DER object identifier of each kind of key, its name, and whether it is supported.
const KINDS: [(&[u8], &str, bool); 9] = [
    (&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7], "P-256", true),
    (&[6, 5, 0x2b, 0x81, 4, 0, 0x22], "P-384", true),
    (&[6, 5, 0x2b, 0x81, 4, 0, 0x23], "P-521", false),
    (&[6, 5, 0x2b, 0x81, 4, 0, 0x0a], "secp256k1", false),
    (&[6, 9, 0x2b, 0x24, 3, 3, 2, 8, 1, 1], "of a Brainpool curve", false),
    (&[6, 3, 0x2b, 0x65, 0x70], "Ed25519", true),
    (&[6, 3, 0x2b, 0x65, 0x71], "Ed448", false),
    (&[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1], "DSA", false),
    (&[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0a], "RSA-PSS", false),
];

/// The name of the key's kind, and whether that kind is supported.
pub(super) fn kind(der: &[u8]) -> Option<(String, bool)> {
    let shows = |identifier: &[u8]| der.windows(identifier.len()).any(|part| part == identifier);
    if let Some((_, name, usable)) = KINDS.iter().find(|(identifier, ..)| shows(identifier)) {
        return Some(((*name).to_owned(), *usable));
    }
    let bits = rsa_bits(der)?;
    Some((format!("RSA of {bits} bits"), (2048..=8192).contains(&bits)))
}

/// The length of an RSA key in bits. The modulus follows the version, also in PKCS#8.
fn rsa_bits(der: &[u8]) -> Option<usize> {
    let at = der.windows(5).position(|part| matches!(part, [2, 1, 0, 2, 0x81 | 0x82]))? + 4;
    let length = match der.get(at..)? {
        [0x81, length, ..] => usize::from(*length),
        [0x82, high, low, ..] => usize::from(*high) << 8 | usize::from(*low),
        _ => return None,
    };
    // DER puts a zero byte in front to keep the number positive.
    Some(length.saturating_sub(1) * 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_kind_of_a_key() {
        let der = rcgen::KeyPair::generate().unwrap().serialize_der();
        assert_eq!(kind(&der), Some(("P-256".into(), true)));
        let rsa = |length: [u8; 2]| [&[0x30, 0x82, 4, 0xa4, 2, 1, 0, 2, 0x82][..], &length, &[0; 9]].concat();
        assert_eq!(kind(&rsa([1, 1])), Some(("RSA of 2048 bits".into(), true)));
        assert_eq!(kind(&rsa([0, 0x81])), Some(("RSA of 1024 bits".into(), false)));
        assert_eq!(kind(&[0x30, 5, 6, 3, 0x2b, 0x65, 0x71]), Some(("Ed448".into(), false)));
        assert_eq!(kind(&[]), None);
    }
}
