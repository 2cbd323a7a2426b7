//! A listener's control channel, from its upgrade to its end.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, interval_at, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data};

use super::authorization::{Grant, Scope};
use super::faults::{ControlEnd, HowControlEnds, MessageFault, Renewal};
use super::listeners::Registration;
use super::messages;
use super::namespace::Namespace;
use super::refusal::Refusal;
use super::rules::Right;
use super::tracking::{self, TrackingId};
use crate::emulator::server::Linger;
use crate::emulator::websocket::frames::{
    Broken, Fragment, Frame, FrameReader, Size, write_close, write_close_without_code, write_data,
    write_fragment, write_pong,
};

/// The largest message of a listener: a token, or an answer of the HTTP mode with 64 kB of body.
const MAX_MESSAGE: usize = 256 << 10;
/// Limit of each write, and of the wait for a listener's Close.
const LIMIT: Duration = Duration::from_secs(10);
/// A message of [`MessageFault::Giant`].
const GIANT: usize = 1 << 20;

/// A control channel.
#[derive(Debug)]
pub(super) struct ControlChannel {
    pub(super) namespace: Arc<Namespace>,
    /// The path of the hybrid connection, as the listener wrote it.
    pub(super) path: String,
    pub(super) id: TrackingId,
    pub(super) grant: Grant,
    pub(super) registration: Registration,
}

/// Why a control channel ends.
enum End {
    /// The listener has closed it, or its connection has ended.
    Left,
    /// The service closes it.
    Close(CloseCode, &'static str),
    Reset,
    /// Nothing is answered any more.
    Silent,
}

impl ControlChannel {
    /// Serves the channel until it ends. Gives back the connection, and how it is to end.
    pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut self, io: S) -> (S, Linger) {
        let count = self.registration.count();
        log::info!("listener {} is connected to {}, which has {count}", self.id, self.path);
        let (reader, mut writer) = tokio::io::split(io);
        let mut frames = FrameReader::new(reader, Size::Limited(MAX_MESSAGE));
        let end = self.run(&mut frames, &mut writer).await;
        if matches!(end, End::Silent) {
            // The registration stays: the service does not notice either.
            while frames.next().await.is_ok() {}
        }
        drop(self.registration);
        let linger = match end {
            End::Left => Linger::UntilTaken,
            End::Reset | End::Silent => Linger::Reset,
            End::Close(code, text) => {
                let resource = self.namespace.resource(&self.path);
                let now = self.namespace.faults.clock.now();
                let mut close = Vec::new();
                let reason = format!("{text}. {}", tracking::suffix(&self.id, &resource, now));
                write_close(code, &reason, &mut close);
                log::info!("listener {} is closed with {code} {text}", self.id);
                let closing = async {
                    write(&mut writer, &mut close).await?;
                    while !matches!(frames.next().await, Ok(Frame::Close(_)) | Err(_)) {}
                    Ok::<_, io::Error>(())
                };
                let _ = timeout(LIMIT, closing).await;
                Linger::WhileTaking(LIMIT)
            }
        };
        if linger != Linger::Reset {
            let _ = timeout(LIMIT, writer.shutdown()).await;
        }
        log::info!("listener {} has left {}", self.id, self.path);
        (frames.into_inner().unsplit(writer), linger)
    }

    async fn run<S: AsyncRead + AsyncWrite>(
        &mut self,
        frames: &mut FrameReader<ReadHalf<S>>,
        writer: &mut WriteHalf<S>,
    ) -> End {
        let faults = &self.namespace.clone().faults.relay;
        let fault = faults.control.as_ref().and_then(super::faults::ControlEnds::next);
        let fault = async {
            let Some(ControlEnd { how, after }) = fault else { return pending().await };
            // The timer would round up, and let the channel answer.
            if !after.is_zero() {
                sleep(after).await;
            }
            match how {
                HowControlEnds::Close(code) => End::Close(code, explanation(code)),
                HowControlEnds::Reset => End::Reset,
                HowControlEnds::Silent => End::Silent,
            }
        };
        tokio::pin!(fault);
        let mut pongs = interval_at(Instant::now() + faults.pong, faults.pong);
        let mut out = Vec::new();
        let mut message = BytesMut::new();
        let message_fault = faults.message.take();
        match message_fault {
            Some(MessageFault::Endless) => return write_endlessly(writer).await,
            Some(fault) => write_fault(fault, &self.id.here(), &mut out),
            None => {}
        }
        let mut expiry = self.namespace.deadline(self.grant.expiry);
        loop {
            if !matches!(timeout(LIMIT, write(writer, &mut out)).await, Ok(Ok(()))) {
                return End::Reset;
            }
            tokio::select! {
                biased;
                end = &mut fault => return end,
                text = self.registration.messages.recv() => {
                    write_fragment(text.unwrap_or_default().as_bytes(), Data::Text, true, &mut out);
                }
                _ = pongs.tick() => write_pong(&[], &mut out),
                () = sleep_until(expiry.unwrap_or_else(Instant::now)), if expiry.is_some() => {
                    return End::Close(CloseCode::Policy, explanation(CloseCode::Policy));
                }
                frame = frames.next() => match frame {
                    Ok(Frame::Data(fragment) | Frame::EmptyMessage(fragment)) => {
                        match self.take_fragment(fragment, &mut message) {
                            Ok(true) => expiry = self.namespace.deadline(self.grant.expiry),
                            Ok(false) => {}
                            Err(end) => return end,
                        }
                    }
                    Ok(Frame::Ping(payload)) => write_pong(&payload, &mut out),
                    Ok(Frame::Pong(_)) => {}
                    Ok(Frame::Close(said)) => {
                        match said {
                            Some((code, _)) => write_close(code, "", &mut out),
                            None => write_close_without_code(&mut out),
                        }
                        // .NET waits for it without a limit [C].
                        let _ = timeout(LIMIT, write(writer, &mut out)).await;
                        return End::Left;
                    }
                    Err(Broken::Protocol(code, why)) => return End::Close(code, why),
                    Err(_) => return End::Left,
                },
            }
        }
    }

    /// Takes a fragment of a message, and acts on the message once it is whole; `true` where it renewed the token.
    ///
    /// # Errors
    /// How the channel ends.
    fn take_fragment(&mut self, fragment: Fragment, message: &mut BytesMut) -> Result<bool, End> {
        message.extend_from_slice(&fragment.bytes);
        if message.len() > MAX_MESSAGE {
            return Err(End::Close(CloseCode::Size, "The message is too large"));
        }
        if !fragment.is_final {
            return Ok(false);
        }
        let message = message.split();
        let Ok(value) = serde_json::from_slice::<Value>(&message) else {
            // The body of an answer of the HTTP mode.
            return Ok(false);
        };
        if let Some(token) = value.pointer("/renewToken/token").and_then(Value::as_str) {
            self.grant = self.renewed(token).map_err(|refusal| {
                log::info!("listener {} does not renew its token: {}", self.id, refusal.text);
                End::Close(CloseCode::Policy, "The token of the renewal is invalid")
            })?;
            log::info!("listener {} renews its token", self.id);
            return Ok(true);
        }
        if let Some(response) = value.get("response") {
            self.namespace.http_requests.answer(response);
        }
        Ok(false)
    }

    /// What a renewal allows.
    fn renewed(&self, token: &str) -> Result<Grant, Refusal> {
        let renewal = self.namespace.faults.relay.renewal;
        let scope = if renewal == Renewal::Any { Scope::Any } else { Scope::This };
        let connection = self.namespace.find(&self.path)?;
        let grant = self.namespace.authorize(connection, &self.path, Some(token), Right::Listen, scope)?;
        let is_accepted = match renewal {
            Renewal::Valid | Renewal::Any => true,
            Renewal::SameRule => grant.rule == self.grant.rule,
            Renewal::Refused => false,
        };
        is_accepted.then_some(grant).ok_or_else(|| Refusal::new(hyper::StatusCode::FORBIDDEN, "on request"))
    }
}

/// Why the service closes a control channel with `code` \[P].
fn explanation(code: CloseCode) -> &'static str {
    match code {
        // Once a day, by design.
        CloseCode::Error => "InternalServerError: NameRenewalFailed",
        CloseCode::Away => "The endpoint has been deleted",
        CloseCode::Policy => "ExpiredToken: The token has expired",
        _ => "On request",
    }
}

/// Appends what a listener is sent on request.
fn write_fault(fault: MessageFault, id: &str, out: &mut Vec<u8>) {
    let mut text = |text: &str| write_fragment(text.as_bytes(), Data::Text, true, out);
    let request = |body| messages::request(id, "GET", "/", Vec::new(), body);
    match fault {
        MessageFault::Giant => text(&format!("{{\"giant\":\"{}\"}}", "x".repeat(GIANT))),
        MessageFault::Garbage => text("{\"accept\":"),
        MessageFault::Unknown => {
            for unknown in
                ["{\"unknown\":{\"address\":1}}", "{}", "[]", "{\"accept\":{}}", "{\"request\":[]}"]
            {
                text(unknown);
            }
        }
        MessageFault::Binary => write_data(b"{\"accept\":{}}", out),
        MessageFault::Request => text(&request(false)),
        MessageFault::RequestWithBody => {
            text(&request(true));
            write_data(&[7; 64 << 10], out);
        }
        MessageFault::RequestAddress => {
            text("{\"request\":{\"address\":\"wss://127.0.0.1:9/$hc/x?sb-hc-action=request\"}}");
        }
        MessageFault::Endless => {}
    }
}

/// Writes all of `out`, if there is any.
async fn write<S: AsyncRead + AsyncWrite>(writer: &mut WriteHalf<S>, out: &mut Vec<u8>) -> io::Result<()> {
    if !out.is_empty() {
        writer.write_all(out).await?;
        writer.flush().await?;
        out.clear();
    }
    Ok(())
}

/// Writes one message that does not end, until the listener ends the connection.
async fn write_endlessly<S: AsyncRead + AsyncWrite>(writer: &mut WriteHalf<S>) -> End {
    let mut kind = Data::Text;
    let mut out = Vec::new();
    loop {
        write_fragment(&[b'x'; 16 << 10], kind, false, &mut out);
        kind = Data::Continue;
        if write(writer, &mut out).await.is_err() {
            return End::Reset;
        }
    }
}
