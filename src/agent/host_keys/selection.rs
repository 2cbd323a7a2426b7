//! The streams whose targets are asked for their host keys.

use crate::agent::target::{Address, Server, Target};

/// The port of ssh.
const PORT: &str = ":22";

/// By default, the target that serves the stream `ssh`, and those at ssh's port: another service must not be spoken to.
pub(in crate::agent) fn default(targets: &[Target]) -> Vec<String> {
    let is_at_port = |server: &Server| matches!(server, Server::Tcp(address) if address.ends_with(PORT));
    let ssh = targets.iter().find(|target| target.serves("ssh"));
    let at_port = targets.iter().filter(
        |target| matches!(&target.address, Address::Servers(servers) if servers.iter().any(is_at_port)),
    );
    let ssh = ssh.filter(|target| target.may_have_host_keys());
    ssh.into_iter().chain(at_port).map(Target::name).collect()
}

/// Checks the streams of the configuration.
///
/// # Errors
/// Returns the problem of a stream without a target, or whose target cannot have host keys.
pub(in crate::agent) fn check(streams: &[String], targets: &[Target]) -> Result<(), String> {
    for stream in streams {
        match targets.iter().find(|target| target.is_called(stream)) {
            None => return Err(format!("host-keys: no [[target]] has stream = \"{stream}\"")),
            Some(Target { address: Address::Builtin(_), .. }) => {
                return Err(format!("host-keys: the target '{stream}' is a builtin, which has no host keys"));
            }
            Some(target) if !target.may_have_host_keys() => {
                return Err(format!(
                    "host-keys: the target '{stream}' has {{port}}, and may have others for each port"
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Builtin;
    use crate::text::ports::Ports;

    fn targets(targets: &[(&str, &str)]) -> Vec<Target> {
        let address = |text: &str| match text {
            "echo" => Address::Builtin(Builtin::Echo),
            text => Address::parse(text).unwrap(),
        };
        targets.iter().map(|(stream, text)| Target::new(*stream, address(text))).collect()
    }

    #[test]
    fn by_default_the_targets_of_ssh_are_asked() {
        for (all, asked) in [
            (&[("console", "127.0.0.1:4001"), ("ssh", "127.0.0.1:2222")][..], &["ssh"][..]),
            (&[("s*", "/run/ssh.sock"), ("ssh", "127.0.0.1:1")], &["s*"]),
            (
                &[("tcp-22", "127.0.0.1:22"), ("tcp-2222", "127.0.0.1:2222"), ("x", "[::1]:22")],
                &["tcp-22", "x"],
            ),
            (&[("*", "echo"), ("ssh", "127.0.0.1:2222")], &[]),
            (&[("tcp-122", "127.0.0.1:122"), ("web", "127.0.0.1:8022")], &[]),
        ] {
            let all = targets(all);
            assert_eq!(default(&all), asked);
            assert_eq!(check(&default(&all), &all), Ok(()));
        }
    }

    #[test]
    fn a_target_of_ports_is_asked_alone() {
        let of_ports = |ports, address| Target {
            ports: Ports::parse(ports),
            ..Target::new("tcp-*", Address::parse(address).unwrap())
        };
        let all = [of_ports("80", "127.0.0.1:80"), of_ports("2222", "127.0.0.1:22")];
        assert_eq!(default(&all), ["tcp-* (2222)"]);
        assert_eq!(check(&default(&all), &all), Ok(()));
        let all = [of_ports("22", "127.0.0.1:{port}")];
        assert!(check(&["tcp-*".into()], &all).unwrap_err().contains("{port}"));
    }

    #[test]
    fn a_stream_needs_a_target_with_host_keys() {
        let all = targets(&[("ssh", "127.0.0.1:22"), ("tcp-*", "127.0.0.1:2222"), ("echo", "echo")]);
        let problem = |stream: &str| check(&["ssh".into(), stream.into()], &all).unwrap_err();
        assert_eq!(problem("tcp-22"), "host-keys: no [[target]] has stream = \"tcp-22\"");
        assert!(problem("echo").contains("'echo' is a builtin"));
        assert_eq!(check(&["ssh".into(), "tcp-*".into()], &all), Ok(()));
    }
}
