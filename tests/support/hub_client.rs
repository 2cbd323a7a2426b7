//! A client of a hub that shares no code with the project's own: HTTP by hyper, WebSockets by tungstenite, TLS by
//! tokio-rustls.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::Hub;
use super::sas::{self, field, in_an_hour, percent_encoded};

pub type Tls = TlsStream<TcpStream>;

pub struct HubClient {
    /// The hub's directory, with its connection strings.
    pub dir: PathBuf,
    pub https: SocketAddr,
    pub mqtts: SocketAddr,
    connector: TlsConnector,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The string of JSON within the JSON of an error.
    pub fn failure(&self) -> serde_json::Value {
        serde_json::from_str(self.json()["Message"].as_str().unwrap()).unwrap()
    }

    pub fn code(&self) -> u64 {
        self.failure()["errorCode"].as_u64().unwrap()
    }

    /// The gateway's URL and token for the service, of an accepted stream.
    pub fn service_side(&self) -> (&str, &str) {
        assert_eq!(self.header("iothub-streaming-is-accepted"), Some("True"));
        (self.header("iothub-streaming-url").unwrap(), self.header("iothub-streaming-auth-token").unwrap())
    }
}

impl HubClient {
    pub fn new(hub: &Hub) -> Self {
        Self::with_certificate(hub, None)
    }

    /// One that shows a certificate: the chain, its own first, and the key.
    pub fn with_certificate(
        hub: &Hub,
        certificate: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(hub.dir.join("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match certificate {
            Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
            None => config.with_no_client_auth(),
        };
        Self {
            dir: hub.dir.clone(),
            https: hub.https.parse().unwrap(),
            mqtts: hub.mqtts.parse().unwrap(),
            connector: TlsConnector::from(Arc::new(config)),
        }
    }

    pub async fn tls(&self, address: SocketAddr) -> Tls {
        let tcp = TcpStream::connect(address).await.unwrap();
        Box::pin(self.connector.connect(ServerName::try_from("localhost").unwrap(), tcp)).await.unwrap()
    }

    /// Sends a request on a connection of its own; `None` when the connection ends without an answer.
    pub async fn try_request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Answer> {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(self.tls(self.https).await)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", self.https.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let (parts, body) = sender.send_request(request).await.ok()?.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        drop(sender);
        connection.await.unwrap().unwrap();
        Some(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.try_request(method, path, headers, body).await.unwrap()
    }

    /// A request signed by the policy `name`.
    pub async fn as_policy(&self, name: &str, method: &str, path: &str, body: &str) -> Answer {
        let token = self.policy_token(name);
        self.request(method, path, &[("authorization", &token)], body).await
    }

    /// Asks for a stream.
    pub async fn initiate(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let token = self.policy_token("service");
        let mut all = vec![("authorization", token.as_str())];
        all.extend(headers);
        self.request("POST", path, &all, "").await
    }

    /// A WebSocket to a path of the HTTPS port, or the status it is refused with.
    pub async fn websocket(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(WebSocketStream<Tls>, HeaderMap), u16> {
        let mut request = format!("wss://{}{path}", self.https).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        match soon(Box::pin(client_async(request, self.tls(self.https).await))).await {
            Ok((websocket, answer)) => Ok((websocket, answer.headers().clone())),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Joins a stream at the gateway, or returns the status it is refused with.
    pub async fn join(&self, url: &str, token: &str) -> Result<WebSocketStream<Tls>, u16> {
        let path = url.strip_prefix("wss://").unwrap().split_once('/').unwrap().1;
        let bearer = format!("Bearer {token}");
        Ok(self.websocket(&format!("/{path}"), &[("authorization", &bearer)]).await?.0)
    }

    pub fn connection_string(&self, file: &str) -> String {
        fs::read_to_string(self.dir.join(file)).unwrap()
    }

    /// The hub's name in a connection string, which tokens are signed for.
    pub fn name_in(&self, file: &str) -> String {
        field(&self.connection_string(file), "HostName").split(':').next().unwrap().to_owned()
    }

    pub fn key(&self, file: &str) -> String {
        field(&self.connection_string(file), "SharedAccessKey").to_owned()
    }

    pub fn policy_token(&self, name: &str) -> String {
        let file = policy_file(name);
        sas::token(&self.name_in(&file), &self.key(&file), in_an_hour(), Some(name))
    }

    /// A token for a device, signed with a policy's key.
    pub fn policy_token_for_device(&self, policy: &str, device: &str) -> String {
        let file = policy_file(policy);
        let resource = format!("{}/devices/{device}", self.name_in("service.conn"));
        sas::token(&resource, &self.key(&file), in_an_hour(), Some(policy))
    }

    pub fn device_token(&self, device: &str, module: Option<&str>, expiry: u64) -> String {
        let client_id = module.map_or_else(|| device.to_owned(), |module| format!("{device}/{module}"));
        let file = format!("devices/{}.conn", percent_encoded(&client_id));
        let mut resource = format!("{}/devices/{device}", self.name_in(&file));
        if let Some(module) = module {
            resource += &format!("/modules/{module}");
        }
        sas::token(&resource, &self.key(&file), expiry, None)
    }
}

fn policy_file(policy: &str) -> String {
    if policy == "service" { "service.conn".into() } else { format!("policies/{policy}.conn") }
}

/// Ends a test that hangs.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it takes too long")
}
