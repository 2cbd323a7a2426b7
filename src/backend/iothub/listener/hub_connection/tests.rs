use super::*;
use crate::backend::iothub::proto::{HubAddress, Identity};
use tokio::io::{DuplexStream, duplex};

const OFFER: &str = "$iothub/streams/POST/ssh/?$rid=7&$url=wss%3A%2F%2Fh&$auth=t";

fn publish(topic: &str) -> Vec<u8> {
    let length = u8::try_from(topic.len()).unwrap();
    [&[0x30, length + 2, 0, length], topic.as_bytes()].concat()
}

/// A hub that accepts a device, and sends `before` offers before it acknowledges the subscription.
async fn accept_device(hub: &mut DuplexStream, before: usize) {
    let mut packet = [0; 1024];
    assert!(hub.read(&mut packet).await.unwrap() > 0);
    hub.write_all(&[0x20, 2, 0, 0]).await.unwrap();
    assert!(hub.read(&mut packet).await.unwrap() > 0);
    let (high, low) = (packet[2], packet[3]);
    // The device may have closed the connection.
    let _ = hub.write_all(&publish(OFFER).repeat(before)).await;
    let _ = hub.write_all(&[0x90, 4, high, low, 0, 0]).await;
}

async fn begun(device: DuplexStream) -> Result<HubConnection<DuplexStream>, ConnectionError> {
    let login = Login { client_id: "dev-1".into(), username: "hub/dev-1".into() };
    HubConnection::begin(device, &login, None, Duration::from_secs(60)).await
}

async fn offer(connection: &mut HubConnection<DuplexStream>) -> Result<Offer, BadOffer> {
    match connection.receive().await.unwrap() {
        Received::Offer(offer) => offer,
        Received::Twin(reply) => panic!("{reply:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn keeps_offers_before_the_acknowledgement_up_to_a_limit() {
    let (device, mut hub) = duplex(1 << 20);
    let ((), connection) = tokio::join!(accept_device(&mut hub, 2), begun(device));
    let mut connection = connection.unwrap();
    for _ in 0..2 {
        assert_eq!(offer(&mut connection).await.unwrap().stream, "ssh");
    }
    let (device, mut hub) = duplex(1 << 20);
    let ((), connection) = tokio::join!(accept_device(&mut hub, 1000), begun(device));
    assert!(matches!(connection, Err(ConnectionError::Protocol(_))));
}

#[tokio::test(start_paused = true)]
async fn cancelled_waits_lose_no_offer_of_a_burst_at_qos_1() {
    const OFFERS: u16 = 300;
    let (device, mut hub) = duplex(256);
    let ((), connection) = tokio::join!(accept_device(&mut hub, 0), begun(device));
    let mut connection = connection.unwrap();
    let (mut from_device, mut to_device) = tokio::io::split(hub);
    let sending = async {
        for id in 1..=OFFERS {
            let [high, low] = id.to_be_bytes();
            let mut packet = publish(OFFER);
            packet[0] = 0x32;
            packet[1] += 2;
            packet.extend([high, low]);
            to_device.write_all(&packet).await.unwrap();
        }
    };
    let acknowledged = async {
        let mut all = vec![0; 4 * usize::from(OFFERS)];
        from_device.read_exact(&mut all).await.unwrap();
        all
    };
    let taking = async {
        let mut taken = 0;
        while taken < OFFERS {
            tokio::select! {
                biased;
                offer = offer(&mut connection) => taken += u16::from(offer.is_ok()),
                () = tokio::task::yield_now() => {}
            }
        }
        // The next wait sends the last acknowledgements.
        let _ = timeout(Duration::from_secs(1), connection.receive()).await;
    };
    let ((), acknowledged, ()) = tokio::join!(sending, acknowledged, taking);
    let ids = acknowledged.chunks(4).map(|packet| u16::from_be_bytes([packet[2], packet[3]]));
    assert!(ids.eq(1..=OFFERS));
}

#[tokio::test(start_paused = true)]
async fn requests_to_the_twin_pass_between_offers() {
    const REPORT: &str = "$iothub/twin/PATCH/properties/reported/?$rid=2";
    let (device, mut hub) = duplex(256);
    let ((), connection) = tokio::join!(accept_device(&mut hub, 0), begun(device));
    let mut connection = connection.unwrap();
    let payload = "x".repeat(40_000);
    connection.subscribe_to_twin().unwrap();
    connection.request(REPORT, payload.clone()).unwrap();
    let serving = async {
        let mut subscribe = [0; 25];
        hub.read_exact(&mut subscribe).await.unwrap();
        assert_eq!(subscribe[..2], [0x82, 23]);
        assert_eq!(subscribe[4..], *b"\0\x12$iothub/twin/res/#\0");
        hub.write_all(&publish(OFFER)).await.unwrap();
        hub.write_all(&[0x90, 3, subscribe[2], subscribe[3], 0]).await.unwrap();
        // The length of 40,048 in MQTT's form.
        let expected = [b"\x30\xf0\xb8\x02\0\x2e", REPORT.as_bytes(), payload.as_bytes()].concat();
        let mut report = vec![0; expected.len()];
        hub.read_exact(&mut report).await.unwrap();
        assert!(report == expected, "{:?}", &report[..60]);
        for topic in ["$iothub/twin/res/x", OFFER, "$iothub/twin/res/204/?$rid=2&$version=3"] {
            hub.write_all(&publish(topic)).await.unwrap();
        }
        hub
    };
    let receiving = async {
        let mut received = Vec::new();
        while received.len() < 4 {
            tokio::select! {
                biased;
                message = connection.receive() => received.push(match message.unwrap() {
                    Received::Offer(offer) => offer.unwrap().stream,
                    Received::Twin(reply) => format!("{reply:?}"),
                }),
                () = tokio::task::yield_now() => {}
            }
        }
        received
    };
    let (mut hub, received) = tokio::join!(serving, receiving);
    let answer = "Answer(TwinAnswer { id: 2, status: 204, body: [] })";
    assert_eq!(received, ["ssh", "Subscription(true)", "ssh", answer]);
    connection.subscribe_to_twin().unwrap();
    let refusing = async {
        let mut subscribe = [0; 25];
        hub.read_exact(&mut subscribe).await.unwrap();
        hub.write_all(&[0x90, 3, subscribe[2], subscribe[3], 0x80]).await.unwrap();
    };
    let (refused, ()) = tokio::join!(connection.receive(), refusing);
    assert!(matches!(refused, Ok(Received::Twin(TwinReply::Subscription(false)))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn rejects_offers_beyond_a_limit_while_unsubscribing() {
    let (device, mut hub) = duplex(1 << 20);
    let ((), connection) = tokio::join!(accept_device(&mut hub, 0), begun(device));
    let mut connection = connection.unwrap();
    let flooding = async {
        let mut packet = [0; 4];
        hub.read_exact(&mut packet).await.unwrap();
        hub.write_all(&publish(OFFER).repeat(MOST_BETWEEN + 10)).await.unwrap();
        hub.write_all(&[0xb0, 2, packet[2], packet[3]]).await.unwrap();
        let mut answers = Vec::new();
        while !answers.ends_with(&publish("$iothub/streams/res/400/?$rid=7").repeat(10)) {
            assert!(hub.read_buf(&mut answers).await.unwrap() > 0, "ten rejections");
        }
    };
    let (offers, ()) = tokio::join!(connection.unsubscribe(), flooding);
    assert_eq!(offers.unwrap().len(), MOST_BETWEEN);
}

#[tokio::test]
async fn an_offer_at_qos_1_is_acknowledged() {
    let (near, mut hub) = tokio::io::duplex(4096);
    let identity = Identity::new("dev-1", None).unwrap();
    let login = Login::new(&HubAddress::parse("hub").unwrap(), &identity, "test");
    let topic = "$iothub/streams/POST/ssh/?$rid=1&$url=wss%3A%2F%2Fg%2Fx&$auth=t";
    /// A packet's first byte and body.
    async fn next(hub: &mut tokio::io::DuplexStream) -> (u8, Vec<u8>) {
        let (head, length) = (hub.read_u8().await.unwrap(), hub.read_u8().await.unwrap());
        // The lengths here take at most two bytes.
        let more = if length & 0x80 == 0 { 0 } else { hub.read_u8().await.unwrap() };
        let mut body = vec![0; usize::from(length & 0x7f) + usize::from(more) * 128];
        hub.read_exact(&mut body).await.unwrap();
        (head, body)
    }
    let serve = async {
        assert_eq!(next(&mut hub).await.0, 0x10);
        hub.write_all(&[0x20, 2, 0, 0]).await.unwrap();
        let (head, subscribe) = next(&mut hub).await;
        assert_eq!(head, 0x82);
        hub.write_all(&[0x90, 4, subscribe[0], subscribe[1], 0, 0]).await.unwrap();
        let body = [&[0, u8::try_from(topic.len()).unwrap()], topic.as_bytes(), &[0, 9]].concat();
        hub.write_all(&[&[0x32, u8::try_from(body.len()).unwrap()][..], &body].concat()).await.unwrap();
        next(&mut hub).await
    };
    let device = async {
        let mut connection = HubConnection::begin(near, &login, None, Duration::from_secs(60)).await.unwrap();
        let offer = offer(&mut connection).await.unwrap();
        (connection, offer.stream)
    };
    let (acknowledged, (_connection, stream)) = tokio::join!(serve, device);
    assert_eq!((acknowledged, stream.as_str()), ((0x40, vec![0, 9]), "ssh"));
}
