//! The meaning of a signal.

/// What a signal asks of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(windows, expect(dead_code, reason = "Windows has no signal to leave"))]
pub(crate) enum ServiceSignal {
    /// SIGHUP, or Ctrl-Break on Windows: read the configuration again.
    Reload,
    /// SIGTERM or SIGINT, or Ctrl-C on Windows.
    Stop,
    /// SIGUSR2: leave the hub, and serve the open streams to their end.
    Leave,
}

/// What a signal asks of a helper that ssh has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(windows, expect(dead_code, reason = "Windows has the first alone"))]
pub(crate) enum HelperSignal {
    /// SIGHUP, or the end of the console on Windows.
    Hangup,
    /// SIGTERM.
    Terminate,
    /// SIGUSR1: print the statistics.
    Stats,
}
