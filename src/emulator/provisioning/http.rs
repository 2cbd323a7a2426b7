//! The service over HTTPS.

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use uuid::Uuid;

use super::faults::RequestFault;
use super::problem::Problem;
use super::request::{Action, MAX_BODY, Proof, Request};
use super::service::Provisioning;
use crate::backend::provisioning::dps::proto::RegistrationId;
use crate::emulator::server::{self, Answering, Client, Reply, Service, whole};

/// The text of [`RequestFault::Garbage`].
pub(super) const GARBAGE: &str = "<html><body>Please sign in to the network.</body></html>";

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");

/// The parts of a path, as sent.
struct Path<'a> {
    scope: &'a str,
    id: &'a str,
    /// What follows the id.
    rest: Vec<&'a str>,
}

impl<'a> Path<'a> {
    /// Reads `/{scope}/registrations/{id}[/…]`; `None` for a path of another service.
    fn parse(path: &'a str) -> Option<Self> {
        let mut parts = path.strip_prefix('/')?.split('/');
        let (scope, registrations, id) = (parts.next()?, parts.next()?, parts.next()?);
        // A device or a twin may be called `registrations`.
        let is_ours =
            registrations.eq_ignore_ascii_case("registrations") && !["devices", "twins"].contains(&scope);
        is_ours.then(|| Self { scope, id, rest: parts.collect() })
    }
}

/// What a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'a> {
    Register,
    /// With the id of the operation, as sent.
    Poll(&'a str),
    LookUp,
}

impl Service for Provisioning {
    fn serves(&self, path: &str) -> bool {
        Path::parse(path).is_some()
    }

    fn answer(self: Arc<Self>, request: hyper::Request<Incoming>, client: Client) -> Answering {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            if let Some(fault) = self.faults.provisioning.request.take() {
                log::info!("dps: {} {}: {fault:?}", parts.method, parts.uri.path());
                return match fault {
                    RequestFault::Silent => pending().await,
                    RequestFault::Drop => Reply::Drop,
                    RequestFault::Garbage => {
                        let mut answer = Response::new(Full::from(GARBAGE));
                        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
                        answer.into()
                    }
                };
            }
            let answer = match self.read(&parts, body).await {
                Ok((id, route, body)) => self.answer_http(&parts, &id, route, &body, &client),
                Err(problem) => {
                    let status = problem.status.as_u16();
                    log::info!("dps: {} {}: {status} {}", parts.method, parts.uri.path(), problem.message);
                    Err(problem)
                }
            };
            answer.unwrap_or_else(|problem| self.refuse(&problem)).into()
        })
    }
}

impl Provisioning {
    /// Reads a request, and checks everything of it but its proof and its body.
    async fn read<'a>(
        &self,
        parts: &'a Parts,
        body: Incoming,
    ) -> Result<(RegistrationId, Route<'a>, Bytes), Problem> {
        let (id, route) = self.route(parts)?;
        let body = whole(body, MAX_BODY).await.map_err(|(status, message)| {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            Problem::of_status(status, message, 0)
        })?;
        Ok((id, route, body))
    }

    fn answer_http(
        &self,
        parts: &Parts,
        id: &RegistrationId,
        route: Route<'_>,
        body: &[u8],
        client: &Client,
    ) -> Result<server::Answer, Problem> {
        let action = match route {
            Route::Register => Action::Register(body),
            Route::Poll(operation) => Action::Poll(decoded(operation)),
            Route::LookUp => Action::LookUp(body),
        };
        let token = parts.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let proof = Proof { token, certificate: client.certificate.as_ref() };
        let found = self.respond(&Request { id, proof, action })?;
        let mut answer = json_answer(found.status, &found.body);
        let headers = answer.headers_mut();
        if let Some(seconds) = found.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if route == Route::Register {
            let authority = client.authority.clone().unwrap_or_else(|| self.hub.name());
            let location = format!("https://{authority}{}", parts.uri.path());
            if let Ok(location) = HeaderValue::from_str(&location) {
                headers.insert(LOCATION, location);
            }
        }
        Ok(answer)
    }

    /// The registration and the action that a request is for.
    fn route<'a>(&self, parts: &'a Parts) -> Result<(RegistrationId, Route<'a>), Problem> {
        let not_found = || Problem::not_found("There is no such path.");
        let Path { scope, id, rest } = Path::parse(parts.uri.path()).ok_or_else(not_found)?;
        let (route, method) = match rest[..] {
            ["register"] => (Route::Register, "PUT"),
            ["operations", operation] => (Route::Poll(operation), "GET"),
            [] => (Route::LookUp, "POST"),
            _ => return Err(not_found()),
        };
        if parts.method != method {
            return Err(Problem::wrong_method(method));
        }
        // Any api-version will do: clients send five different ones [S].
        let query = parts.uri.query().unwrap_or_default();
        if !query.split('&').any(|pair| pair.strip_prefix("api-version=").is_some_and(|v| !v.is_empty())) {
            return Err(Problem::bad_request("The api-version is missing."));
        }
        if !decoded(scope).eq_ignore_ascii_case(&self.enrolments.scope) {
            return Err(Problem::not_found("There is no such id scope."));
        }
        let id = decoded(id).parse().map_err(|problem| Problem::bad_request(format!("{problem}.")))?;
        Ok((id, route))
    }

    fn refuse(&self, problem: &Problem) -> server::Answer {
        let mut answer = json_answer(problem.status, &problem.body(self.faults.clock.now()));
        let headers = answer.headers_mut();
        headers.insert(ERROR_CODE, problem.code.into());
        if let Some(method) = problem.allow {
            headers.insert(ALLOW, HeaderValue::from_static(method));
        }
        if let Some(seconds) = problem.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        answer
    }
}

fn json_answer(status: StatusCode, body: &Value) -> server::Answer {
    let mut answer = Response::new(Full::from(body.to_string()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    if let Ok(id) = HeaderValue::from_str(&Uuid::new_v4().to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    answer
}

fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_other_services_are_left_to_them() {
        for path in ["/0ne1/registrations/a", "/0ne1/Registrations/a/register", "/x/registrations/a/b/c"] {
            assert!(Path::parse(path).is_some(), "{path}");
        }
        for path in [
            "/",
            "/0ne1/registrations",
            "/devices/registrations/x",
            "/twins/registrations/streams/ssh",
            "/bridges/a/b",
            "/$iothub/websocket",
        ] {
            assert!(Path::parse(path).is_none(), "{path}");
        }
    }
}
