//! The errors of the service.

use std::time::SystemTime;

use hyper::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::time::clock;

/// An error answer.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// Six digits, which begin with those of the status \[D]\[I].
    pub(super) code: u32,
    pub(super) message: String,
    /// When the client is to try again, in seconds.
    pub(super) retry_after: Option<u32>,
    /// The method that the path takes, if that is what is wrong.
    pub(super) allow: Option<&'static str>,
}

impl Problem {
    fn new(status: StatusCode, detail: u32, message: impl Into<String>) -> Self {
        let code = u32::from(status.as_u16()) * 1000 + detail;
        Self { status, code, message: message.into(), retry_after: None, allow: None }
    }

    /// A request that is malformed \[~].
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, 4, message)
    }

    /// A client that has not proved who it is: 401002 \[I].
    pub(super) fn unauthorized(reason: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, 2, format!("Unauthorized: {reason}"))
    }

    /// What a request names does not exist \[~].
    pub(super) fn not_found(message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, 201, message)
    }

    /// An error of this status; with 429 and 503, the client is to try again after `retry_after`.
    pub(super) fn of_status(status: StatusCode, message: &str, retry_after: u32) -> Self {
        let is_busy = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
        let detail = if status == StatusCode::UNAUTHORIZED { 2 } else { 1 };
        Self { retry_after: is_busy.then_some(retry_after), ..Self::new(status, detail, message) }
    }

    /// A path that takes another method.
    pub(super) fn wrong_method(takes: &'static str) -> Self {
        let message = format!("The path takes {takes}.");
        Self { allow: Some(takes), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, 1, message) }
    }

    /// The body \[R]\[I].
    pub(super) fn body(&self, now: SystemTime) -> Value {
        error_body(self.code, &self.message, now)
    }
}

/// The body of an error, of this service and of hubs \[R]\[I].
pub(super) fn error_body(code: u32, message: &str, now: SystemTime) -> Value {
    json!({
        "errorCode": code,
        "trackingId": Uuid::new_v4().to_string(),
        "message": message,
        "timestampUtc": clock::iso8601(now),
    })
}
