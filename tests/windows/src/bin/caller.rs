//! Runs the ProxyCommand of its one argument as Win32-OpenSSH does, and connects its own stdin and stdout to it. With it,
//! `ssh -o ProxyCommand='wine caller.exe …'` of another system goes through those pipes.
//! With -V it prints a version as ssh does: that of CALLER_VERSION.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::thread;

use windows_tests::pipe::Pipes;
use windows_tests::process::{Process, Stderr, survive_ctrl_c};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(line), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: caller.exe PROXY_COMMAND");
        return ExitCode::from(2);
    };
    if line == "-V" {
        eprintln!("OpenSSH_for_Windows_{}", std::env::var("CALLER_VERSION").unwrap_or_default());
        return ExitCode::SUCCESS;
    }
    match relay(&line) {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)),
        Err(error) => {
            eprintln!("caller.exe: {line}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn relay(line: &str) -> io::Result<u32> {
    // As ssh in a session.
    survive_ctrl_c()?;
    let mut child = Process::start(line, Pipes::Overlapped, Stderr::Inherited, &[])?;
    let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else { unreachable!() };
    // It blocks in a read of stdin until the process ends.
    thread::spawn(move || copy(io::stdin().lock(), to));
    copy(from, io::stdout().lock())?;
    child.wait(None)?.ok_or_else(|| io::ErrorKind::TimedOut.into())
}

fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => to.write_all(&buffer[..count]).and_then(|()| to.flush())?,
        }
    }
}
