//! What OpenSSH demands of a ProxyCommand, one promise after the other, with the programs that users run.

mod background;
mod bulk;
mod command_line;
mod descriptors;
mod in_band;
mod keepalive;
mod leaving;
mod names;
mod python_clients;
mod records;
mod situation;
mod terminal;
mod waiting;
