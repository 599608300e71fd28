//! What every failing response has to look like, and the codes as the contract lists them.

use serde_json::Value;

use super::response::Response;

/// The header that carries a request's id.
pub const REQUEST_ID: &str = "x-request-id";

/// The codes and statuses, written down from the contract and not from the code.
pub const CODES: [(&str, u16); 11] = [
    ("auth_rejected", 401),
    ("identity_required", 401),
    ("identity_scope_required", 403),
    ("invalid_request", 400),
    ("not_found", 404),
    ("payload_invalid", 422),
    ("presign_unsupported", 501),
    ("request_too_large", 413),
    ("runtime_error", 500),
    ("scope_mismatch", 403),
    ("unknown_method", 404),
];

/// A response as one line of a table.
pub fn row(response: &Response) -> String {
    format!("{:<24}{:>4}  {}", response.code(), response.status, response.message())
}

/// Holds a failing response to the contract: the envelope and nothing else, its type, the code's status, the headers that the
/// status asks for, and a request id.
pub(crate) fn failing(response: &Response) {
    let seen = || format!("{response:?}");
    assert!(!response.all(REQUEST_ID).is_empty(), "no X-Request-Id: {}", seen());
    assert_eq!(
        response.header("content-type"),
        Some("application/json"),
        "the type of an envelope: {}",
        seen()
    );
    if response.status == 401 {
        let challenge = response.header("www-authenticate");
        let rejected = challenge == Some("Bearer error=\"invalid_token\"");
        assert!(rejected || challenge == Some("Bearer"), "{}", seen());
        let of_token = response.to_head || response.code() != "auth_rejected";
        assert!(rejected || of_token, "a rejected token is not said to be one: {}", seen());
    }
    if matches!(response.status, 429 | 503) {
        let after = response.header("retry-after").and_then(|text| text.parse::<u32>().ok());
        assert!(after.is_some(), "no Retry-After in seconds: {}", seen());
    }
    if response.to_head {
        assert!(response.body.is_empty(), "a body to HEAD: {}", seen());
        assert!(
            response.status == 412 || CODES.iter().any(|(_, status)| *status == response.status),
            "no code has this status: {}",
            seen()
        );
        return;
    }
    assert!(response.complete, "a refusal that is cut off: {}", seen());
    let body: Value =
        serde_json::from_slice(&response.body).unwrap_or_else(|_| panic!("no JSON: {}", seen()));
    let members: Vec<_> = body.as_object().map(|body| body.keys().cloned().collect()).unwrap_or_default();
    assert_eq!(members, ["code", "message"], "exactly an envelope: {}", seen());
    let code = body["code"].as_str().unwrap_or_else(|| panic!("no code: {}", seen()));
    assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "no message: {}", seen());
    let bound =
        CODES.iter().find(|(word, _)| *word == code).unwrap_or_else(|| panic!("no code: {}", seen())).1;
    let fits = response.status == bound
        || (code == "runtime_error" && matches!(response.status, 429 | 503))
        // HTTP has statuses of its own for a condition that fails and a range outside, and the protocol no codes of its own.
        || (code == "invalid_request" && matches!(response.status, 412 | 416));
    assert!(fits, "the status is not that of the code: {}", seen());
}
