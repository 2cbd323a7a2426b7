//! `POST /twins/ID/streams/NAME`: a user asks for a stream to a device.

use std::time::Duration;

use http_body_util::Full;
use hyper::Response;
use hyper::header::{HeaderMap, HeaderValue};

use super::identity::decode;
use crate::backend::iothub::proto::{Code, headers};
use crate::emulator::iothub::hub::Hub;
use crate::emulator::iothub::initiate::{InitiateError, Outcome, StreamRequest};
use crate::emulator::server::Answer;

impl Hub {
    /// Answers the request. `authority` is where the client reached the hub.
    pub(super) async fn post_stream(
        &self,
        device: &str,
        module: Option<&str>,
        stream: &str,
        headers: &HeaderMap,
        authority: String,
    ) -> Answer {
        if let Some(status) = self.faults.status.take() {
            return self.injected(status, Code::DEVICE_NOT_ONLINE);
        }
        let Some(identity) = self.identity(device, module) else {
            return self.problem(404, Some(Code::DEVICE_NOT_FOUND), "The device id is invalid.");
        };
        let stream = decode(stream);
        if !(1..=128).contains(&stream.len())
            || stream.contains(['/', '+', '#'])
            || stream.contains(char::is_control)
        {
            // The limits of a name are not known; with these it is one level of an MQTT topic.
            return self.problem(400, Some(Code::ARGUMENT_INVALID), "The stream's name is invalid.");
        }
        let (Ok(connect), Ok(response)) = (
            timeout_header(headers, headers::CONNECT_TIMEOUT),
            timeout_header(headers, headers::RESPONSE_TIMEOUT),
        ) else {
            return self.problem(400, Some(Code::ARGUMENT_INVALID), "A timeout is not a number of seconds.");
        };
        let request = StreamRequest {
            identity,
            stream,
            connect_timeout: connect.unwrap_or_default(),
            response_timeout: response.filter(|response| !response.is_zero()),
            authority,
        };
        let accepted = |value| {
            let mut answer = Response::new(Full::default());
            answer.headers_mut().insert(headers::IS_ACCEPTED, HeaderValue::from_static(value));
            answer
        };
        match self.initiate(request).await {
            Ok(Outcome::Rejected) => accepted("False"),
            Ok(Outcome::Accepted { url, token }) => {
                let mut answer = accepted("True");
                let (Ok(url), Ok(mut token)) =
                    (HeaderValue::from_str(&url), HeaderValue::from_str(token.expose()))
                else {
                    return self.problem(500, Some(Code(500_001)), "The stream has no URL.");
                };
                token.set_sensitive(true);
                answer.headers_mut().insert(headers::URL, url);
                answer.headers_mut().insert(headers::AUTH_TOKEN, token);
                answer
            }
            Err(InitiateError { failure, waited }) => self.failure(failure, waited),
        }
    }
}

/// Decimal seconds, fractions included \[S]; `Err` when it is something else.
fn timeout_header(headers: &HeaderMap, name: &str) -> Result<Option<Duration>, ()> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok()).ok_or(())?;
    Duration::try_from_secs_f64(seconds).map(Some).map_err(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::RETRY_AFTER;

    #[test]
    fn timeouts() {
        let read = |value: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            timeout_header(&headers, RETRY_AFTER.as_str())
        };
        assert_eq!(read("30"), Ok(Some(Duration::from_secs(30))));
        assert_eq!(read("0.5"), Ok(Some(Duration::from_millis(500))));
        assert_eq!(timeout_header(&HeaderMap::new(), "x"), Ok(None));
        for value in ["", "x", "-1", "NaN", "inf", "1e400"] {
            assert_eq!(read(value), Err(()), "{value}");
        }
    }
}
