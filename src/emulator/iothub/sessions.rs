//! The streaming gateway's sessions: one for each stream, with a seat for the device and one for the service.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::backend::iothub::proto::{Identity, encode};
use crate::secret::Secret;
use crate::time::clock;

use crate::emulator::pipe::{Receiver, Sender, pipe};

/// From the request to both sides' joining [D]; also the life of a token [I][~].
pub(super) const HANDSHAKE: Duration = Duration::from_secs(60);

/// How often sessions are looked through for those nobody joined.
const SWEEP: Duration = Duration::from_secs(1);

/// Whose place in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Device,
    Service,
}

impl Role {
    /// As the path has it: `device` was seen [I], `service` is its likely counterpart [~].
    fn name(self) -> &'static str {
        match self {
            Role::Device => "device",
            Role::Service => "service",
        }
    }
}

/// Why somebody may not join. How the service answers these is not known; the statuses are our choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotJoined {
    /// No such path, or the token is for another stream: 404.
    NotFound,
    /// The token is malformed, expired or used up: 401.
    Unauthorized,
    /// The token is for the other side: 403.
    WrongRole,
    /// The seat is taken: 409.
    Taken,
}

#[derive(Debug)]
pub(super) struct Sessions {
    /// Signs tokens. It is new at each start, and its `Debug` shows no key.
    mac: Hmac<Sha256>,
    open: Mutex<HashMap<String, Session>>,
}

#[derive(Debug)]
struct Session {
    deadline: Instant,
    device: Seat,
    service: Seat,
}

#[derive(Debug)]
enum Seat {
    Free(Ends),
    Taken,
    Left,
}

/// What a side needs to take part.
#[derive(Debug)]
pub(super) struct Ends {
    /// The stream and the side, for the log.
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) to_peer: Sender,
    pub(super) from_peer: Receiver,
    pub(super) cut: Cut,
}

/// A seat that was taken; dropping it leaves the stream.
#[derive(Debug)]
pub(super) struct Place {
    sessions: Arc<Sessions>,
    id: String,
    role: Role,
}

/// A session on offer; dropping it before anybody accepted ends it.
#[derive(Debug)]
pub(super) struct Opened {
    sessions: Arc<Sessions>,
    pub(super) id: String,
    accepted: bool,
}

/// Cuts both sides of a stream off after a number of relayed bytes.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    left: Arc<AtomicU64>,
    fired: watch::Sender<bool>,
}

impl Cut {
    fn after(bytes: Option<u64>) -> Self {
        Self { left: Arc::new(AtomicU64::new(bytes.unwrap_or(u64::MAX))), fired: watch::Sender::new(false) }
    }

    /// How many of `bytes` may still be relayed; fewer, or none left, calls for [`Cut::fire`].
    pub(super) fn take(&self, bytes: usize) -> usize {
        let wanted = bytes as u64;
        let left = self.left.load(Relaxed);
        if left == u64::MAX {
            return bytes;
        }
        self.left.store(left.saturating_sub(wanted), Relaxed);
        usize::try_from(left.min(wanted)).unwrap_or(bytes)
    }

    pub(super) fn is_due(&self) -> bool {
        self.left.load(Relaxed) == 0
    }

    pub(super) fn fire(&self) {
        self.fired.send_replace(true);
    }

    pub(super) async fn fired(&self) {
        // The sender lives as long as `self`.
        let _ = self.fired.subscribe().wait_for(|fired| *fired).await;
    }
}

impl Sessions {
    pub(super) fn new() -> Result<Arc<Self>, getrandom::Error> {
        let mut key = zeroize::Zeroizing::new([0; 32]);
        getrandom::fill(&mut key[..])?;
        let mac = Hmac::<Sha256>::new_from_slice(&key[..]).expect("HMAC takes keys of any length");
        Ok(Arc::new(Self { mac, open: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a session for a stream that carries frames of up to `largest` bytes, late by `latency`.
    pub(super) fn open(
        self: &Arc<Self>,
        latency: Duration,
        largest: usize,
        cut: Option<u64>,
    ) -> Result<Opened, getrandom::Error> {
        let id = random_hex()?;
        let cut = Cut::after(cut);
        let (to_service, from_device) = pipe(latency, largest);
        let (to_device, from_service) = pipe(latency, largest);
        let session = Session {
            deadline: Instant::now() + HANDSHAKE,
            device: Seat::Free(Ends {
                name: name(&id, Role::Device),
                role: Role::Device,
                to_peer: to_service,
                from_peer: from_service,
                cut: cut.clone(),
            }),
            service: Seat::Free(Ends {
                name: name(&id, Role::Service),
                role: Role::Service,
                to_peer: to_device,
                from_peer: from_device,
                cut,
            }),
        };
        self.lock().insert(id.clone(), session);
        Ok(Opened { sessions: Arc::clone(self), id, accepted: false })
    }

    /// How many streams there are, from the request to the end of both sides.
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// The path of one side's URL; opaque to clients, and of the form seen in May 2019 [I].
    pub(super) fn path(hub: &str, identity: &Identity, id: &str, role: Role) -> String {
        format!("/bridges/ih/{}/d/{}/sid/{id}/r/{}", encode(hub), encode(identity.device()), role.name())
    }

    /// A token to join with: a JWT as the service's [I], good for one use, whose own claims are our choice.
    pub(super) fn token(&self, id: &str, role: Role, now: SystemTime) -> Result<Secret, getrandom::Error> {
        let expiry = clock::unix_seconds(now).0 + HANDSHAKE.as_secs();
        let header = BASE64URL_NOPAD.encode(br#"{"typ":"JWT","alg":"HS256"}"#);
        let claims = json!({ "exp": expiry, "jti": random_hex()?, "sid": id, "role": role.name() });
        let signed = format!("{header}.{}", BASE64URL_NOPAD.encode(claims.to_string().as_bytes()));
        let signature = BASE64URL_NOPAD.encode(&self.mac(&signed).finalize().into_bytes());
        Ok(Secret::new(format!("{signed}.{signature}")))
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        self.mac.clone().chain_update(text)
    }

    /// The claims of a token of ours that has not expired.
    fn claims(&self, token: &str, now: SystemTime) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).ok()?;
        self.mac(signed).verify_slice(&signature).ok()?;
        let (_, claims) = signed.split_once('.')?;
        let claims: Value = serde_json::from_slice(&BASE64URL_NOPAD.decode(claims.as_bytes()).ok()?).ok()?;
        claims["exp"].as_u64().filter(|expiry| *expiry > clock::unix_seconds(now).0)?;
        Some(claims)
    }

    /// Takes the seat that `path` and `token` are for.
    pub(super) fn join(
        self: &Arc<Self>,
        path: &str,
        token: Option<&str>,
        now: SystemTime,
    ) -> Result<(Ends, Place), NotJoined> {
        let (id, role) = parse_path(path).ok_or(NotJoined::NotFound)?;
        let claims = token.and_then(|token| self.claims(token, now)).ok_or(NotJoined::Unauthorized)?;
        if claims["sid"] != id {
            return Err(NotJoined::NotFound);
        }
        if claims["role"] != role.name() {
            return Err(NotJoined::WrongRole);
        }
        let mut open = self.lock();
        // The token is of ours, so there was such a stream: it is over, and its tokens are used up.
        let session = open.get_mut(id).ok_or(NotJoined::Unauthorized)?;
        let seat = session.seat(role);
        match std::mem::replace(seat, Seat::Taken) {
            Seat::Free(ends) => Ok((ends, Place { sessions: Arc::clone(self), id: id.to_owned(), role })),
            Seat::Taken => Err(NotJoined::Taken),
            Seat::Left => {
                *seat = Seat::Left;
                Err(NotJoined::Unauthorized)
            }
        }
    }

    /// Calls [`Self::expire`] every second, for ever.
    pub(super) async fn expire_regularly(&self) {
        loop {
            sleep(SWEEP).await;
            self.expire();
        }
    }

    /// Ends the sessions whose second side did not come in time; the first one's pipes break.
    fn expire(&self) {
        let now = Instant::now();
        self.lock().retain(|id, session| {
            let waiting = matches!(session.device, Seat::Free(_)) || matches!(session.service, Seat::Free(_));
            let expired = waiting && session.deadline <= now;
            if expired {
                log::info!(
                    "stream {}: it is ended: a side did not join in {} s",
                    &id[..8],
                    HANDSHAKE.as_secs()
                );
            }
            !expired
        });
    }
}

impl Session {
    fn seat(&mut self, role: Role) -> &mut Seat {
        match role {
            Role::Device => &mut self.device,
            Role::Service => &mut self.service,
        }
    }
}

impl Opened {
    /// The device accepted: the service's side has its own minute to join.
    pub(super) fn accept(mut self) {
        self.accepted = true;
        if let Some(session) = self.sessions.lock().get_mut(&self.id) {
            session.deadline = Instant::now() + HANDSHAKE;
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if !self.accepted {
            self.sessions.lock().remove(&self.id);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.sessions.lock();
        if let Some(session) = open.get_mut(&self.id) {
            *session.seat(self.role) = Seat::Left;
            if matches!((&session.device, &session.service), (Seat::Left, Seat::Left)) {
                open.remove(&self.id);
            }
        }
    }
}

fn name(id: &str, role: Role) -> String {
    format!("stream {}: the {}", &id[..8], role.name())
}

/// The session and the side of a path that [`Sessions::path`] made.
fn parse_path(path: &str) -> Option<(&str, Role)> {
    let parts: Vec<&str> = path.strip_prefix("/bridges/ih/")?.split('/').collect();
    let [_, "d", _, "sid", id, "r", role] = parts[..] else { return None };
    [Role::Device, Role::Service].into_iter().find(|known| known.name() == role).map(|role| (id, role))
}

/// 32 hexadecimal digits, as ids of streams and of tracking have them [I].
pub(super) fn random_hex() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(HEXLOWER.encode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn opened() -> (Arc<Sessions>, Opened) {
        let sessions = Sessions::new().unwrap();
        let opened = sessions.open(Duration::ZERO, 65_536, None).unwrap();
        (sessions, opened)
    }

    fn path(id: &str, role: Role) -> String {
        Sessions::path("h", &Identity::new("d/x".replace('/', "%").as_str(), None).unwrap(), id, role)
    }

    #[tokio::test(start_paused = true)]
    async fn each_side_joins_once_with_its_own_token() {
        let (sessions, opened) = opened();
        let now = SystemTime::now();
        let (device, service) = (path(&opened.id, Role::Device), path(&opened.id, Role::Service));
        let token = |role| sessions.token(&opened.id, role, now).unwrap();
        let (for_device, for_service) = (token(Role::Device), token(Role::Service));
        let join = |path: &str, token: &Secret, now| {
            sessions.join(path, Some(token.expose()), now).map(|(_, place)| place)
        };

        assert_eq!(sessions.join(&device, None, now).unwrap_err(), NotJoined::Unauthorized);
        assert_eq!(join("/bridges/x", &for_device, now).unwrap_err(), NotJoined::NotFound);
        assert_eq!(join(&service, &for_device, now).unwrap_err(), NotJoined::WrongRole);
        let other = path(&"0".repeat(32), Role::Device);
        assert_eq!(join(&other, &for_device, now).unwrap_err(), NotJoined::NotFound);
        assert_eq!(join(&device, &for_device, now + HANDSHAKE).unwrap_err(), NotJoined::Unauthorized);

        let place = join(&device, &for_device, now).unwrap();
        assert_eq!(join(&device, &for_device, now).unwrap_err(), NotJoined::Taken);
        drop(place);
        assert_eq!(join(&device, &for_device, now).unwrap_err(), NotJoined::Unauthorized);
        // The first side has gone, and what it said can still be fetched.
        drop(join(&service, &for_service, now).unwrap());
        assert!(sessions.lock().is_empty());
        assert_eq!(join(&service, &for_service, now).unwrap_err(), NotJoined::Unauthorized);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_vain_is_let_go() {
        let (sessions, opened) = opened();
        let token = sessions.token(&opened.id, Role::Device, SystemTime::now()).unwrap();
        let (mut ends, _place) =
            sessions.join(&path(&opened.id, Role::Device), Some(token.expose()), SystemTime::now()).unwrap();
        tokio::time::advance(Duration::from_secs(59)).await;
        sessions.expire();
        assert_eq!(sessions.lock().len(), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        sessions.expire();
        assert!(sessions.lock().is_empty());
        assert_eq!(ends.from_peer.next().await, None);
    }

    #[test]
    fn a_cut_counts_both_directions() {
        let cut = Cut::after(Some(10));
        assert_eq!((cut.take(6), cut.is_due()), (6, false));
        assert_eq!((cut.clone().take(6), cut.is_due()), (4, true));
        let never = Cut::after(None);
        assert_eq!((never.take(usize::MAX), never.is_due()), (usize::MAX, false));
    }

    proptest! {
        #[test]
        fn foreign_tokens_and_paths_do_no_harm(path in ".*", token in ".*|[A-Za-z0-9_-]*\\.[A-Za-z0-9_-]*\\.[A-Za-z0-9_-]*") {
            let sessions = Sessions::new().unwrap();
            prop_assert!(sessions.join(&path, Some(&token), SystemTime::now()).is_err());
            prop_assert!(sessions.claims(&token, SystemTime::now()).is_none());
        }
    }
}
