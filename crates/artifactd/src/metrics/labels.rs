//! The closed tables that the labels of requests come from: routes, methods, outcomes. Whatever is in none of them is `other`.

use std::sync::LazyLock;

use artifact_store_protocol::{BUS_CLOSED_STATUS, Code, Method as ControlMethod, SUBSCRIBER_LIMIT_STATUS};
use axum::http::{Method, StatusCode};

use crate::http::{ROUTES, Serve};

/// What stands for anything that is not in a table.
const OTHER: &str = "other";

/// A route as its template, and the control method where the route has one and it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) route: &'static str,
    pub(crate) control: &'static str,
}

/// Every endpoint; the last stands for what is no route.
pub(crate) static ENDPOINTS: LazyLock<Vec<Endpoint>> = LazyLock::new(|| {
    let mut endpoints = Vec::new();
    for route in ROUTES {
        endpoints.push(Endpoint { route: route.path, control: "" });
        if route.serve == Serve::Control {
            let of = |method: &ControlMethod| Endpoint { route: route.path, control: method.name() };
            endpoints.extend(ControlMethod::ALL.iter().map(of));
        }
    }
    endpoints.push(Endpoint { route: OTHER, control: "" });
    endpoints
});

/// The place in [`ENDPOINTS`] of the route that was matched.
pub(crate) fn endpoint(route: Option<&str>, control: Option<&str>) -> usize {
    let control = control.unwrap_or_default();
    let found = route.and_then(|route| {
        ENDPOINTS.iter().position(|endpoint| endpoint.route == route && endpoint.control == control)
    });
    found.unwrap_or(ENDPOINTS.len() - 1)
}

/// Whether the route of an endpoint takes a method.
pub(crate) fn takes(endpoint: usize, method: usize) -> bool {
    let Some(endpoint) = ENDPOINTS.get(endpoint) else { return false };
    let verbs = ROUTES.iter().find(|route| route.path == endpoint.route).map_or(&[][..], |route| route.verbs);
    METHODS.get(method).is_some_and(|method| verbs.contains(method))
}

/// The methods of HTTP; the last stands for any other.
pub(crate) const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", OTHER];
/// The place of `other` among them.
pub(crate) const OTHER_METHOD: usize = METHODS.len() - 1;

/// The place of a method in [`METHODS`].
pub(crate) fn method(method: &Method) -> usize {
    METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(OTHER_METHOD)
}

/// How a request ended: a status, and the code of a refusal or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: &'static str,
    pub(crate) code: &'static str,
    key: (Option<u16>, Option<Code>),
}

/// The statuses that this server answers with, as labels have them.
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
/// The status where the client went away before there was one.
const NO_STATUS: &str = "none";

/// Statuses of answers that are no refusals.
const SUCCESSES: [u16; 4] = [200, 201, 206, 304];
/// Statuses that a code has beside its own.
const FINER: [(u16, Code); 4] = [
    (412, Code::InvalidRequest),
    (416, Code::InvalidRequest),
    (SUBSCRIBER_LIMIT_STATUS, Code::RuntimeError),
    (BUS_CLOSED_STATUS, Code::RuntimeError),
];

/// Every outcome, those of other statuses last.
pub(crate) static OUTCOMES: LazyLock<Vec<Outcome>> = LazyLock::new(|| {
    let word = |code: Option<Code>| code.map_or("", Code::word);
    let known = |(status, code): (u16, Option<Code>)| Outcome {
        status: text(status),
        code: word(code),
        key: (Some(status), code),
    };
    let mut outcomes = vec![Outcome { status: NO_STATUS, code: "", key: (None, None) }];
    outcomes.extend(SUCCESSES.map(|status| known((status, None))));
    outcomes.extend(Code::ALL.iter().map(|code| known((code.status(), Some(*code)))));
    outcomes.extend(FINER.map(|(status, code)| known((status, Some(code)))));
    let other = |code: Option<Code>| Outcome { status: OTHER, code: word(code), key: (None, code) };
    outcomes.extend(Code::ALL.iter().map(|code| other(Some(*code))));
    outcomes.push(Outcome { status: OTHER, code: "", key: (Some(0), None) });
    outcomes
});

fn text(status: u16) -> &'static str {
    STATUSES.iter().find(|(known, _)| *known == status).map_or(OTHER, |(_, text)| text)
}

/// The place of an outcome in [`OUTCOMES`].
pub(crate) fn outcome(status: Option<StatusCode>, code: Option<Code>) -> usize {
    let place = |key: (Option<u16>, Option<Code>)| OUTCOMES.iter().position(|outcome| outcome.key == key);
    let exact = place((status.map(|status| status.as_u16()), code));
    exact.or_else(|| code.and_then(|code| place((None, Some(code))))).unwrap_or(OUTCOMES.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_a_code_has_a_label_of_its_own() {
        for code in Code::ALL {
            let found = OUTCOMES[outcome(StatusCode::from_u16(code.status()).ok(), Some(*code))];
            assert_eq!((found.status, found.code), (code.status().to_string().as_str(), code.word()));
        }
        for (status, code) in FINER {
            let found = OUTCOMES[outcome(StatusCode::from_u16(status).ok(), Some(code))];
            assert_eq!((found.status, found.code), (status.to_string().as_str(), code.word()));
        }
    }

    #[test]
    fn what_is_in_no_table_is_other() {
        let found = |status: u16, code| {
            let found = OUTCOMES[outcome(StatusCode::from_u16(status).ok(), code)];
            (found.status, found.code)
        };
        assert_eq!(found(599, Some(Code::NotFound)), ("other", "not_found"));
        assert_eq!(found(599, None), ("other", ""));
        assert_eq!(found(204, None), ("other", ""));
        assert_eq!(OUTCOMES[outcome(None, None)].status, "none");
        assert_eq!(METHODS[method(&Method::from_bytes(b"BREW").unwrap())], "other");
        assert_eq!(ENDPOINTS[endpoint(None, None)].route, "other");
        assert_eq!(ENDPOINTS[endpoint(Some("/nowhere"), None)].route, "other");
    }

    #[test]
    fn every_route_and_control_method_is_an_endpoint_of_its_own() {
        for route in ROUTES {
            assert_eq!(
                ENDPOINTS[endpoint(Some(route.path), None)],
                Endpoint { route: route.path, control: "" }
            );
        }
        for method in ControlMethod::ALL {
            let found = ENDPOINTS[endpoint(Some("/v1/control/{method}"), Some(method.name()))];
            assert_eq!((found.route, found.control), ("/v1/control/{method}", method.name()));
        }
        assert_eq!(ENDPOINTS.len(), ROUTES.len() + ControlMethod::ALL.len() + 1);
    }
}
