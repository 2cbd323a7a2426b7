//! `iotstream profile`.

use std::fs;
use std::process::Command;

use crate::support::{
    Finished, INTERRUPT, LIMIT, Sandbox, Stdin, Terminal, eventually, finish, iotstream, mode, run,
};

const CONFIG: i32 = 78;

/// Runs the command with `input` on stdin.
fn fed(command: &mut Command, input: &str) -> Finished {
    run(command, Stdin::Ends(input.as_bytes()), LIMIT)
}

/// `iotstream profile …`.
fn profile(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = sandbox.iotstream();
    command.arg("profile").args(args);
    command
}

const STRING: &str =
    "HostName=contoso.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey=aHVudGVyMg==\n";

const KEY: &str = "aHVudGVyMg";

#[test]
fn profiles_are_added_listed_shown_made_default_and_removed() {
    let sandbox = Sandbox::new();
    let added =
        fed(&mut profile(&sandbox, &["add", "factory", "--hosts", "*.factory", "gw-?"]), STRING).succeeded();
    let file = sandbox.path(".config/iotstream/profiles.toml");
    assert_eq!(
        added.text(),
        format!("profile factory: policy service of contoso.azure-devices.net, in {}\n", file.display())
    );
    assert_eq!((added.stderr.as_str(), mode(&file), mode(file.parent().unwrap())), ("", 0o600, 0o700));
    let path = finish(&mut profile(&sandbox, &["path"])).succeeded();
    assert_eq!(path.text(), format!("{}\n", file.display()));

    let owner = STRING.replace("=service", "=iothubowner");
    let warned = fed(&mut profile(&sandbox, &["add", "office"]), &owner).succeeded();
    assert!(warned.stderr.contains("iothubowner may do anything"), "{}", warned.stderr);
    let listed = finish(&mut profile(&sandbox, &["list"])).succeeded();
    assert_eq!(
        listed.text(),
        "* factory  contoso.azure-devices.net  *.factory gw-?\n  office   contoso.azure-devices.net\n"
    );
    finish(&mut profile(&sandbox, &["default", "office"])).succeeded();
    let shown = finish(&mut profile(&sandbox, &["show"])).succeeded();
    assert!(shown.text().starts_with("profile = office\n"), "{}", shown.text());
    assert!(
        shown.text().contains("SharedAccessKeyName=iothubowner;SharedAccessKey=[hidden]\n"),
        "{}",
        shown.text()
    );
    finish(&mut profile(&sandbox, &["remove", "office"])).succeeded();
    let listed = finish(&mut profile(&sandbox, &["list"])).succeeded();
    assert_eq!(listed.text(), "  factory  contoso.azure-devices.net  *.factory gw-?\n");

    for said in [added, warned, shown, listed] {
        assert!(!said.text().contains(KEY) && !said.stderr.contains(KEY), "{said:?}");
    }
}

/// A terminal where `iotstream profile add new` asks for the connection string.
fn asked(sandbox: &Sandbox) -> Terminal {
    let mut terminal = Terminal::open(sandbox);
    terminal.types(&format!("{} profile add new\n", iotstream()));
    eventually(LIMIT, || match terminal.text() {
        text if text.contains("(not shown): ") => Ok(()),
        text => Err(format!("it asks: {text}")),
    });
    terminal
}

#[test]
fn a_connection_string_typed_at_the_terminal_is_not_echoed() {
    let sandbox = Sandbox::new();
    let file = sandbox.path(".config/iotstream/profiles.toml");
    let mut terminal = asked(&sandbox);
    terminal.types(&format!("HostName=h{INTERRUPT}"));
    terminal.types_until("echo ended with $?\n", "ended with 2");
    assert!(!file.exists());

    let mut terminal = asked(&sandbox);
    terminal.types(STRING);
    terminal.types_until("echo ended with $?\n", "ended with 0");
    assert!(!terminal.text().contains("SharedAccessKey"), "{}", terminal.text());
    assert!(fs::read_to_string(&file).unwrap().contains(STRING.trim()));
    // A line that was broken in copying is joined, and nothing of it is left for the shell.
    fs::remove_file(&file).unwrap();
    let mut terminal = asked(&sandbox);
    terminal.types(&STRING.replacen("AccessKey", "Access\nKey", 1));
    terminal.types_until("echo ended with $?\n", "ended with 0");
    assert!(fs::read_to_string(&file).unwrap().contains(STRING.trim()));
    // The terminal echoes again.
    terminal.types_until("true still echoed\n", "still echoed");
}

#[test]
fn a_failed_change_leaves_the_file_as_it_is() {
    let sandbox = Sandbox::new();
    fed(&mut profile(&sandbox, &["add", "factory"]), STRING).succeeded();
    let file = sandbox.path(".config/iotstream/profiles.toml");
    let before = fs::read(&file).unwrap();
    let device = STRING.replace("SharedAccessKeyName=service", "DeviceId=gw-07");
    let relay = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey=c2VjcmV0";
    for (args, input, exit, says) in [
        (&["add", "factory"][..], STRING, CONFIG, "already has a profile named 'factory'"),
        (&["add", "new"], "", 2, "there is no connection string on stdin"),
        (&["add", "new"], KEY, CONFIG, "credential from stdin: "),
        (&["add", "new"], &device, CONFIG, "it is a device's connection string"),
        (&["add", "a b"], STRING, 2, "'a b' is not a valid profile name"),
        (&["add", "new", "--hosts", "a b"], STRING, 2, "'a b' is not a pattern"),
        (&["add", "new", "--ca-file", "/nonexistent"], STRING, CONFIG, "/nonexistent"),
        (&["add", "new", "--module", "a b"], STRING, 2, "--module: ' ' cannot be part of a module id"),
        (&["add", "new", "--module", "m"], relay, 2, "--module is for IoT Hub"),
        (&["remove", "new"], "", CONFIG, "no profile named 'new'"),
        (&["default", "new"], "", CONFIG, "no profile named 'new'"),
    ] {
        let done = fed(&mut profile(&sandbox, args), input);
        assert_eq!(done.status.code(), Some(exit), "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains(says) && !done.stderr.contains(KEY), "{args:?}: {}", done.stderr);
        assert_eq!(fs::read(&file).unwrap(), before, "{args:?}");
    }
}

#[test]
fn options_override_the_environment_then_the_profile_then_the_defaults() {
    let sandbox = Sandbox::new();
    let config = sandbox.write(
        "profiles.toml",
        format!(
            "[profile.x]\nconnection-string = {:?}\nconnect-timeout = \"11s\"\nproxy = \"http://me:{KEY}@p:1\"\n",
            STRING.trim()
        ),
    );
    let show = |flags: &[&str], variables: &[(&str, &str)]| {
        let mut command = profile(&sandbox, &["show", "--origins", "--config"]);
        let done = finish(command.arg(&config).args(flags).envs(variables.iter().copied())).succeeded();
        assert!(!done.text().contains(KEY), "{}", done.text());
        let rows = done.text().lines().map(|line| {
            let (row, origin) = line.split_once("  # ").unwrap();
            (row.trim_end().to_owned(), origin.to_owned())
        });
        rows.collect::<Vec<_>>()
    };
    let in_file = format!("profile 'x' in {}", config.display());
    let has = |rows: &[(String, String)], row: &str, origin: &str| {
        assert!(rows.contains(&(row.into(), origin.into())), "{row}, {origin}: {rows:?}");
    };
    let rows = show(&[], &[("HTTPS_PROXY", "http://q:2")]);
    has(&rows, "profile = x", &format!("the only one in {}", config.display()));
    has(&rows, "connect-timeout = 11s", &in_file);
    has(&rows, "response-timeout = 30s", "default");
    has(&rows, "proxy = http://[hidden]@p:1", &in_file);
    let environment = [("IOTSTREAM_CONNECT_TIMEOUT", "12s"), ("IOTSTREAM_PROXY", "none")];
    let rows = show(&[], &environment);
    has(&rows, "connect-timeout = 12s", "environment variable IOTSTREAM_CONNECT_TIMEOUT");
    has(&rows, "proxy = none", "environment variable IOTSTREAM_PROXY");
    let rows = show(&["--connect-timeout", "13s", "--proxy", "r:3"], &environment);
    has(&rows, "connect-timeout = 13s", "--connect-timeout");
    has(&rows, "proxy = r:3", "--proxy");
}
