//! Pipes to a child: as Win32-OpenSSH makes them, and as most other programs do.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use windows_sys::Win32::Foundation::{
    ERROR_BROKEN_PIPE, ERROR_IO_PENDING, GENERIC_READ, GetLastError, HANDLE, HANDLE_FLAG_INHERIT,
    INVALID_HANDLE_VALUE, SetHandleInformation,
};
use windows_sys::Win32::Security::SECURITY_ATTRIBUTES;
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_ATTRIBUTE_NORMAL, FILE_FLAG_OVERLAPPED, OPEN_EXISTING, PIPE_ACCESS_OUTBOUND, ReadFile,
    WriteFile,
};
use windows_sys::Win32::System::IO::{GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Pipes::{CreateNamedPipeW, CreatePipe, PIPE_TYPE_BYTE, PIPE_WAIT};
use windows_sys::Win32::System::Threading::{CreateEventW, GetCurrentProcessId};

/// The pipes of a child's stdin and stdout.
#[derive(Clone, Copy, Debug)]
pub enum Pipes {
    /// Named pipes with both ends overlapped and buffers of 4096 bytes, as Win32-OpenSSH makes them.
    Overlapped,
    /// Anonymous pipes, as a shell makes them.
    Anonymous,
}

impl Pipes {
    /// The reader and the writer of a new pipe. A child that starts now inherits both.
    pub(crate) fn open(self) -> io::Result<(End, End)> {
        match self {
            Self::Overlapped => overlapped(),
            Self::Anonymous => anonymous(),
        }
    }
}

/// One end of a pipe.
#[derive(Debug)]
pub enum End {
    Overlapped(OwnedHandle),
    Anonymous(File),
}

impl End {
    pub(crate) fn handle(&self) -> HANDLE {
        match self {
            Self::Overlapped(handle) => handle.as_raw_handle(),
            Self::Anonymous(file) => file.as_raw_handle(),
        }
    }

    /// Keeps it from children.
    pub(crate) fn keep(&self) -> io::Result<()> {
        // SAFETY: the handle is open.
        succeeded(unsafe { SetHandleInformation(self.handle(), HANDLE_FLAG_INHERIT, 0) })
    }
}

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let done = match self {
            Self::Overlapped(handle) => {
                let (data, count) = (buffer.as_mut_ptr(), length(buffer));
                // SAFETY: `finish` returns after the operation, so the buffer and the structure outlive it.
                finish(handle, |handle, operation| unsafe {
                    ReadFile(handle, data, count, ptr::null_mut(), operation)
                })
            }
            Self::Anonymous(file) => return file.read(buffer),
        };
        match done {
            Err(error) if error.raw_os_error() == Some(ERROR_BROKEN_PIPE as i32) => Ok(0),
            done => done,
        }
    }
}

impl Write for End {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Overlapped(handle) => {
                let (data, count) = (data.as_ptr(), length(data));
                // SAFETY: as in `read`.
                finish(handle, |handle, operation| unsafe {
                    WriteFile(handle, data, count, ptr::null_mut(), operation)
                })
            }
            Self::Anonymous(file) => file.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn overlapped() -> io::Result<(End, End)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // SAFETY: takes nothing.
    let process = unsafe { GetCurrentProcessId() };
    let name = wide(&format!(r"\\.\Pipe\W32PosixPipe.{process:08x}.{count:08x}"));
    let inherited = inherited();
    // SAFETY: the name ends in a zero, and the attributes outlive the calls.
    unsafe {
        let writer = CreateNamedPipeW(
            name.as_ptr(),
            PIPE_ACCESS_OUTBOUND | FILE_FLAG_OVERLAPPED,
            PIPE_TYPE_BYTE | PIPE_WAIT,
            1,
            4096,
            4096,
            0,
            &inherited,
        );
        let writer = owned(writer)?;
        let reader = CreateFileW(
            name.as_ptr(),
            GENERIC_READ,
            0,
            &inherited,
            OPEN_EXISTING,
            FILE_ATTRIBUTE_NORMAL | FILE_FLAG_OVERLAPPED,
            ptr::null_mut(),
        );
        Ok((End::Overlapped(owned(reader)?), End::Overlapped(writer)))
    }
}

fn anonymous() -> io::Result<(End, End)> {
    let (mut reader, mut writer) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: the attributes outlive the call, which fills both handles when it succeeds.
    unsafe {
        succeeded(CreatePipe(&mut reader, &mut writer, &inherited(), 0))?;
        Ok((End::Anonymous(owned(reader)?.into()), End::Anonymous(owned(writer)?.into())))
    }
}

/// Starts an operation, and waits for its end; returns the number of bytes.
fn finish(handle: &OwnedHandle, start: impl FnOnce(HANDLE, *mut OVERLAPPED) -> i32) -> io::Result<usize> {
    let handle = handle.as_raw_handle();
    // SAFETY: the event and the structure live until the operation has ended.
    unsafe {
        let event = owned(CreateEventW(ptr::null(), 1, 0, ptr::null()))?;
        let mut operation = OVERLAPPED { hEvent: event.as_raw_handle(), ..Default::default() };
        if start(handle, &mut operation) == 0 && GetLastError() != ERROR_IO_PENDING {
            return Err(io::Error::last_os_error());
        }
        let mut count = 0;
        succeeded(GetOverlappedResult(handle, &operation, &mut count, 1))?;
        Ok(count as usize)
    }
}

fn inherited() -> SECURITY_ATTRIBUTES {
    SECURITY_ATTRIBUTES {
        nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
        lpSecurityDescriptor: ptr::null_mut(),
        bInheritHandle: 1,
    }
}

fn length(buffer: &[u8]) -> u32 {
    u32::try_from(buffer.len()).unwrap_or(u32::MAX)
}

/// UTF-16 with a zero at the end.
pub(crate) fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

pub(crate) fn succeeded(result: i32) -> io::Result<()> {
    if result == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// # Safety
/// The handle is new and nobody else's, or invalid.
pub(crate) unsafe fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() || handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller's word.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}
