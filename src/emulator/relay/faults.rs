//! The faults of the relay that `--inject` knows, and what of the service is not known and can be set either way.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use hyper::StatusCode;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::emulator::fault::{Fault, status};
use crate::emulator::forward::{Answer, Closes, Pings};
use crate::text::duration;

/// The faults of the relay, for the usage error of `--inject`.
pub(in crate::emulator) const KNOWN_FAULTS: &str = "relay-connect=404|silent|drop, relay-delay=5s, \
    relay-listen=503|silent|drop, relay-control=1001|1008|1011|reset|silent:30s[/…], \
    relay-address=host|ws|reused, relay-message=giant|endless|garbage|binary|unknown|request|body|address, \
    relay-headers=numeric|repeated|last, relay-skew=300s, relay-timeout=30s, relay-late=504, relay-pong=210s, \
    relay-window=BYTES, relay-close=echo|normal, relay-ping=peer|ignored, relay-lost=1011, relay-idle=120s, \
    relay-token=kept, relay-phrase=none|same, relay-right=401, relay-full=429, relay-allowed=ignored|refused, \
    relay-renewal=any|strict|refused, relay-path=encoded, relay-session=expires, relay-http=forwarded, relay-tls=p384, relay-arc=404|412";

/// The largest value of `relay-window=`: what the service was seen to take \[A].
const MAX_WINDOW: usize = 16 << 20;

/// The faults to make and the choices to follow; the defaults are what is known or most likely.
#[derive(Debug)]
pub(in crate::emulator) struct Faults {
    /// A sender connects.
    pub(super) connect: Fault<RequestFault>,
    /// How long a sender waits before the listener hears of it.
    pub(super) delay: Fault<Duration>,
    /// A listener connects.
    pub(super) listen: Fault<RequestFault>,
    /// How control channels end.
    pub(super) control: Option<ControlEnds>,
    /// The address of a rendezvous.
    pub(super) address: Fault<AddressFault>,
    /// What a listener is sent after its 101.
    pub(super) message: Fault<MessageFault>,
    /// The answer to a request for the credentials of an Arc machine.
    pub(super) arc: Fault<StatusCode>,
    /// The form of the sender's headers in an accept message.
    pub(super) headers: Fault<HeadersFault>,
    /// How long a token is accepted after its expiry. About five minutes were seen.
    pub(super) skew: Duration,
    /// How long a sender waits for the listener's dial, and how long the address of a rendezvous is valid \[P].
    pub(super) timeout: Duration,
    /// The answer to a sender when the listener does not dial; which the service gives is not known.
    pub(super) late: StatusCode,
    /// How often a control channel gets a Pong that answers nothing; seen once.
    pub(super) pong: Duration,
    /// Bytes that each direction of a stream holds at least.
    pub(super) window: usize,
    pub(super) closes: Closes,
    pub(super) pings: Pings,
    /// The Close for a side whose peer is lost.
    pub(super) lost: Option<CloseCode>,
    /// A stream that carries nothing for so long is cut.
    pub(super) idle: Option<Duration>,
    /// The sender's token reaches the listener.
    pub(super) keeps_token: bool,
    pub(super) phrases: Phrases,
    /// The answer to a token whose rule lacks the right.
    pub(super) lacks_right: StatusCode,
    /// The answer to one listener too many; which the service gives is not known.
    pub(super) full: StatusCode,
    pub(super) allowed: Allowed,
    pub(super) renewal: Renewal,
    /// The address of a rendezvous has `%2F` for the slashes of its path.
    pub(super) encodes_slashes: bool,
    /// A stream ends when the sender's token expires.
    pub(super) sessions_expire: bool,
    /// HTTP requests reach the listener.
    pub(super) forwards_http: bool,
    /// TLS takes the key exchange with secp384r1 alone.
    pub(in crate::emulator) p384_only: bool,
}

/// How the request of a sender or a listener fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestFault {
    Status(StatusCode),
    /// No answer.
    Silent,
    /// The connection closes without an answer.
    Drop,
}

/// What is wrong with the address of a rendezvous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressFault {
    /// It names a foreign host.
    Host,
    /// It is without TLS.
    Plain,
    /// It is announced twice.
    Reused,
}

/// What a listener is sent after its 101.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageFault {
    /// 1 MiB of text.
    Giant,
    /// A message that does not end.
    Endless,
    /// Text that is not JSON.
    Garbage,
    /// A binary message.
    Binary,
    /// Messages and members that nobody knows.
    Unknown,
    /// A request of the HTTP mode, with or without a body, or its address alone.
    Request,
    RequestWithBody,
    RequestAddress,
}

/// How an accept message has the sender's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadersFault {
    /// With headers named `0` and the like.
    Numeric,
    /// Repeated ones as repeated members.
    Repeated,
    /// The last of repeated ones.
    Last,
}

/// What the reason phrases of refusals say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phrases {
    #[default]
    All,
    /// The standard phrase of the status.
    Standard,
    /// The same for a listener that is not connected as for an entity that does not exist.
    Same,
}

/// What becomes of a sender's headers that allow or disallow listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Allowed {
    #[default]
    Followed,
    Ignored,
    /// No listener meets them.
    Refused,
}

/// Which tokens renew a control channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Renewal {
    /// Those with which the listener could connect.
    #[default]
    Valid,
    /// Those of another entity too.
    Any,
    /// Those of the same rule.
    SameRule,
    /// None.
    Refused,
}

/// How control channels end: each takes the next in turn.
#[derive(Debug)]
pub(super) struct ControlEnds {
    ends: Vec<ControlEnd>,
    next: AtomicUsize,
    left: Fault<()>,
}

/// How and when a control channel ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ControlEnd {
    pub(super) how: HowControlEnds,
    pub(super) after: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HowControlEnds {
    Close(CloseCode),
    /// TCP is reset.
    Reset,
    /// The connection stays, and nothing is answered any more.
    Silent,
}

impl ControlEnds {
    /// The end of the next control channel.
    pub(super) fn next(&self) -> Option<ControlEnd> {
        self.left.take()?;
        Some(self.ends[self.next.fetch_add(1, Relaxed) % self.ends.len()])
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            connect: Fault::default(),
            delay: Fault::default(),
            listen: Fault::default(),
            control: None,
            address: Fault::default(),
            message: Fault::default(),
            arc: Fault::default(),
            headers: Fault::default(),
            skew: Duration::from_secs(300),
            timeout: Duration::from_secs(30),
            late: StatusCode::GATEWAY_TIMEOUT,
            pong: Duration::from_secs(210),
            window: 64 << 10,
            closes: Closes::default(),
            pings: Pings::default(),
            lost: None,
            idle: None,
            keeps_token: false,
            phrases: Phrases::default(),
            lacks_right: StatusCode::FORBIDDEN,
            full: StatusCode::FORBIDDEN,
            allowed: Allowed::default(),
            renewal: Renewal::default(),
            encodes_slashes: false,
            sessions_expire: false,
            forwards_http: false,
            p384_only: false,
        }
    }
}

impl Faults {
    /// Sets the fault `kind` to `value`, `count` times; `None` where there is no such fault.
    pub(in crate::emulator) fn set(&mut self, kind: &str, value: &str, count: Option<u32>) -> Option<()> {
        let kind = kind.strip_prefix("relay-")?;
        self.set_fault(kind, value, count)
            .or_else(|| self.set_choice(kind, value).filter(|()| count.is_none()))
    }

    fn set_fault(&mut self, kind: &str, value: &str, count: Option<u32>) -> Option<()> {
        match kind {
            "connect" => self.connect = Fault::new(request_fault(value)?, count),
            "listen" => self.listen = Fault::new(request_fault(value)?, count),
            "arc" => self.arc = Fault::new(status(value)?, count),
            "delay" => self.delay = Fault::new(duration::parse(value).ok()?, count),
            "control" => {
                let ends = value.split('/').map(control_end).collect::<Option<Vec<_>>>()?;
                let left = Fault::new((), count);
                self.control = Some(ControlEnds { ends, next: AtomicUsize::new(0), left });
            }
            "address" => {
                let fault = match value {
                    "host" => AddressFault::Host,
                    "ws" => AddressFault::Plain,
                    "reused" => AddressFault::Reused,
                    _ => return None,
                };
                self.address = Fault::new(fault, count);
            }
            "message" => {
                let fault = match value {
                    "giant" => MessageFault::Giant,
                    "endless" => MessageFault::Endless,
                    "garbage" => MessageFault::Garbage,
                    "binary" => MessageFault::Binary,
                    "unknown" => MessageFault::Unknown,
                    "request" => MessageFault::Request,
                    "body" => MessageFault::RequestWithBody,
                    "address" => MessageFault::RequestAddress,
                    _ => return None,
                };
                self.message = Fault::new(fault, count);
            }
            "headers" => {
                let fault = match value {
                    "numeric" => HeadersFault::Numeric,
                    "repeated" => HeadersFault::Repeated,
                    "last" => HeadersFault::Last,
                    _ => return None,
                };
                self.headers = Fault::new(fault, count);
            }
            _ => return None,
        }
        Some(())
    }

    fn set_choice(&mut self, kind: &str, value: &str) -> Option<()> {
        match (kind, value) {
            ("skew", _) => self.skew = duration::parse(value).ok()?,
            ("timeout", _) => self.timeout = duration::parse(value).ok()?,
            ("late", _) => self.late = status(value)?,
            ("pong", _) => self.pong = duration::parse(value).ok().filter(|every| !every.is_zero())?,
            ("window", _) => {
                self.window = value.parse().ok().filter(|window| (1..=MAX_WINDOW).contains(window))?;
            }
            ("close", "echo") => self.closes = Closes::Answered(Answer::Same),
            ("close", "normal") => self.closes = Closes::Answered(Answer::Normal),
            ("ping", "peer") => self.pings = Pings::PassedOn,
            ("ping", "ignored") => self.pings = Pings::Ignored,
            ("lost", _) => self.lost = Some(close_code(value)?),
            ("idle", _) => self.idle = Some(duration::parse(value).ok()?),
            ("token", "kept") => self.keeps_token = true,
            ("phrase", "none") => self.phrases = Phrases::Standard,
            ("phrase", "same") => self.phrases = Phrases::Same,
            ("right", _) => self.lacks_right = status(value)?,
            ("full", _) => self.full = status(value)?,
            ("allowed", "ignored") => self.allowed = Allowed::Ignored,
            ("allowed", "refused") => self.allowed = Allowed::Refused,
            ("renewal", "any") => self.renewal = Renewal::Any,
            ("renewal", "strict") => self.renewal = Renewal::SameRule,
            ("renewal", "refused") => self.renewal = Renewal::Refused,
            ("path", "encoded") => self.encodes_slashes = true,
            ("session", "expires") => self.sessions_expire = true,
            ("http", "forwarded") => self.forwards_http = true,
            ("tls", "p384") => self.p384_only = true,
            _ => return None,
        }
        Some(())
    }
}

fn request_fault(value: &str) -> Option<RequestFault> {
    Some(match value {
        "silent" => RequestFault::Silent,
        "drop" => RequestFault::Drop,
        _ => RequestFault::Status(status(value)?),
    })
}

/// Reads `HOW:DURATION`.
fn control_end(text: &str) -> Option<ControlEnd> {
    let (how, after) = text.split_once(':')?;
    let how = match how {
        "reset" => HowControlEnds::Reset,
        "silent" => HowControlEnds::Silent,
        _ => HowControlEnds::Close(close_code(how)?),
    };
    Some(ControlEnd { how, after: duration::parse(after).ok()? })
}

fn close_code(text: &str) -> Option<CloseCode> {
    text.parse::<u16>().ok().map(CloseCode::from).filter(|code| code.is_allowed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_and_choices_are_read() {
        let mut faults = Faults::default();
        for (kind, value, count) in [
            ("relay-connect", "404", Some(3)),
            ("relay-control", "1011:5s/reset:1s", Some(3)),
            ("relay-window", "16777216", None),
            ("relay-close", "echo", None),
        ] {
            assert_eq!(faults.set(kind, value, count), Some(()), "{kind}");
        }
        assert_eq!(faults.connect.take(), Some(RequestFault::Status(StatusCode::NOT_FOUND)));
        let control = faults.control.unwrap();
        let ends: Vec<_> = std::iter::from_fn(|| control.next().map(|end| end.how)).collect();
        let renewal = HowControlEnds::Close(CloseCode::Error);
        assert_eq!(ends, [renewal, HowControlEnds::Reset, renewal]);
        assert_eq!(faults.closes, Closes::Answered(Answer::Same));
        for (kind, value, count) in [
            ("connect", "404", None),
            ("relay-x", "1", None),
            ("relay-connect", "200", None),
            ("relay-control", "1011", None),
            ("relay-control", "1006:1s", None),
            ("relay-control", "1011:1s/", None),
            ("relay-window", "16777217", None),
            ("relay-pong", "0", None),
            ("relay-close", "echo", Some(1)),
            ("relay-skew", "x", None),
        ] {
            assert_eq!(Faults::default().set(kind, value, count), None, "{kind}={value}");
        }
    }

    #[test]
    fn every_known_fault_is_read() {
        for known in KNOWN_FAULTS.split(", ") {
            let (kind, values) = known.split_once('=').unwrap();
            let values = values.replace("[/…]", "").replace("BYTES", "1");
            let (values, after) =
                values.split_once(':').map_or((values.as_str(), None), |(a, b)| (a, Some(b)));
            for value in values.split('|') {
                let value = after.map_or(value.to_owned(), |after| format!("{value}:{after}"));
                assert_eq!(Faults::default().set(kind, &value, None), Some(()), "{kind}={value}");
            }
        }
    }
}
