//! The kind of a request, derived from its method and path. Connections are counted by the kind of their request. If
//! all regular connection slots are taken and none can be freed, only probes are served at once on new connections.
//! This module must never know who sends a request.

use axum::http::Method;

/// The paths of probes. Probes are served even if all regular slots are taken.
const PROBES: &[&str] = &["/healthz", "/readyz", "/metrics"];

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// Health, readiness or metrics. The request needs no token, and the response is short.
    Probe,
    /// A method of the control plane.
    Control,
    /// An upload of bytes.
    Upload,
    /// A download of bytes.
    Download,
    /// An event stream, which does not end by itself.
    Stream,
    /// Anything else, including requests without a route.
    Other,
}

impl RequestKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Probe, Self::Control, Self::Upload, Self::Download, Self::Stream, Self::Other];

    /// Returns the kind of a request with this method and path.
    pub(crate) fn of(method: &Method, path: &str) -> Self {
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        match path {
            _ if PROBES.contains(&path) && is_read => Self::Probe,
            "/v1/events" if is_read => Self::Stream,
            "/v1/artifacts" if *method == Method::PUT => Self::Upload,
            _ if path.starts_with("/v1/artifacts/") && is_read => Self::Download,
            _ if path.starts_with("/v1/control/") => Self::Control,
            _ => Self::Other,
        }
    }

    /// Returns the label of this kind in the metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Control => "control",
            Self::Upload => "upload",
            Self::Download => "download",
            Self::Stream => "stream",
            Self::Other => "other",
        }
    }

    /// Returns the name of several requests of this kind, for the log.
    pub(crate) const fn plural(self) -> &'static str {
        match self {
            Self::Probe => "probes",
            Self::Control => "control requests",
            Self::Upload => "uploads",
            Self::Download => "downloads",
            Self::Stream => "streams",
            Self::Other => "other requests",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::ROUTES;

    #[test]
    fn every_route_has_its_kind_and_a_put_to_the_path_of_a_probe_is_not_a_probe() {
        for route in ROUTES {
            for verb in route.verbs {
                let kind = RequestKind::of(&verb.parse().unwrap(), route.path);
                let expected = match route.path {
                    "/v1/control/{method}" => RequestKind::Control,
                    "/v1/events" => RequestKind::Stream,
                    "/v1/artifacts" => RequestKind::Upload,
                    "/v1/artifacts/{id}" => RequestKind::Download,
                    "/openapi.json" | "/" => RequestKind::Other,
                    _ => RequestKind::Probe,
                };
                assert_eq!(kind, expected, "{verb} {}", route.path);
            }
        }
        assert_eq!(RequestKind::of(&Method::PUT, "/healthz"), RequestKind::Other);
    }
}
