//! A device that reports properties over MQTT, written by hand, and leaves.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Hub;
use super::hub_client::{HubClient, Tls, soon};
use super::sas::in_an_hour;

/// A host key, from `ssh-keygen`.
pub const HOST_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIVtFrHytwaZL3m9OUD8cc+0fKjIcD9TeQjPH4JYN4pf";

/// Merges `patch` into the reported properties of a device, or of `DEVICE/MODULE`.
pub fn report(hub: &Hub, id: &str, patch: &serde_json::Value) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(soon(async {
        let hub = HubClient::new(hub);
        let (device, module) =
            id.split_once('/').map_or((id, None), |(device, module)| (device, Some(module)));
        let mut hub_connection = hub.tls(hub.mqtts).await;
        let token = hub.device_token(device, module, in_an_hour());
        let username = format!("localhost/{id}/?api-version=2020-09-30");
        let login = [&text("MQTT")[..], &[4, 0xC2, 0, 60], &text(id), &text(&username), &text(&token)];
        send(&mut hub_connection, 0x10, &login.concat()).await;
        assert_eq!(receive(&mut hub_connection).await, (0x20, vec![0, 0]));
        let answers = [&[0, 1][..], &text("$iothub/twin/res/#"), &[0]];
        send(&mut hub_connection, 0x82, &answers.concat()).await;
        assert_eq!(receive(&mut hub_connection).await, (0x90, vec![0, 1, 0]));
        let topic = text("$iothub/twin/PATCH/properties/reported/?$rid=1");
        send(&mut hub_connection, 0x30, &[&topic[..], patch.to_string().as_bytes()].concat()).await;
        let (_, answer) = receive(&mut hub_connection).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains("$iothub/twin/res/204/"), "{answer}");
        send(&mut hub_connection, 0xE0, &[]).await;
    }));
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&length[..], text.as_bytes()].concat()
}

async fn send(hub: &mut Tls, kind: u8, body: &[u8]) {
    let mut packet = vec![kind];
    let mut length = body.len();
    loop {
        let byte = u8::try_from(length % 128).unwrap();
        length /= 128;
        packet.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    hub.write_all(&packet).await.unwrap();
    hub.flush().await.unwrap();
}

async fn receive(hub: &mut Tls) -> (u8, Vec<u8>) {
    let kind = hub.read_u8().await.unwrap();
    let length = usize::from(hub.read_u8().await.unwrap());
    assert!(length < 128, "the hub's answers are short");
    let mut body = vec![0; length];
    hub.read_exact(&mut body).await.unwrap();
    (kind, body)
}
