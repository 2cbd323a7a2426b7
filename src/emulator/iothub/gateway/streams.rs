//! The streams that are open, from the request to the end of both sides.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use super::side::{Side, parse_path};
use super::token::Tokens;
use crate::emulator::forward::{Channel, Settings};
use crate::emulator::iothub::random_id::random_id;
use crate::secret::Secret;

/// From the request until both sides have joined \[D].
const JOIN: Duration = Duration::from_secs(60);
/// How often expired streams are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// Why a side may not join. How the service answers these is not known; the statuses are our choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) enum JoinError {
    /// No such path, or the token is for another stream: 404.
    NotFound,
    /// The token is malformed, expired or used up: 401.
    Unauthorized,
    /// The token is for the other side: 403.
    WrongSide,
    /// The side is joined already: 409.
    AlreadyJoined,
}

/// All open streams.
#[derive(Debug)]
pub(in crate::emulator) struct Streams {
    tokens: Tokens,
    open: Mutex<HashMap<String, Stream>>,
}

#[derive(Debug)]
struct Stream {
    /// When it ends if a side has not joined.
    deadline: Instant,
    device: State,
    service: State,
}

/// Where a side of a stream stands.
#[derive(Debug)]
enum State {
    NotJoined(Box<Channel>),
    Joined,
    Left,
}

/// A side that has joined; dropping it leaves the stream.
#[derive(Debug)]
pub(in crate::emulator) struct Joined {
    streams: Arc<Streams>,
    id: String,
    side: Side,
}

/// A stream that the device has not accepted yet; dropping it ends the stream.
#[derive(Debug)]
pub(in crate::emulator) struct PendingStream {
    streams: Arc<Streams>,
    pub(in crate::emulator) id: String,
    accepted: bool,
}

impl Streams {
    /// No streams, and a new key for their tokens.
    ///
    /// # Errors
    /// The system has no randomness.
    pub(in crate::emulator) fn new() -> Result<Arc<Self>, getrandom::Error> {
        Ok(Arc::new(Self { tokens: Tokens::new()?, open: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Stream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// The system has no randomness.
    pub(in crate::emulator) fn open(
        self: &Arc<Self>,
        settings: &Settings,
    ) -> Result<PendingStream, getrandom::Error> {
        let id = random_id()?;
        let name = |side: Side| format!("stream {}: the {}", &id[..8], side.name());
        let [device, service] =
            Channel::pair(name(Side::Device), name(Side::Service), settings).map(State::NotJoined);
        self.lock().insert(id.clone(), Stream { deadline: Instant::now() + JOIN, device, service });
        Ok(PendingStream { streams: Arc::clone(self), id, accepted: false })
    }

    /// How many streams are open.
    pub(in crate::emulator) fn count(&self) -> usize {
        self.lock().len()
    }

    /// A token with which one side joins a stream, once.
    ///
    /// # Errors
    /// The system has no randomness.
    pub(in crate::emulator) fn token(
        &self,
        id: &str,
        side: Side,
        now: SystemTime,
    ) -> Result<Secret, getrandom::Error> {
        self.tokens.make(id, side, now)
    }

    /// Joins the stream and the side that `path` and `token` are for.
    ///
    /// # Errors
    /// Why the side may not join.
    pub(in crate::emulator) fn join(
        self: &Arc<Self>,
        path: &str,
        token: Option<&str>,
        now: SystemTime,
    ) -> Result<(Box<Channel>, Joined), JoinError> {
        let (id, side) = parse_path(path).ok_or(JoinError::NotFound)?;
        let claims = token.and_then(|token| self.tokens.claims(token, now)).ok_or(JoinError::Unauthorized)?;
        if claims["sid"] != id {
            return Err(JoinError::NotFound);
        }
        if claims["role"] != side.name() {
            return Err(JoinError::WrongSide);
        }
        let mut open = self.lock();
        // The token is ours, so there was such a stream: it is over, and its tokens are used up.
        let stream = open.get_mut(id).ok_or(JoinError::Unauthorized)?;
        let state = stream.state(side);
        match std::mem::replace(state, State::Joined) {
            State::NotJoined(channel) => {
                Ok((channel, Joined { streams: Arc::clone(self), id: id.to_owned(), side }))
            }
            State::Joined => Err(JoinError::AlreadyJoined),
            State::Left => {
                *state = State::Left;
                Err(JoinError::Unauthorized)
            }
        }
    }

    /// Ends the streams of which a side does not join in time, for ever.
    pub(in crate::emulator) async fn expire_regularly(&self) {
        loop {
            sleep(SWEEP).await;
            self.expire();
        }
    }

    /// Ends the streams of which a side did not join in time; the pipes of the other side break.
    fn expire(&self) {
        let now = Instant::now();
        self.lock().retain(|id, stream| {
            let waits =
                matches!(stream.device, State::NotJoined(_)) || matches!(stream.service, State::NotJoined(_));
            let expired = waits && stream.deadline <= now;
            if expired {
                log::info!("stream {} is ended: a side did not join in {} s", &id[..8], JOIN.as_secs());
            }
            !expired
        });
    }
}

impl Stream {
    fn state(&mut self, side: Side) -> &mut State {
        match side {
            Side::Device => &mut self.device,
            Side::Service => &mut self.service,
        }
    }
}

impl PendingStream {
    /// Notes that the device has accepted: the service's side has its own minute to join.
    pub(in crate::emulator) fn accept(mut self) {
        self.accepted = true;
        if let Some(stream) = self.streams.lock().get_mut(&self.id) {
            stream.deadline = Instant::now() + JOIN;
        }
    }
}

impl Drop for PendingStream {
    fn drop(&mut self) {
        if !self.accepted {
            self.streams.lock().remove(&self.id);
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        if let Some(stream) = open.get_mut(&self.id) {
            *stream.state(self.side) = State::Left;
            if matches!((&stream.device, &stream.service), (State::Left, State::Left)) {
                open.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::backend::iothub::proto::Identity;
    use crate::emulator::forward::forward;
    use crate::emulator::iothub::gateway::settings;

    fn opened() -> (Arc<Streams>, PendingStream) {
        let streams = Streams::new().unwrap();
        let pending = streams.open(&settings(Duration::ZERO, 65_536, None)).unwrap();
        (streams, pending)
    }

    fn path(id: &str, side: Side) -> String {
        super::super::side::path("h", &Identity::new("d%x", None).unwrap(), id, side)
    }

    #[tokio::test(start_paused = true)]
    async fn each_side_joins_once_with_its_own_token() {
        let (streams, pending) = opened();
        let now = SystemTime::now();
        let (device, service) = (path(&pending.id, Side::Device), path(&pending.id, Side::Service));
        let token = |side| streams.token(&pending.id, side, now).unwrap();
        let (for_device, for_service) = (token(Side::Device), token(Side::Service));
        let join = |path: &str, token: &Secret, now| {
            streams.join(path, Some(token.expose()), now).map(|(_, joined)| joined)
        };

        assert_eq!(streams.join(&device, None, now).unwrap_err(), JoinError::Unauthorized);
        assert_eq!(join("/bridges/x", &for_device, now).unwrap_err(), JoinError::NotFound);
        assert_eq!(join(&service, &for_device, now).unwrap_err(), JoinError::WrongSide);
        let other = path(&"0".repeat(32), Side::Device);
        assert_eq!(join(&other, &for_device, now).unwrap_err(), JoinError::NotFound);
        let expired = now + Duration::from_secs(60);
        assert_eq!(join(&device, &for_device, expired).unwrap_err(), JoinError::Unauthorized);

        let joined = join(&device, &for_device, now).unwrap();
        assert_eq!(join(&device, &for_device, now).unwrap_err(), JoinError::AlreadyJoined);
        drop(joined);
        assert_eq!(join(&device, &for_device, now).unwrap_err(), JoinError::Unauthorized);
        // The first side has left, and the other side can still fetch what it sent.
        drop(join(&service, &for_service, now).unwrap());
        assert!(streams.lock().is_empty());
        assert_eq!(join(&service, &for_service, now).unwrap_err(), JoinError::Unauthorized);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_a_side_does_not_join() {
        let (streams, pending) = opened();
        let token = streams.token(&pending.id, Side::Device, SystemTime::now()).unwrap();
        let path = path(&pending.id, Side::Device);
        let (channel, _joined) = streams.join(&path, Some(token.expose()), SystemTime::now()).unwrap();
        tokio::time::advance(Duration::from_secs(59)).await;
        streams.expire();
        assert_eq!(streams.lock().len(), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        streams.expire();
        assert!(streams.lock().is_empty());
        let (near, mut far) = tokio::io::duplex(64);
        let left = forward(near, channel);
        let mut said = Vec::new();
        let reading = async {
            while !said.ends_with(b"WS disconnected") {
                assert_ne!(far.read_buf(&mut said).await.unwrap(), 0);
            }
        };
        tokio::join!(left, reading);
    }

    proptest! {
        #[test]
        fn foreign_tokens_and_paths_are_refused(path in ".*", token in ".*|[A-Za-z0-9_-]*\\.[A-Za-z0-9_-]*\\.[A-Za-z0-9_-]*") {
            let streams = Streams::new().unwrap();
            prop_assert!(streams.join(&path, Some(&token), SystemTime::now()).is_err());
            prop_assert!(streams.tokens.claims(&token, SystemTime::now()).is_none());
        }
    }
}
