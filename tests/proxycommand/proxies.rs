//! Real proxies: the hub's REST API, the gateway and the agent's MQTT all go through them.

use std::fs;
use std::io::Read;
use std::process::Command;
use std::time::Duration;

use crate::support::{
    DEVICE, Finished, Hub, LIMIT, LOGIN, Process, Proxy, Sandbox, SshFiles, Sshd, Stdin, agent,
    agent_command, closed_port, in_service, iotstream, need, run, serve, ssh_config,
};

const TEMPORARY: i32 = 75;
const DENIED: i32 = 77;

/// A hub, a device's sshd, and a user's configuration.
struct ProxyTestbed {
    sshd: Sshd,
    hub: Hub,
    files: SshFiles,
    sandbox: Sandbox,
}

impl ProxyTestbed {
    fn start() -> Self {
        let sandbox = Sandbox::new();
        let files = SshFiles::make(&sandbox);
        let hub = Hub::start(&sandbox, &["--device", DEVICE]);
        let sshd = Sshd::start(&sandbox, &files);
        Self { sshd, hub, files, sandbox }
    }

    fn agent(&self) -> Command {
        agent_command(&self.sandbox, &self.hub, DEVICE, &[("ssh", self.sshd.port)])
    }

    /// The hub's name with the port of `address`, as clients dial it.
    fn hub(&self, address: &str) -> String {
        let name = self.hub.service_connection_string();
        let name = name.strip_prefix("HostName=").unwrap().split(':').next().unwrap().to_owned();
        format!("{name}:{}", address.rsplit_once(':').unwrap().1)
    }

    fn ssh(&self) -> Command {
        let helper =
            format!("{} -v --config {} %h %p", iotstream(), self.hub.dir.join("profiles.toml").display());
        let config = ssh_config(&self.sandbox, &self.files, "ssh_config", &helper);
        let mut ssh = self.sandbox.command(need("ssh"));
        ssh.arg("-F").arg(config).args([DEVICE, "echo through"]);
        ssh
    }
}

/// Expects that ssh and the agent both connect through the proxy at `url`, and never directly.
#[track_caller]
fn carries(testbed: &ProxyTestbed, proxy: &Proxy, url: &str) {
    let _agent = in_service(testbed.agent().env("HTTPS_PROXY", url));
    let done = run(testbed.ssh().env("ALL_PROXY", url), Stdin::Ends(b""), LIMIT).succeeded();
    assert_eq!(done.text(), "through\n");
    let password = LOGIN.split_once(':').unwrap().1;
    assert!(!done.stderr.contains(password) && !done.stderr.contains("pass-word"), "{}", done.stderr);
    assert!(done.stderr.contains("proxy 127.0.0.1:"), "its time is told: {}", done.stderr);
    // MQTT, REST for the stream and for what the agent reports, and the gateway from both sides.
    assert_eq!(proxy.tunnels_to(&testbed.hub(&testbed.hub.https)), 5, "{}", proxy.process.stdout());
}

#[test]
fn ssh_and_the_agent_go_through_an_http_proxy_with_a_login() {
    let testbed = ProxyTestbed::start();
    let proxy = Proxy::http(&testbed.sandbox);
    carries(&testbed, &proxy, &format!("http://{LOGIN}@127.0.0.1:{}", proxy.port));
}

#[test]
fn ssh_and_the_agent_go_through_an_https_proxy() {
    let testbed = ProxyTestbed::start();
    let inner = Proxy::http(&testbed.sandbox);
    let (proxy, certificate) = Proxy::https(&testbed.sandbox, &inner);
    let url = format!("https://{LOGIN}@127.0.0.1:{}", proxy.port);
    let untrusted = run(testbed.ssh().env("HTTPS_PROXY", &url), Stdin::Ends(b""), LIMIT);
    assert!(
        untrusted.stderr.contains(&format!("the certificate of 127.0.0.1:{}", proxy.port)),
        "{}",
        untrusted.stderr
    );
    // The profile and the agent use this CA file; the hub has read it already.
    let both = [testbed.hub.dir.join("ca.pem"), certificate].map(|file| fs::read_to_string(file).unwrap());
    fs::write(testbed.hub.dir.join("ca.pem"), both.concat()).unwrap();
    carries(&testbed, &inner, &url);
}

#[test]
fn ssh_and_the_agent_go_through_a_socks_proxy_that_resolves_names() {
    let testbed = ProxyTestbed::start();
    let proxy = Proxy::socks(&testbed.sandbox);
    carries(&testbed, &proxy, &format!("socks5://{LOGIN}@127.0.0.1:{}", proxy.port));
}

#[test]
fn mqtt_goes_through_the_proxy_of_the_agent_configuration() {
    let testbed = ProxyTestbed::start();
    let proxy = Proxy::socks(&testbed.sandbox);
    let config = format!(
        "connection-string-file = {:?}\nca-file = {:?}\ntransport = \"mqtt\"\nmqtt-port = {}\n\
         proxy = \"socks5h://{LOGIN}@127.0.0.1:{}\"\n[[target]]\nstream = \"ssh\"\nconnect = \"127.0.0.1:{}\"\n",
        testbed.hub.device_file(DEVICE),
        testbed.hub.dir.join("ca.pem"),
        testbed.hub.mqtts.rsplit_once(':').unwrap().1,
        proxy.port,
        testbed.sshd.port
    );
    let config = testbed.sandbox.write("agent.toml", config);
    // The configuration file overrides the environment.
    let mut command = testbed.sandbox.iotstream();
    command.args(["agent", "-vv", "--config"]).arg(config).env("HTTPS_PROXY", "http://127.0.0.1:1");
    let agent = in_service(&mut command);
    run(&mut testbed.ssh(), Stdin::Ends(b""), LIMIT).succeeded();
    assert_eq!(proxy.tunnels_to(&testbed.hub(&testbed.hub.mqtts)), 1);
    assert_eq!(proxy.tunnels_to(&testbed.hub(&testbed.hub.https)), 1);
    assert!(!agent.stderr().contains("pass"), "{}", agent.stderr());
}

/// Runs the helper with `proxy` in the environment.
fn helper(sandbox: &Sandbox, hub: &Hub, proxy: &str) -> Finished {
    let mut helper = hub.helper(sandbox);
    run(helper.arg(DEVICE).env("HTTPS_PROXY", proxy), Stdin::Stays(b"hello"), LIMIT)
}

#[track_caller]
fn fails(done: &Finished, exit: i32, says: &str) {
    assert_eq!(done.status.code(), Some(exit), "{}", done.stderr);
    assert!(done.stderr.contains(says), "{}", done.stderr);
    assert!(!done.stderr.contains("hunter2"), "{}", done.stderr);
}

#[test]
fn a_missing_or_wrong_proxy_password_is_reported() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let (http, socks) = (Proxy::http(&sandbox), Proxy::socks(&sandbox));
    let (http, socks) = (format!("127.0.0.1:{}", http.port), format!("127.0.0.1:{}", socks.port));
    for (url, says) in [
        (format!("http://{http}"), format!("proxy: {http}: it requires a user name and password")),
        (format!("http://me:hunter2@{http}"), format!("proxy: {http}: it refuses the user name or password")),
        (format!("socks5://{socks}"), format!("proxy: {socks}: it requires a user name and password")),
        (
            format!("socks5://me:hunter2@{socks}"),
            format!("proxy: {socks}: it refuses the user name or password"),
        ),
    ] {
        fails(&helper(&sandbox, &hub, &url), DENIED, &says);
    }
}

#[test]
fn an_unreachable_proxy_is_named() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let dead = closed_port();
    for scheme in ["http", "https", "socks5"] {
        let done = helper(&sandbox, &hub, &format!("{scheme}://me:hunter2@127.0.0.1:{dead}"));
        fails(&done, TEMPORARY, &format!("proxy: 127.0.0.1:{dead}: Connection refused"));
    }
    let unknown = helper(&sandbox, &hub, "http://no-such-host.invalid:3128");
    fails(&unknown, TEMPORARY, "proxy: no-such-host.invalid: ");
    let silent = serve(|mut stream| {
        let mut rest = Vec::new();
        // Until the helper gives up.
        let _ = stream.read_to_end(&mut rest);
    });
    let done = helper(&sandbox, &hub, &format!("http://127.0.0.1:{silent}"));
    fails(&done, TEMPORARY, &format!("proxy: no answer from 127.0.0.1:{silent} in 20s"));
}

#[test]
fn an_invalid_proxy_url_is_an_error() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    fails(&helper(&sandbox, &hub, "ftp://me:hunter2@proxy"), 2, "HTTPS_PROXY: it is not a proxy's URL");
    let mut direct = hub.helper(&sandbox);
    direct.args(["--proxy", "socks4://me:hunter2@proxy", DEVICE]);
    fails(&run(&mut direct, Stdin::Stays(b"hello"), LIMIT), 2, "--proxy or IOTSTREAM_PROXY: SOCKS 4");
}

#[test]
fn no_proxy_and_none_bypass_the_proxy() {
    let testbed = ProxyTestbed::start();
    let _agent: Process = agent(&testbed.sandbox, &testbed.hub, DEVICE, &[("ssh", testbed.sshd.port)]);
    let dead = format!("http://127.0.0.1:{}", closed_port());
    let mut ssh = testbed.ssh();
    run(ssh.env("HTTPS_PROXY", &dead).env("NO_PROXY", "localhost,127.0.0.0/8"), Stdin::Ends(b""), LIMIT)
        .succeeded();
    let mut ssh = testbed.ssh();
    run(ssh.env("HTTPS_PROXY", &dead).env("IOTSTREAM_PROXY", "none"), Stdin::Ends(b""), LIMIT).succeeded();
    let mut ssh = testbed.ssh();
    let lost = run(ssh.env("HTTPS_PROXY", &dead), Stdin::Ends(b""), Duration::from_secs(60));
    assert_eq!(lost.status.code(), Some(255), "{}", lost.stderr);
}

#[test]
fn empty_proxy_variables_hide_no_other_and_none_is_not_a_host() {
    let (_agent, hub, sandbox) = crate::support::echo_device("echo");
    let dead = format!("http://127.0.0.1:{}", closed_port());
    let logs_in = |variables: &[(&str, &str)]| {
        let mut helper = hub.helper(&sandbox);
        helper.envs(variables.iter().copied()).args(["--stream", "echo", DEVICE]);
        let done = run(&mut helper, Stdin::Ends(b"there and back"), LIMIT);
        assert_eq!(done.status.code() == Some(0), done.text() == "there and back", "{}", done.stderr);
        (done.status.code(), done.stderr)
    };
    let dead = dead.as_str();
    for variables in [
        &[("HTTPS_PROXY", dead), ("NO_PROXY", ""), ("no_proxy", "localhost")][..],
        &[("HTTPS_PROXY", dead), ("NO_PROXY", " "), ("no_proxy", "localhost")],
        &[("HTTPS_PROXY", dead), ("NO_PROXY", &hub.name())],
        &[("HTTPS_PROXY", "none")],
        &[("HTTPS_PROXY", "NONE"), ("ALL_PROXY", dead)],
        &[("HTTPS_PROXY", dead), ("IOTSTREAM_PROXY", "none")],
        &[("HTTPS_PROXY", " "), ("IOTSTREAM_PROXY", "")],
    ] {
        let (exit, stderr) = logs_in(variables);
        assert_eq!(exit, Some(0), "{variables:?}: {stderr}");
    }
    for variables in [
        &[("HTTPS_PROXY", ""), ("https_proxy", dead)][..],
        &[("HTTPS_PROXY", dead), ("NO_PROXY", "localhost:1")],
        &[("HTTPS_PROXY", dead), ("IOTSTREAM_PROXY", "")],
    ] {
        let (exit, stderr) = logs_in(variables);
        assert_eq!(exit, Some(TEMPORARY), "{variables:?}: {stderr}");
        assert!(stderr.contains("proxy: 127.0.0.1"), "{variables:?}: {stderr}");
    }
}
