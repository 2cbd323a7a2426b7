//! Which part of the hub answers an HTTP request.

use std::future::pending;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;

use super::hub::Hub;
use crate::emulator::faults::HubFault;
use crate::emulator::server::{Answering, Client, Reply, Service};

impl Service for Hub {
    /// Every path: one that the hub does not know is a 404 in its own form.
    fn serves(&self, _: &str) -> bool {
        true
    }

    fn answer(self: Arc<Self>, request: Request<Incoming>, client: Client) -> Answering {
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            if !path.starts_with("/bridges/") {
                return self.rest_or_fault(request, client).await;
            }
            self.join_stream(&request).await.unwrap_or_else(|refused| {
                log::info!("the upgrade of {path} is refused with {}: {}", refused.status, refused.why);
                refused.answer().into()
            })
        })
    }
}

impl Hub {
    async fn rest_or_fault(&self, request: Request<Incoming>, client: Client) -> Reply {
        match self.faults.hub.take() {
            None => {
                let authority = client.authority.unwrap_or_else(|| self.address.public.to_string());
                self.rest(request, authority).await
            }
            Some(HubFault::Silent) => pending().await,
            Some(HubFault::Drop) => Reply::Drop,
            Some(HubFault::Garbage) => Reply::Garbage,
        }
    }
}
