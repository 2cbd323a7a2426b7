use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::json;

use super::output::Output;
use super::{Sandbox, variable};

/// A program that `run` has started on Linux. It ends with this value.
pub struct LinuxProgram {
    pub output: Output,
    connection: TcpStream,
}

impl LinuxProgram {
    /// `arguments` begins with the program. Its home is the sandbox.
    pub fn start(sandbox: &Sandbox, arguments: &[String]) -> Self {
        let environment = json!({ "HOME": sandbox.linux("") });
        let asked = json!({ "arguments": arguments, "environment": environment });
        let mut connection = TcpStream::connect(variable("TEST_PROGRAMS")).unwrap();
        connection.write_all(format!("{asked}\n").as_bytes()).unwrap();
        Self { output: Output::of(connection.try_clone().unwrap()), connection }
    }

    /// Waits for the program's end. Returns its exit status, and what it said.
    #[track_caller]
    pub fn finish(self, limit: Duration) -> (i32, String) {
        let said = String::from_utf8(self.output.whole(limit)).unwrap();
        let (said, status) = said.trim_end().rsplit_once("exited ").expect("the last line has the status");
        (status.parse().unwrap(), said.to_owned())
    }
}

impl Drop for LinuxProgram {
    fn drop(&mut self) {
        // It fails only if the program has ended.
        let _ = self.connection.shutdown(Shutdown::Both);
    }
}
