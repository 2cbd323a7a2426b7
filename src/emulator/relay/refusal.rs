//! Refusals, whose reason phrases explain them.

use std::time::SystemTime;

use hyper::StatusCode;
use hyper::ext::ReasonPhrase;

use super::faults::Phrases;
use super::tracking::{self, TrackingId};
use crate::emulator::server::{Answer, empty};

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The explanation without the tracking id. It contains no secret.
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// The refusal of a request that is not an opening handshake: a proxy may have removed the headers.
    pub(super) fn no_websocket() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "This endpoint is only for web-socket requests")
    }

    /// The answer for a request with this id for `resource`: the explanation is the reason phrase \[D].
    pub(super) fn answer(
        &self,
        id: &TrackingId,
        resource: &str,
        now: SystemTime,
        phrases: Phrases,
    ) -> Answer {
        log::info!("{resource} is refused with {}: {} ({id})", self.status, self.text);
        let mut answer = empty(self.status);
        if phrases != Phrases::Standard {
            let phrase = format!("{}. {}", self.text, tracking::suffix(id, resource, now));
            set_reason(&mut answer, &phrase);
        }
        answer
    }
}

/// Sets the reason phrase. Characters that it cannot have are left out.
pub(super) fn set_reason(answer: &mut Answer, phrase: &str) {
    let visible: Vec<u8> = phrase.bytes().filter(|byte| (0x20..=0x7e).contains(byte)).collect();
    if let Ok(phrase) = ReasonPhrase::try_from(visible) {
        answer.extensions_mut().insert(phrase);
    }
}
