//! An emulator that runs for one test.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use iotstream::emulator::{Emulator, Faults, Options};
use iotstream::iothub::{ConnectionString, Identity, Key, Resource, SasToken, UnixSeconds};
use iotstream::secret::Secret;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub type Tls = TlsStream<TcpStream>;

pub struct Running {
    pub dir: tempfile::TempDir,
    pub https: std::net::SocketAddr,
    pub mqtts: std::net::SocketAddr,
    connector: TlsConnector,
    shutdown: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
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
}

impl Running {
    pub async fn new(inject: &str) -> Self {
        Self::at(tempfile::tempdir().unwrap(), inject, &["dev-1", "dev-1/mod"]).await
    }

    pub async fn at(dir: tempfile::TempDir, inject: &str, devices: &[&str]) -> Self {
        let bind = || TcpListener::bind("127.0.0.1:0");
        let identity = |text: &&str| {
            let (device, module) =
                text.split_once('/').map_or((*text, None), |(device, module)| (device, Some(module)));
            Identity::new(device, module).unwrap()
        };
        let options = Options {
            dir: dir.path().to_owned(),
            devices: devices.iter().map(identity).collect(),
            x509_devices: Vec::new(),
            hostnames: vec!["hub.example".into()],
            faults: Faults::parse(inject).unwrap(),
            ..Options::default()
        };
        let emulator = Emulator::open(bind().await.unwrap(), bind().await.unwrap(), options).unwrap();
        let (https, mqtts) = (emulator.https_address(), emulator.mqtts_address());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(dir.path().join("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (shutdown, ended) = oneshot::channel();
        let task = tokio::spawn(emulator.run(async {
            let _ = ended.await;
        }));
        let connector = TlsConnector::from(Arc::new(config));
        Self { dir, https, mqtts, connector, shutdown: Some(shutdown), task: Some(task) }
    }

    /// Ends the emulator, and gives back its directory.
    pub async fn stop(mut self) -> tempfile::TempDir {
        drop(self.shutdown.take());
        self.task.take().unwrap().await.unwrap();
        self.dir
    }

    pub async fn tls(&self, address: std::net::SocketAddr) -> Tls {
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

    /// Asks for a stream, and is answered.
    pub async fn initiate(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let token = self.policy_token("service");
        let mut all = vec![("authorization", token.as_str())];
        all.extend(headers);
        self.request("POST", path, &all, "").await
    }

    pub fn connection_string(&self, file: &str) -> ConnectionString {
        let text = std::fs::read_to_string(self.dir.path().join(file)).unwrap();
        ConnectionString::parse(&text).unwrap()
    }

    pub fn key(&self, file: &str) -> Secret {
        match self.connection_string(file).key {
            Key::Shared(key) => key,
            _ => panic!("no shared key"),
        }
    }

    pub fn policy_token(&self, name: &str) -> String {
        let file = if name == "service" { "service.conn".into() } else { format!("policies/{name}.conn") };
        let hub = self.connection_string(&file).hub;
        let token = SasToken::sign(&Resource::hub(&hub), in_an_hour(), &self.key(&file), Some(name));
        token.unwrap().text().expose().to_owned()
    }

    pub fn device_token(&self, device: &str, module: Option<&str>, expiry: UnixSeconds) -> String {
        let identity = Identity::new(device, module).unwrap();
        let file = format!("devices/{}.conn", iotstream::iothub::encode(&identity.client_id()));
        let hub = self.connection_string(&file).hub;
        let token = SasToken::sign(&Resource::identity(&hub, &identity), expiry, &self.key(&file), None);
        token.unwrap().text().expose().to_owned()
    }
}

pub fn now() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs())
}

pub fn in_an_hour() -> UnixSeconds {
    UnixSeconds(now().0 + 3600)
}

/// Ends a test that hangs.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it takes too long")
}
