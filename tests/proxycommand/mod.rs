//! What ssh requires of its ProxyCommand: stdio, exit, signals, terminals, and what the user is told.

mod background;
mod command_line;
mod default_module;
mod exit_and_signals;
mod failing_connection;
mod failure_record;
mod gateway_cache;
mod host_and_port;
mod in_band;
mod keepalive;
mod proxies;
mod relay_names;
mod relay_preamble;
mod relay_refusals;
mod relay_retries;
mod relay_streams;
mod reports;
mod secrets;
mod state_and_log_files;
mod statistics;
mod stdio;
mod terminal;
mod throttling;
mod waiting;
