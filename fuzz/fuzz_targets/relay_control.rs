//! Control messages of Azure Relay, against a JSON that is read as a whole; and the refusals of its senders.
#![no_main]

use iotstream::fuzzing::relay::{Message, control, refusal};
use iotstream_fuzz::{Input, text};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const HEADER: &str = "Sec-WebSocket-Protocol";

fuzz_target!(|data: &[u8]| {
    let message = text(data);
    let ours = control(message, HEADER);
    match serde_json::from_str::<Value>(message) {
        Ok(json) => assert_eq!(ours, theirs(&json)),
        // Parts that nobody needs are not read, such as a number that is too large.
        Err(error) if error.is_syntax() && ours != Message::Malformed => {}
        Err(_) => {}
    }
    let mut input = Input(data);
    refusal(u16::from(input.byte()) * 4, input.text());
});

fn theirs(json: &Value) -> Message {
    let Value::Object(members) = json else { return Message::Malformed };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(Value::Object(accept)) = members.get("accept") {
        let Some(address) = accept.get("address").and_then(text) else { return Message::Malformed };
        let remote = accept.get("remoteEndpoint").and_then(|remote| {
            let address = remote.get("address")?.as_str()?;
            Some(match remote.get("port").and_then(Value::as_u64) {
                Some(port) if address.contains(':') => format!("[{address}]:{port}"),
                Some(port) => format!("{address}:{port}"),
                None => address.to_owned(),
            })
        });
        // Of several spellings of a header, any may be the last.
        let headers = accept.get("connectHeaders").and_then(Value::as_object);
        let mut named = headers.into_iter().flatten().filter(|(name, _)| name.eq_ignore_ascii_case(HEADER));
        let header = named.next().and_then(|(_, value)| match value {
            Value::String(text) => Some(text.clone()),
            Value::Array(values) if !values.is_empty() => {
                values.iter().map(text).collect::<Option<Vec<_>>>().map(|values| values.join(", "))
            }
            _ => None,
        });
        let id = accept.get("id").and_then(text).unwrap_or_default();
        return Message::Accept { address, id, remote, header };
    }
    if let Some(Value::Object(request)) = members.get("request") {
        return Message::Request {
            id: request.get("id").and_then(text),
            address: request.get("address").and_then(text),
        };
    }
    Message::Other
}
