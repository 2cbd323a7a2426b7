//! A helper over a pair of pipes, and a device that echoes.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::duplex;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Caller, Options, Plan, run};
use crate::backend::{Checked, Dialer, Joined, Pending};
use crate::error::Result;
use crate::platform::stdio::{Input, Output};
use crate::state::rate::Turn;
use crate::time::phase::Phases;

#[derive(Debug)]
struct Echo;

impl Dialer for Echo {
    fn describe(&self) -> String {
        "an echo".into()
    }

    fn device(&self) -> String {
        "dev".into()
    }

    fn service(&self) -> String {
        "nowhere".into()
    }

    fn stream(&self) -> &str {
        "echo"
    }

    fn streams_per_second(&self) -> Option<u32> {
        None
    }

    fn daily_quota(&self) -> Option<u64> {
        None
    }

    fn open<'a>(&'a self, _: Option<Turn<'a>>, _: &'a mut Phases) -> Pending<'a, Result<Joined>> {
        Box::pin(async {
            let (ours, theirs) = duplex(256);
            tokio::spawn(async move {
                let mut socket = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_binary() {
                        socket.send(message).await.unwrap();
                    }
                }
            });
            Ok(Joined { io: Box::new(ours), early: Bytes::new() })
        })
    }

    fn check(&self) -> Pending<'_, Checked> {
        Box::pin(async { Checked { findings: Vec::new(), stream: None } })
    }
}

#[tokio::test]
async fn any_pair_of_pipes_and_any_dialer_will_do() {
    let (input, mut to_helper) = std::io::pipe().unwrap();
    let (mut from_helper, output) = std::io::pipe().unwrap();
    to_helper.write_all(b"there and back").unwrap();
    drop(to_helper);
    let caller =
        Caller::at(Input::new(OwnedFd::from(input)).unwrap(), Output::new(OwnedFd::from(output)).unwrap());
    let options = Options { host: "dev".into(), ..Options::default() };
    let code = run(&options, || Ok(Plan::new(Arc::new(Echo))), caller).await;
    assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::SUCCESS));
    let mut back = String::new();
    from_helper.read_to_string(&mut back).unwrap();
    assert_eq!(back, "there and back");
}
