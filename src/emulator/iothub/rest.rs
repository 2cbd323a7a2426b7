//! The service's REST API: who may ask for what, and initiating streams.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use tokio::time::timeout;

use crate::backend::iothub::proto::{Code, ERROR_CODE, HubFailure, Identity, headers};
use crate::time::clock;

use super::hub::Hub;
use super::policies::Permission;
use super::sessions::random_hex;
use super::streams::{self, Outcome, Unanswered};
use crate::emulator::server::Answer;

/// Bodies here are queries and descriptions of devices.
const MAX_BODY: usize = 64 << 10;
const BODY: Duration = Duration::from_secs(30);

/// What a path is for. Segments are as they came.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    Stream {
        device: &'a str,
        module: Option<&'a str>,
        stream: &'a str,
    },
    Twin {
        device: &'a str,
        module: Option<&'a str>,
    },
    Devices,
    Query,
    Device(&'a str),
    /// Counts of devices, or of those that are connected.
    Statistics(&'a str),
}

impl Route<'_> {
    fn parse(path: &str) -> Option<Route<'_>> {
        let mut segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        // Node's client lists devices at `/devices/`; a stream needs its name.
        if segments.last() == Some(&"") && !segments.contains(&"streams") {
            segments.pop();
        }
        Some(match segments[..] {
            ["twins", device, "streams", stream] => Route::Stream { device, module: None, stream },
            ["twins", device, "modules", module, "streams", stream] => {
                Route::Stream { device, module: Some(module), stream }
            }
            ["twins", device] => Route::Twin { device, module: None },
            ["twins", device, "modules", module] => Route::Twin { device, module: Some(module) },
            ["devices"] => Route::Devices,
            ["devices", "query"] => Route::Query,
            ["devices", device] => Route::Device(device),
            ["statistics", of @ ("devices" | "service")] => Route::Statistics(of),
            _ => return None,
        })
    }

    fn methods(&self) -> &'static str {
        match self {
            Route::Stream { .. } | Route::Query => "POST",
            Route::Devices | Route::Statistics(_) => "GET",
            Route::Twin { .. } => "GET, PATCH, PUT",
            Route::Device(_) => "GET, PUT, DELETE",
        }
    }
}

impl Hub {
    /// Answers a REST request. `authority` is where the client reached the hub.
    pub(super) async fn rest(&self, request: Request<Incoming>, authority: String) -> Answer {
        let (parts, body) = request.into_parts();
        let body = match timeout(BODY, Limited::new(body, MAX_BODY).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return self.problem(413, None, "The body is too large."),
            Err(_) => return self.problem(408, None, "The body did not come in time."),
        };
        let Some(route) = Route::parse(parts.uri.path()) else {
            return self.problem(404, None, "There is no such path.");
        };
        if !route.methods().split(", ").any(|method| method == parts.method.as_str()) {
            let mut answer = self.problem(405, None, "The path does not take this method.");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(route.methods()));
            return answer;
        }
        // Which api-versions a hub takes is its own affair: clients with streams sent six different ones [S].
        let query = parts.uri.query().unwrap_or_default();
        if !query.split('&').any(|pair| pair.strip_prefix("api-version=").is_some_and(|v| !v.is_empty())) {
            return self.problem(400, Some(Code(400_001)), "The api-version is missing.");
        }
        let writes = matches!(parts.method, Method::PUT | Method::DELETE);
        let permissions: &[Permission] = match &route {
            Route::Stream { .. } | Route::Twin { .. } => &[Permission::ServiceConnect],
            Route::Device(_) if writes => &[Permission::RegistryWrite],
            // A choice: the service wants RegistryRead to read, and one policy is enough for the tools here.
            _ => &[Permission::RegistryRead, Permission::ServiceConnect],
        };
        let header = parts.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        if let Err(failure) = self.authorize(header, permissions) {
            log::info!(
                "{} {} is refused: {}",
                parts.method,
                parts.uri.path(),
                failure.message.as_deref().unwrap_or("")
            );
            return self.failure(failure, None);
        }
        match route {
            Route::Stream { device, module, stream } => {
                self.stream(device, module, stream, &parts.headers, authority).await
            }
            Route::Twin { device, module } => self.twin(&parts, device, module, &body),
            Route::Statistics(of) => self.statistics(of),
            Route::Devices => self.all_devices(),
            Route::Query => self.query(&parts.headers, &body),
            Route::Device(id) => self.device(&parts.method, id, &body),
        }
    }

    async fn stream(
        &self,
        device: &str,
        module: Option<&str>,
        stream: &str,
        headers: &HeaderMap,
        authority: String,
    ) -> Answer {
        if let Some(status) = self.faults.status.take() {
            return self.injected(status);
        }
        let Some(identity) = self.identity(device, module) else {
            return self.problem(404, Some(Code::DEVICE_NOT_FOUND), "No device can have this id.");
        };
        let stream = decode(stream);
        if !(1..=128).contains(&stream.len())
            || stream.contains(['/', '+', '#'])
            || stream.contains(char::is_control)
        {
            // The limits of a name are not known; these keep it one level of an MQTT topic.
            return self.problem(400, Some(Code::ARGUMENT_INVALID), "The stream's name is not valid.");
        }
        let (Ok(connect), Ok(response)) = (
            timeout_header(headers, headers::CONNECT_TIMEOUT),
            timeout_header(headers, headers::RESPONSE_TIMEOUT),
        ) else {
            return self.problem(400, Some(Code::ARGUMENT_INVALID), "A timeout is no number of seconds.");
        };
        let request = streams::Request {
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
            Err(unanswered) => {
                let Unanswered { failure, waited } = unanswered;
                self.failure(failure, waited)
            }
        }
    }

    /// The identity a path names. Clients encode ids or send them raw [S]; a raw one may look encoded.
    pub(super) fn identity(&self, device: &str, module: Option<&str>) -> Option<Identity> {
        let decoded = Identity::new(&decode(device), module.map(decode).as_deref()).ok();
        let raw = Identity::new(device, module).ok();
        match (&decoded, raw) {
            (Some(identity), _) if self.registry.get(identity).is_some() => decoded,
            (_, Some(raw)) if self.registry.get(&raw).is_some() => Some(raw),
            (_, raw) => decoded.or(raw),
        }
    }

    /// The answer that `--inject status=` asks for.
    fn injected(&self, status: StatusCode) -> Answer {
        let code = match status.as_u16() {
            401 => Some(Code::UNAUTHORIZED_ACCESS),
            404 => Some(Code::DEVICE_NOT_ONLINE),
            429 => Some(Code::THROTTLED),
            500 => Some(Code(500_001)),
            503 => Some(Code(503_001)),
            504 => Some(Code::GATEWAY_TIMEOUT),
            _ => None,
        };
        let mut answer = self.problem(status.as_u16(), code, "This fault was asked for.");
        let retry_after = match status {
            StatusCode::TOO_MANY_REQUESTS => Some(self.faults.retry_after.unwrap_or(1)),
            StatusCode::SERVICE_UNAVAILABLE => self.faults.retry_after,
            _ => None,
        };
        if let Some(seconds) = retry_after {
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        answer
    }

    pub(super) fn problem(&self, status: u16, code: Option<Code>, message: &str) -> Answer {
        let failure = HubFailure { status, code, message: Some(message.to_owned()), ..HubFailure::default() };
        self.failure(failure, None)
    }

    /// An error answer, in the newer of its two forms [I].
    fn failure(&self, mut failure: HubFailure, waited: Option<Duration>) -> Answer {
        let now = self.faults.clock.now();
        let id = random_hex().unwrap_or_default();
        failure.tracking_id = Some(format!("{id}-G:0-TimeStamp:{}", clock::us_date(now)));
        let mut answer = Response::new(Full::from(failure.body(&clock::iso8601(now), waited)));
        *answer.status_mut() =
            StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        if let Some(name) = failure.code.and_then(Code::name) {
            headers.insert(ERROR_CODE, HeaderValue::from_static(name));
        }
        answer
    }
}

/// `+` stays as it is: an id may hold one and no id holds a space.
fn decode(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// Decimal seconds, fractions included [S]; `Err` when it is something else.
fn timeout_header(headers: &HeaderMap, name: &str) -> Result<Option<Duration>, ()> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok()).ok_or(())?;
    Duration::try_from_secs_f64(seconds).map(Some).map_err(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn routes() {
        assert_eq!(
            Route::parse("/twins/a%23b/streams/ssh"),
            Some(Route::Stream { device: "a%23b", module: None, stream: "ssh" })
        );
        assert_eq!(
            Route::parse("/twins/d/modules/m/streams/ssh"),
            Some(Route::Stream { device: "d", module: Some("m"), stream: "ssh" })
        );
        assert_eq!(Route::parse("/devices/query"), Some(Route::Query));
        assert_eq!(Route::parse("/devices/d"), Some(Route::Device("d")));
        assert_eq!(Route::parse("/twins/d"), Some(Route::Twin { device: "d", module: None }));
        assert_eq!(Route::parse("/twins/d/modules/m"), Some(Route::Twin { device: "d", module: Some("m") }));
        for path in ["", "/", "/devices/d/x", "/twins/d/streams/a/b", "/twins/d/modules", "devices"] {
            assert_eq!(Route::parse(path), None, "{path}");
        }
    }

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

    proptest! {
        #[test]
        fn foreign_paths_do_no_harm(path in ".*") {
            let _ = Route::parse(&path);
            let _ = decode(&path);
        }
    }
}
