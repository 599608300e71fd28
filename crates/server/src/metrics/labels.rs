//! The fixed tables for the labels of requests: routes, methods, outcomes. A value that is in no table becomes `other`.

use std::sync::LazyLock;

use artifact_store_protocol::{BUS_CLOSED_STATUS, Code, Method as ControlMethod, SUBSCRIBER_LIMIT_STATUS};
use axum::http::{Method, StatusCode};

use crate::routes::{ROUTES, RouteKind};

/// The label of a value that is not in a table.
const OTHER: &str = "other";

/// The path template of a route, and the control method. `control` is empty if the request has no known control method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) route: &'static str,
    pub(crate) control: &'static str,
}

/// Every endpoint. The last endpoint is for requests without a route.
pub(crate) static ENDPOINTS: LazyLock<Vec<Endpoint>> = LazyLock::new(|| {
    let mut endpoints = Vec::new();
    for route in ROUTES {
        endpoints.push(Endpoint { route: route.path, control: "" });
        if route.kind == RouteKind::Control {
            let endpoint = |method: &ControlMethod| Endpoint { route: route.path, control: method.name() };
            endpoints.extend(ControlMethod::ALL.iter().map(endpoint));
        }
    }
    endpoints.push(Endpoint { route: OTHER, control: "" });
    endpoints
});

/// Returns the index in [`ENDPOINTS`] of the endpoint with this route and this control method. If there is no such
/// endpoint, returns the last index.
pub(crate) fn endpoint_index(route: Option<&str>, control: Option<&str>) -> usize {
    let control = control.unwrap_or_default();
    let found = route.and_then(|route| {
        ENDPOINTS.iter().position(|endpoint| endpoint.route == route && endpoint.control == control)
    });
    found.unwrap_or(ENDPOINTS.len() - 1)
}

/// Returns whether the route of an endpoint has an HTTP method. `endpoint` and `method` are indices in [`ENDPOINTS`]
/// and [`METHODS`].
pub(crate) fn allows_method(endpoint: usize, method: usize) -> bool {
    let Some(endpoint) = ENDPOINTS.get(endpoint) else { return false };
    let route = ROUTES.iter().find(|route| route.path == endpoint.route);
    let allowed = route.map_or(&[][..], |route| route.verbs);
    METHODS.get(method).is_some_and(|method| allowed.contains(method))
}

/// The HTTP methods. The last entry is for all other methods.
pub(crate) const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", OTHER];
/// The index of `other` in [`METHODS`].
pub(crate) const OTHER_METHOD: usize = METHODS.len() - 1;

/// Returns the index of a method in [`METHODS`].
pub(crate) fn method_index(method: &Method) -> usize {
    METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(OTHER_METHOD)
}

/// The outcome of a request: its status, and the code of the refusal. `code` is empty if the request was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestOutcome {
    pub(crate) status: &'static str,
    pub(crate) code: &'static str,
    key: OutcomeKey,
}

/// What [`outcome_index`] finds an outcome by. The code is `None` if the request was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutcomeKey {
    /// The server had no response.
    NoResponse,
    /// This status with this code.
    Status(u16, Option<Code>),
    /// Any status that has no outcome of its own with this code.
    OtherStatus(Option<Code>),
}

/// The statuses that this server sends, and their labels.
const STATUSES: &[(u16, &str)] = &[
    (200, "200"),
    (201, "201"),
    (206, "206"),
    (304, "304"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (412, "412"),
    (413, "413"),
    (416, "416"),
    (422, "422"),
    (429, "429"),
    (500, "500"),
    (501, "501"),
    (503, "503"),
];
/// The label if the client disconnected before the server had a response.
const NO_STATUS: &str = "none";

/// The statuses of responses that are not refusals.
const SUCCESSES: [u16; 4] = [200, 201, 206, 304];
/// Statuses that a code can have in addition to its own status.
const ADDITIONAL_STATUSES: [(u16, Code); 4] = [
    (412, Code::InvalidRequest),
    (416, Code::InvalidRequest),
    (SUBSCRIBER_LIMIT_STATUS, Code::RuntimeError),
    (BUS_CLOSED_STATUS, Code::RuntimeError),
];

/// Every outcome. The last outcomes have the status `other`: one outcome for each code, then one without a code.
pub(crate) static OUTCOMES: LazyLock<Vec<RequestOutcome>> = LazyLock::new(|| {
    let code_label = |code: Option<Code>| code.map_or("", Code::as_str);
    let known_status = |(status, code): (u16, Option<Code>)| RequestOutcome {
        status: status_label(status),
        code: code_label(code),
        key: OutcomeKey::Status(status, code),
    };
    let mut outcomes = vec![RequestOutcome { status: NO_STATUS, code: "", key: OutcomeKey::NoResponse }];
    outcomes.extend(SUCCESSES.map(|status| known_status((status, None))));
    outcomes.extend(Code::ALL.iter().map(|code| known_status((code.status(), Some(*code)))));
    outcomes.extend(ADDITIONAL_STATUSES.map(|(status, code)| known_status((status, Some(code)))));
    let other_status = |code: Option<Code>| RequestOutcome {
        status: OTHER,
        code: code_label(code),
        key: OutcomeKey::OtherStatus(code),
    };
    outcomes.extend(Code::ALL.iter().map(|code| other_status(Some(*code))));
    outcomes.push(other_status(None));
    outcomes
});

/// Returns the label of a status: the status itself, or `other`.
fn status_label(status: u16) -> &'static str {
    STATUSES.iter().find(|(known, _)| *known == status).map_or(OTHER, |(_, text)| text)
}

/// Returns the index of an outcome in [`OUTCOMES`]. `status` is `None` if there was no response. `code` is `None` if
/// the request was not refused.
pub(crate) fn outcome_index(status: Option<StatusCode>, code: Option<Code>) -> usize {
    let index_of = |key: OutcomeKey| OUTCOMES.iter().position(|outcome| outcome.key == key);
    let key = match (status, code) {
        (Some(status), code) => OutcomeKey::Status(status.as_u16(), code),
        (None, None) => OutcomeKey::NoResponse,
        (None, Some(_)) => OutcomeKey::OtherStatus(code),
    };
    index_of(key).or_else(|| index_of(OutcomeKey::OtherStatus(code))).unwrap_or(OUTCOMES.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_a_code_has_a_label_of_its_own() {
        for code in Code::ALL {
            let found = OUTCOMES[outcome_index(StatusCode::from_u16(code.status()).ok(), Some(*code))];
            assert_eq!((found.status, found.code), (code.status().to_string().as_str(), code.as_str()));
        }
        for (status, code) in ADDITIONAL_STATUSES {
            let found = OUTCOMES[outcome_index(StatusCode::from_u16(status).ok(), Some(code))];
            assert_eq!((found.status, found.code), (status.to_string().as_str(), code.as_str()));
        }
    }

    #[test]
    fn a_value_that_is_in_no_table_is_other() {
        let labels_of = |status: u16, code| {
            let outcome = OUTCOMES[outcome_index(StatusCode::from_u16(status).ok(), code)];
            (outcome.status, outcome.code)
        };
        assert_eq!(labels_of(599, Some(Code::NotFound)), ("other", "not_found"));
        assert_eq!(labels_of(599, None), ("other", ""));
        assert_eq!(labels_of(204, None), ("other", ""));
        assert_eq!(OUTCOMES[outcome_index(None, None)].status, "none");
        assert_eq!(METHODS[method_index(&Method::from_bytes(b"BREW").unwrap())], "other");
        assert_eq!(ENDPOINTS[endpoint_index(None, None)].route, "other");
        assert_eq!(ENDPOINTS[endpoint_index(Some("/nowhere"), None)].route, "other");
    }

    #[test]
    fn every_route_and_control_method_is_an_endpoint_of_its_own() {
        for route in ROUTES {
            assert_eq!(
                ENDPOINTS[endpoint_index(Some(route.path), None)],
                Endpoint { route: route.path, control: "" }
            );
        }
        for method in ControlMethod::ALL {
            let found = ENDPOINTS[endpoint_index(Some("/v1/control/{method}"), Some(method.name()))];
            assert_eq!((found.route, found.control), ("/v1/control/{method}", method.name()));
        }
        assert_eq!(ENDPOINTS.len(), ROUTES.len() + ControlMethod::ALL.len() + 1);
    }
}
