use std::process::Command;
use std::time::Duration;

use super::{DEVICE, Finished, Hub, LIMIT, Process, Sandbox, Stdin, run};

/// Opens the stream `echo` with a helper, and expects back what it sends.
#[track_caller]
pub fn echoes(helper: &mut Command) -> Finished {
    let helper = helper.args(["--stream", "echo", DEVICE]);
    let done = run(helper, Stdin::Ends(b"there and back"), LIMIT).succeeded();
    assert_eq!(done.text(), "there and back", "{}", done.stderr);
    done
}

/// An echo stream that stays open.
pub struct EchoStream {
    pub helper: Process,
    said: usize,
}

impl EchoStream {
    pub fn open(sandbox: &Sandbox, hub: &Hub, stream: &str) -> Self {
        Self::with(hub.helper(sandbox).args(["--stream", stream, DEVICE]))
    }

    /// With a helper that opens an echo stream.
    pub fn with(helper: &mut Command) -> Self {
        let mut echo = Self { helper: Process::start("helper", helper), said: 0 };
        echo.works();
        echo
    }

    #[track_caller]
    pub fn works(&mut self) {
        self.said += 1;
        self.helper.say("are you there\n");
        self.helper.says("are you there", self.said, Duration::from_secs(20));
    }
}
