//! Servers of the device.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::support::{LIMIT, eventually};

/// Waits until another program listens.
#[track_caller]
pub fn listens(address: &str) {
    eventually(LIMIT, || TcpStream::connect(address).map_err(|error| error.to_string()));
}

/// A web server whose only page is `text`, until the test ends.
pub fn web(address: &str, text: &'static str) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let request = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                // A client may ask for nothing and disconnect.
                if request.take_while(|line| !line.is_empty()).count() > 0 {
                    let _ = write!(
                        stream,
                        "HTTP/1.0 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                        text.len()
                    );
                }
            });
        }
    });
}
