//! Requests of the HTTP mode that wait for a listener's answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::StatusCode;
use serde_json::Value;
use tokio::sync::oneshot;

/// The requests that wait.
#[derive(Clone, Debug, Default)]
pub(super) struct HttpRequests(Arc<Mutex<HashMap<String, oneshot::Sender<Response>>>>);

/// A listener's answer.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) text: String,
}

impl HttpRequests {
    /// Waits for the answer to the request `id`.
    pub(super) fn wait(&self, id: &str) -> oneshot::Receiver<Response> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, sender| !sender.is_closed());
        waiting.insert(id.to_owned(), sender);
        receiver
    }

    /// Takes a listener's answer; one to a request that does not wait is ignored.
    pub(super) fn answer(&self, response: &Value) {
        let Some(id) = response["requestId"].as_str() else { return };
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        // .NET writes the status as a number, Node as text.
        let status = match &response["statusCode"] {
            Value::String(text) => text.parse().ok(),
            status => status.as_u64().and_then(|status| u16::try_from(status).ok()),
        };
        let status = status.filter(|status| (200..=599).contains(status));
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        if let (Some(waiting), Some(status)) = (waiting, status) {
            let text = response["statusDescription"].as_str().unwrap_or_default().to_owned();
            let _ = waiting.send(Response { status, text });
        }
    }
}
