//! Lines of a known_hosts file (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).

use crate::text::public_key::PublicKey;

/// The host field of a line, which stands for one name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostField<'a>(&'a str);

impl<'a> HostField<'a> {
    /// The field for ssh's `%H`; `None` if the name would stand for others, or be a marker, a comment or a hash.
    pub(crate) fn new(name: &'a str) -> Option<Self> {
        let is_special = |c: char| c.is_whitespace() || c.is_control() || "*?!,".contains(c);
        let is_plain = !name.is_empty() && !name.starts_with(['@', '#', '|']) && !name.contains(is_special);
        is_plain.then_some(Self(name))
    }

    /// A line for each key, the types that ssh prefers first.
    pub(crate) fn lines(self, keys: &[PublicKey]) -> String {
        let mut keys: Vec<&PublicKey> = keys.iter().collect();
        keys.sort_by_key(|key| preference(key));
        keys.into_iter().map(|key| format!("{} {key}\n", self.0)).collect()
    }

    /// A line for each key of an authority that signs host keys.
    pub(crate) fn authority_lines(self, keys: &[PublicKey]) -> String {
        keys.iter().map(|key| format!("@cert-authority {} {key}\n", self.0)).collect()
    }
}

/// The position of a key's type among the host key algorithms of OpenSSH.
fn preference(key: &PublicKey) -> usize {
    let order = ["ssh-ed25519", "ecdsa-", "sk-", "ssh-rsa"];
    order.iter().position(|prefix| key.key_type().starts_with(prefix)).unwrap_or(order.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(key_type: &str) -> PublicKey {
        let length = u32::try_from(key_type.len()).unwrap().to_be_bytes();
        PublicKey::of_blob(&[&length[..], key_type.as_bytes(), b"key"].concat()).unwrap()
    }

    #[test]
    fn the_types_that_ssh_prefers_come_first() {
        let keys = ["ssh-dss", "ssh-rsa", "ecdsa-sha2-nistp256", "ssh-ed25519"].map(key);
        let lines = HostField::new("[gw-07.factory]:2222").unwrap().lines(&keys);
        let types: Vec<_> = lines.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
        assert_eq!(types, ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa", "ssh-dss"]);
        assert!(lines.starts_with(&format!("[gw-07.factory]:2222 {}\n", keys[3])));
        let lines = HostField::new("gw").unwrap().authority_lines(&keys[..1]);
        assert_eq!(lines, format!("@cert-authority gw {}\n", keys[0]));
    }

    #[test]
    fn a_name_that_stands_for_others_is_no_host_field() {
        for name in [
            "", " ", "a b", "a\tb", "a\nb", "a\u{a0}b", "a\0", "a\u{7f}", "*", "gw-*", "gw-?", "!a", "a!",
            "a,b", "@revoked", "#", "|1|x|y",
        ] {
            assert!(HostField::new(name).is_none(), "{name:?}");
        }
        for name in ["gw-07", "[gw-07.factory]:2222", "a@b", "::1", "fe80::1%eth0", "é"] {
            assert!(HostField::new(name).is_some(), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn a_line_has_three_words(name in any::<String>()) {
            if let Some(host) = HostField::new(&name) {
                let lines = host.lines(&[key("ssh-ed25519")]);
                prop_assert_eq!(lines.lines().count(), 1);
                prop_assert_eq!(lines.split_whitespace().count(), 3);
            }
        }
    }
}
