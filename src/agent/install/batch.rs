//! A batch file that creates the agent's service on Windows.

use std::path::Path;

use crate::platform::SERVICE;
use crate::platform::verbatim::plain;

/// Returns the commands that create a service which runs `program` with the configuration at `config`, and start it. They
/// close the configuration's directory to other users, and let the service write its log there.
///
/// The service runs as LocalService, or as SYSTEM with `runs_commands`: the programs of command targets, such as sshd, log
/// users in.
pub(super) fn batch(program: &Path, config: &Path, runs_commands: bool) -> String {
    let directory = config.parent().unwrap_or(Path::new(""));
    let (program, config, directory) = (text(program), text(config), text(directory));
    let user = if runs_commands { "" } else { " obj= \"NT AUTHORITY\\LocalService\"" };
    // The accounts are SYSTEM, the administrators and LocalService, whose names differ between languages.
    let lines = [
        "@rem Written by `iotstream agent --install`. Run it as an administrator.".to_owned(),
        format!(
            "icacls \"{directory}\" /inheritance:r /grant:r *S-1-5-18:(OI)(CI)F *S-1-5-32-544:(OI)(CI)F \
             *S-1-5-19:(OI)(CI)RX || exit /b"
        ),
        format!("if not exist \"{directory}\\log\" mkdir \"{directory}\\log\" || exit /b"),
        format!("icacls \"{directory}\\log\" /grant *S-1-5-19:(OI)(CI)M || exit /b"),
        format!(
            r#"sc.exe create {SERVICE} start= auto{user} binPath= "\"{program}\" agent -v --config \"{config}\" --log-file \"{directory}\log\agent.log\"" || exit /b"#
        ),
        format!("sc.exe failure {SERVICE} reset= 86400 actions= restart/5000/restart/5000/restart/60000"),
        format!("sc.exe failureflag {SERVICE} 1"),
        format!("sc.exe start {SERVICE}"),
    ];
    lines.map(|line| line + "\r\n").concat()
}

/// A path in a batch file. A quote cannot be in one.
fn text(path: &Path) -> String {
    plain(path).display().to_string().trim_end_matches('\\').replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_runs_the_program_with_the_configuration() {
        // On other systems than Windows, the parent of such a path is empty.
        let config = Path::new("iot/agent.toml");
        let commands = batch(Path::new(r"\\?\C:\100% iot\iotstream.exe"), config, false);
        assert!(commands.contains("\r\nicacls \"iot\" /inheritance:r "), "{commands}");
        let create = r#"sc.exe create iotstream-agent start= auto obj= "NT AUTHORITY\LocalService" binPath= "\"C:\100%% iot\iotstream.exe\" agent -v --config \"iot/agent.toml\" --log-file \"iot\log\agent.log\"" || exit /b"#;
        assert!(commands.lines().any(|line| line == create), "{commands}");
        assert!(!batch(Path::new("p"), config, true).contains("LocalService\""));
    }
}
