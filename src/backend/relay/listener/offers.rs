//! From control messages to offers.

use std::sync::Arc;

use percent_encoding::percent_decode_str;
use tokio::sync::mpsc;

use super::azbridge::PreambleReply;
use super::channel::Channel;
use super::dials::Dials;
use super::relay_listener::RelayListener;
use super::rendezvous::{Rendezvous, joined};
use super::reply::{RelayReply, reject, status};
use super::starts::{Start, Starts, Try};
use crate::backend::relay::proto::{self, Accept, Control, HttpRequest, OTHER_DEVICE, header};
use crate::backend::{Cause, Event, Offer};
use crate::error::escape;
use crate::net::{Network, WssUrl};

/// The stream of a sender that names none.
const DEFAULT_STREAM: &str = "ssh";

/// The bytes of a message that is not understood that are logged.
const SHOWN: usize = 200;

/// The longest id of a request that is answered, in bytes.
const LONGEST_ID: usize = 1024;

/// The longest address and the longest name of a stream in bytes, of which each open offer holds one.
const LONGEST_ADDRESS: usize = 16 * 1024;
const LONGEST_NAME: usize = 256;

/// The characters of a tracking id and of an address that are kept.
const KEPT: usize = 128;

/// Makes offers of the messages on one control channel.
pub(super) struct OfferMaker {
    device: Arc<RelayListener>,
    network: Network,
    dials: Dials,
    starts: Starts,
    /// For offers that take time to make. Does not keep the agent waiting for the listener's end.
    events: mpsc::WeakSender<Event>,
}

/// What follows from a message.
#[derive(Debug, Default)]
pub(super) struct Handled {
    /// An event for the agent.
    pub(super) event: Option<Event>,
    /// An answer on the control channel.
    pub(super) answer: Option<String>,
}

impl Handled {
    fn event(event: Event) -> Self {
        Self { event: Some(event), answer: None }
    }
}

impl OfferMaker {
    pub(super) fn new(
        device: Arc<RelayListener>,
        network: Network,
        dials: Dials,
        starts: Starts,
        events: mpsc::WeakSender<Event>,
    ) -> Self {
        Self { device, network, dials, starts, events }
    }

    /// The listener that the control channel is of.
    pub(super) fn device(&self) -> &Arc<RelayListener> {
        &self.device
    }

    /// Handles a message of the service. One that is not understood is ignored \[D].
    pub(super) fn handle(&self, message: &str) -> Handled {
        match Control::parse(message) {
            Ok(Control::Accept(accept)) => self.accept(&accept),
            Ok(Control::Request(request)) => self.request(&request),
            Ok(Control::Other(name)) => {
                log::debug!("a control message is ignored: {}", escape(&start_of(&name, SHOWN)));
                Handled::default()
            }
            Err(problem) => {
                log::debug!("{problem}: it is ignored");
                Handled::default()
            }
        }
    }

    fn accept(&self, accept: &Accept) -> Handled {
        let rendezvous = match self.rendezvous(accept.address.expose()) {
            Ok(url) => Rendezvous::new(url, accept),
            Err(problem) => return Handled::event(Event::Unusable { stream: String::new(), problem }),
        };
        let device = accept.header(header::DEVICE);
        let named = device.map(|device| percent_decode_str(&device).decode_utf8_lossy().to_lowercase());
        if let Some(reason) = self.other_device(named.as_deref()) {
            let stream = self.stream(&rendezvous);
            reject(&self.dials, self.network.clone(), rendezvous, OTHER_DEVICE, &reason);
            return Handled::event(Event::Unusable { stream: shown(&stream), problem: reason });
        }
        let (id, requester) =
            (Some(accept.id.as_str()).filter(|id| !id.is_empty()), accept.remote.as_deref());
        let (id, requester) = (id.map(shown), requester.map(shown));
        if self.device.preamble.is_some() {
            self.offer_by_preamble(rendezvous, id, requester);
            return Handled::default();
        }
        let stream = self.stream(&rendezvous);
        if stream.len() > LONGEST_NAME {
            let problem = format!("the stream's name is longer than {LONGEST_NAME} bytes");
            reject(&self.dials, self.network.clone(), rendezvous, status(Cause::Target), &problem);
            return Handled::event(Event::Unusable { stream: shown(&stream), problem });
        }
        let start = Start::of(&accept.id, &stream, named.as_deref().unwrap_or_default());
        let (start, is_approved) = match self.starts.begin(start, rendezvous) {
            Try::New(start) => (start, false),
            Try::Approved(start) => (start, true),
            Try::Replaced => {
                log::debug!("stream '{}': a further try of the same start", escape(&stream));
                return Handled::default();
            }
            Try::Rejected(rejection, rendezvous) => {
                log::debug!("stream '{}': a further try of a rejected start", escape(&stream));
                let status = status(rejection.cause);
                reject(&self.dials, self.network.clone(), rendezvous, status, &rejection.reason);
                return Handled::default();
            }
        };
        let (network, dials) = (self.network.clone(), self.dials.clone());
        let reply = RelayReply { start, is_approved, network, dials };
        Handled::event(Event::Offer(Offer { stream, id, requester, is_approved, reply: Box::new(reply) }))
    }

    /// Joins the stream, and offers it under the name in azbridge's preamble.
    fn offer_by_preamble(&self, rendezvous: Rendezvous, id: Option<String>, requester: Option<String>) {
        let (network, events, dials) = (self.network.clone(), self.events.clone(), self.dials.clone());
        let offering = async move {
            let read = match rendezvous.open(&network).await {
                Ok(websocket) => PreambleReply::read(joined(websocket), dials).await,
                Err(error) => Err(error),
            };
            let event = match read {
                Ok((stream, reply)) => {
                    let reply = Box::new(reply);
                    Event::Offer(Offer { stream, id, requester, is_approved: false, reply })
                }
                Err(error) => Event::Unusable { stream: String::new(), problem: error.to_string() },
            };
            if let Some(events) = events.upgrade() {
                // Fails if the agent has ended.
                let _ = events.send(event).await;
            }
        };
        if !self.dials.spawn(offering) {
            log::debug!("too many senders wait for the answer to their preamble: one is dropped");
        }
    }

    /// Why a sender that names `device`, in lower case, is not for this device.
    fn other_device(&self, device: Option<&str>) -> Option<String> {
        match device {
            Some(device) if device != self.device.device.to_lowercase() => {
                Some(format!("this is device {}, not {}", self.device.device, shown(device)))
            }
            None if self.device.is_shared => Some("name the device".into()),
            Some(_) | None => None,
        }
    }

    /// The stream that the sender names in the path behind the hybrid connection's.
    fn stream(&self, rendezvous: &Rendezvous) -> String {
        let path = rendezvous.path();
        let path = ["/$hc/", "/%24hc/"].iter().find_map(|root| path.strip_prefix(root)).unwrap_or(path);
        let suffix = self.device.credential.entity.suffix_in(path);
        suffix.filter(|suffix| !suffix.is_empty()).unwrap_or_else(|| DEFAULT_STREAM.into())
    }

    /// Answers a request of the HTTP mode. A service may block a listener that does not \[P].
    fn request(&self, request: &HttpRequest) -> Handled {
        match (&request.id, &request.address) {
            (Some(id), _) if id.len() <= LONGEST_ID => {
                // A body follows in a binary message, which the channel discards.
                Handled { event: None, answer: Some(proto::not_implemented(id)) }
            }
            (None, Some(address)) => {
                match self.rendezvous(address.expose()) {
                    Ok(url) => self.answer_at(Rendezvous::of_request(url)),
                    Err(problem) => log::debug!("{problem}: the request is ignored"),
                }
                Handled::default()
            }
            _ => Handled::default(),
        }
    }

    /// Answers a request that is only told at its own address.
    fn answer_at(&self, rendezvous: Rendezvous) {
        let (network, keepalive) = (self.network.clone(), self.device.keepalive);
        let answering = async move {
            let websocket = match rendezvous.open(&network).await {
                Ok(websocket) => websocket,
                Err(error) => return log::debug!("a request in HTTP mode: {error}"),
            };
            let mut channel = Channel::new(Box::new(websocket.io), websocket.early, keepalive).await;
            while let Ok(message) = channel.next().await {
                let Ok(Control::Request(HttpRequest { id: Some(id), .. })) = Control::parse(&message) else {
                    continue;
                };
                channel.send(&proto::not_implemented(&start_of(&id, LONGEST_ID)));
                channel.close();
            }
        };
        self.dials.spawn(answering);
    }

    /// Checks an address that the service names.
    fn rendezvous(&self, address: &str) -> Result<WssUrl, String> {
        if address.len() > LONGEST_ADDRESS {
            return Err(format!("the service names a gateway in more than {LONGEST_ADDRESS} bytes"));
        }
        let RelayListener { credential, rendezvous_hosts, .. } = &*self.device;
        proto::rendezvous(address, &credential.namespace, rendezvous_hosts).map_err(|problem| problem.0)
    }
}

/// Foreign text for logs and programs.
fn shown(text: &str) -> String {
    escape(text).chars().take(KEPT).collect()
}

fn start_of(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}
