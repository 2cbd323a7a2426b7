//! The caller's side of a backend: asks a service for a stream to a device.

use std::fmt::Debug;
use std::time::Duration;

use super::joined::{Joined, Pending};
use crate::check::Finding;
use crate::error::Result;
use crate::state::rate::Turn;
use crate::time::phase::Phases;

/// A stream to ask for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The device's id; the backend knows which ids there can be.
    pub device: String,
    pub module: Option<String>,
    pub stream: String,
    /// How long the service waits for the device to come online; zero leaves it to the service.
    pub connect_timeout: Duration,
    /// How long the service waits for the device's answer; zero leaves it to the service.
    pub response_timeout: Duration,
}

/// Asks one service for one stream of one device, as often as it is told to.
pub trait Dialer: Debug + Send + Sync {
    /// The stream, the device and the service, for people.
    fn describe(&self) -> String;

    /// The device as messages and JSON name it, such as `gw-07` or `gw-07/camera`.
    fn device(&self) -> String;

    /// The service, as `HOST` or `HOST:PORT`. What is remembered of a service is kept under this name.
    fn service(&self) -> String;

    /// The name of the stream.
    fn stream(&self) -> &str;

    /// How many new streams a second the service accepts, where there is a limit.
    fn streams_per_second(&self) -> Option<u32>;

    /// How many bytes the streams of the service may carry a day, all of them together, where there is a limit.
    fn daily_quota(&self) -> Option<u64>;

    /// Asks for the stream once, with a token of its own, and joins it. Waits for `turn` right before the request.
    ///
    /// Cancel-safe: a stream that is dropped before it is joined is given up.
    ///
    /// # Errors
    /// Which phase failed, and what the service or the device said.
    fn open<'a>(&'a self, turn: Option<Turn<'a>>, phases: &'a mut Phases) -> Pending<'a, Result<Joined>>;

    /// Diagnoses each step of the connection up to the joined stream.
    fn check(&self) -> Pending<'_, Checked>;
}

/// What [`Dialer::check`] found.
#[derive(Debug)]
pub struct Checked {
    /// One for each step, in order; steps after a failure are skipped.
    pub findings: Vec<Finding>,
    /// The stream, where every step passed.
    pub stream: Option<Joined>,
}
