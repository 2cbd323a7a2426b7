//! The far end of the benchmark: one TLS server for every peer, so that the client process is what differs.
//!
//! `server DIR` writes `ca.pem` into DIR, prints its ports as `wss=N tls=N tcp=N` and serves until stdin ends. On the
//! wss port a POST is answered as a hub accepting a stream, and `/$hc/…` as a relay whose listener has accepted; then, as
//! first line of a plain connection or as the path of a WebSocket: `sink` counts what comes and answers with one byte, `source/N` sends N bytes, `echo` gives back.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const CHUNK: usize = 64 * 1024;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: server DIR")?;
    let config = tls(Path::new(&directory))?;
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port on loopback"));
    let ports = listeners.each_ref().map(|listener| listener.local_addr().expect("a bound address").port());
    let [wss, tls, tcp] = listeners;
    let (for_wss, for_tls) = (config.clone(), config);
    thread::spawn(move || accept(&wss, move |stream| websocket(encrypted(stream, &for_wss)?)));
    thread::spawn(move || accept(&tls, move |stream| plain(&mut encrypted(stream, &for_tls)?)));
    thread::spawn(move || accept(&tcp, |mut stream| plain(&mut stream)));
    let mut stdout = io::stdout();
    writeln!(stdout, "wss={} tls={} tcp={}", ports[0], ports[1], ports[2])?;
    stdout.flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn tls(directory: &Path) -> Result<Arc<ServerConfig>, Box<dyn std::error::Error>> {
    let key = rcgen::KeyPair::generate()?;
    let certificate =
        rcgen::CertificateParams::new(["localhost".into(), "127.0.0.1".into()])?.self_signed(&key)?;
    std::fs::write(directory.join("ca.pem"), certificate.pem())?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )?;
    Ok(Arc::new(config))
}

fn accept(listener: &TcpListener, serve: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static) {
    for stream in listener.incoming().flatten() {
        let serve = serve.clone();
        // A client that goes away in the middle is the end of that connection only.
        thread::spawn(move || stream.set_nodelay(true).and_then(|()| serve(stream)));
    }
}

fn encrypted(stream: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Tls> {
    let session = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
    Ok(StreamOwned::new(session, Buffered(BufReader::with_capacity(256 * 1024, stream))))
}

type Tls = StreamOwned<ServerConnection, Buffered>;

/// rustls reads 4 KiB at a time: this reads more, and writes straight through.
struct Buffered(BufReader<TcpStream>);

impl Read for Buffered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Buffered {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(buffer)
    }

    fn write_vectored(&mut self, buffers: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.get_mut().write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn line(stream: &mut impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).trim().to_owned())
}

/// What a connection is for.
enum Mode {
    Sink(u64),
    Source(u64),
    Echo,
}

impl Mode {
    fn parse(text: &str) -> io::Result<Self> {
        let (name, count) = text.split_once('/').unwrap_or((text, "0"));
        let count = count.parse().map_err(io::Error::other)?;
        match name {
            "sink" => Ok(Self::Sink(count)),
            "source" => Ok(Self::Source(count)),
            "echo" => Ok(Self::Echo),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

/// A stream of bytes without frames: the mode is its first line.
fn plain(stream: &mut (impl Read + Write)) -> io::Result<()> {
    let mut first = line(stream)?;
    if first.starts_with("CONNECT ") {
        // Some tunnels take any far end for a proxy.
        while !line(stream)?.is_empty() {}
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n")?;
        stream.flush()?;
        first = line(stream)?;
    }
    let mode = Mode::parse(&first)?;
    let mut chunk = vec![0; CHUNK];
    match mode {
        Mode::Sink(mut left) => {
            while left > 0 {
                let count = stream.read(&mut chunk)?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                left = left.saturating_sub(count as u64);
            }
            stream.write_all(b"!")?;
        }
        Mode::Source(mut left) => {
            while left > 0 {
                let count = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
                stream.write_all(&chunk[..count])?;
                left -= count as u64;
            }
        }
        Mode::Echo => loop {
            let count = stream.read(&mut chunk)?;
            if count == 0 {
                return Ok(());
            }
            stream.write_all(&chunk[..count])?;
            stream.flush()?;
        },
    }
    stream.flush()?;
    // Until the client goes.
    io::copy(stream, &mut io::sink()).map(drop)
}

/// HTTP/1.1, as much of it as clients of a hub and of a gateway use.
fn websocket(mut stream: Tls) -> io::Result<()> {
    let request = line(&mut stream)?;
    let (mut key, mut host) = (String::new(), String::new());
    loop {
        let header = line(&mut stream)?;
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':') {
            match &*name.to_ascii_lowercase() {
                "sec-websocket-key" => value.trim().clone_into(&mut key),
                // Whoever came by a longer way is sent by it again.
                "host" => value.trim().clone_into(&mut host),
                _ => {}
            }
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    // The stream's name is the mode, with a dot for a slash.
    let name = path.rsplit('/').next().and_then(|name| name.split('?').next()).unwrap_or_default();
    let mode = name.replace('.', "/");
    if request.starts_with("POST ") {
        write!(
            stream,
            "HTTP/1.1 200 OK\r\niothub-streaming-is-accepted: True\r\niothub-streaming-auth-token: token\r\n\
             iothub-streaming-url: wss://{host}/{mode}\r\nContent-Length: 0\r\n\r\n"
        )?;
        return stream.flush();
    }
    let is_relay = path.starts_with("/$hc/");
    let mode = Mode::parse(if is_relay { &mode } else { path.trim_start_matches('/') })?;
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )?;
    stream.flush()?;
    let mut frames = BufReader::with_capacity(CHUNK, stream);
    let mut chunk = vec![0; CHUNK + 10];
    match mode {
        Mode::Sink(mut left) => {
            while left > 0 {
                let Some((length, _)) = next_frame(&mut frames)? else { return Ok(()) };
                skip(&mut frames, length)?;
                left = left.saturating_sub(length);
            }
            frames.get_mut().write_all(&[0x82, 1, b'!'])?;
        }
        Mode::Source(mut left) => {
            while left > 0 {
                let count = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK - 10);
                chunk[..4].copy_from_slice(&[0x82, 126, count.to_be_bytes()[6], count.to_be_bytes()[7]]);
                if count < 126 {
                    frames.get_mut().write_all(&[0x82, count.to_be_bytes()[7]])?;
                    frames.get_mut().write_all(&chunk[4..4 + count])?;
                } else {
                    frames.get_mut().write_all(&chunk[..4 + count])?;
                }
                left -= count as u64;
            }
        }
        Mode::Echo => {
            while let Some((length, mask)) = next_frame(&mut frames)? {
                let length = usize::try_from(length).map_err(io::Error::other)?.min(CHUNK);
                frames.read_exact(&mut chunk[10..10 + length])?;
                chunk[10..10 + length]
                    .iter_mut()
                    .zip(mask.iter().cycle())
                    .for_each(|(byte, key)| *byte ^= key);
                let start = if length < 126 { 8 } else { 6 };
                chunk[start] = 0x82;
                if length < 126 {
                    chunk[9] = length.to_be_bytes()[7];
                } else {
                    chunk[7] = 126;
                    chunk[8..10].copy_from_slice(&length.to_be_bytes()[6..]);
                }
                frames.get_mut().write_all(&chunk[start..10 + length])?;
                frames.get_mut().flush()?;
            }
        }
    }
    frames.get_mut().flush()?;
    while let Some((length, _)) = next_frame(&mut frames)? {
        skip(&mut frames, length)?;
    }
    Ok(())
}

/// The length and the key of the next data frame; `None` at a close, which is answered.
fn next_frame(frames: &mut BufReader<Tls>) -> io::Result<Option<(u64, [u8; 4])>> {
    loop {
        let mut head = [0; 2];
        frames.read_exact(&mut head)?;
        let length = match head[1] & 0x7f {
            126 => {
                let mut length = [0; 2];
                frames.read_exact(&mut length)?;
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                frames.read_exact(&mut length)?;
                u64::from_be_bytes(length)
            }
            length => u64::from(length),
        };
        let mut mask = [0; 4];
        frames.read_exact(&mut mask)?;
        match head[0] & 0x0f {
            0..=2 => return Ok(Some((length, mask))),
            8 => {
                frames.get_mut().write_all(&[0x88, 0])?;
                frames.get_mut().conn.send_close_notify();
                frames.get_mut().flush()?;
                return Ok(None);
            }
            _ => skip(frames, length)?,
        }
    }
}

fn skip(frames: &mut BufReader<Tls>, mut left: u64) -> io::Result<()> {
    while left > 0 {
        let there = frames.fill_buf()?.len();
        if there == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let count = there.min(usize::try_from(left).unwrap_or(there));
        frames.consume(count);
        left -= count as u64;
    }
    Ok(())
}
