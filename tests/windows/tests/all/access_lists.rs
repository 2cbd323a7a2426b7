//! Files that other users can access: wine shows the mode of a file on Linux as an access list.

use std::fs;

use crate::support::{DEVICE, Iotstream, LIMIT, LinuxProgram, Sandbox, closed_port};

fn chmod(sandbox: &Sandbox, mode: &str, name: &str) {
    let arguments = ["chmod", mode, &sandbox.linux(name)].map(str::to_owned);
    let (status, said) = LinuxProgram::start(sandbox, &arguments).finish(LIMIT);
    assert_eq!(status, 0, "{said}");
}

#[test]
fn a_secret_that_others_can_read_or_replace_is_refused() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("own")).unwrap();
    let hub = format!("127.0.0.1:{}", closed_port());
    let profiles = sandbox.write(
        r"own\profiles.toml",
        format!(
            "default = \"own\"\n[profile.own]\n\
             connection-string = \"HostName={hub};SharedAccessKeyName=service;SharedAccessKey=MDEyMw==\"\n"
        ),
    );
    let helper = Iotstream::new(&sandbox, &["--config", profiles.to_str().unwrap(), DEVICE]);
    for (name, open, closed, problem) in [
        (
            r"own\profiles.toml",
            "644",
            "600",
            "holds secrets and is accessible to other users (Everyone: read)",
        ),
        ("own", "777", "700", "is writable by other users (Everyone: delete files)"),
    ] {
        let path = sandbox.path(name).display().to_string();
        chmod(&sandbox, open, name);
        let refused = helper.finish("");
        assert_eq!(refused.status, 78, "{}", refused.stderr);
        assert!(refused.stderr.contains(&format!("{path} {problem}")), "{}", refused.stderr);
        let fix = format!("icacls \"{path}\" /inheritance:r /remove:g \"*S-1-1-0\" /grant:r \"*S-1-5-18:");
        assert!(refused.stderr.contains(&fix), "{}", refused.stderr);
        // The profile is used: its hub is not there.
        chmod(&sandbox, closed, name);
        let failed = helper.finish("");
        assert_eq!(failed.status, 75, "{}", failed.stderr);
    }
}
