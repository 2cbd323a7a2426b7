//! What fuzzing runs of this folder: a control channel, and the offers of its messages.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Builder;

use super::RelayListener;
use super::channel::{Channel, LONGEST_MESSAGE};
use super::dials::Dials;
use super::offers::{Handled, OfferMaker};
use super::starts::Starts;
use crate::backend::settings::{RelayAccess, RelaySettings};
use crate::backend::{Cause, Event, Offers, Rejection};
use crate::net::{Network, Proxies, Tls};
use crate::secret::Secret;

/// The text messages of a service, as they come over a control channel, and why it ended. The channel answers `reply`
/// to each, and is closed from here after `most`.
pub async fn channel<S>(io: S, early: &[u8], reply: &str, most: usize) -> (Vec<String>, String)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut channel =
        Channel::new(Box::new(io), Bytes::copy_from_slice(early), Duration::from_secs(30)).await;
    let mut messages = Vec::new();
    loop {
        match channel.next().await {
            Ok(message) => {
                assert!(message.len() <= LONGEST_MESSAGE);
                messages.push(message.to_string());
                if messages.len() <= most {
                    channel.send(reply);
                }
                if messages.len() == most {
                    channel.close();
                }
            }
            Err(lost) => return (messages, format!("{lost:?}")),
        }
    }
}

/// A listener that makes offers of messages, and does not dial.
#[derive(Debug)]
pub struct Listener {
    device: Arc<RelayListener>,
    network: Network,
}

/// What follows from a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// The stream of an offer.
    pub stream: Option<String>,
    /// Why an offer cannot be used.
    pub problem: Option<String>,
    pub answer: Option<String>,
}

impl Listener {
    /// The listener of the device `Gw` at `site/Gw` of `ns.servicebus.windows.net`.
    pub fn new(is_shared: bool) -> Self {
        let text = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=r;SharedAccessKey=c2VjcmV0;EntityPath=site/Gw";
        let mut settings = RelaySettings::new("a test", RelayAccess::ConnectionString(Secret::new(text)));
        (settings.is_shared, settings.rendezvous_hosts) = (is_shared, vec!["*.gateways.example".into()]);
        let device = Arc::new(RelayListener::new(&settings).expect("a listener"));
        let network = Network::new(Tls::new(None).expect("settings of TLS"), Proxies::none());
        Self { device, network }
    }

    /// Handles messages in order. Each offer is rejected if `rejects`, else it stays open.
    pub fn handle(&self, messages: &[String], rejects: bool) -> Vec<Followed> {
        // It is never driven: the tasks that would dial do not run.
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let _here = runtime.enter();
        let (dials, _all_done) = Dials::new();
        let (_offers, source) = Offers::channel();
        let events = source.events.downgrade();
        let maker =
            OfferMaker::new(self.device.clone(), self.network.clone(), dials, Starts::default(), events);
        let mut open = Vec::new();
        let handle = |message: &String| {
            let Handled { event, answer } = maker.handle(message);
            let mut followed = Followed { answer, ..Followed::default() };
            match event {
                Some(Event::Offer(offer)) => {
                    let is_short =
                        |text: &String| text.chars().count() <= 128 && !text.contains(char::is_control);
                    assert!(
                        offer.stream.len() <= 256 && offer.id.iter().chain(&offer.requester).all(is_short)
                    );
                    followed.stream = Some(offer.stream.clone());
                    if rejects {
                        offer.reply.reject(&Rejection::new(Cause::Target, "no target"));
                    } else {
                        open.push(offer);
                    }
                }
                Some(Event::Unusable { stream, problem }) => {
                    assert!(stream.chars().count() <= 128 && problem.len() <= 1024, "{problem}");
                    followed.problem = Some(problem);
                }
                Some(other) => panic!("a message is followed by {other:?}"),
                None => {}
            }
            followed
        };
        messages.iter().map(handle).collect()
    }
}
