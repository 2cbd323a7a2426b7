//! What OpenSSH demands of a ProxyCommand, one promise after the other, with the programs that users run.

mod bulk;
mod in_band;
mod leaving;
mod situation;
mod terminal;
