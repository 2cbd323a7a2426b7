//! `iotstream agent --install`.

use std::fs;

use crate::support::{Bench, LIMIT, Stdin, need, run};

const TCP: &str = "[[target]]\nstream = \"ssh\"\nconnect = \"127.0.0.1:22\"\n";

#[test]
fn the_unit_is_printed_or_written_and_systemd_finds_little_exposed() {
    let bench = Bench::new();
    let config = bench.write("agent.toml", TCP);
    let install = |more: &[&str]| {
        let mut command = bench.iotstream();
        command.args(["agent", "--install"]).args(more).arg("--config").arg(&config);
        run(&mut command, Stdin::Ends(b""), LIMIT).succeeded()
    };
    let printed = install(&[]).text().to_owned();
    let directory = bench.path("units");
    fs::create_dir(&directory).unwrap();
    let said = install(&["--write", directory.to_str().unwrap()]);
    assert!(said.text().contains("systemctl enable --now iotstream-agent.service"), "{}", said.text());
    let unit = directory.join("iotstream-agent.service");
    assert_eq!(fs::read_to_string(&unit).unwrap(), printed);

    let mut verify = bench.command(need("systemd-analyze"));
    let verified = run(verify.arg("verify").arg(&unit), Stdin::Ends(b""), LIMIT).succeeded();
    assert!(!verified.stderr.contains("iotstream"), "{}", verified.stderr);
    // In tenths of a point: 20 of 100 is what systemd calls "OK".
    let mut security = bench.command(need("systemd-analyze"));
    security.args(["security", "--offline=true", "--no-pager", "--threshold=20"]).arg(&unit);
    run(&mut security, Stdin::Ends(b""), LIMIT).succeeded();
}
