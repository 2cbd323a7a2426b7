use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

/// A server on a loopback port, with a thread for each connection.
pub fn serve(connection: impl Fn(TcpStream) + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = connection.clone();
            thread::spawn(move || connection(stream.unwrap()));
        }
    });
    port
}

/// A server that sends back what it reads, and ends when its client does.
pub fn echo() -> u16 {
    serve(|stream| {
        // A client that disconnects ends the copy.
        let _ = io::copy(&mut &stream, &mut &stream);
    })
}

/// A port that nothing listens on.
pub fn closed_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
