//! The algorithms that both ends can use (RFC 4253, section 7.1).

use ring::{agreement, digest, rand};

use super::fields::Fields;
use super::quote::quoted;
use crate::error::Problem;
use crate::ssh::packet::put_string;

pub(super) const SSH_MSG_KEXINIT: u8 = 20;

/// A method of key exchange (RFC 5656, section 4; RFC 8731).
pub(super) struct Method {
    pub(super) name: &'static str,
    pub(super) agreement: &'static agreement::Algorithm,
    pub(super) digest: &'static digest::Algorithm,
}

/// In order of preference.
static METHODS: [Method; 4] = [
    Method { name: "curve25519-sha256", agreement: &agreement::X25519, digest: &digest::SHA256 },
    Method { name: "curve25519-sha256@libssh.org", agreement: &agreement::X25519, digest: &digest::SHA256 },
    Method { name: "ecdh-sha2-nistp256", agreement: &agreement::ECDH_P256, digest: &digest::SHA256 },
    Method { name: "ecdh-sha2-nistp384", agreement: &agreement::ECDH_P384, digest: &digest::SHA384 },
];

/// A type of host keys whose signatures can be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyType {
    Ed25519,
    EcdsaP256,
    EcdsaP384,
    Rsa,
}

impl KeyType {
    /// The name of the type in a key.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::Rsa => "ssh-rsa",
        }
    }
}

/// The names of host key algorithms, in order of preference: a server without rsa-sha2 (RFC 8332) signs with SHA-1.
static HOST_KEY_ALGORITHMS: [(&str, KeyType); 6] = [
    ("ssh-ed25519", KeyType::Ed25519),
    ("ecdsa-sha2-nistp256", KeyType::EcdsaP256),
    ("ecdsa-sha2-nistp384", KeyType::EcdsaP384),
    ("rsa-sha2-512", KeyType::Rsa),
    ("rsa-sha2-256", KeyType::Rsa),
    ("ssh-rsa", KeyType::Rsa),
];

/// The host key algorithms that a server offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offered(Vec<String>);

impl Offered {
    /// The types of keys whose signatures can be verified.
    pub(crate) fn verifiable(&self) -> Vec<KeyType> {
        let mut types: Vec<_> = self.known().map(|(_, key_type)| key_type).collect();
        types.dedup();
        types
    }

    /// The types of keys whose signatures cannot be verified. A certificate is no key of its own.
    pub(crate) fn unverifiable(&self) -> impl Iterator<Item = &str> {
        let is_known = |name: &str| HOST_KEY_ALGORITHMS.iter().any(|(known, _)| *known == name);
        let names = self.0.iter().map(String::as_str);
        names.filter(move |name| !is_known(name) && !name.contains("-cert-v0"))
    }

    fn known(&self) -> impl Iterator<Item = (&'static str, KeyType)> {
        HOST_KEY_ALGORITHMS.iter().filter(|(name, _)| self.0.iter().any(|offered| offered == name)).copied()
    }
}

/// The server's SSH_MSG_KEXINIT.
pub(super) struct ServerOffer<'a> {
    methods: Vec<String>,
    pub(super) host_keys: Offered,
    /// The lists of ciphers, MACs, compression and languages.
    others: [&'a [u8]; 8],
    /// The server has sent another packet, for the first of its methods and host key algorithms.
    follows: bool,
}

/// The choice of algorithms.
pub(super) struct Choice {
    pub(super) method: &'static Method,
    /// The host key algorithm.
    pub(super) algorithm: &'static str,
    pub(super) key_type: KeyType,
}

impl<'a> ServerOffer<'a> {
    /// # Errors
    /// Returns an error if the message is malformed.
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, Problem> {
        let mut fields = Fields(message);
        // The message's number and the cookie.
        fields.bytes(1 + 16)?;
        let methods = fields.names()?;
        let host_keys = Offered(fields.names()?);
        let mut others = [&[][..]; 8];
        for list in &mut others {
            *list = fields.string()?;
        }
        let follows = fields.boolean()?;
        Ok(Self { methods, host_keys, others, follows })
    }

    /// Chooses the algorithms for a key of the type `wanted`, or of the first type that can be verified.
    ///
    /// # Errors
    /// Returns an error if there is no algorithm that both ends can use.
    pub(super) fn choose(&self, wanted: Option<KeyType>) -> Result<Choice, Problem> {
        let none = |what: &str, offered: &[String]| {
            Problem::from(format!(
                "none of its {what} can be used here: {}",
                quoted(offered.join(",").as_bytes())
            ))
        };
        let is_wanted = |key_type| wanted.is_none_or(|wanted| wanted == key_type);
        let host_key = self.host_keys.known().find(|(_, key_type)| is_wanted(*key_type));
        let (algorithm, key_type) = host_key.ok_or_else(|| none("host key algorithms", &self.host_keys.0))?;
        let mut methods = METHODS.iter();
        let method = methods.find(|method| self.methods.iter().any(|offered| offered == method.name));
        let method = method.ok_or_else(|| none("methods of key exchange", &self.methods))?;
        Ok(Choice { method, algorithm, key_type })
    }

    /// Our SSH_MSG_KEXINIT, which leaves no choice but this one. Nothing is ever encrypted, so we claim what the server offers
    /// for that.
    ///
    /// # Errors
    /// Returns an error if the system has no random numbers.
    pub(super) fn answer(
        &self,
        choice: &Choice,
        random: &dyn rand::SecureRandom,
    ) -> Result<Vec<u8>, Problem> {
        let mut message = vec![SSH_MSG_KEXINIT];
        let mut cookie = [0; 16];
        random.fill(&mut cookie).map_err(|_unspecified| "the system has no random numbers")?;
        message.extend_from_slice(&cookie);
        put_string(&mut message, choice.method.name.as_bytes());
        put_string(&mut message, choice.algorithm.as_bytes());
        for list in self.others {
            put_string(&mut message, list);
        }
        // No packet follows by a guess; and a reserved number.
        message.extend_from_slice(&[0; 1 + 4]);
        Ok(message)
    }

    /// Whether the server has sent another packet by a wrong guess, which is to be ignored (RFC 4253, section 7).
    pub(super) fn has_guessed_wrong(&self, choice: &Choice) -> bool {
        let first = |list: &[String], name: &str| list.first().is_some_and(|first| first == name);
        self.follows
            && !(first(&self.methods, choice.method.name) && first(&self.host_keys.0, choice.algorithm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(names: &str) -> Offered {
        Offered(names.split(',').map(str::to_owned).collect())
    }

    #[test]
    fn types_that_can_be_verified() {
        let debian = offered("rsa-sha2-512,rsa-sha2-256,ecdsa-sha2-nistp256,ssh-ed25519");
        assert_eq!(debian.verifiable(), [KeyType::Ed25519, KeyType::EcdsaP256, KeyType::Rsa]);
        assert_eq!(debian.unverifiable().count(), 0);
        let others = offered(
            "ecdsa-sha2-nistp521,ssh-dss,sk-ssh-ed25519@openssh.com,ssh-ed25519-cert-v01@openssh.com",
        );
        assert_eq!(others.verifiable(), []);
        let unverifiable: Vec<_> = others.unverifiable().collect();
        assert_eq!(unverifiable, ["ecdsa-sha2-nistp521", "ssh-dss", "sk-ssh-ed25519@openssh.com"]);
    }

    #[test]
    fn sha_1_is_the_last_resort() {
        for (names, chosen) in [
            ("ssh-rsa,rsa-sha2-256,rsa-sha2-512", "rsa-sha2-512"),
            ("ssh-rsa,rsa-sha2-256", "rsa-sha2-256"),
            ("ssh-rsa,ssh-dss", "ssh-rsa"),
        ] {
            assert_eq!(offered(names).known().next(), Some((chosen, KeyType::Rsa)));
        }
    }
}
