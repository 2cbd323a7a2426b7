//! The answers of HTTP and SOCKS proxies, in pieces of any length.
#![no_main]

use iotstream::fuzzing::net::{http_proxy, socks_proxy};
use iotstream_fuzz::{Input, Wire, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (is_socks, has_login) = (input.bit(), input.bit());
    let lengths = input.lengths();
    let answer = input.0.to_vec();
    let ask = |wire: Wire| {
        let connected = run(async {
            if is_socks { socks_proxy(wire, has_login).await } else { http_proxy(wire, has_login).await }
        });
        connected.map(Wire::rest)
    };
    let wire = |lengths: Box<dyn Iterator<Item = usize> + Send>| {
        let answer = answer.clone();
        if is_socks { Wire::new(&answer, lengths) } else { Wire::answering(move |_| answer, lengths) }
    };
    let whole = ask(wire(Box::new(std::iter::repeat(usize::MAX))));
    let pieces = ask(wire(Box::new(lengths)));
    if is_socks {
        assert_eq!(whole, pieces, "pieces change the answer");
        if let Ok(rest) = &whole {
            assert_eq!(
                Some(rest.as_slice()),
                behind_socks(&answer, has_login),
                "bytes behind the answer are lost"
            );
        }
    } else if let (Ok(rest), Ok(_)) = (&whole, &pieces) {
        // Bytes of the server before TLS are refused, if they came with the answer.
        assert!(answer.ends_with(rest));
    }
});

/// What is behind the answers of a SOCKS proxy that connects.
fn behind_socks(answer: &[u8], has_login: bool) -> Option<&[u8]> {
    let rest = match answer {
        [5, 0, rest @ ..] => rest,
        [5, 2, _, 0, rest @ ..] if has_login => rest,
        _ => return None,
    };
    let [5, 0, _, kind, rest @ ..] = rest else { return None };
    let length = match kind {
        1 => 4,
        4 => 16,
        _ => 1 + usize::from(*rest.first()?),
    };
    rest.get(length + 2..)
}
