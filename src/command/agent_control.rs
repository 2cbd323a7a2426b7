//! Talks to the running agent: approves, revokes, shows its status.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use super::output::print;
use crate::agent::{Reply, Request, ServiceState, Status, ask_agent, default_socket};
use crate::cli::{AgentAction, Control};
use crate::error::{Error, Exit, Result, escape};
use crate::text::{duration, size};

pub(super) fn run(action: &AgentAction) -> Result<ExitCode> {
    match action {
        AgentAction::Approve(args) => {
            let request = Request::Approve {
                stream: args.stream.clone(),
                milliseconds: args.r#for.map(|length| u64::try_from(length.as_millis()).unwrap_or(u64::MAX)),
                reason: args.reason.clone(),
            };
            done(&args.control, &request)
        }
        AgentAction::Revoke(args) => {
            done(&args.control, &Request::Revoke { stream: args.stream.clone(), cut: args.cut })
        }
        AgentAction::Status(args) => {
            let Reply::Status(status) = ask(&args.control, &Request::Status)? else {
                return Err(unexpected());
            };
            if args.json {
                let json = serde_json::to_string(&status).map_err(|error| Error::Bug(error.to_string()))?;
                print(&format!("{json}\n"))?;
            } else {
                print(&text(&status))?;
            }
            Ok(match status.state {
                ServiceState::InService => ExitCode::SUCCESS,
                ServiceState::Waiting => Exit::Temporary.into(),
                ServiceState::OutOfService => Exit::Other.into(),
            })
        }
    }
}

fn done(control: &Control, request: &Request) -> Result<ExitCode> {
    let Reply::Done(done) = ask(control, request)? else { return Err(unexpected()) };
    print(&format!("{}\n", escape(&done)))?;
    Ok(ExitCode::SUCCESS)
}

fn unexpected() -> Error {
    Error::Bug("the agent answers another question".into())
}

fn ask(control: &Control, request: &Request) -> Result<Reply> {
    // On a system without Unix sockets, connecting says so.
    let path = control.control.clone().or_else(|| default_socket(true)).unwrap_or_default();
    super::runtime()?.block_on(ask_agent(&path, request))
}

/// The status for people.
fn text(status: &Status) -> String {
    let lasted = |seconds: u64| duration::show(Duration::from_secs(seconds));
    let by = |requester: &Option<String>| {
        requester.as_ref().map_or_else(String::new, |requester| format!(", from {}", escape(requester)))
    };
    let state = match status.state {
        ServiceState::InService => "in service",
        ServiceState::Waiting => "waiting for the service",
        ServiceState::OutOfService => "out of service",
    };
    let mut text = format!(
        "{state}: agent {} (process {}), running for {}\n",
        escape(&status.version),
        status.pid,
        lasted(status.seconds)
    );
    for service in &status.services {
        let _ = writeln!(text, "  {}", escape(&service.status));
    }
    let _ = writeln!(text, "open streams: {}", status.streams.len());
    for live in &status.streams {
        let _ = writeln!(
            text,
            "  {} to {}, for {}{}: {} to the user, {} from the user",
            escape(&live.stream),
            escape(&live.target),
            lasted(live.seconds),
            by(&live.requester),
            size::show(live.to_user),
            size::show(live.from_user),
        );
    }
    let _ = writeln!(text, "requests that wait for approval: {}", status.pending.len());
    for request in &status.pending {
        let _ = writeln!(
            text,
            "  {} to {}, for {}{}; {} left (approve = {})",
            escape(&request.stream),
            escape(&request.target),
            lasted(request.seconds),
            by(&request.requester),
            lasted(request.remaining),
            escape(&request.approve),
        );
    }
    let _ = writeln!(text, "approval windows: {}", status.windows.len());
    for window in &status.windows {
        let reason =
            window.reason.as_ref().map_or_else(String::new, |reason| format!(": {}", escape(reason)));
        let _ = writeln!(
            text,
            "  {}, {} left, by {}{reason}",
            escape(&window.stream),
            lasted(window.remaining),
            escape(&window.approver),
        );
    }
    text
}
