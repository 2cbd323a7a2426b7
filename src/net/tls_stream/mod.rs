//! A client's TLS connection. Its implementation is chosen here: nothing else names one.
//!
//! `unbuffered` is ours, over an interface of rustls 0.23 that is removed from rustls' main branch (rustls#2905).
//! `buffered` is what remains; the tests run over it too. To change over, swap the two names below. What that costs, as
//! measured on 2026-11-26 with the bridge of tests/bench (256 MiB each way, medians of 15 interleaved rounds, 2 cores):
//!
//! | | unbuffered | buffered |
//! |---|---|---|
//! | upload, MB/s | 763 | 497 (0.78 of it, round by round) |
//! | download, MB/s | 700 | 655 (0.80) |
//! | CPU of an upload, s/GiB | 0.60 | 0.76 (1.32) |
//! | CPU of a download, s/GiB | 0.71 | 1.09 (1.54) |
//! | a byte there and back, µs | 29.7 | 29.7 (1.00) |
//! | peak memory, KiB | 7,524 | 7,360 (0.98) |
//! | binary, bytes | 5,535,440 | 5,515,336 |
//!
//! A buffer of 68 KiB below tokio-rustls made no difference. Two properties of ours are lost, both beyond what callers
//! need: tokio-rustls may wait forever where the connection holds less than a handshake message in each direction, and it
//! reports an invalid record once and then waits for more.

#[cfg(test)]
mod buffered;
mod unbuffered;

pub(crate) use unbuffered::TlsStream;
#[cfg(feature = "emulator")]
pub(crate) use unbuffered::{ServerStream, accept, peer_certificates};
pub(crate) use unbuffered::{carrier, connect};

#[cfg(test)]
mod tests;
