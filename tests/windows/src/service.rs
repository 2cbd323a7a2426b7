//! Services, as the service control manager runs them.

use std::io;
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use windows_sys::Win32::System::Services::{
    CloseServiceHandle, ControlService, CreateServiceW, DeleteService, OpenSCManagerW, QueryServiceStatus,
    SC_HANDLE, SC_MANAGER_CREATE_SERVICE, SERVICE_ALL_ACCESS, SERVICE_CONTROL_PARAMCHANGE,
    SERVICE_CONTROL_STOP, SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL, SERVICE_RUNNING, SERVICE_STATUS,
    SERVICE_STOPPED, SERVICE_WIN32_OWN_PROCESS, StartServiceW,
};

use crate::pipe::{succeeded, wide};

/// A service that exists while this value lives.
#[derive(Debug)]
pub struct Service(SC_HANDLE);

impl Service {
    /// # Errors
    /// The service control manager refuses it: the name is in use, or the user is no administrator.
    pub fn create(name: &str, line: &str) -> io::Result<Self> {
        let (name, line) = (wide(name), wide(line));
        // SAFETY: the strings end in zeros, and each handle is closed once.
        unsafe {
            let manager = OpenSCManagerW(ptr::null(), ptr::null(), SC_MANAGER_CREATE_SERVICE);
            if manager.is_null() {
                return Err(io::Error::last_os_error());
            }
            let service = CreateServiceW(
                manager,
                name.as_ptr(),
                name.as_ptr(),
                SERVICE_ALL_ACCESS,
                SERVICE_WIN32_OWN_PROCESS,
                SERVICE_DEMAND_START,
                SERVICE_ERROR_NORMAL,
                line.as_ptr(),
                ptr::null(),
                ptr::null_mut(),
                ptr::null(),
                ptr::null(),
                ptr::null(),
            );
            let error = io::Error::last_os_error();
            CloseServiceHandle(manager);
            if service.is_null() { Err(error) } else { Ok(Self(service)) }
        }
    }

    /// # Errors
    /// It is not started.
    pub fn start(&self) -> io::Result<()> {
        // SAFETY: the handle is open, and the service gets no arguments.
        succeeded(unsafe { StartServiceW(self.0, 0, ptr::null()) })
    }

    /// # Errors
    /// It does not run, or does not take this.
    pub fn stop(&self) -> io::Result<()> {
        self.control(SERVICE_CONTROL_STOP)
    }

    /// # Errors
    /// As [`Self::stop`].
    pub fn reload(&self) -> io::Result<()> {
        self.control(SERVICE_CONTROL_PARAMCHANGE)
    }

    fn control(&self, control: u32) -> io::Result<()> {
        let mut status = SERVICE_STATUS::default();
        // SAFETY: the handle is open, and the status outlives the call.
        succeeded(unsafe { ControlService(self.0, control, &mut status) })
    }

    /// Waits until it runs.
    ///
    /// # Errors
    /// It does not within `limit`.
    pub fn runs(&self, limit: Duration) -> io::Result<()> {
        self.wait(SERVICE_RUNNING, limit).map(drop)
    }

    /// Waits until it has stopped, and returns its own exit status.
    ///
    /// # Errors
    /// It has not within `limit`.
    pub fn stops(&self, limit: Duration) -> io::Result<u32> {
        self.wait(SERVICE_STOPPED, limit).map(|status| status.dwServiceSpecificExitCode)
    }

    fn wait(&self, state: u32, limit: Duration) -> io::Result<SERVICE_STATUS> {
        let deadline = Instant::now() + limit;
        loop {
            let mut status = SERVICE_STATUS::default();
            // SAFETY: as in `control`.
            succeeded(unsafe { QueryServiceStatus(self.0, &mut status) })?;
            if status.dwCurrentState == state {
                return Ok(status);
            }
            if Instant::now() > deadline {
                let found = status.dwCurrentState;
                return Err(io::Error::other(format!("state {found}, and not {state}, after {limit:?}")));
            }
            // wine has no NotifyServiceStatusChange.
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It fails if it does not run.
        let _ = self.stop();
        // SAFETY: the handle is open, and this closes it.
        unsafe {
            DeleteService(self.0);
            CloseServiceHandle(self.0);
        }
    }
}
