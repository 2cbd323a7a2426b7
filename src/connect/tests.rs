//! A session of a helper with an agent, over pipes and a service in memory.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Caller, Options, Plan, run};
use crate::agent::{self, Address, Builtin, Config, Target};
use crate::backend::stand_in::{Memory, MemoryDialer};
use crate::error::Exit;
use crate::net::{Network, Proxies, Tls};
use crate::platform::stdio::{Input, Output};

/// Runs a helper that asks an agent with an echo target for `stream`, as `talk` goes on at its stdin and stdout.
async fn session<T: Send + 'static>(
    stream: &'static str,
    talk: impl FnOnce(PipeWriter, PipeReader) -> T + Send + 'static,
) -> (String, T) {
    let service = Arc::new(Memory::default());
    let config =
        Config::with(vec![service.clone()], vec![Target::new("echo", Address::Builtin(Builtin::Echo))]);
    let network = Network::new(Tls::new(None).unwrap(), Proxies::none());
    let (_orders, taken) = mpsc::channel(1);
    tokio::spawn(agent::serve(config, network, None, taken));

    let (input, to_helper) = std::io::pipe().unwrap();
    let (from_helper, output) = std::io::pipe().unwrap();
    let talking = std::thread::spawn(move || talk(to_helper, from_helper));
    let (input, output) = (Input::new(OwnedFd::from(input)), Output::new(OwnedFd::from(output)));
    let options = Options { host: "dev-1".into(), stream: Some(stream.into()), ..Options::default() };
    let plan = move || Ok(Plan::new(Arc::new(MemoryDialer { service, stream })));
    let exit = run(&options, plan, Caller::at(input.unwrap(), output.unwrap())).await;
    (format!("{exit:?}"), talking.join().unwrap())
}

#[tokio::test]
async fn every_byte_returns_through_a_backend_in_memory() {
    let sent: Vec<u8> = (0..1_000_000_u32).map(|at| (at / 7).to_le_bytes()[0]).collect();
    let expected = sent.clone();
    let (exit, received) = session("echo", move |mut to_helper, mut from_helper| {
        let reading = std::thread::spawn(move || {
            let mut received = Vec::new();
            from_helper.read_to_end(&mut received).unwrap();
            received
        });
        to_helper.write_all(&sent).unwrap();
        drop(to_helper);
        reading.join().unwrap()
    })
    .await;
    assert_eq!(exit, format!("{:?}", ExitCode::SUCCESS));
    assert!(received == expected, "{} of {} bytes", received.len(), expected.len());
}

#[tokio::test]
async fn ssh_is_told_in_band_why_the_agent_rejects_a_stream() {
    let (exit, told) = session("ssh", |mut to_helper, mut from_helper| {
        to_helper.write_all(b"SSH-2.0-OpenSSH_10.0\r\n").unwrap();
        let mut told = Vec::new();
        from_helper.read_to_end(&mut told).unwrap();
        String::from_utf8_lossy(&told).into_owned()
    })
    .await;
    assert_eq!(exit, format!("{:?}", ExitCode::from(Exit::Unavailable)));
    assert!(told.starts_with("SSH-2.0-iotstream\r\n"), "{told}");
    assert!(told.contains("dev-1 rejected the stream: no target named ssh"), "{told}");
}
