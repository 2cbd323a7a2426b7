//! The exchange of azbridge's preamble on a joined stream.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::time::timeout;

use super::proto::preamble::{ANSWER, Answer, HEAD, is_of_datagrams, name_length, proposal};
use crate::backend::Joined;
use crate::text::duration;
use crate::tunnel::{Close, End, Exchange, Remote};

/// Why the exchange failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The name does not fit a proposal.
    #[error("the port's name is longer than 255 bytes")]
    LongName,
    /// The other side knows another version or mode of the preamble, or none.
    #[error("the other side does not understand version 1.0 of azbridge's preamble")]
    UnknownVersion,
    /// The listener's port takes datagrams.
    #[error("the port takes datagrams (UDP), and a stream was asked for")]
    TakesDatagrams,
    /// The sender asks for datagrams, or the listener takes the request for one.
    #[error("the port takes a stream, and datagrams (UDP) were asked for")]
    TakesStream,
    /// The listener closed without an answer.
    #[error("the listener closed the stream without an answer: it has no port of that name")]
    UnknownPort,
    /// The listener's answer is none of azbridge's.
    #[error("the listener answers azbridge's preamble with {}", Hexadecimal(.0))]
    UnknownAnswer([u8; ANSWER]),
    /// The sender's name is not UTF-8.
    #[error("the sender's name of a port is not UTF-8")]
    BadName,
    /// The stream ended during the exchange.
    #[error("the stream ended during azbridge's preamble: {}", told(.0))]
    Ended(End),
    /// The other side was silent.
    #[error("azbridge's preamble is missing: nothing was received for {}", duration::show(*.0))]
    Late(Duration),
}

/// Bytes in hexadecimal.
struct Hexadecimal<'a>(&'a [u8]);

impl fmt::Display for Hexadecimal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(at, byte)| {
            let space = if at > 0 { " " } else { "" };
            write!(f, "{space}{byte:02x}")
        })
    }
}

fn told(end: &End) -> String {
    match end {
        End::Cut(error) => error.to_string(),
        End::Violation(what) => format!("the gateway sent {what}"),
        End::Peer(close) | End::PeerFailed(close) => match close.code {
            Some(code) => format!("it was closed with {code} {}", close.reason).trim_end().to_owned(),
            None => "it was closed".into(),
        },
        end => format!("{end:?}"),
    }
}

type Connection = Box<dyn Remote + Send>;

fn lost(error: io::Error) -> Refused {
    Refused::Ended(End::Cut(error))
}

/// Asks the listener for a stream to its port `name`, and waits at most `limit` for the answer. The stream that is returned
/// begins behind the answer.
///
/// Not cancel-safe: dropping the future drops the stream.
///
/// # Errors
/// Returns why there is no stream to that port.
pub(crate) async fn propose(joined: Joined, name: &str, limit: Duration) -> Result<Joined, Refused> {
    let proposal = proposal(name).ok_or(Refused::LongName)?;
    let Joined { io, early, going_away_is_end } = joined;
    let mut exchange = Exchange::new(io, &early);
    let asking = async {
        exchange.send(&proposal).await.map_err(lost)?;
        let mut answer = [0; ANSWER];
        match exchange.read_exact(&mut answer).await {
            Ok(()) => Ok(answer),
            Err(End::Peer(_)) => Err(Refused::UnknownPort),
            Err(end) => Err(Refused::Ended(end)),
        }
    };
    let answer = timeout(limit, asking).await.map_err(|_| Refused::Late(limit))??;
    match Answer::of(answer) {
        Some(Answer::Go) => {
            let (io, early) = exchange.into_parts();
            Ok(Joined { io, early, going_away_is_end })
        }
        Some(Answer::UnknownVersion) => Err(Refused::UnknownVersion),
        Some(Answer::TakesDatagrams) => Err(Refused::TakesDatagrams),
        Some(Answer::TakesStream) => Err(Refused::TakesStream),
        None => Err(Refused::UnknownAnswer(answer)),
    }
}

/// A sender's request for a stream to a port. Dropping it drops the stream.
pub(crate) struct Proposal {
    /// The port's name.
    pub(crate) name: String,
    exchange: Exchange<Connection>,
    going_away_is_end: bool,
}

/// Waits at most `limit` for the sender's request. A request that this listener cannot serve is answered and closed.
///
/// Not cancel-safe: dropping the future drops the stream.
///
/// # Errors
/// Returns why there is no request to serve.
pub(crate) async fn hear(joined: Joined, limit: Duration) -> Result<Proposal, Refused> {
    let Joined { io, early, going_away_is_end } = joined;
    let mut exchange = Exchange::new(io, &early);
    let hearing = async {
        let mut head = [0; HEAD];
        exchange.read_exact(&mut head).await?;
        let Ok(length) = name_length(head) else { return Ok(Err(Refused::UnknownVersion)) };
        let mut name = vec![0; length];
        exchange.read_exact(&mut name).await?;
        if is_of_datagrams(head) {
            return Ok(Err(Refused::TakesStream));
        }
        Ok(String::from_utf8(name).map_err(|_| Refused::BadName))
    };
    let heard = timeout(limit, hearing).await.map_err(|_| Refused::Late(limit))?.map_err(Refused::Ended)?;
    let refused = match heard {
        Ok(name) => return Ok(Proposal { name, exchange, going_away_is_end }),
        Err(refused) => refused,
    };
    let answer = match refused {
        Refused::UnknownVersion => Some(Answer::UnknownVersion),
        Refused::TakesStream => Some(Answer::TakesStream),
        _ => None,
    };
    end(exchange, answer).await;
    Err(refused)
}

impl Proposal {
    /// Tells the sender that the stream begins. Not cancel-safe.
    ///
    /// # Errors
    /// Returns the connection's error.
    pub(crate) async fn go(mut self) -> io::Result<Joined> {
        self.exchange.send(&Answer::Go.bytes()).await?;
        let (io, early) = self.exchange.into_parts();
        Ok(Joined { io, early, going_away_is_end: self.going_away_is_end })
    }

    /// Closes the stream without an answer, as azbridge does for a port that it does not know \[B].
    pub(crate) async fn refuse(self) {
        end(self.exchange, None).await;
    }
}

async fn end(mut exchange: Exchange<Connection>, answer: Option<Answer>) {
    if let Some(answer) = answer {
        // Fails if the sender has gone.
        let _ = exchange.send(&answer.bytes()).await;
    }
    exchange.close(&Close::new(Close::NORMAL, "")).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const LIMIT: Duration = Duration::from_secs(20);

    fn joined(early: &'static [u8]) -> (Joined, DuplexStream) {
        let (ours, peer) = duplex(65_536);
        (Joined { io: Box::new(ours), early: early.into(), going_away_is_end: false }, peer)
    }

    /// A server's frame.
    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        [&[0x80 | opcode, u8::try_from(payload.len()).unwrap()][..], payload].concat()
    }

    /// Reads one short frame of ours. Returns its first byte and its payload.
    async fn heard(peer: &mut DuplexStream) -> (u8, Vec<u8>) {
        let (first, length) = (peer.read_u8().await.unwrap(), peer.read_u8().await.unwrap() & 0x7f);
        let mut key = [0; 4];
        peer.read_exact(&mut key).await.unwrap();
        let mut payload = vec![0; length.into()];
        peer.read_exact(&mut payload).await.unwrap();
        payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        (first, payload)
    }

    /// The result of a proposal that the listener answers with `wire`, and then with the end of its connection.
    async fn proposed(wire: &[u8]) -> Result<Joined, Refused> {
        let (stream, mut peer) = joined(b"");
        peer.write_all(wire).await.unwrap();
        let listener = async {
            assert_eq!(heard(&mut peer).await, (0x82, b"\x01\0\0\x0222".to_vec()));
            drop(peer);
        };
        tokio::join!(propose(stream, "22", LIMIT), listener).0
    }

    #[tokio::test]
    async fn a_proposal_waits_for_the_answer_and_keeps_what_follows() {
        let wire = [frame(2, &[1]), frame(9, b"ping"), frame(2, b"\0\0SSH-2.0")].concat();
        let joined = proposed(&wire).await.unwrap();
        assert_eq!(joined.early[joined.early.len() - 7..], *b"SSH-2.0");
        assert_eq!(joined.early[..2], [0x82, 127]);
    }

    #[tokio::test]
    async fn each_refusal_has_its_error() {
        let refused = async |wire: &[u8]| proposed(wire).await.unwrap_err();
        assert!(matches!(refused(&frame(2, &[0, 0, 0])).await, Refused::UnknownVersion));
        assert!(matches!(refused(&frame(2, &[0, 0, 1])).await, Refused::TakesDatagrams));
        assert!(matches!(refused(&frame(2, &[0, 0, 0xff])).await, Refused::TakesStream));
        assert!(matches!(refused(&frame(8, &[3, 0xe8])).await, Refused::UnknownPort));
        let answer = refused(&frame(2, b"SSH")).await;
        assert_eq!(answer.to_string(), "the listener answers azbridge's preamble with 53 53 48");
        let closed = refused(&frame(8, b"\x03\xf3no")).await;
        assert_eq!(
            closed.to_string(),
            "the stream ended during azbridge's preamble: it was closed with 1011 no"
        );
        let cut = refused(b"").await;
        assert!(cut.to_string().ends_with(": it was closed without a Close"), "{cut}");
        let (stream, _peer) = joined(b"");
        assert!(matches!(propose(stream, &"x".repeat(256), LIMIT).await, Err(Refused::LongName)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_side_is_not_waited_for() {
        let (stream, _peer) = joined(b"");
        assert!(matches!(propose(stream, "22", LIMIT).await, Err(Refused::Late(LIMIT))));
        let (stream, _peer) = joined(b"\x82\x01\x01");
        assert!(matches!(hear(stream, LIMIT).await, Err(Refused::Late(LIMIT))));
    }

    #[tokio::test]
    async fn both_halves_understand_each_other() {
        let (stream, mut peer) = joined(b"\x82\x04\x01\0\0\x02\x82\x0522abc");
        let proposal = hear(stream, LIMIT).await.unwrap();
        assert_eq!(proposal.name, "22");
        let joined = proposal.go().await.unwrap();
        assert_eq!(heard(&mut peer).await, (0x82, vec![1, 0, 0]));
        assert!(joined.early.ends_with(b"abc"));
    }

    #[tokio::test]
    async fn a_request_that_cannot_be_served_is_answered_and_closed() {
        for (request, answer) in [
            (&b"\x82\x07\x01\0\x01\x03abc"[..], Some(vec![0, 0, 0xff])),
            (b"\x82\x04\x02\0\0\x03", Some(vec![0, 0, 0])),
            (b"\x82\x05\x01\0\0\x01\xff", None),
        ] {
            let (stream, mut peer) = joined(request);
            let sender = async {
                if let Some(answer) = answer {
                    assert_eq!(heard(&mut peer).await, (0x82, answer), "{request:?}");
                }
                assert_eq!(heard(&mut peer).await, (0x88, vec![3, 0xe8]), "{request:?}");
                drop(peer);
            };
            let (refused, ()) = tokio::join!(hear(stream, LIMIT), sender);
            assert!(refused.is_err(), "{request:?}");
        }
        let (stream, mut peer) = joined(b"\x82\x05\x01\0\0\x01x");
        let proposal = hear(stream, LIMIT).await.unwrap();
        let sender = async {
            assert_eq!(heard(&mut peer).await, (0x88, vec![3, 0xe8]));
            drop(peer);
        };
        tokio::join!(proposal.refuse(), sender);
    }
}
