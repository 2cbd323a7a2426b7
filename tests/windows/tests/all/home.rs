//! A user's files are below %LOCALAPPDATA%.

use std::fs;
use std::thread;

use windows_tests::root_store::Trusted;

use crate::support::{DEVICE, Host, Hub, Iotstream, Sandbox, agent, echo};

const PROFILES: &str = r"AppData\Local\iotstream\profiles.toml";

#[test]
fn a_profile_is_added_from_stdin_used_shown_and_removed() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(Host::Linux, &sandbox, &["--device", "GW-07"]);
    let _agent = agent(Host::Linux, &sandbox, &hub, "GW-07", &[format!("ssh=127.0.0.1:{}", echo())]);
    let iotstream = |arguments: &[&str], input: &str| Iotstream::new(&sandbox, arguments).finish(input);

    let path = iotstream(&["profile", "path"], "").succeeded();
    assert_eq!(path.text().trim_end(), sandbox.home(PROFILES).to_str().unwrap());
    // With the line end of Windows.
    let string = hub.service_connection_string();
    let add = ["profile", "add", "factory", "--hosts", "*.factory", "--ca-file", &hub.ca_file()];
    iotstream(&add, &format!("{string}\r\n")).succeeded();
    assert!(sandbox.home(PROFILES).is_file());

    let echoed = iotstream(&["--name=GW-07.factory", "--", "gw-07.factory", "22"], "through the profile");
    assert_eq!(echoed.succeeded().text(), "through the profile");
    let list = iotstream(&["profile", "list"], "").succeeded();
    assert!(list.text().contains("factory"), "{}", list.text());
    let shown = iotstream(&["profile", "show", "factory"], "").succeeded();
    let key = string.rsplit_once("SharedAccessKey=").unwrap().1;
    assert!(shown.text().contains("*.factory") && !shown.text().contains(key), "{}", shown.text());

    iotstream(&["profile", "default", "factory"], "").succeeded();
    let echoed = iotstream(&["GW-07"], "by default").succeeded();
    assert_eq!(echoed.text(), "by default");
    iotstream(&["profile", "remove", "factory"], "").succeeded();
    let text = fs::read_to_string(sandbox.home(PROFILES)).unwrap();
    assert!(!text.contains("factory") && !text.contains(key), "{text}");
}

#[test]
fn a_profile_file_with_windows_line_ends_and_paths_is_read() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(Host::Linux, &sandbox, &["--device", DEVICE]);
    let _agent = agent(Host::Linux, &sandbox, &hub, DEVICE, &[format!("ssh=127.0.0.1:{}", echo())]);
    fs::create_dir_all(sandbox.home(PROFILES).parent().unwrap()).unwrap();
    fs::copy(hub.directory.join("service.conn"), sandbox.home(r"AppData\Local\iotstream\hub key")).unwrap();
    let ca_file = hub.ca_file();
    // A relative path starts at the profile file.
    for (file, ca) in [("hub key", ca_file.replace('\\', "/")), (r".\hub key", ca_file)] {
        let text = format!(
            "\u{feff}default = \"own\"\r\n[profile.own]\r\nconnection-string-file = '{file}'\r\nca-file = '{ca}'\r\n"
        );
        fs::write(sandbox.home(PROFILES), text).unwrap();
        let echoed = Iotstream::new(&sandbox, &[DEVICE]).finish("echoed").succeeded();
        assert_eq!(echoed.text(), "echoed");
    }
}

#[test]
fn a_credential_comes_from_a_command() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(Host::Linux, &sandbox, &["--device", DEVICE]);
    let _agent = agent(Host::Linux, &sandbox, &hub, DEVICE, &[format!("ssh=127.0.0.1:{}", echo())]);
    let store = hub.directory.join("service.conn");
    let store = store.to_str().unwrap();
    fs::create_dir_all(sandbox.home(PROFILES).parent().unwrap()).unwrap();
    for command in
        [format!(r#"{{ shell = 'type "{store}"' }}"#), format!("[\"cmd\", \"/C\", \"type\", '{store}']")]
    {
        let profile =
            format!("[profile.own]\nconnection-string-command = {command}\nca-file = '{}'\n", hub.ca_file());
        fs::write(sandbox.home(PROFILES), format!("default = \"own\"\n{profile}")).unwrap();
        let echoed = Iotstream::new(&sandbox, &[DEVICE]).finish("echoed").succeeded();
        assert_eq!(echoed.text(), "echoed", "{command}");
    }
}

#[test]
fn a_certificate_in_the_user_s_store_is_found() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(Host::Linux, &sandbox, &["--device", DEVICE]);
    let _agent = agent(Host::Linux, &sandbox, &hub, DEVICE, &[format!("ssh=127.0.0.1:{}", echo())]);
    let text = format!(
        "default = \"own\"\n[profile.own]\nconnection-string = '{}'\n",
        hub.service_connection_string()
    );
    let profiles = sandbox.write("own.toml", text);
    let helper = Iotstream::new(&sandbox, &["--config", profiles.to_str().unwrap(), DEVICE]);
    let refused = helper.finish("echoed");
    assert!(refused.status == 77 && refused.stderr.contains("not trusted"), "{}", refused.stderr);
    let _trusted = Trusted::add(&fs::read_to_string(hub.ca_file()).unwrap()).unwrap();
    let done = helper.finish("echoed");
    // wine 8 fails a certificate without an address for revocation: CERT_E_REVOCATION_FAILURE. Windows accepts it.
    let is_wine = done.status == 77 && done.stderr.contains("(os error -2146762482)");
    assert!(is_wine || done.text() == "echoed", "{}", done.stderr);
}

#[test]
fn helpers_at_the_same_time_share_a_home() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(Host::Linux, &sandbox, &["--device", DEVICE]);
    let _agent = agent(Host::Linux, &sandbox, &hub, DEVICE, &[format!("ssh=127.0.0.1:{}", echo())]);
    thread::scope(|scope| {
        let helpers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| hub.helper(&sandbox, &[DEVICE]).finish("echoed").succeeded()))
            .collect();
        for helper in helpers {
            let done = helper.join().unwrap();
            assert_eq!((done.text(), &*done.stderr), ("echoed", ""));
        }
    });
}
