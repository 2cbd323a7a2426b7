//! A property list by which launchd runs the agent.

use std::path::Path;
use std::time::Duration;

use crate::platform::SERVICE;

/// Returns the property list that runs `program` with the configuration at `config`. launchd kills the agent when it has
/// not ended within `stop` of a SIGTERM.
///
/// The agent runs as root: launchd has no users of a service's own, and hands over no credentials.
pub(super) fn property_list(program: &Path, config: &Path, stop: Duration) -> String {
    let arguments = [text(program), "agent".into(), "-v".into(), "--config".into(), text(config)];
    let arguments: String =
        arguments.iter().map(|word| format!("        <string>{word}</string>\n")).collect();
    // 63 is the mask 077: a property list has no octal numbers.
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- Written by `iotstream agent --install`. -->
<plist version="1.0">
<dict>
    <key>Label</key>
    <string>{SERVICE}</string>
    <key>ProgramArguments</key>
    <array>
{arguments}    </array>
    <key>RunAtLoad</key>
    <true/>
    <key>KeepAlive</key>
    <true/>
    <key>ProcessType</key>
    <string>Interactive</string>
    <key>ExitTimeOut</key>
    <integer>{stop}</integer>
    <key>Umask</key>
    <integer>63</integer>
    <key>StandardErrorPath</key>
    <string>/var/log/{SERVICE}.log</string>
</dict>
</plist>
"#,
        stop = stop.as_secs()
    )
}

/// A path as the text of an element.
fn text(path: &Path) -> String {
    path.display().to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_escaped_and_the_time_to_stop_is_kept() {
        let list = property_list(
            Path::new("/usr/local/bin/iotstream"),
            Path::new("/etc/a <b> & c.toml"),
            Duration::from_secs(60),
        );
        let words: Vec<&str> = list
            .split_once("<array>")
            .and_then(|(_, rest)| rest.split_once("</array>"))
            .unwrap()
            .0
            .lines()
            .filter_map(|line| line.trim().strip_prefix("<string>")?.strip_suffix("</string>"))
            .collect();
        assert_eq!(
            words,
            ["/usr/local/bin/iotstream", "agent", "-v", "--config", "/etc/a &lt;b&gt; &amp; c.toml"]
        );
        assert!(list.contains("<key>ExitTimeOut</key>\n    <integer>60</integer>\n"), "{list}");
    }
}
