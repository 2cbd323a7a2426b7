use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Sandbox, serve};

pub type TlsStream = StreamOwned<ServerConnection, TcpStream>;

/// A TLS server on a loopback port, with the name localhost. Returns its port and the file of its certificate.
pub fn serve_tls(sandbox: &Sandbox, answer: impl Fn(TlsStream) + Clone + Send + 'static) -> (u16, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], made.signing_key.into())
        .unwrap();
    let config = Arc::new(config);
    let port = serve(move |stream| {
        answer(StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream));
    });
    (port, sandbox.write("tls.pem", made.cert.pem()))
}

/// Reads the next HTTP request, and returns its head; `None` at the end of the connection.
pub fn http_request(stream: &mut impl Read) -> Option<String> {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        read.push(byte[0]);
    }
    let head = String::from_utf8(read).unwrap();
    let lower_case = head.to_ascii_lowercase();
    let length = lower_case.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    Some(head)
}

/// Sends an HTTP response with further header lines.
pub fn http_answer(stream: &mut impl Write, status: &str, headers: &str, body: &str) {
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}");
    // The client may have disconnected.
    let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
}
