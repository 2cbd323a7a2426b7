//! A device's session of MQTT with a hub that sends anything, in pieces of any length. The hub's packets are either the
//! input itself, or publishes made of it.
#![no_main]

use iotstream::fuzzing::mqtt::{Session, TOKEN, session};
use iotstream_fuzz::{Input, Wire, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (mode, most) = (input.byte(), usize::from(input.byte() % 100));
    let lengths = input.lengths();
    let (mut wire, mut offers) = (Vec::new(), Vec::new());
    if mode & 1 == 1 {
        // The login and the subscription are accepted.
        wire.extend_from_slice(&[0x20, 2, 0, 0, 0x90, 4, 0, 1, 0, 0]);
    }
    if mode & 2 == 2 {
        let mut id = 0u16;
        while !input.is_empty() {
            let (qos, topic, payload) = (input.byte() % 3, input.text(), input.counted());
            // A packet of QoS 2 has another course.
            let qos = qos.min(1);
            if topic.len() > 65_000 || topic.contains(['+', '#', '\0']) || topic.is_empty() {
                continue;
            }
            id = id % 60_000 + 1;
            publish(&mut wire, qos, id, topic, payload);
            if let Some(rest) = topic.strip_prefix("$iothub/streams/POST/") {
                offers.push(rest.split("/?").next().unwrap_or_default().to_owned());
            }
        }
    } else {
        wire.extend_from_slice(input.0);
    }
    let whole = talk(&wire, most, std::iter::repeat(usize::MAX));
    let pieces = talk(&wire, most, lengths);
    assert_eq!(whole, pieces, "pieces change the session");
    if mode & 3 == 3 {
        assert!(whole.has_begun, "the login was accepted: {whole:?}");
        // Offers come in order, and none is lost as long as the connection lasts.
        let ours = whole.offers.iter().zip(&offers);
        for (ours, theirs) in ours {
            if let Ok(stream) = ours {
                assert_eq!(stream, theirs);
            }
        }
        assert!(whole.offers.len() <= offers.len());
        let may_end_early = whole.end.as_ref().is_some_and(|end| end.contains("Protocol"));
        assert!(
            may_end_early || whole.offers.len() == offers.len().min(whole.offers.len().max(most)) || most > 0
        );
    }
});

fn talk(wire: &[u8], most: usize, lengths: impl Iterator<Item = usize> + Send + 'static) -> Session {
    let wire = Wire::new(wire, lengths);
    let written = wire.written();
    let session = run(session(wire, most));
    let written = written.lock().expect("no panic");
    let tokens = written.windows(TOKEN.len()).filter(|part| *part == TOKEN.as_bytes()).count();
    assert_eq!(tokens, 1, "the token is in the first packet alone");
    assert!(written.starts_with(&[0x10]), "the first packet is CONNECT");
    session
}

/// A PUBLISH (MQTT 3.1.1, section 3.3).
fn publish(wire: &mut Vec<u8>, qos: u8, id: u16, topic: &str, payload: &[u8]) {
    let length = u16::try_from(topic.len()).expect("a short topic");
    let mut body = [&length.to_be_bytes(), topic.as_bytes()].concat();
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    body.extend_from_slice(payload);
    wire.push(0x30 | qos << 1);
    let mut rest = body.len();
    loop {
        let digit = (rest % 128).to_le_bytes()[0];
        rest /= 128;
        wire.push(if rest > 0 { digit | 0x80 } else { digit });
        if rest == 0 {
            break;
        }
    }
    wire.extend(body);
}
