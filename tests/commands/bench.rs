//! `iotstream bench`.

use rustix::process::Signal;
use serde_json::Value;

use super::measuring::{BUILTINS, command, device, finish, json};
use crate::support::{
    DEVICE, Hub, INTERRUPT, LIMIT, Process, Sandbox, Terminal, agent_with_config, iotstream,
};

#[test]
fn bench_does_not_use_the_quota_without_consent() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    for (args, uses) in [(&[][..], "20 MB"), (&["-s", "2500K"], "5 MB"), (&["-s", "1M", "-d", "up"], "1 MB")]
    {
        let done = finish(&sandbox, &hub, "bench", args);
        assert_eq!((done.status.code(), done.text()), (Some(2), ""), "{}", done.stderr);
        let cost = format!("this run uses {uses} of the 300 MB that a hub's streams may carry a day");
        assert!(done.stderr.contains(&cost) && done.stderr.contains("hint: use --yes"), "{}", done.stderr);
    }
    for size in ["0", "10X", ""] {
        assert_eq!(
            finish(&sandbox, &hub, "bench", &["--yes", "--size", size]).status.code(),
            Some(2),
            "{size}"
        );
    }
}

#[test]
fn bench_transfers_the_stated_size_each_way() {
    let (_agent, hub, sandbox) = device(&[], BUILTINS);
    let done = finish(&sandbox, &hub, "bench", &["--yes", "--size", "2M"]).succeeded();
    let lines: Vec<&str> = done.text().lines().collect();
    assert_eq!(lines.len(), 2, "{}", done.text());
    for (line, way) in lines.iter().zip(["up    2 MB in ", "down  2 MB in "]) {
        assert!(line.starts_with(way) && line.contains("bit/s (set up in "), "{line}");
    }
    let notice = "iotstream: this run uses 4 MB of the 300 MB that a hub's streams may carry a day\n";
    assert_eq!(done.stderr, notice, "no progress without a terminal");

    let done = finish(&sandbox, &hub, "bench", &["-yq", "--json", "--size", "2M"]).succeeded();
    let report = json(&done);
    assert_eq!(
        (&report["device"], &report["size"], done.stderr.as_str()),
        (&DEVICE.into(), &2_000_000.into(), "")
    );
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    for (run, (way, stream)) in runs.iter().zip([("up", "discard"), ("down", "source")]) {
        assert_eq!((&run["direction"], &run["stream"]), (&way.into(), &stream.into()));
        assert_eq!((&run["bytes"], &run["complete"]), (&2_000_000.into(), &true.into()));
        let (seconds, rate) = (run["seconds"].as_f64().unwrap(), run["bitsPerSecond"].as_f64().unwrap());
        assert!(seconds > 0.0 && (rate * seconds / 16e6 - 1.0).abs() < 0.01, "{run}");
        let carried = run["carried"].as_u64().unwrap();
        assert!((2_000_000..2_005_000).contains(&carried), "the counts are all that comes on top: {run}");
    }
    let report =
        json(&finish(&sandbox, &hub, "bench", &["-yq", "--json", "-s", "10K", "-d", "down"]).succeeded());
    assert_eq!(
        (report["runs"].as_array().unwrap().len(), &report["runs"][0]["direction"]),
        (1, &"down".into())
    );
}

#[test]
fn an_upload_is_timed_at_the_receiver() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    // Half a second's worth of the agent's bandwidth.
    let _agent = agent_with_config(
        &sandbox,
        &hub,
        DEVICE,
        "bandwidth = 400_000\n[[target]]\nstream = \"discard\"\nbuiltin = \"discard\"\n",
    );
    let report =
        json(&finish(&sandbox, &hub, "bench", &["-yq", "--json", "-s", "200K", "-d", "up"]).succeeded());
    let seconds = report["runs"][0]["seconds"].as_f64().unwrap();
    assert!(seconds > 0.3, "buffers on the way have taken it sooner: {seconds}");
}

#[test]
fn ctrl_c_ends_bench_with_the_bytes_so_far() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let mut agent = agent_with_config(
        &sandbox,
        &hub,
        DEVICE,
        "bandwidth = 100_000\n[[target]]\nstream = \"discard\"\nbuiltin = \"discard\"\n",
    );
    let mut terminal = Terminal::open(&sandbox);
    terminal.types(&format!(
        "{} bench --yes --config {} {DEVICE}\n",
        iotstream(),
        hub.dir.join("profiles.toml").display()
    ));
    terminal.asks(" kB of 10 MB, ", 1);
    terminal.types(INTERRUPT);
    terminal.shows(" kB of 10 MB in ");
    terminal.types_until("echo ended =$?=\n", "ended =1=");
    assert!(!terminal.text().contains("down"), "{}", terminal.text());

    let mut measuring = Process::start("bench", &mut command(&sandbox, &hub, "bench", &["-yq", "--json"]));
    agent.says("open to builtin discard", 2, LIMIT);
    measuring.signal(Signal::INT);
    assert_eq!(measuring.ends(LIMIT).code(), Some(1), "{}", measuring.stderr());
    let report: Value = serde_json::from_str(&measuring.stdout()).unwrap();
    assert_eq!((&report["runs"][0]["complete"], &report["runs"][1]), (&false.into(), &Value::Null));
}

#[test]
fn bench_asks_on_a_terminal_and_shows_progress() {
    let (_agent, hub, sandbox) = device(&[], BUILTINS);
    let mut terminal = Terminal::open(&sandbox);
    let ask = |terminal: &mut Terminal, number: u32| {
        terminal.types(&format!(
            "{} bench --size 1M --config {} {DEVICE}; echo ended''{number} $?\n",
            iotstream(),
            hub.dir.join("profiles.toml").display()
        ));
        let question =
            "iotstream: this run uses 2 MB of the 300 MB that a hub's streams may carry a day: go on? [y/N] ";
        terminal.asks(question, number);
    };
    ask(&mut terminal, 1);
    terminal.types("\n");
    terminal.shows("ended1 1");
    assert!(!terminal.text().contains("bit/s"), "{}", terminal.text());
    ask(&mut terminal, 2);
    terminal.types("y\n");
    terminal.shows("ended2 0");
    let text = terminal.text();
    for part in ["\rup   [", "\rdown [", " of 1 MB, ", "\r\x1b[K", "up    1 MB in ", "down  1 MB in "] {
        assert!(text.contains(part), "{part:?}: {text}");
    }
    ask(&mut terminal, 3);
    terminal.types(INTERRUPT);
    // The shell drops the rest of the line.
    terminal.types_until("echo ended3 $?\n", "ended3 130");
}
