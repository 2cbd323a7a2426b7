//! A client of hybrid connections that shares no code with the project's own: HTTP by hand, so that reason phrases and
//! the case of headers can be seen, WebSockets by tungstenite, TLS by tokio-rustls.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use data_encoding::BASE64;
use futures_util::{SinkExt, StreamExt};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use super::Hub;
use super::hub_client::{HubClient, Tls, soon};
use super::sas::{field, in_an_hour, percent_encoded};

pub type WebSocket = WebSocketStream<Tls>;

pub struct RelayClient {
    pub hub: HubClient,
    pub dir: PathBuf,
    /// The control endpoint.
    pub https: SocketAddr,
}

/// An answer that is no 101.
#[derive(Debug)]
pub struct Refused {
    pub status: u16,
    pub reason: String,
}

/// A WebSocket and the head of its 101.
#[derive(Debug)]
pub struct Upgraded {
    pub websocket: WebSocket,
    pub head: String,
}

impl Upgraded {
    /// The value of a header of the 101.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl RelayClient {
    pub fn new(hub: &Hub) -> Self {
        let client = HubClient::new(hub);
        Self { dir: hub.dir.clone(), https: client.https, hub: client }
    }

    /// The content of a connection string's file in the directory `relay`.
    pub fn connection_string(&self, file: &str) -> String {
        fs::read_to_string(self.dir.join("relay").join(file)).unwrap()
    }

    /// A token for `uri`, signed with the rule in `file`.
    pub fn token(&self, file: &str, uri: &str, expiry: u64) -> String {
        let string = self.connection_string(file);
        let (rule, key) = (field(&string, "SharedAccessKeyName"), field(&string, "SharedAccessKey"));
        token(&percent_encoded(uri), key, expiry, rule)
    }

    /// A token for the namespace that lets anybody send.
    pub fn send_token(&self) -> String {
        self.token("send.conn", "http://localhost/", in_an_hour())
    }

    pub fn listen_token(&self, entity: &str) -> String {
        let file = format!("{}.listen.conn", percent_encoded(entity));
        self.token(&file, &format!("http://localhost/{entity}/"), in_an_hour())
    }

    /// Opens a WebSocket; `headers` are whole lines.
    pub async fn open(&self, at: SocketAddr, path: &str, headers: &[&str]) -> Result<Upgraded, Refused> {
        soon(async {
            let mut io = self.hub.tls(at).await;
            let more: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: localhost:443\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
            );
            io.write_all(request.as_bytes()).await.unwrap();
            let head = read_head(&mut io).await;
            let (status, reason) = status_line(&head);
            match status {
                101 => {
                    let websocket = WebSocketStream::from_raw_socket(io, Role::Client, None).await;
                    Ok(Upgraded { websocket, head })
                }
                status => Err(Refused { status, reason: reason.to_owned() }),
            }
        })
        .await
    }

    /// A listener with this id.
    pub async fn listen(&self, entity: &str, id: &str) -> Result<WebSocket, Refused> {
        let token = format!("ServiceBusAuthorization: {}", self.listen_token(entity));
        let path = format!("/$hc/{entity}?sb-hc-action=listen&sb-hc-id={id}");
        Ok(self.open(self.https, &path, &[&token]).await?.websocket)
    }

    /// A sender, once a listener has accepted.
    pub async fn connect(&self, path: &str, headers: &[&str]) -> Result<Upgraded, Refused> {
        let token = format!("ServiceBusAuthorization: {}", self.send_token());
        let mut all = vec![token.as_str()];
        all.extend(headers);
        self.open(self.https, &format!("/$hc/{path}"), &all).await
    }

    /// Dials the address of a rendezvous, with more after it.
    pub async fn dial(&self, address: &str, more: &str, headers: &[&str]) -> Result<Upgraded, Refused> {
        let (host, path) = address.strip_prefix("wss://").unwrap().split_once('/').unwrap();
        let port = host.rsplit_once(':').unwrap().1;
        let at = format!("127.0.0.1:{port}").parse().unwrap();
        self.open(at, &format!("/{path}{more}"), headers).await
    }

    /// The sender's and the listener's end of a stream.
    pub async fn stream(&self, control: &mut WebSocket, path: &str) -> (WebSocket, WebSocket) {
        let accepting = async {
            let address = accept_message(control).await["address"].as_str().unwrap().to_owned();
            self.dial(&address, "", &[]).await.unwrap().websocket
        };
        let (sender, listener) = tokio::join!(self.connect(path, &[]), accepting);
        (sender.unwrap().websocket, listener)
    }
}

async fn read_head(io: &mut Tls) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match io.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&head)),
        }
    }
    String::from_utf8(head).unwrap()
}

/// A token over `sr`, which is encoded. The key is text.
pub fn token(sr: &str, key: &str, expiry: u64, rule: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(format!("{sr}\n{expiry}").as_bytes());
    let signature = percent_encoded(&BASE64.encode(&mac.finalize().into_bytes()));
    format!("SharedAccessSignature sr={sr}&sig={signature}&se={expiry}&skn={rule}")
}

/// The next message of a control channel.
pub async fn control_message(control: &mut WebSocket) -> Value {
    loop {
        match soon(control.next()).await {
            Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The content of the next accept message.
pub async fn accept_message(control: &mut WebSocket) -> Value {
    let mut message = control_message(control).await;
    let accept = message["accept"].take();
    assert!(accept.is_object(), "{message}");
    accept
}

/// Sends a token over a control channel.
pub async fn renew(control: &mut WebSocket, token: &str) {
    let message = serde_json::json!({ "renewToken": { "token": token } });
    control.send(Message::text(message.to_string())).await.unwrap();
}

/// Sends a request, and reads the answer's head.
pub async fn request(io: &mut Tls, request: &str) -> Refused {
    soon(async {
        io.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(io).await;
        let (status, reason) = status_line(&head);
        Refused { status, reason: reason.to_owned() }
    })
    .await
}

fn status_line(head: &str) -> (u16, &str) {
    let line = head.lines().next().unwrap_or_default();
    let line = line.strip_prefix("HTTP/1.1 ").unwrap();
    let (status, reason) = line.split_once(' ').unwrap_or((line, ""));
    (status.parse().unwrap(), reason)
}
