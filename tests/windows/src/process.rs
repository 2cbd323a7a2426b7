//! A ProxyCommand that runs.

use std::io;
use std::mem;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_FILE_NOT_FOUND, ERROR_INTERNAL_ERROR, HANDLE, WAIT_OBJECT_0, WAIT_TIMEOUT,
};
use windows_sys::Win32::System::Console::{
    CTRL_C_EVENT, GetStdHandle, STD_ERROR_HANDLE, SetConsoleCtrlHandler,
};
use windows_sys::Win32::System::Threading::{
    CREATE_UNICODE_ENVIRONMENT, CreateProcessW, GetExitCodeProcess, INFINITE, PROCESS_INFORMATION,
    STARTF_USESTDHANDLES, STARTUPINFOW, TerminateProcess, WaitForSingleObject,
};

use crate::command_line::attempts;
use crate::pipe::{End, Pipes, owned, succeeded, wide};

/// Where a child's stderr goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stderr {
    Inherited,
    /// An anonymous pipe.
    Piped,
}

/// A child, with the parent's ends of its pipes.
#[derive(Debug)]
pub struct Process {
    pub stdin: Option<End>,
    pub stdout: Option<End>,
    pub stderr: Option<End>,
    handle: OwnedHandle,
}

/// A child inherits every inheritable handle of its parent, another child's pipes among them: one starts at a time.
static STARTING: Mutex<()> = Mutex::new(());

impl Process {
    /// Starts a ProxyCommand without a shell. `environment` adds to this process's own, or replaces variables of it.
    ///
    /// # Errors
    /// No program is found, or Windows refuses a pipe or the process.
    pub fn start(
        proxy_command: &str,
        pipes: Pipes,
        stderr: Stderr,
        environment: &[(String, String)],
    ) -> io::Result<Self> {
        let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let (child_in, stdin) = pipes.open()?;
        let (stdout, child_out) = pipes.open()?;
        let (stderr, child_err) = match stderr {
            Stderr::Inherited => (None, None),
            Stderr::Piped => {
                let (reader, writer) = Pipes::Anonymous.open()?;
                (Some(reader), Some(writer))
            }
        };
        for end in [Some(&stdin), Some(&stdout), stderr.as_ref()].into_iter().flatten() {
            end.keep()?;
        }
        let error = match &child_err {
            Some(end) => end.handle(),
            // SAFETY: takes no pointer.
            None => unsafe { GetStdHandle(STD_ERROR_HANDLE) },
        };
        let handles = [child_in.handle(), child_out.handle(), error];
        let environment = environment_block(environment);
        let mut done = Err(io::ErrorKind::NotFound.into());
        for line in attempts(proxy_command) {
            for _ in 0..3 {
                done = create(&line, handles, &environment);
                // wine says so now and then, and starts the same program the next time.
                if !is(&done, ERROR_INTERNAL_ERROR) {
                    break;
                }
            }
            if !is(&done, ERROR_FILE_NOT_FOUND) {
                break;
            }
        }
        Ok(Self { stdin: Some(stdin), stdout: Some(stdout), stderr, handle: done? })
    }

    /// Ends it as Win32-OpenSSH does, with exit status 0.
    pub fn terminate(&self) -> io::Result<()> {
        // SAFETY: the handle is open.
        succeeded(unsafe { TerminateProcess(self.handle.as_raw_handle(), 0) })
    }

    /// Waits for its end, without a limit if there is none. Returns its exit status, or nothing when time is up.
    pub fn wait(&self, limit: Option<Duration>) -> io::Result<Option<u32>> {
        let limit = limit.map_or(INFINITE, |limit| u32::try_from(limit.as_millis()).unwrap_or(INFINITE));
        let handle = self.handle.as_raw_handle();
        let mut status = 0;
        // SAFETY: the handle is open, and the status outlives the call.
        unsafe {
            match WaitForSingleObject(handle, limit) {
                WAIT_OBJECT_0 => succeeded(GetExitCodeProcess(handle, &mut status))?,
                WAIT_TIMEOUT => return Ok(None),
                _ => return Err(io::Error::last_os_error()),
            }
        }
        Ok(Some(status))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It fails only if the process has ended.
        let _ = self.terminate();
    }
}

/// Keeps Ctrl-C from ending this process, which says so instead; children get it, too.
///
/// # Errors
/// Windows refuses the handler.
pub fn survive_ctrl_c() -> io::Result<()> {
    unsafe extern "system" fn handled(event: u32) -> i32 {
        if event != CTRL_C_EVENT {
            return 0;
        }
        eprintln!("caller.exe: Ctrl-C");
        1
    }
    // SAFETY: the handler may run at any time.
    succeeded(unsafe { SetConsoleCtrlHandler(Some(handled), 1) })
}

/// Whether it failed with an error of this number.
fn is(done: &io::Result<OwnedHandle>, number: u32) -> bool {
    done.as_ref().is_err_and(|error| error.raw_os_error() == Some(number as i32))
}

fn create(line: &str, [stdin, stdout, stderr]: [HANDLE; 3], environment: &[u16]) -> io::Result<OwnedHandle> {
    let mut line = wide(line);
    let startup = STARTUPINFOW {
        cb: size_of::<STARTUPINFOW>() as u32,
        dwFlags: STARTF_USESTDHANDLES,
        hStdInput: stdin,
        hStdOutput: stdout,
        hStdError: stderr,
        ..Default::default()
    };
    // SAFETY: the line and the environment end in zeros, everything outlives the call, and both handles are ours.
    unsafe {
        let mut made: PROCESS_INFORMATION = mem::zeroed();
        succeeded(CreateProcessW(
            ptr::null(),
            line.as_mut_ptr(),
            ptr::null(),
            ptr::null(),
            1,
            CREATE_UNICODE_ENVIRONMENT,
            environment.as_ptr().cast(),
            ptr::null(),
            &startup,
            &mut made,
        ))?;
        drop(owned(made.hThread)?);
        owned(made.hProcess)
    }
}

/// This process's environment with `changes`, as CreateProcessW takes it.
fn environment_block(changes: &[(String, String)]) -> Vec<u16> {
    let changed = |name: &str| changes.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    let own = std::env::vars().filter(|(name, _)| !changed(name));
    let all = own.chain(changes.iter().cloned());
    all.flat_map(|(name, value)| wide(&format!("{name}={value}"))).chain([0]).collect()
}
