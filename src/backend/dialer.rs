//! The caller's side of a backend: requests streams from a service.

use std::fmt::Debug;
use std::time::Duration;

use super::joined::{Joined, Pending};
use super::report::{Reported, Wanted};
use crate::check::Finding;
use crate::error::{Error, Result};
use crate::state::rate::Turn;
use crate::time::phase::Phases;

/// A request for a stream.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The device id, which the backend checks.
    pub device: String,
    /// The module id.
    pub module: Option<String>,
    /// The module to ask first where `module` is `None`. A device without it is asked itself.
    pub default_module: Option<String>,
    /// The stream's name.
    pub stream: String,
    /// The port that the stream is named for, if nothing else names it.
    pub port: Option<u16>,
    /// How long the service waits for the device to come online; zero is the service's default.
    pub connect_timeout: Duration,
    /// How long the service waits for the device's answer; zero is the service's default.
    pub response_timeout: Duration,
}

/// Opens one stream of one device at one service, any number of times.
pub trait Dialer: Debug + Send + Sync {
    /// The stream, the device and the service, for messages.
    fn describe(&self) -> String;

    /// The device or module in messages and JSON, such as `gw-07` or `gw-07/camera`: the one last asked, else the one to be
    /// asked first.
    fn device(&self) -> String;

    /// The service, as `HOST` or `HOST:PORT`.
    fn service(&self) -> String;

    /// The service in the state directory: the same for all of its host names.
    fn key(&self) -> String {
        self.service()
    }

    /// The name of the stream.
    fn stream(&self) -> &str;

    /// The service's limit of new streams a second, if any.
    fn streams_per_second(&self) -> Option<u32>;

    /// The bytes that all streams of the service together may carry a day, if limited.
    fn daily_quota(&self) -> Option<u64>;

    /// Requests the stream once, with a new token, and joins it. Waits for `turn` right before the request.
    ///
    /// Cancel-safe: dropping the future abandons the stream.
    ///
    /// # Errors
    /// Returns an error with the phase that failed and the service's or device's answer.
    fn open<'a>(&'a self, turn: Option<Turn<'a>>, phases: &'a mut Phases) -> Pending<'a, Result<Joined>>;

    /// What the device's agent has reported to the service, from a stored copy if that is good enough.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// Returns an error if the service keeps no reports, cannot be reached, or refuses.
    fn reported<'a>(&'a self, wanted: Wanted<'a>) -> Pending<'a, Result<Reported>> {
        let _ = wanted;
        let service = self.service();
        Box::pin(async move { Err(Error::NoReports { service }) })
    }

    /// Diagnoses each step of the connection up to the joined stream.
    fn check(&self) -> Pending<'_, Checked>;
}

/// The result of [`Dialer::check`].
#[derive(Debug)]
pub struct Checked {
    /// One for each step, in order. Steps after a failure are skipped.
    pub findings: Vec<Finding>,
    /// The stream, if every step passed.
    pub stream: Option<Joined>,
}
