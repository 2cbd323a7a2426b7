//! The program with peers in Python that share no code with it and were written from the protocol alone.
//!
//! An emulator and a client by the same author can agree on the same mistake. Here each has an independent peer: the
//! Python device and the Python service use the emulator, and the client and the agent use the Python hub.

pub mod peers;
pub mod python;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use self::peers::{MEBIBYTE, PATIENCE, Peers, assert_echo, banner, echo, farewell, finished_echo, terminate};
use crate::support::{DEVICE, Finished, Process, Sandbox, random, serve};

/// A legal id, which is another id when it is decoded twice.
const ODD_DEVICE: &str = "Line(3),Press+%23";
/// What Microsoft's clients sent to the real service (protocol, section 1.1).
const API_VERSIONS: [&str; 5] =
    ["2018-06-30", "2018-08-30-preview", "2018-10-20-preview", "2020-05-31-preview", "2020-09-30"];
const UNAVAILABLE: i32 = 69;
const TEMPORARY: i32 = 75;
const DENIED: i32 = 77;

// The exit statuses of service.py.
const WITNESS_CONTENT: i32 = 0;
const WITNESS_REJECTED: i32 = 3;
const WITNESS_REFUSED: i32 = 4;

fn assert_status(finished: &Finished, expected: i32) {
    assert_eq!(finished.status.code(), Some(expected), "{}", finished.stderr);
}

/// Our own Close came back: what the device was still sending may be lost.
fn assert_thrown_back(finished: &Finished) {
    assert_status(finished, TEMPORARY);
    assert!(finished.stderr.contains("our own Close came back"), "{}", finished.stderr);
}

fn answer(finished: &Finished) -> Value {
    serde_json::from_slice(&finished.stdout)
        .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&finished.stdout)))
}

/// Replaces the key in one of the hub's files by a wrong one.
fn with_wrong_key(hub: &Peers, name: &str) -> PathBuf {
    let text = fs::read_to_string(hub.path(name)).expect("the hub wrote it");
    let start = text.find("SharedAccessKey=").expect("it holds a key") + "SharedAccessKey=".len();
    let end = text[start..].find(['"', '\n', ';']).map_or(text.len(), |length| start + length);
    fs::write(hub.path(name), format!("{}d3Jvbmc={}", &text[..start], &text[end..]))
        .expect("it can be written");
    hub.path(name)
}

#[test]
fn the_witnesses_agree_with_each_other() {
    let sandbox = Sandbox::new();
    let mut command = python::witness(&sandbox, "selftest.py");
    let finished = Process::start("selftest.py", &mut command).finish(Duration::from_secs(360));
    assert!(finished.status.success(), "{}\n{}", finished.text(), finished.stderr);
}

mod python_device_behind_the_emulator {
    use super::*;

    fn echoes(options: &[&str]) {
        let hub = Peers::at_emulator(&[DEVICE]);
        let device = hub.device(DEVICE, &[options, &["--count", "1"]].concat());
        assert_echo(hub.client(DEVICE, &[]), &random(4 * MEBIBYTE));
        assert_status(&device.finish(PATIENCE), 0);
        hub.end();
    }

    #[test]
    fn echoes_over_mqtt_in_websocket() {
        echoes(&["--transport", "websocket"]);
    }

    #[test]
    fn echoes_over_mqtt_in_tls() {
        echoes(&["--transport", "mqtt"]);
    }

    #[test]
    fn may_subscribe_in_two_packets() {
        echoes(&["--subscribe-apart"]);
    }

    #[test]
    fn may_join_the_gateway_before_it_accepts() {
        echoes(&["--accept-after-dial"]);
    }

    #[test]
    fn may_offer_a_subprotocol_at_the_gateway() {
        echoes(&["--gateway-subprotocol", "MQTT"]);
    }

    #[test]
    fn may_fragment_and_ping() {
        echoes(&["--fragment", "1000", "--ping"]);
    }

    #[test]
    fn may_speak_before_the_client_is_there() {
        let hub = Peers::at_emulator(&[DEVICE]);
        let device =
            hub.device(DEVICE, &["--accept-after-dial", "--early-bytes", "hello from afar", "--count", "1"]);
        let mut client = hub.client(DEVICE, &[]);
        assert_eq!(String::from_utf8_lossy(&client.reads(15, PATIENCE)), "hello from afar");
        assert_echo(client, &random(MEBIBYTE));
        assert_status(&device.finish(PATIENCE), 0);
        hub.end();
    }

    #[test]
    fn that_answers_a_close_with_a_copy_cuts_the_stream() {
        let hub = Peers::at_emulator(&[DEVICE]);
        let device = hub.device(DEVICE, &["--copy-close", "--count", "1"]);
        assert_thrown_back(&finished_echo(hub.client(DEVICE, &[]), &random(MEBIBYTE)));
        assert_status(&device.finish(PATIENCE), 0);
        hub.end();
    }

    #[test]
    fn that_cannot_send_after_a_close_answers_where_half_close_is_off() {
        let hub = Peers::at_emulator(&[DEVICE]);
        hub.set_in_profile("half-close = false");
        let size = MEBIBYTE.to_string();
        let device = hub.device(DEVICE, &["--copy-close", "--end-after", &size, "--count", "1"]);
        let data = random(MEBIBYTE);
        let mut client = hub.client(DEVICE, &[]);
        drop(client.write(data.clone()).recv()); // stdin ends here
        let finished = client.finish(PATIENCE);
        assert_status(&finished, 0);
        assert!(finished.stdout == data, "{} bytes came back", finished.stdout.len());
        assert_status(&device.finish(PATIENCE), 0);
        hub.end();
    }

    fn ends_first(options: &[&str], statuses: &[i32]) {
        let hub = Peers::at_emulator(&[DEVICE]);
        let limit = MEBIBYTE.to_string();
        let device = hub.device(DEVICE, &[options, &["--end-after", &limit, "--count", "1"]].concat());
        let mut client = hub.client(DEVICE, &[]);
        let data = random(MEBIBYTE);
        let stdin = client.write(data.clone());
        assert!(client.reads(MEBIBYTE, PATIENCE) == data, "what was sent before the end arrives");
        let finished = client.finish(PATIENCE);
        let code = finished.status.code().unwrap();
        assert!(statuses.contains(&code), "{code}: {}", finished.stderr);
        drop(stdin);
        assert_status(&device.finish(PATIENCE), 0);
        hub.end();
    }

    #[test]
    fn may_end_the_stream() {
        ends_first(&[], &[0]);
    }

    #[test]
    fn may_vanish_without_a_close_frame() {
        ends_first(&["--no-close"], &[0, TEMPORARY]);
    }

    #[test]
    fn may_reject() {
        let hub = Peers::at_emulator(&[DEVICE]);
        let device = hub.device(DEVICE, &["--reject", "--count", "1"]);
        assert_status(&hub.client(DEVICE, &[]).finish(PATIENCE), UNAVAILABLE);
        assert_status(&device.finish(PATIENCE), 0);
        hub.end();
    }

    #[test]
    fn is_reached_as_a_module() {
        let module = format!("{DEVICE}/mod");
        let hub = Peers::at_emulator(&[&module]);
        let device = hub.device(&module, &["--count", "1"]);
        assert_echo(hub.client(DEVICE, &["--module", "mod"]), &random(MEBIBYTE));
        assert_status(&device.finish(PATIENCE), 0);
        hub.end();
    }
}

mod python_service_to_the_agent {
    use super::*;

    fn assert_echoed(hub: &Peers, device: &str, options: &[&str]) {
        let finished = hub.service(device, "echo", &[options, &["--connect-timeout", "60"]].concat());
        assert_status(&finished, WITNESS_CONTENT);
    }

    #[test]
    fn gets_every_byte_back() {
        let hub = Peers::at_emulator(&[DEVICE]);
        let agent = hub.agent(DEVICE, &[("echo", serve(echo))]);
        assert_echoed(&hub, DEVICE, &["--mode", "echo-check:4194304"]);
        assert_echoed(
            &hub,
            DEVICE,
            &["--mode", "echo-check:1048576", "--sas-order", "node", "--offer-deflate"],
        );
        drop(agent);
        hub.end();
    }

    #[test]
    fn receives_from_a_target_that_speaks_first() {
        let hub = Peers::at_emulator(&[DEVICE]);
        let agent = hub.agent(DEVICE, &[("ssh", serve(banner))]);
        let finished = hub.service(DEVICE, "ssh", &["--mode", "ssh-banner", "--connect-timeout", "60"]);
        assert_status(&finished, WITNESS_CONTENT);
        assert_eq!(answer(&finished)["banner"], "SSH-2.0-target");
        drop(agent);
        hub.end();
    }

    #[test]
    fn may_encode_names_as_any_of_the_sdks() {
        for (device, encodings) in [(DEVICE, &["cs", "node", "raw"][..]), (ODD_DEVICE, &["cs", "node"])] {
            let hub = Peers::at_emulator(&[device]);
            let agent = hub.agent(device, &[("echo", serve(echo))]);
            for encoding in encodings {
                assert_echoed(&hub, device, &["--encoding", encoding, "--mode", "echo-check:1000"]);
            }
            drop(agent);
            hub.end();
        }
    }

    #[test]
    fn may_name_any_api_version_of_the_sdks() {
        let hub = Peers::at_emulator(&[DEVICE]);
        let agent = hub.agent(DEVICE, &[("echo", serve(echo))]);
        for version in API_VERSIONS {
            assert_echoed(&hub, DEVICE, &["--api-version", version, "--mode", "echo-check:1000"]);
        }
        drop(agent);
        hub.end();
    }

    #[test]
    fn is_rejected_for_a_stream_without_a_target() {
        let hub = Peers::at_emulator(&[DEVICE]);
        let agent = hub.agent(DEVICE, &[("echo", serve(echo))]);
        let finished = hub.service(DEVICE, "unheard-of", &["--connect-timeout", "60"]);
        assert_status(&finished, WITNESS_REJECTED);
        drop(agent);
        hub.end();
    }

    #[test]
    fn receives_the_error_codes() {
        let hub = Peers::at_emulator(&[DEVICE, "dev-2"]);
        let silent = hub.device("dev-2", &["--silent"]);
        let soon = ["--connect-timeout", "1", "--response-timeout", "1"];
        for (device, symbol, code) in [
            ("nobody", "DeviceNotFound", 404_001),
            (DEVICE, "DeviceNotOnline", 404_103),
            ("dev-2", "GatewayTimeout", 504_101),
        ] {
            let finished = hub.service(device, "echo", &soon);
            assert_status(&finished, WITNESS_REFUSED);
            let answer = answer(&finished);
            assert_eq!((&answer["form"], &answer["errorCode"]), (&"new".into(), &code.into()), "{answer}");
            assert_eq!(answer["symbol"], symbol, "{answer}");
        }
        drop(silent);

        let finished = hub.service_as(&with_wrong_key(&hub, "service.conn"), DEVICE, "echo", &soon);
        assert_status(&finished, WITNESS_REFUSED);
        let answer = answer(&finished);
        assert!([401_002, 401_003].map(Value::from).contains(&answer["errorCode"]), "{answer}");
        hub.end();
    }
}

mod client_and_agent_at_the_python_hub {
    use super::*;

    /// Echoes data, then has the device end a stream: nothing is lost, and nothing violates the protocol.
    fn get_along(device: &str, options: &[&str], data: &[u8]) {
        let hub = Peers::at_witness(&[device], options);
        let agent = hub.agent(device, &[("ssh", serve(echo)), ("farewell", serve(farewell))]);
        assert_echo(hub.client(device, &[]), data);

        let mut client = hub.client(device, &["--stream", "farewell"]);
        let received = client.reads(MEBIBYTE, PATIENCE);
        assert!(received.iter().all(|&byte| byte == b'x'), "the last words were altered");
        assert_eq!(received.len(), MEBIBYTE, "the last words were cut");
        let finished = client.finish(PATIENCE);
        let cut = finished.status.code() == Some(TEMPORARY) && options.contains(&"--no-close");
        assert!(finished.status.success() || cut, "{}:\n{}", finished.status, finished.stderr);

        terminate(agent);
        hub.end();
    }

    #[test]
    fn with_default_options() {
        get_along(DEVICE, &[], &random(4 * MEBIBYTE));
    }

    #[test]
    fn with_an_odd_device_id() {
        get_along(ODD_DEVICE, &[], &random(MEBIBYTE));
    }

    #[test]
    fn with_fragments_pings_and_empty_frames() {
        get_along(DEVICE, &["--gateway-fragment", "1000"], &random(MEBIBYTE));
    }

    #[test]
    fn with_text_frames() {
        let data: Vec<u8> = random(MEBIBYTE).into_iter().map(|byte| byte & 0x7f).collect();
        get_along(DEVICE, &["--gateway-text"], &data);
    }

    #[test]
    fn with_an_odd_gateway_url_on_another_port() {
        get_along(DEVICE, &["--gateway-url-query"], &random(MEBIBYTE));
    }

    #[test]
    fn with_messages_of_a_mebibyte() {
        get_along(DEVICE, &["--big-messages"], &random(4 * MEBIBYTE));
    }

    #[test]
    fn without_close_frames() {
        get_along(DEVICE, &["--no-close"], &random(MEBIBYTE));
    }

    #[test]
    fn are_cut_where_a_close_is_thrown_back() {
        let hub = Peers::at_witness(&[DEVICE], &["--copy-close"]);
        let agent = hub.agent(DEVICE, &[("ssh", serve(echo))]);
        assert_thrown_back(&finished_echo(hub.client(DEVICE, &[]), &random(MEBIBYTE)));
        terminate(agent);
        hub.end();
    }

    #[test]
    fn with_mqtt_in_small_pieces() {
        get_along(DEVICE, &["--mqtt-fragment", "3"], &random(MEBIBYTE));
    }

    #[test]
    fn with_answer_headers_in_another_case() {
        get_along(DEVICE, &["--accepted-case"], &random(MEBIBYTE));
    }

    #[test]
    fn reach_a_module() {
        let module = format!("{DEVICE}/mod");
        let hub = Peers::at_witness(&[&module], &[]);
        let agent = hub.agent(&module, &[("ssh", serve(echo))]);
        assert_echo(hub.client(DEVICE, &["--module", "mod"]), &random(MEBIBYTE));
        terminate(agent);
        hub.end();
    }

    #[test]
    fn agree_on_reports_to_twins() {
        let module = format!("{DEVICE}/mod");
        for device in [DEVICE, &module] {
            let mut hub = Peers::at_witness(&[DEVICE, &module], &["--mqtt-fragment", "3"]);
            let agent = hub.agent(device, &[("ssh", serve(echo)), ("tcp-*", serve(echo))]);
            let line = hub.says(" reports ");
            let reported = line.strip_prefix(&format!("{device} reports ")).expect("the agent's own twin");
            let expected = json!({ "iotstream": {
                "agent": env!("CARGO_PKG_VERSION"),
                "streams": { "s0": { "name": "ssh" }, "s1": { "name": "tcp-*" } },
            } });
            assert_eq!(serde_json::from_str::<Value>(reported).unwrap(), expected);
            terminate(agent);
            hub.end();
        }
    }

    #[test]
    fn report_a_rejection() {
        for options in [&[][..], &["--accepted-case"]] {
            let hub = Peers::at_witness(&[DEVICE], options);
            let agent = hub.agent(DEVICE, &[("other", serve(echo))]);
            assert_status(&hub.client(DEVICE, &[]).finish(PATIENCE), UNAVAILABLE);
            terminate(agent);
            hub.end();
        }
    }

    #[test]
    fn understand_each_form_of_an_error() {
        for form in ["new", "old", "mixed"] {
            let hub = Peers::at_witness(&[DEVICE], &["--error-form", form]);
            let offline = hub.client(DEVICE, &["--connect-timeout", "1s"]).finish(PATIENCE);
            assert_status(&offline, UNAVAILABLE);
            assert!(offline.stderr.contains("tracking id"), "{form}: {}", offline.stderr);
            with_wrong_key(&hub, "profiles.toml");
            assert_status(&hub.client(DEVICE, &[]).finish(PATIENCE), DENIED);
            hub.end();
        }
    }
}
