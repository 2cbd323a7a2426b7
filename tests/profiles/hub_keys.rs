//! The keys of profiles for an IoT hub: the default module, and the host names.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use super::refused;
use crate::support::{DEVICE, Hub, LIMIT, Sandbox, Stdin, finish, in_service, run, serve};

const KEY: &str = "aHVudGVyMg==";

#[test]
fn the_default_module_is_for_a_hub_and_is_a_valid_id() {
    let hub =
        format!("connection-string = \"HostName=localhost;SharedAccessKeyName=p;SharedAccessKey={KEY}\"");
    let relay = format!(
        "connection-string = \"Endpoint=sb://localhost/;SharedAccessKeyName=p;SharedAccessKey={KEY}\""
    );
    let arc = "arc = \"/subscriptions/{device}\"\ntoken-command = \"echo x\"";
    for (keys, says) in [
        (format!("{relay}\nmodule = \"m\""), "module is for an IoT hub, and this profile is for Azure Relay"),
        (format!("{arc}\nmodule = \"m\""), "module is for an IoT hub, and this profile is for Azure Arc"),
        (format!("{hub}\nmodule = \"\""), "profiles.toml:3: "),
        (format!("{hub}\nhosts = []\nmodule = \"a b\""), "profiles.toml:4: "),
        (format!("{hub}\nmodule = \"a/b\""), "'/' cannot be part of a module id"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.write("profiles.toml", format!("[profile.x]\n{keys}\n"));
        let mut helper = sandbox.iotstream();
        let helper = helper.args(["--config", "profiles.toml", "--profile", "x", "gw-07"]);
        refused(&run(helper, Stdin::Stays(b"x"), LIMIT), says);
    }
}

#[test]
fn profile_show_has_the_default_module() {
    let sandbox = Sandbox::new();
    let string = format!("\"HostName=h;SharedAccessKeyName=p;SharedAccessKey={KEY}\"");
    let show = |module: &str| {
        sandbox.write("profiles.toml", format!("[profile.x]\nconnection-string = {string}\n{module}"));
        let mut show = sandbox.iotstream();
        let show = show.args(["profile", "show", "--origins", "--config", "profiles.toml"]);
        let shown = finish(show).succeeded().text().to_owned();
        shown.lines().find(|line| line.starts_with("module = ")).expect(&shown).to_owned()
    };
    let default = show("");
    assert!(
        default.starts_with("module = none: the device itself ") && default.ends_with("# default"),
        "{default}"
    );
    let module = show("module = \"iotstream\"\n");
    assert!(module.starts_with("module = iotstream "), "{module}");
    assert!(module.ends_with("# profile 'x' in profiles.toml"), "{module}");
}

/// A proxy that leads every CONNECT to `port` here, whatever its host. Returns its own port.
fn leads_to(port: u16) -> u16 {
    serve(move |near| {
        let mut lines = BufReader::new(near.try_clone().unwrap()).lines();
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        (&near).write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let far = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (from, back) = (far.try_clone().unwrap(), near.try_clone().unwrap());
        thread::spawn(move || {
            let _ = io::copy(&mut &from, &mut &back);
            let _ = back.shutdown(Shutdown::Write);
        });
        let _ = io::copy(&mut &near, &mut &far);
        let _ = far.shutdown(Shutdown::Write);
    })
}

#[test]
fn each_side_uses_the_host_names_that_are_for_it() {
    let sandbox = Sandbox::new();
    let names =
        ["contoso", "contoso.service", "contoso.device"].map(|name| format!("{name}.azure-devices.us"));
    let mut args = vec!["--device", DEVICE];
    names.iter().for_each(|name| args.extend(["--hostname", name]));
    let hub = Hub::start(&sandbox, &args);
    let written = format!("HostName={}:{}", names[0], hub.port());
    let proxy = format!("http://127.0.0.1:{}", leads_to(hub.port().parse().unwrap()));
    let echo = serve(|stream| drop(io::copy(&mut &stream, &mut &stream)));

    let agent = |name: &str| {
        let string = fs::read_to_string(hub.device_file(DEVICE)).unwrap();
        assert!(string.contains(&written), "another host name");
        let string = sandbox.write("device.conn", string.replace(&written, &format!("HostName={name}")));
        let mut agent = sandbox.iotstream();
        agent.args(["agent", "-v", "--proxy", &proxy, "--connection-string-file"]).arg(string);
        agent
            .arg("--ca-file")
            .arg(hub.dir.join("ca.pem"))
            .args(["--target", &format!("echo=127.0.0.1:{echo}")]);
        agent
    };
    let helper = |name: &str| {
        let string = hub.service_connection_string();
        assert!(string.contains(&written), "another host name");
        let string = string.replace(&written, &format!("HostName={name}"));
        let keys = format!("connection-string = \"{string}\"\nproxy = \"{proxy}\"");
        sandbox.write("profiles.toml", format!("[profile.x]\n{keys}\nca-file = \"hub/ca.pem\"\n"));
        let mut helper = sandbox.iotstream();
        let helper = helper.args(["--config", "profiles.toml", "--profile", "x", "--stream", "echo", DEVICE]);
        run(helper, Stdin::Ends(b"there and back"), LIMIT)
    };
    let [all, service, device] = &names;
    for at_device in [all, device] {
        let _agent = in_service(&mut agent(at_device));
        for at_service in [all, service] {
            let done = helper(at_service).succeeded();
            assert_eq!(done.text(), "there and back", "{at_device} {at_service} {}", done.stderr);
        }
    }
    // Both names have one rate.
    let state = fs::read_dir(sandbox.path(".local/state/iotstream")).unwrap();
    let state: Vec<String> = state.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let of_hub = |kind: &str| state.iter().filter(|name| name.starts_with(kind)).cloned().collect::<Vec<_>>();
    assert_eq!(of_hub("rate-"), ["rate-contoso.azure-devices.us"]);
    assert_eq!(of_hub("gateway-"), ["gateway-contoso.azure-devices.us"]);
    // The name for the other side is an error that says so.
    let says = format!("{device} is the hub's name for devices: in a profile, write {all} or {service}");
    refused(&helper(device), &says);
    let says = format!("{service} is the hub's name for services: for a device, write {all} or {device}");
    refused(&finish(&mut agent(service)), &says);
    sandbox.write("profiles.toml", format!("[profile.x]\nhub = \"{device}\"\ntoken-command = \"echo x\"\n"));
    let mut helper = sandbox.iotstream();
    let helper = helper.args(["--config", "profiles.toml", "--profile", "x", DEVICE]);
    refused(&run(helper, Stdin::Stays(b"x"), LIMIT), "is the hub's name for devices");
}
