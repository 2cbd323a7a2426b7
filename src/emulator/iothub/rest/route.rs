//! The paths of the REST API, and the methods that each takes.

/// The purpose of a path. Its segments are not decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Stream {
        device: &'a str,
        module: Option<&'a str>,
        stream: &'a str,
    },
    Twin {
        device: &'a str,
        module: Option<&'a str>,
    },
    Devices,
    Query,
    Identity {
        device: &'a str,
        module: Option<&'a str>,
    },
    /// The modules of a device.
    Modules(&'a str),
    /// Counts of devices, or of those that are connected.
    Statistics(&'a str),
}

impl Route<'_> {
    /// Reads a path; `None` when the hub has no such path.
    pub(super) fn parse(path: &str) -> Option<Route<'_>> {
        let mut segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        // Node's client lists devices at `/devices/`; a stream needs its name.
        if segments.last() == Some(&"") && !segments.contains(&"streams") {
            segments.pop();
        }
        Some(match segments[..] {
            ["twins", device, "streams", stream] => Route::Stream { device, module: None, stream },
            ["twins", device, "modules", module, "streams", stream] => {
                Route::Stream { device, module: Some(module), stream }
            }
            ["twins", device] => Route::Twin { device, module: None },
            ["twins", device, "modules", module] => Route::Twin { device, module: Some(module) },
            ["devices"] => Route::Devices,
            ["devices", "query"] => Route::Query,
            ["devices", device] => Route::Identity { device, module: None },
            ["devices", device, "modules"] => Route::Modules(device),
            ["devices", device, "modules", module] => Route::Identity { device, module: Some(module) },
            ["statistics", of @ ("devices" | "service")] => Route::Statistics(of),
            _ => return None,
        })
    }

    /// The methods that the path takes, as the `Allow` header lists them.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Route::Stream { .. } | Route::Query => "POST",
            Route::Devices | Route::Modules(_) | Route::Statistics(_) => "GET",
            Route::Twin { .. } => "GET, PATCH, PUT",
            Route::Identity { .. } => "GET, PUT, DELETE",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn routes() {
        assert_eq!(
            Route::parse("/twins/a%23b/streams/ssh"),
            Some(Route::Stream { device: "a%23b", module: None, stream: "ssh" })
        );
        assert_eq!(
            Route::parse("/twins/d/modules/m/streams/ssh"),
            Some(Route::Stream { device: "d", module: Some("m"), stream: "ssh" })
        );
        assert_eq!(Route::parse("/devices/query"), Some(Route::Query));
        assert_eq!(Route::parse("/devices/d"), Some(Route::Identity { device: "d", module: None }));
        assert_eq!(
            Route::parse("/devices/d/modules/m"),
            Some(Route::Identity { device: "d", module: Some("m") })
        );
        assert_eq!(Route::parse("/devices/d/modules/"), Some(Route::Modules("d")));
        assert_eq!(Route::parse("/twins/d"), Some(Route::Twin { device: "d", module: None }));
        assert_eq!(Route::parse("/twins/d/modules/m"), Some(Route::Twin { device: "d", module: Some("m") }));
        for path in ["", "/", "/devices/d/x", "/twins/d/streams/a/b", "/twins/d/modules", "devices"] {
            assert_eq!(Route::parse(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn foreign_paths_are_read(path in ".*") {
            let _ = Route::parse(&path);
        }
    }
}
