//! A service in memory, for tests: it offers each stream that is asked for to the device that listens, and its gateway
//! passes frames on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Checked, Dialer, Event, Joined, Listener, Offer, Offers, Pending, Rejection, Reply, Reread};
use crate::check::Finding;
use crate::error::{Error, Exit, Fault, Result, Retry};
use crate::net::Network;
use crate::state::rate::Turn;
use crate::time::phase::{Phase, Phases};

/// The service, and the device's access to it.
#[derive(Debug, Default)]
pub(crate) struct Memory(watch::Sender<Option<mpsc::Sender<Event>>>);

impl Listener for Memory {
    fn device(&self) -> String {
        "dev-1".into()
    }

    fn service(&self) -> String {
        "memory".into()
    }

    fn listen(self: Arc<Self>, _: Network, _: Option<Reread>) -> Result<Offers> {
        let (offers, mut source) = Offers::channel();
        self.0.send_replace(Some(source.events));
        tokio::spawn(async move {
            source.orders.next().await;
            self.0.send_replace(None);
        });
        Ok(offers)
    }

    fn check<'a>(&'a self, _: &'a Network) -> Pending<'a, Vec<Finding>> {
        Box::pin(async { Vec::new() })
    }
}

/// What asks for one stream of the device.
#[derive(Debug)]
pub(crate) struct MemoryDialer {
    pub(crate) service: Arc<Memory>,
    pub(crate) stream: &'static str,
}

impl Dialer for MemoryDialer {
    fn describe(&self) -> String {
        format!("stream '{}' in memory", self.stream)
    }

    fn device(&self) -> String {
        self.service.device()
    }

    fn service(&self) -> String {
        self.service.service()
    }

    fn stream(&self) -> &str {
        self.stream
    }

    fn streams_per_second(&self) -> Option<u32> {
        None
    }

    fn daily_quota(&self) -> Option<u64> {
        None
    }

    fn open<'a>(&'a self, _: Option<Turn<'a>>, _: &'a mut Phases) -> Pending<'a, Result<Joined>> {
        Box::pin(async {
            let mut listening = self.service.0.subscribe();
            let device = listening.wait_for(Option::is_some).await.unwrap().clone().unwrap();
            let (reply, answer) = oneshot::channel();
            let reply = Box::new(MemoryReply(reply));
            let offer =
                Offer { stream: self.stream.into(), id: None, requester: None, is_approved: false, reply };
            device.send(Event::Offer(offer)).await.unwrap();
            match answer.await.unwrap() {
                Ok(device) => {
                    let (caller, gateway) = joined();
                    let ((from_caller, to_caller), (from_device, to_device)) =
                        (split(gateway), split(device));
                    tokio::spawn(pass_on(from_caller, to_device));
                    tokio::spawn(pass_on(from_device, to_caller));
                    Ok(caller)
                }
                Err(rejection) => Err(Error::Backend(Box::new(Rejected(rejection.reason)))),
            }
        })
    }

    fn check(&self) -> Pending<'_, Checked> {
        Box::pin(async { Checked { findings: Vec::new(), stream: None } })
    }
}

/// Sends the gateway the device's end of an accepted stream, or the reason of a rejection.
#[derive(Debug)]
struct MemoryReply(oneshot::Sender<std::result::Result<DuplexStream, Rejection>>);

impl Reply for MemoryReply {
    fn accept(self: Box<Self>) -> Pending<'static, Result<Joined>> {
        Box::pin(async {
            let (device, gateway) = joined();
            self.0.send(Ok(gateway)).unwrap();
            Ok(device)
        })
    }

    fn reject(self: Box<Self>, rejection: &Rejection) {
        self.0.send(Err(rejection.clone())).unwrap();
    }

    fn withdrawn(&self) -> Pending<'_, ()> {
        Box::pin(std::future::pending())
    }
}

fn joined() -> (Joined, DuplexStream) {
    let (end, gateway) = duplex(1 << 16);
    (Joined { io: Box::new(end), early: Bytes::new(), going_away_is_end: false }, gateway)
}

/// Unmasks each frame of a client's and passes it on, up to the end.
async fn pass_on(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>) -> std::io::Result<()> {
    loop {
        let (first, second) = (from.read_u8().await?, from.read_u8().await?);
        let length = match second & 0x7f {
            126 => from.read_u16().await?.into(),
            127 => from.read_u64().await?,
            length => length.into(),
        };
        let mut mask = [0; 4];
        from.read_exact(&mut mask).await?;
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        from.read_exact(&mut payload).await?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        to.write_all(&[first, 127]).await?;
        to.write_u64(length).await?;
        to.write_all(&payload).await?;
    }
}

/// The device rejected the stream.
#[derive(Debug)]
struct Rejected(String);

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dev-1 rejected the stream: {}", self.0)
    }
}

impl std::error::Error for Rejected {}

impl Fault for Rejected {
    fn exit(&self) -> Exit {
        Exit::Unavailable
    }

    fn hint(&self) -> Option<String> {
        None
    }

    fn retry(&self) -> Option<Retry> {
        None
    }

    fn retry_after(&self) -> Option<Duration> {
        None
    }

    fn phase(&self) -> Phase {
        Phase::named("device")
    }

    fn is_rejection(&self) -> bool {
        true
    }
}
