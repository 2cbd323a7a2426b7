//! The part of Azure Resource Manager that clients of relays use: the hybrid connections of a namespace, and the
//! credentials of Arc machines, each of which is a hybrid connection here.

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::hybrid_connection::HybridConnection;
use super::namespace::Namespace;
use crate::backend::relay::proto::{SasToken, UnixSeconds, resource};
use crate::emulator::server::{Answer, Answering, Client, Service};
use crate::time::clock::unix_seconds;

/// How long credentials are valid, in seconds, unless the request says it; and at most.
const LIFE: u64 = 10_800;

/// Azure Resource Manager. Any bearer token is valid.
#[derive(Debug)]
pub(in crate::emulator) struct ResourceManager(pub(in crate::emulator) Arc<Namespace>);

impl Service for ResourceManager {
    fn serves(&self, path: &str) -> bool {
        path.get(.."/subscriptions/".len()).is_some_and(|start| start.eq_ignore_ascii_case("/subscriptions/"))
    }

    fn answer(self: Arc<Self>, request: Request<Incoming>, _: Client) -> Answering {
        Box::pin(async move { self.reply(&request).into() })
    }
}

impl ResourceManager {
    fn reply(&self, request: &Request<Incoming>) -> Answer {
        let bearer = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if bearer.and_then(|bearer| bearer.strip_prefix("Bearer ")).is_none_or(str::is_empty) {
            return problem(
                401,
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
            );
        }
        let path: Vec<String> = request
            .uri()
            .path()
            .trim_matches('/')
            .split('/')
            .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
            .collect();
        let kinds: Vec<String> = path.iter().map(|part| part.to_ascii_lowercase()).collect();
        let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
        match (request.method(), &kinds[..]) {
            (
                &Method::POST,
                [
                    "subscriptions",
                    _,
                    "resourcegroups",
                    _,
                    "providers",
                    "microsoft.hybridcompute",
                    "machines",
                    _,
                    "providers",
                    "microsoft.hybridconnectivity",
                    "endpoints",
                    "default",
                    "listcredentials",
                ],
            ) => self.credentials(&path[7], request.uri().query().unwrap_or_default()),
            (
                &Method::GET,
                [
                    "subscriptions",
                    _,
                    "resourcegroups",
                    _,
                    "providers",
                    "microsoft.relay",
                    "namespaces",
                    _,
                    "hybridconnections",
                ],
            ) => self.list(request.uri().path()),
            _ => problem(404, "ResourceNotFound", "The resource was not found."),
        }
    }

    /// The hybrid connections of the namespace.
    fn list(&self, path: &str) -> Answer {
        let one = |connection: &HybridConnection| {
            let name = connection.entity.to_string().replace('/', "~");
            json!({
                "id": format!("{path}/{name}"),
                "name": name,
                "type": "Microsoft.Relay/Namespaces/HybridConnections",
                "properties": {
                    "listenerCount": connection.listeners.count(),
                    "requiresClientAuthorization": !connection.is_anonymous,
                },
            })
        };
        json_answer(200, &json!({ "value": self.0.connections.iter().map(one).collect::<Vec<_>>() }))
    }

    /// The relay's credentials of the Arc machine that is named like a hybrid connection \[Z].
    fn credentials(&self, machine: &str, query: &str) -> Answer {
        if let Some(status) = self.0.faults.relay.arc.take() {
            let said = match status.as_u16() {
                412 => ("PreconditionFailed", "The service configuration is missing for the endpoint."),
                _ => ("ResourceNotFound", "The endpoint 'default' was not found."),
            };
            return problem(status.as_u16(), said.0, said.1);
        }
        let is_it = |one: &&HybridConnection| one.entity.to_string().eq_ignore_ascii_case(machine);
        let Some(connection) = self.0.connections.iter().find(is_it) else {
            return problem(404, "ResourceNotFound", "The machine was not found.");
        };
        let wanted = query.split('&').find_map(|part| part.strip_prefix("expiresin=")?.parse().ok());
        let expiry =
            UnixSeconds(unix_seconds(self.0.faults.clock.now()).0 + wanted.unwrap_or(LIFE).min(LIFE));
        let namespace = &self.0.address.nearby;
        let rule = &self.0.rules[1];
        let token =
            SasToken::sign(&resource(namespace, Some(&connection.entity)), expiry, rule.name, &rule.key);
        let host = namespace.to_string();
        let (name, suffix) = host
            .split_once('.')
            .filter(|_| !host.starts_with(|c: char| c.is_ascii_digit()))
            .unwrap_or((&host, ""));
        json_answer(
            200,
            &json!({ "relay": {
                "namespaceName": name,
                "namespaceNameSuffix": suffix,
                "hybridConnectionName": connection.entity.to_string(),
                "accessKey": token.text().expose(),
                "expiresOn": expiry.0,
                "serviceConfigurationToken": "e30.e30.e30",
            } }),
        )
    }
}

fn problem(status: u16, code: &str, message: &str) -> Answer {
    json_answer(status, &json!({ "error": { "code": code, "message": message } }))
}

fn json_answer(status: u16, value: &Value) -> Answer {
    let mut answer = Response::new(Full::from(value.to_string()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    answer
}
