//! Faults on request (`--inject`): a comma-separated list of `KIND=VALUE`, for tests and for rehearsals.
//!
//! `KIND=VALUE@N` makes the fault the first N times only, to show the recovery; `latency`, `clock`, `frames` and
//! `retry-after` are settings and take no count.

use std::time::Duration;

use hyper::StatusCode;

use super::clock::Clock;
use super::fault::{Fault, status};
use super::provisioning;
use super::relay;
use crate::text::duration;

/// The faults that `--inject` knows, for its usage error.
const KNOWN: &str = "latency=100ms, cut=BYTES, status=429, retry-after=SECONDS, gateway=401|noupgrade|silent, \
                     hub=silent|garbage|drop, mqtt=503, twin=429|silent|drop|refused, url=ws|ws-service, \
                     clock=+10m|-10m, frames=BYTES";

/// The largest value of `frames=`, which bounds what a stream buffers for one reader.
const MAX_FRAMES: usize = 16 << 20;

/// The faults to make; the default makes none.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// One-way delay of every HTTP answer, gateway handshake and relayed frame.
    pub(super) latency: Duration,
    /// The clock of every answer and of every check of a token.
    pub(super) clock: Clock,
    /// The largest frame that the gateway takes; `None` for the service's own limit.
    pub(super) frames: Option<usize>,
    /// `Retry-After` of 429 and 503, in seconds.
    pub(super) retry_after: Option<u32>,
    /// A stream is cut after so many bytes.
    pub(super) cut: Fault<u64>,
    /// The answer to a request for a stream.
    pub(super) status: Fault<StatusCode>,
    /// A side joins at the gateway.
    pub(super) gateway: Fault<GatewayFault>,
    /// A REST request.
    pub(super) hub: Fault<HubFault>,
    /// The answer to the upgrade to MQTT over WebSocket.
    pub(super) mqtt: Fault<StatusCode>,
    /// A request to a twin, over MQTT or REST.
    pub(super) twin: Fault<TwinFault>,
    /// The hub has no twins, like a hub of the Basic tier.
    pub(super) no_twins: Fault<()>,
    /// The gateway's URL is `ws`, without TLS.
    pub(super) plain_url: Fault<()>,
    /// The same for the user's side alone.
    pub(super) plain_service_url: Fault<()>,
    /// Those of the relay.
    pub(super) relay: relay::Faults,
    /// Those of the Device Provisioning Service.
    pub(super) provisioning: provisioning::Faults,
}

/// How the gateway fails a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GatewayFault {
    Status(StatusCode),
    /// 200 instead of 101.
    NoUpgrade,
    /// No answer.
    Silent,
}

/// How the hub fails a REST request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HubFault {
    /// No answer.
    Silent,
    /// Bytes that are not HTTP.
    Garbage,
    /// The connection closes without an answer.
    Drop,
}

/// How the hub fails a request to a twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TwinFault {
    Status(StatusCode),
    /// No answer.
    Silent,
    /// The connection closes without an answer.
    Drop,
}

impl Faults {
    /// Reads the value of `--inject`.
    ///
    /// # Errors
    /// Which fault is wrong, and the list of the known ones.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut faults = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let wrong = || {
                format!(
                    "'{item}' is not a fault: there are {KNOWN}, {}, {}; KIND=VALUE@N makes it N times",
                    relay::KNOWN_FAULTS,
                    provisioning::KNOWN_FAULTS
                )
            };
            let (kind, value) = item.split_once('=').ok_or_else(wrong)?;
            let (value, count) = match value.split_once('@') {
                None => (value, None),
                Some((value, count)) => (value, Some(count.parse::<u32>().map_err(|_| wrong())?)),
            };
            if seen.contains(&kind) {
                return Err(format!("the fault '{kind}' is given twice"));
            }
            seen.push(kind);
            match (kind, value) {
                ("latency" | "clock" | "frames" | "retry-after", _) if count.is_some() => return Err(wrong()),
                ("latency", _) => faults.latency = duration::parse(value).map_err(|_| wrong())?,
                ("clock", _) => faults.clock = Clock::parse(value).ok_or_else(wrong)?,
                ("frames", _) => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_FRAMES).contains(limit));
                    faults.frames = Some(limit.ok_or_else(wrong)?);
                }
                ("retry-after", _) => faults.retry_after = Some(value.parse().map_err(|_| wrong())?),
                ("cut", _) => {
                    faults.cut = Fault::new(value.parse().map_err(|_| wrong())?, count);
                }
                ("status", _) => faults.status = Fault::new(status(value).ok_or_else(wrong)?, count),
                ("mqtt", _) => faults.mqtt = Fault::new(status(value).ok_or_else(wrong)?, count),
                ("gateway", _) => {
                    let value = match value {
                        "noupgrade" => GatewayFault::NoUpgrade,
                        "silent" => GatewayFault::Silent,
                        _ => GatewayFault::Status(status(value).ok_or_else(wrong)?),
                    };
                    faults.gateway = Fault::new(value, count);
                }
                ("hub", _) => {
                    let value = match value {
                        "silent" => HubFault::Silent,
                        "garbage" => HubFault::Garbage,
                        "drop" => HubFault::Drop,
                        _ => return Err(wrong()),
                    };
                    faults.hub = Fault::new(value, count);
                }
                ("twin", "refused") => faults.no_twins = Fault::new((), count),
                ("twin", _) => {
                    let value = match value {
                        "silent" => TwinFault::Silent,
                        "drop" => TwinFault::Drop,
                        _ => TwinFault::Status(
                            status(value).filter(|status| status.as_u16() >= 400).ok_or_else(wrong)?,
                        ),
                    };
                    faults.twin = Fault::new(value, count);
                }
                ("url", "ws") => faults.plain_url = Fault::new((), count),
                ("url", "ws-service") => faults.plain_service_url = Fault::new((), count),
                _ if kind == "dps" || kind.starts_with("dps-") => {
                    faults.provisioning.set(kind, value, count).ok_or_else(wrong)?;
                }
                _ => faults.relay.set(kind, value, count).ok_or_else(wrong)?,
            }
        }
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_every_kind() {
        let faults = Faults::parse(
            "latency=100ms, cut=4096,status=429@2,gateway=noupgrade,hub=drop,url=ws,clock=-10m,frames=70000,retry-after=30,\
             twin=429@1",
        )
        .unwrap();
        assert_eq!(faults.latency, Duration::from_millis(100));
        assert_eq!(faults.cut.take(), Some(4096));
        assert_eq!(faults.gateway.take(), Some(GatewayFault::NoUpgrade));
        assert_eq!(faults.hub.take(), Some(HubFault::Drop));
        assert_eq!(faults.plain_url.take(), Some(()));
        assert_eq!(faults.twin.take(), Some(TwinFault::Status(StatusCode::TOO_MANY_REQUESTS)));
        assert_eq!((faults.twin.take(), faults.no_twins.take()), (None, None));
        assert_eq!((faults.frames, faults.retry_after), (Some(70_000), Some(30)));
        let behind = SystemTime::now().duration_since(faults.clock.now()).unwrap();
        assert!((599..=601).contains(&behind.as_secs()), "{behind:?}");
    }

    #[test]
    fn a_counted_fault_is_used_up() {
        let faults = Faults::parse("status=503@2,gateway=401").unwrap();
        assert_eq!(faults.status.take(), Some(StatusCode::SERVICE_UNAVAILABLE));
        assert!(faults.status.take().is_some());
        assert!(faults.status.take().is_none());
        for _ in 0..3 {
            assert_eq!(faults.gateway.take(), Some(GatewayFault::Status(StatusCode::UNAUTHORIZED)));
        }
        assert!(Faults::default().status.take().is_none());
    }

    #[test]
    fn an_unknown_fault_gets_the_list_of_the_known_ones() {
        for text in [
            "x",
            "x=1",
            "=",
            "latency",
            "latency=x",
            "latency=1s@2",
            "cut=-1",
            "status=200",
            "status=x",
            "hub=x",
            "gateway=",
            "url=wss",
            "clock=10m",
            "clock=",
            "clock=é",
            "frames=0",
            "frames=99999999",
            "cut=1@x",
            "retry-after=-1",
            "mqtt=101",
            "twin=302",
            "twin=",
            "retry-after=1@2",
        ] {
            let problem = Faults::parse(text).unwrap_err();
            assert!(problem.contains(KNOWN), "{text}: {problem}");
        }
        assert_eq!(Faults::parse("cut=1,cut=2").unwrap_err(), "the fault 'cut' is given twice");
        assert!(Faults::parse("").is_ok());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[a-z=@,+0-9é-]{0,40}|.*") {
            if let Ok(faults) = Faults::parse(&text) {
                let _ = faults.clock.now();
            }
        }
    }
}
