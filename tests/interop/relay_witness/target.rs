//! A target that sends before or after the user's end, and remembers what it has seen.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::PATIENCE;
use crate::support::{random, serve};

/// What a target sends.
#[derive(Clone, Copy)]
pub struct Play {
    first: usize,
    /// After the user's end; without it, the target ends after `first`.
    after: Option<usize>,
}

impl Play {
    pub fn at_once(bytes: usize) -> Self {
        Self { first: bytes, after: None }
    }

    pub fn after_the_end(bytes: usize) -> Self {
        Self { first: 0, after: Some(bytes) }
    }

    pub fn both(bytes: usize) -> Self {
        Self { first: bytes, after: Some(bytes) }
    }
}

/// One byte, and no end before the user's.
pub fn kept() -> Play {
    Play { first: 1, after: Some(0) }
}

/// A connection of a target, after its end.
pub struct Seen {
    pub sent: Vec<u8>,
    pub received: Vec<u8>,
    /// The user's bytes ended, and the connection was not reset.
    pub in_order: bool,
}

pub struct Target {
    pub port: u16,
    seen: Receiver<Seen>,
}

impl Target {
    pub fn start(play: Play) -> Self {
        let (tell, seen) = mpsc::channel();
        let port = serve(move |connection| {
            // The test may not ask.
            let _ = tell.send(perform(connection, play));
        });
        Self { port, seen }
    }

    /// The next connection that ends.
    #[track_caller]
    pub fn seen(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("the target's connection ends")
    }

    /// What it received, to the end.
    #[track_caller]
    pub fn seen_in_order(&self) -> Vec<u8> {
        let seen = self.seen();
        assert!(seen.in_order, "the target's connection was reset");
        seen.received
    }
}

fn perform(connection: TcpStream, play: Play) -> Seen {
    let mut sent = random(play.first);
    let writing = thread::spawn({
        let (mut connection, first) = (connection.try_clone().unwrap(), sent.clone());
        // A stream that is cut is seen where it is read.
        move || {
            let _ = connection.write_all(&first);
            if play.after.is_none() {
                let _ = connection.shutdown(Shutdown::Write);
            }
        }
    });
    let mut received = Vec::new();
    let in_order = (&connection).read_to_end(&mut received).is_ok();
    writing.join().unwrap();
    if let (Some(after), true) = (play.after, in_order) {
        let after = random(after);
        let _ = (&connection).write_all(&after);
        let _ = connection.shutdown(Shutdown::Write);
        sent.extend(after);
    }
    Seen { sent, received, in_order }
}
