//! Checks a request for the REST API, and calls what answers it.

use hyper::body::Incoming;
use hyper::header::{ALLOW, AUTHORIZATION, HeaderValue};
use hyper::{Method, Request};

use super::route::Route;
use crate::backend::iothub::proto::Code;
use crate::emulator::iothub::hub::Hub;
use crate::emulator::iothub::policies::Permission;
use crate::emulator::server::{Reply, whole};

/// The largest body; most are queries and descriptions of devices.
const MAX_BODY: usize = 64 << 10;
/// The same for a twin, which .NET's client sends whole, with the metadata \[C].
const MAX_TWIN: usize = 512 << 10;

impl Hub {
    /// Answers a REST request. `authority` is where the client reached the hub.
    pub(in crate::emulator) async fn rest(&self, request: Request<Incoming>, authority: String) -> Reply {
        let (parts, body) = request.into_parts();
        let route = Route::parse(parts.uri.path());
        let limit = if matches!(route, Some(Route::Twin { .. })) { MAX_TWIN } else { MAX_BODY };
        let body = match whole(body, limit).await {
            Ok(body) => body,
            Err((status, message)) => return self.problem(status, None, message).into(),
        };
        let Some(route) = route else {
            return self.problem(404, None, "There is no such path.").into();
        };
        if !route.methods().split(", ").any(|method| method == parts.method.as_str()) {
            let mut answer = self.problem(405, None, "The path does not take this method.");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(route.methods()));
            return answer.into();
        }
        // Any api-version will do: clients with streams sent six different ones [S].
        let query = parts.uri.query().unwrap_or_default();
        if !query.split('&').any(|pair| pair.strip_prefix("api-version=").is_some_and(|v| !v.is_empty())) {
            return self.problem(400, Some(Code(400_001)), "The api-version is missing.").into();
        }
        let writes = matches!(parts.method, Method::PUT | Method::DELETE);
        let permissions: &[Permission] = match &route {
            Route::Stream { .. } | Route::Twin { .. } => &[Permission::ServiceConnect],
            Route::Identity { .. } if writes => &[Permission::RegistryWrite],
            // A choice: the service demands RegistryRead. With ServiceConnect allowed too, our tools need one policy; it
            // shows them no keys.
            _ => &[Permission::RegistryRead, Permission::ServiceConnect],
        };
        let header = parts.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        if let Err(failure) = self.authorize(header, permissions) {
            log::info!(
                "{} {} is refused: {}",
                parts.method,
                parts.uri.path(),
                failure.message.as_deref().unwrap_or("")
            );
            return self.failure(failure, None).into();
        }
        let shows_keys = self.authorize(header, &[Permission::RegistryRead]).is_ok();
        let answer = match route {
            Route::Stream { device, module, stream } => {
                self.post_stream(device, module, stream, &parts.headers, authority).await
            }
            Route::Twin { device, module } => return self.twin_or_fault(&parts, device, module, &body).await,
            Route::Statistics(of) => self.statistics(of),
            Route::Devices => self.all_devices(query, shows_keys),
            Route::Modules(device) => self.modules(device, shows_keys),
            Route::Query => self.query(&parts.headers, &body),
            Route::Identity { device, module } => self.registered(&parts, device, module, &body, shows_keys),
        };
        answer.into()
    }
}
