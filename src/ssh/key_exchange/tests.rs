use std::collections::HashMap;

use data_encoding::HEXLOWER_PERMISSIVE;
use proptest::prelude::*;
use ring::signature::{Ed25519KeyPair, KeyPair};
use tokio::io::{DuplexStream, duplex, sink};

use super::*;

/// The fields of each exchange in vectors.txt, and the algorithms.
fn vectors() -> Vec<(&'static str, HashMap<&'static str, Vec<u8>>)> {
    let mut vectors = Vec::new();
    for line in include_str!("vectors.txt").lines().filter(|line| !line.starts_with('#')) {
        match line.split_once(' ') {
            Some(("exchange", algorithms)) => vectors.push((algorithms, HashMap::new())),
            Some((name, value)) => {
                let value = HEXLOWER_PERMISSIVE.decode(value.as_bytes()).unwrap();
                vectors.last_mut().unwrap().1.insert(name, value);
            }
            None => {}
        }
    }
    assert_eq!(vectors.len(), 3);
    vectors
}

fn hash(choice: &Choice, fields: &HashMap<&str, Vec<u8>>, secret: &[u8]) -> Digest {
    let strings = ["V_C", "V_S", "I_C", "I_S", "K_S", "Q_C", "Q_S"].map(|name| fields[name].as_slice());
    exchange_hash(choice.method.digest, &strings, secret)
}

#[test]
fn verifies_what_openssh_signed_and_nothing_else() {
    let vectors = vectors();
    for (algorithms, fields) in &vectors {
        let offer = ServerOffer::parse(&fields["I_S"]).unwrap();
        let choice = offer.choose(None).unwrap();
        assert_eq!(format!("{} {}", choice.method.name, choice.algorithm), *algorithms);
        let key = PublicKey::of_blob(&fields["K_S"]).unwrap();
        let right = hash(&choice, fields, &fields["K"]);
        let signature = &fields["signature"];
        let verified = signature::verify(&choice, &key, signature, right.as_ref());
        assert_eq!(verified.unwrap(), Verdict::Verified, "{algorithms}");

        let mut secret = fields["K"].clone();
        secret[5] ^= 1;
        let wrong = hash(&choice, fields, &secret);
        assert!(signature::verify(&choice, &key, signature, wrong.as_ref()).is_err(), "{algorithms}");
        for at in 0..signature.len() {
            let mut signature = signature.clone();
            signature[at] ^= 1;
            assert!(signature::verify(&choice, &key, &signature, right.as_ref()).is_err(), "byte {at}");
        }
        let cut = &signature[..signature.len() - 1];
        assert!(signature::verify(&choice, &key, cut, right.as_ref()).is_err());
        for (other, fields) in vectors.iter().filter(|(other, _)| other != algorithms) {
            let key = PublicKey::of_blob(&fields["K_S"]).unwrap();
            let verified = signature::verify(&choice, &key, signature, right.as_ref());
            assert!(verified.unwrap_err().to_string().contains("not of the type"), "{other}");
        }
    }
}

#[test]
fn an_rsa_key_of_an_unusual_size_is_not_verified() {
    let fields = HashMap::from([("I_S", kexinit("curve25519-sha256", "ssh-rsa", false))]);
    let choice = ServerOffer::parse(&fields["I_S"]).unwrap().choose(None).unwrap();
    let mut signature = Vec::new();
    put_string(&mut signature, b"ssh-rsa");
    put_string(&mut signature, &[1; 96]);
    for (exponent, modulus) in [(&b"\x01\0\x01"[..], 96), (b"\x01\0\x01", 2048), (b"\x01\0\0\0\0\0\x01", 256)]
    {
        let mut blob = Vec::new();
        put_string(&mut blob, b"ssh-rsa");
        put_string(&mut blob, exponent);
        put_string(&mut blob, &vec![0x7f; modulus]);
        let key = PublicKey::of_blob(&blob).unwrap();
        let verdict = signature::verify(&choice, &key, &signature, b"hash").unwrap();
        assert_eq!(verdict, Verdict::Unverifiable, "{modulus}");
    }
}

fn kexinit(methods: &str, host_keys: &str, follows: bool) -> Vec<u8> {
    let mut message = vec![SSH_MSG_KEXINIT];
    message.extend_from_slice(&[7; 16]);
    let both = |list: &'static str| [list, list];
    let rest = [both("aes128-ctr"), both("hmac-sha2-256"), both("none"), both("")].concat();
    for list in [methods, host_keys].iter().chain(&rest) {
        put_string(&mut message, list.as_bytes());
    }
    message.push(follows.into());
    message.extend_from_slice(&[0; 4]);
    message
}

/// What the server answers with.
struct Reply {
    blob: Vec<u8>,
    share: Vec<u8>,
    algorithm: &'static str,
    hash: Vec<u8>,
}

/// A server with a key of ed25519.
struct Server {
    offer: Vec<u8>,
    /// Packets after its offer and before its answer.
    between: Vec<Vec<u8>>,
    change: fn(&mut Reply),
}

impl Default for Server {
    fn default() -> Self {
        let offer =
            kexinit("other,curve25519-sha256,kex-strict-s-v00@openssh.com", "ssh-dss,ssh-ed25519", false);
        Self { offer, between: Vec::new(), change: |_| {} }
    }
}

fn blob(key: &Ed25519KeyPair) -> Vec<u8> {
    let mut blob = Vec::new();
    put_string(&mut blob, b"ssh-ed25519");
    put_string(&mut blob, key.public_key().as_ref());
    blob
}

impl Server {
    /// Serves one client. Returns the messages that it sends after the exchange, or why the exchange ended early.
    async fn serve(self, io: DuplexStream) -> Result<Vec<Vec<u8>>, Problem> {
        let mut io = BufReader::new(io);
        send(&mut io, &[&b"SSH-2.0-test\r\n"[..], &packet::frame(&self.offer)].concat()).await?;
        let client_version = version::read(&mut io).await?;
        for message in &self.between {
            send(&mut io, &packet::frame(message)).await?;
        }
        let client_offer = receive(&mut io, SSH_MSG_KEXINIT).await?;
        let init = receive(&mut io, SSH_MSG_KEX_ECDH_INIT).await?;
        let client_share = Fields(&init[1..]).string().unwrap();
        let random = rand::SystemRandom::new();
        let secret = agreement::EphemeralPrivateKey::generate(&agreement::X25519, &random).unwrap();
        let share = secret.compute_public_key().unwrap();
        let key = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
        let client_key = agreement::UnparsedPublicKey::new(&agreement::X25519, client_share);
        let hash = agreement::agree_ephemeral(secret, &client_key, |secret| {
            let blob = blob(&key);
            let strings = [
                &client_version,
                &b"SSH-2.0-test"[..],
                &client_offer,
                &self.offer,
                &blob,
                client_share,
                share.as_ref(),
            ];
            exchange_hash(&digest::SHA256, &strings, secret)
        });
        let mut reply = Reply {
            blob: blob(&key),
            share: share.as_ref().to_owned(),
            algorithm: "ssh-ed25519",
            hash: hash.unwrap().as_ref().to_owned(),
        };
        (self.change)(&mut reply);
        let mut signature = Vec::new();
        put_string(&mut signature, reply.algorithm.as_bytes());
        put_string(&mut signature, key.sign(&reply.hash).as_ref());
        let mut message = vec![SSH_MSG_KEX_ECDH_REPLY];
        for field in [&reply.blob, &reply.share, &signature] {
            put_string(&mut message, field);
        }
        send(&mut io, &packet::frame(&message)).await?;
        let mut rest = Vec::new();
        while let Ok(message) = packet::read(&mut io).await {
            rest.push(message);
        }
        Ok(rest)
    }

    /// What a client learns from it, and the messages that the client sends afterwards.
    async fn ask(self, wanted: Option<KeyType>) -> (Result<Answer, String>, Vec<Vec<u8>>) {
        let (ours, theirs) = duplex(1 << 16);
        let (answer, rest) = tokio::join!(host_key(ours, wanted), self.serve(theirs));
        (answer.map_err(|problem| problem.to_string()), rest.unwrap_or_default())
    }
}

fn test_key() -> PublicKey {
    PublicKey::of_blob(&blob(&Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap())).unwrap()
}

#[tokio::test]
async fn reads_the_key_and_disconnects() {
    for wanted in [None, Some(KeyType::Ed25519)] {
        let (answer, rest) = Server::default().ask(wanted).await;
        let answer = answer.unwrap();
        assert_eq!((answer.key_type, answer.key), (KeyType::Ed25519, Some(test_key())));
        assert_eq!(answer.offered.unverifiable().collect::<Vec<_>>(), ["ssh-dss"]);
        let [disconnect] = rest.as_slice() else { panic!("{rest:?}") };
        let mut fields = Fields(&disconnect[1..]);
        assert_eq!((disconnect[0], fields.uint32().unwrap()), (1, 11));
        assert_eq!(fields.string().unwrap(), b"host keys read");
    }
}

#[tokio::test]
async fn messages_that_mean_nothing_are_skipped() {
    let between = vec![vec![SSH_MSG_IGNORE, 0, 0, 0, 0], vec![SSH_MSG_DEBUG], vec![SSH_MSG_UNIMPLEMENTED]];
    let (answer, _) = Server { between, ..Server::default() }.ask(None).await;
    assert_eq!(answer.unwrap().key, Some(test_key()));
    let between = vec![vec![SSH_MSG_IGNORE]; 100];
    let (answer, _) = Server { between, ..Server::default() }.ask(None).await;
    assert_eq!(answer.unwrap_err(), "it did not send message 31");
}

/// RFC 4253, section 7.
#[tokio::test]
async fn a_packet_by_a_wrong_guess_is_ignored() {
    for (methods, host_keys, is_wrong) in [
        ("other,curve25519-sha256", "ssh-ed25519", true),
        ("curve25519-sha256", "ssh-dss,ssh-ed25519", true),
        ("curve25519-sha256", "ssh-ed25519", false),
    ] {
        let offer = kexinit(methods, host_keys, true);
        let between = vec![vec![SSH_MSG_KEX_ECDH_REPLY, 1, 2, 3]];
        let (answer, _) = Server { offer, between, ..Server::default() }.ask(None).await;
        assert_eq!(answer.is_ok(), is_wrong, "{methods} {host_keys}: {answer:?}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_prove_its_key_is_refused() {
    let wrong = "its signature is wrong: it does not have the key that it showed";
    type Change = fn(&mut Reply);
    let changes: [(Change, &str); 7] = [
        (|reply| reply.hash[0] ^= 1, wrong),
        // Another server's key, as a man in the middle shows it.
        (|reply| reply.blob = blob(&Ed25519KeyPair::from_seed_unchecked(&[2; 32]).unwrap()), wrong),
        (|reply| reply.share[0] ^= 1, wrong),
        (|reply| reply.share = vec![0; 32], "its ephemeral key is invalid"),
        (|reply| reply.algorithm = "ssh-rsa\n", "it signed with 'ssh-rsa' instead of ssh-ed25519"),
        (|reply| reply.blob.push(0), "it sent a message that is too long"),
        (|reply| reply.blob[14] = b'8', "its host key is not of the type ssh-ed25519"),
    ];
    for (change, problem) in changes {
        let (answer, _) = Server { change, ..Server::default() }.ask(None).await;
        assert_eq!(answer.unwrap_err(), problem);
    }
}

#[tokio::test]
async fn what_a_server_says_instead_is_told() {
    let offer = |methods, host_keys| kexinit(methods, host_keys, false);
    let mut disconnect = vec![SSH_MSG_DISCONNECT, 0, 0, 0, 2];
    put_string(&mut disconnect, b"Too many\r\nconnections\x1b[2J");
    for (server, wanted, problem) in [
        (
            Server { offer: offer("dh-group1-sha1", "ssh-ed25519"), ..Server::default() },
            None,
            "none of its methods of key exchange can be used here: 'dh-group1-sha1'",
        ),
        (
            Server { offer: offer("curve25519-sha256", "ecdsa-sha2-nistp521\x1b"), ..Server::default() },
            None,
            "none of its host key algorithms can be used here: 'ecdsa-sha2-nistp521\\u{1b}'",
        ),
        (
            Server::default(),
            Some(KeyType::Rsa),
            "none of its host key algorithms can be used here: 'ssh-dss,ssh-ed25519'",
        ),
        (
            Server { between: vec![disconnect], ..Server::default() },
            None,
            "it disconnected with the reason 2: 'Too many\\r\\nconnections\\u{1b}[2J'",
        ),
        (
            Server { between: vec![vec![21]], ..Server::default() },
            None,
            "it sent message 21 where message 31 is due",
        ),
    ] {
        let (answer, _) = server.ask(wanted).await;
        assert_eq!(answer.unwrap_err(), problem);
    }
}

/// What a client learns from a server that says this at once.
fn told(said: &[u8]) -> Result<Answer, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let answer = runtime.block_on(host_key(tokio::io::join(said, sink()), None));
    answer.map_err(|problem| problem.to_string())
}

#[test]
fn packets_are_bounded() {
    for (packet, problem) in [
        (&b""[..], "it closed the connection"),
        (b"\0\0\0\x10\x04", "it closed the connection"),
        (b"\x7f\xff\xff\xff", "it sent a packet of 2147483647 bytes"),
        (b"\0\0\0\0", "it sent an empty packet"),
        (b"\0\0\0\x01\0", "it sent a packet without a message"),
        (b"\0\0\0\x02\x09\0", "it sent a packet without a message"),
        (b"\0\0\0\x03\0\x14\0", "it sent a message that is too short"),
    ] {
        let said = [b"SSH-2.0-x\r\n", packet].concat();
        assert_eq!(told(&said).unwrap_err(), problem, "{packet:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_are_taken_for_a_key(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(told(&bytes).is_err());
        prop_assert!(told(&[b"SSH-2.0-x\r\n", bytes.as_slice()].concat()).is_err());
        let offer = packet::frame(&kexinit("curve25519-sha256", "ssh-ed25519", false));
        let message = [&[SSH_MSG_KEX_ECDH_REPLY], bytes.as_slice()].concat();
        let said = [b"SSH-2.0-x\r\n", offer.as_slice(), &packet::frame(&message)].concat();
        prop_assert!(told(&said).is_err());
        let message = [&[SSH_MSG_KEXINIT], bytes.as_slice()].concat();
        prop_assert!(told(&[b"SSH-2.0-x\r\n", packet::frame(&message).as_slice()].concat()).is_err());
    }

    /// The fields are well-formed, and only their content is hostile.
    #[test]
    fn no_fields_are_taken_for_a_key(key in any::<Vec<u8>>(), share in any::<[u8; 32]>(), value in any::<Vec<u8>>()) {
        for (name, field) in
            [("ssh-ed25519", None), ("ecdsa-sha2-nistp256", Some("nistp256")), ("rsa-sha2-512", Some("\x01\0\x01"))]
        {
            let offer = packet::frame(&kexinit("curve25519-sha256", name, false));
            let (mut blob, mut signature) = (Vec::new(), Vec::new());
            let key_type = if name == "rsa-sha2-512" { "ssh-rsa" } else { name };
            for field in [Some(key_type), field].into_iter().flatten() {
                put_string(&mut blob, field.as_bytes());
            }
            put_string(&mut blob, &key);
            put_string(&mut signature, name.as_bytes());
            put_string(&mut signature, &value);
            let mut message = vec![SSH_MSG_KEX_ECDH_REPLY];
            for field in [blob.as_slice(), &share, &signature] {
                put_string(&mut message, field);
            }
            let said = [b"SSH-2.0-x\r\n", offer.as_slice(), &packet::frame(&message)].concat();
            let answer = told(&said);
            prop_assert!(answer.is_err() || answer.is_ok_and(|answer| answer.key.is_none()));
        }
    }
}
