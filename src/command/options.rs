//! The options of the command line, as `connect` takes them.

use crate::cli;
use crate::connect::{Az, Options, ProfileOptions};

/// What the host is called in messages where `az ssh` names none.
const AZ_HOST: &str = "the Azure Arc machine";

impl From<&cli::ProfileArgs> for ProfileOptions {
    fn from(args: &cli::ProfileArgs) -> Self {
        let cli::ProfileArgs { profile, config, ca_file, proxy } = args.clone();
        Self { name: profile, file: config, ca_file, proxy }
    }
}

impl From<&cli::Connect> for Options {
    fn from(args: &cli::Connect) -> Self {
        let az = args
            .host
            .is_none()
            .then(|| Az { relay_info: args.relay_info.clone(), relay_suffix: args.relay_suffix.clone() });
        Self {
            port: args.port.or(args.arc_port),
            az,
            stream: args.stream.clone(),
            stats: args.stats,
            ..of_stream(args.host.as_deref().unwrap_or(AZ_HOST), &args.stream_args)
        }
    }
}

/// What asks `host` for the stream that measures, whatever the profile says of streams.
pub(super) fn to_measure(host: &str, args: &cli::StreamArgs, stream: &str) -> Options {
    Options { stream: Some(stream.to_owned()), ..of_stream(host, args) }
}

fn of_stream(host: &str, args: &cli::StreamArgs) -> Options {
    let cli::StreamArgs { profile, name, module, connect_timeout, response_timeout, wait, keepalive } = args;
    Options {
        host: host.to_owned(),
        profile: profile.into(),
        name: name.clone(),
        module: module.clone(),
        connect_timeout: *connect_timeout,
        response_timeout: *response_timeout,
        wait: *wait,
        keepalive: *keepalive,
        ..Options::default()
    }
}
