//! The picture of a key that `ssh-keygen -lv` prints: people compare pictures more readily than fingerprints.

use sha2::{Digest, Sha256};

use crate::text::public_key::PublicKey;

const WIDTH: usize = 17;
const HEIGHT: usize = 9;

/// What a field shows, by the number of visits; the last two are the start and the end.
const SHADES: &[u8; 17] = b" .o+=*BOX@%&#/^SE";
const START: usize = SHADES.len() - 2;
const END: usize = SHADES.len() - 1;

/// The picture, in lines that end with a line feed. A walk over the field follows the bits of the SHA-256 hash, as in
/// OpenSSH's `fingerprint_randomart` \[S].
pub(crate) fn randomart(key: &PublicKey) -> String {
    let mut field = [[0; WIDTH]; HEIGHT];
    let (mut x, mut y) = (WIDTH / 2, HEIGHT / 2);
    let step = |at: usize, forward: bool, last: usize| {
        if forward { (at + 1).min(last) } else { at.saturating_sub(1) }
    };
    for byte in Sha256::digest(key.blob()) {
        for shift in [0, 2, 4, 6] {
            x = step(x, byte >> shift & 1 != 0, WIDTH - 1);
            y = step(y, byte >> shift & 2 != 0, HEIGHT - 1);
            field[y][x] = (field[y][x] + 1).min(START - 1);
        }
    }
    field[HEIGHT / 2][WIDTH / 2] = START;
    field[y][x] = END;
    let rows = field.iter().map(|row| {
        let row: String = row.iter().map(|&shade| char::from(SHADES[shade])).collect();
        format!("|{row}|\n")
    });
    [border(&title(key))].into_iter().chain(rows).chain([border("[SHA256]")]).collect()
}

/// A border with a text in its middle.
fn border(text: &str) -> String {
    let before = (WIDTH - text.len()) / 2;
    format!("+{}{text}{}+\n", "-".repeat(before), "-".repeat(WIDTH - text.len() - before))
}

/// The type and the size, as far as the border has room for them.
fn title(key: &PublicKey) -> String {
    let name = name(key);
    let with_size = size(key).map(|size| format!("[{name} {size}]"));
    let fits = |title: &String| title.len() <= WIDTH;
    with_size.filter(fits).or_else(|| Some(format!("[{name}]")).filter(fits)).unwrap_or_default()
}

/// The type as ssh calls it for people: `ED25519`.
fn name(key: &PublicKey) -> &str {
    match key.key_type() {
        "ssh-ed25519" => "ED25519",
        "ssh-rsa" => "RSA",
        "ssh-dss" => "DSA",
        "sk-ssh-ed25519@openssh.com" => "ED25519-SK",
        "sk-ecdsa-sha2-nistp256@openssh.com" => "ECDSA-SK",
        ecdsa if ecdsa.starts_with("ecdsa-sha2-") => "ECDSA",
        other => other,
    }
}

/// The size in bits, if it is known.
fn size(key: &PublicKey) -> Option<usize> {
    let key_type = key.key_type();
    match key_type {
        "ssh-ed25519" | "sk-ssh-ed25519@openssh.com" | "sk-ecdsa-sha2-nistp256@openssh.com" => Some(256),
        // After the type: the exponent and the modulus (RFC 4253, 6.6).
        "ssh-rsa" => number(key.blob(), 2),
        "ssh-dss" => number(key.blob(), 1),
        _ => key_type.strip_prefix("ecdsa-sha2-nistp")?.parse().ok(),
    }
}

/// The bits of the number at `index` among the strings of a key.
fn number(mut blob: &[u8], index: usize) -> Option<usize> {
    let mut value = blob;
    for _ in 0..=index {
        let (length, rest) = blob.split_first_chunk::<4>()?;
        (value, blob) = rest.split_at_checked(u32::from_be_bytes(*length).try_into().ok()?)?;
    }
    let zeros = value.iter().take_while(|&&byte| byte == 0).count();
    let first = value.get(zeros)?;
    Some((value.len() - zeros) * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn draws_what_ssh_keygen_draws() {
        let directory = tempfile::tempdir().unwrap();
        let kinds = [
            ("ed25519", ""),
            ("ecdsa", "256"),
            ("ecdsa", "384"),
            ("ecdsa", "521"),
            ("rsa", "2048"),
            ("rsa", "3072"),
        ];
        for (kind, bits) in kinds {
            let file = directory.path().join(format!("{kind}{bits}"));
            let keygen = || Command::new("ssh-keygen");
            let mut make = keygen();
            make.args(["-q", "-N", "", "-t", kind, "-f"]).arg(&file);
            assert!(
                if bits.is_empty() { &mut make } else { make.args(["-b", bits]) }.status().unwrap().success()
            );
            let public = fs::read_to_string(file.with_extension("pub")).unwrap();
            let shown = keygen().arg("-lvf").arg(&file).output().unwrap().stdout;
            let shown = String::from_utf8(shown).unwrap();
            let (line, art) = shown.split_once('\n').unwrap();
            let key = PublicKey::parse(public.trim()).unwrap();
            assert_eq!(randomart(&key), art, "{public}");
            assert!(line.contains(&key.fingerprint()), "{line}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(kind in "(ssh-rsa|ssh-dss|[a-z@.-]{1,64})", rest in prop::collection::vec(any::<u8>(), 1..40)) {
            let length = u32::try_from(kind.len()).unwrap().to_be_bytes();
            let key = PublicKey::of_blob(&[&length[..], kind.as_bytes(), &rest].concat()).unwrap();
            prop_assert_eq!(randomart(&key).lines().count(), HEIGHT + 2);
        }
    }
}
