//! The head of a request as its client sent it. HTTP's library keeps neither the case of header names nor their order.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use hyper::Request;

/// Bytes that are recorded at most: more than a head may have.
const MOST: usize = 512 << 10;

/// Records what a connection reads, until it is stopped.
#[derive(Debug)]
pub(super) struct Recording {
    is_running: AtomicBool,
    bytes: Mutex<Vec<u8>>,
}

impl Recording {
    pub(super) fn new() -> Self {
        Self { is_running: AtomicBool::new(true), bytes: Mutex::default() }
    }

    /// Adds bytes that were read.
    pub(super) fn add(&self, read: &[u8]) {
        if self.is_running.load(Relaxed) {
            let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
            let room = MOST.saturating_sub(bytes.len());
            bytes.extend_from_slice(&read[..read.len().min(room)]);
        }
    }

    /// What was read since the last call.
    pub(super) fn take(&self) -> Head {
        Head(std::mem::take(&mut self.bytes.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Records no more.
    pub(super) fn stop(&self) {
        self.is_running.store(false, Relaxed);
    }
}

/// The bytes of a request's head, and perhaps some around it. `Debug` shows none of them.
#[derive(Clone, Default)]
pub(in crate::emulator) struct Head(Vec<u8>);

impl Head {
    /// The headers of `request` as they were sent; from the request itself where its head was not recorded.
    pub(in crate::emulator) fn headers<B>(&self, request: &Request<B>) -> Vec<(String, String)> {
        self.recorded(request).unwrap_or_else(|| {
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            let headers = request.headers().iter();
            headers.map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
        })
    }

    fn recorded<B>(&self, request: &Request<B>) -> Option<Vec<(String, String)>> {
        let line = format!("{} {} HTTP/1.", request.method(), request.uri());
        let start = self.0.windows(line.len()).rposition(|bytes| bytes == line.as_bytes())?;
        let text = String::from_utf8_lossy(&self.0[start..]);
        let mut headers = Vec::new();
        for line in text.split('\n').skip(1) {
            let line = line.trim_end_matches('\r');
            if line.is_empty() {
                return Some(headers);
            }
            let (name, value) = line.split_once(':')?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        None
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_their_case_and_their_order() {
        let request = Request::get("/a?b").header("x-one", "1").body(()).unwrap();
        let recording = Recording::new();
        recording.add(b"{\"the last\": \"body\"}GET /a?b HTTP/1.1\r\nX-ONE: 1\r\n");
        recording.add("hOst: h:1\r\nx-One:\t\u{e4} \r\n\r\nmore".as_bytes());
        let headers = recording.take().headers(&request);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(headers, [("X-ONE", "1"), ("hOst", "h:1"), ("x-One", "\u{e4}")]);

        recording.stop();
        recording.add(b"GET /a?b HTTP/1.1\r\n\r\n");
        assert_eq!(recording.take().headers(&request), [("x-one".to_owned(), "1".to_owned())]);
    }
}
