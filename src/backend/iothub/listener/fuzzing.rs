//! What fuzzing runs of this folder: a session of MQTT.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::hub_connection::{ConnectionError, HubConnection, Received, TwinReply};
use crate::backend::iothub::proto::{HubAddress, Identity, Login, Offer};
use crate::secret::Secret;

/// The device's token, which only the first packet may contain.
pub const TOKEN: &str = "c4n4ry-t0ken";

/// What a device hears of its hub.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// Whether the login and the subscription were accepted.
    pub has_begun: bool,
    /// The streams that were offered, or why an offer cannot be used.
    pub offers: Vec<Result<String, String>>,
    /// Whether the hub grants the subscription to the twin, and its answers.
    pub twin: Vec<String>,
    /// Why the connection ended; `None` if the device ended it.
    pub end: Option<String>,
}

/// A device's session: it logs in, subscribes to its twin, answers each offer and asks for the twin once. After `most`
/// messages it unsubscribes and ends. Its patience with a silent hub is limited.
pub async fn session<S>(io: S, most: usize) -> Session
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut session = Session::default();
    let talk = timeout(Duration::from_secs(3600), talk(io, most, &mut session)).await;
    let end = talk.unwrap_or_else(|_| Err(ConnectionError::Silent("anything")));
    session.end = end.err().map(|error| format!("{error:?}"));
    assert!(session.end.as_ref().is_none_or(|end| !end.contains(TOKEN)), "the token is shown");
    session
}

async fn talk<S>(io: S, most: usize, session: &mut Session) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let identity = Identity::new("dev-1", None).expect("an id");
    let login = Login::new(&HubAddress { name: "hub".into(), port: None }, &identity, "fuzz");
    let token = Secret::new(TOKEN);
    let mut connection = HubConnection::begin(io, &login, Some(&token), Duration::from_secs(60)).await?;
    session.has_begun = true;
    connection.subscribe_to_twin()?;
    connection.request("$iothub/twin/GET/?$rid=1", String::new())?;
    let told = |offer: &Offer| offer.stream.clone();
    for _ in 0..most {
        match connection.receive().await? {
            Received::Offer(offer) => {
                let answer = match &offer {
                    Ok(offer) => Some(offer.answer(crate::backend::iothub::proto::Decision::Accept)),
                    Err(bad) => bad.rejection(),
                };
                if let Some(answer) = answer {
                    connection.publish(&answer).await?;
                }
                session.offers.push(offer.as_ref().map(told).map_err(|bad| bad.problem.0.clone()));
            }
            Received::Twin(TwinReply::Answer(answer)) => {
                let _ = answer.reported();
                session.twin.push(format!("{} {} {}", answer.id, answer.status, answer.body.len()));
            }
            Received::Twin(reply) => session.twin.push(format!("{reply:?}")),
        }
    }
    let last = connection.unsubscribe().await?;
    session
        .offers
        .extend(last.iter().map(|offer| offer.as_ref().map(told).map_err(|bad| bad.problem.0.clone())));
    connection.end().await;
    Ok(())
}
