//! The text of the two units.

use super::listen::Listen;
use crate::text::unit::{self, ISOLATED, UNPRIVILEGED};

/// The first line of each unit, by which the command knows its own.
pub(super) const MARK: &str = "# Written by `iotstream socket-unit`, which overwrites changes.\n";

/// The streams at a time: those of an IoT Hub \[D].
const MAX_CONNECTIONS: u32 = 50;

/// The status of a connection that its client has cut: browsers and viewers do that.
const CUT_BY_CLIENT: u8 = crate::error::Exit::LocalIo as u8;

/// The files of a program of the system's systemd, whose state is below its user's home.
const FILES: &str = "PrivateTmp=yes\nProtectSystem=full\n";

/// The restrictions that remain if a command prints the profile's credential, because they apply to the command too.
const WITH_COMMAND: &str = "\
# The profile's credential comes from a command, which more restrictions may break.
NoNewPrivileges=yes
UMask=0077
";

/// What both units are made from.
#[derive(Debug)]
pub(super) struct Units<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) listen: &'a Listen,
    /// The user of the program, under the system's systemd.
    pub(super) run_as: Option<&'a str>,
    /// The program and its arguments.
    pub(super) words: &'a [String],
    /// Whether the program runs a command of the profile's.
    pub(super) has_command: bool,
}

impl Units<'_> {
    /// The socket unit. `None` if a name cannot be written in a unit.
    pub(super) fn socket(&self) -> Option<String> {
        let Self { port, listen, run_as, .. } = self;
        let listen_stream = unit::value(&listen.to_string())?;
        let options = match (listen, run_as) {
            (Listen::Tcp(_), _) => "NoDelay=yes\n".to_owned(),
            (Listen::Unix(_), None) => "SocketMode=0600\nRemoveOnStop=yes\n".to_owned(),
            (Listen::Unix(_), Some(user)) => {
                format!("SocketMode=0600\nSocketUser={user}\nRemoveOnStop=yes\n")
            }
        };
        Some(format!(
            "{MARK}[Unit]\n\
             Description={} port {port}\n\
             \n\
             [Socket]\n\
             # {}\n\
             ListenStream={listen_stream}\n\
             {options}\
             Accept=yes\n\
             MaxConnections={MAX_CONNECTIONS}\n\
             TriggerLimitIntervalSec=0\n\
             \n\
             [Install]\n\
             WantedBy=sockets.target\n",
            unit::value(self.host)?,
            listen.who_connects(*run_as),
        ))
    }

    /// The service unit for each connection. `None` if a name cannot be written in a unit.
    pub(super) fn service(&self) -> Option<String> {
        let (program, arguments) = self.words.split_first()?;
        let mut line = unit::program(program)?;
        for word in arguments {
            line = format!("{line} {}", unit::argument(word)?);
        }
        let user = self.run_as.map_or_else(String::new, |user| format!("User={user}\n"));
        let hardening = match (self.has_command, self.run_as) {
            (true, _) => WITH_COMMAND.to_owned(),
            (false, None) => UNPRIVILEGED.to_owned(),
            (false, Some(_)) => format!("{UNPRIVILEGED}{ISOLATED}{FILES}"),
        };
        Some(format!(
            "{MARK}[Unit]\n\
             Description={} port {}\n\
             # A connection that fails leaves nothing but its lines in the journal.\n\
             CollectMode=inactive-or-failed\n\
             \n\
             [Service]\n\
             ExecStart={line}\n\
             {user}\
             StandardInput=socket\n\
             StandardOutput=socket\n\
             StandardError=journal\n\
             # The client has cut the connection.\n\
             SuccessExitStatus={CUT_BY_CLIENT}\n\
             \n\
             {hardening}",
            unit::value(self.host)?,
            self.port,
        ))
    }
}
