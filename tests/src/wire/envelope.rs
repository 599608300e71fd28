//! Checks that every refusal has the right form, and lists the codes as the contract does.

use serde_json::Value;

use super::response::Response;

/// The header that carries the id of a request.
pub const REQUEST_ID: &str = "x-request-id";

/// The codes and statuses, copied from the contract and not from the code.
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
pub fn table_row(response: &Response) -> String {
    format!("{:<24}{:>4}  {}", response.code(), response.status, response.message())
}

/// Checks a refusal against the contract: exactly an envelope, its content type, the status of the code, the headers
/// that the status requires, and a request id.
pub(crate) fn assert_valid_refusal(response: &Response) {
    let seen = || format!("{response:?}");
    assert!(!response.header_values(REQUEST_ID).is_empty(), "no X-Request-Id: {}", seen());
    assert_eq!(
        response.header("content-type"),
        Some("application/json"),
        "wrong content type of an envelope: {}",
        seen()
    );
    if response.status == 401 {
        let challenge = response.header("www-authenticate");
        let rejected = challenge == Some("Bearer error=\"invalid_token\"");
        assert!(rejected || challenge == Some("Bearer"), "{}", seen());
        let of_token = response.is_head || response.code() != "auth_rejected";
        assert!(rejected || of_token, "the challenge does not say that the token is invalid: {}", seen());
    }
    if matches!(response.status, 429 | 503) {
        let after = response.header("retry-after").and_then(|text| text.parse::<u32>().ok());
        assert!(after.is_some(), "no Retry-After in seconds: {}", seen());
    }
    if response.is_head {
        assert!(response.body.is_empty(), "a body to HEAD: {}", seen());
        assert!(
            response.status == 412 || CODES.iter().any(|(_, status)| *status == response.status),
            "no code has this status: {}",
            seen()
        );
        return;
    }
    assert!(response.complete, "the refusal is cut off: {}", seen());
    let body: Value =
        serde_json::from_slice(&response.body).unwrap_or_else(|_| panic!("not JSON: {}", seen()));
    let members: Vec<_> = body.as_object().map(|body| body.keys().cloned().collect()).unwrap_or_default();
    assert_eq!(members, ["code", "message"], "not exactly an envelope: {}", seen());
    let code = body["code"].as_str().unwrap_or_else(|| panic!("no code: {}", seen()));
    assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "no message: {}", seen());
    let bound =
        CODES.iter().find(|(word, _)| *word == code).unwrap_or_else(|| panic!("no code: {}", seen())).1;
    let fits = response.status == bound
        || (code == "runtime_error" && matches!(response.status, 429 | 503))
        // HTTP has statuses of its own for a failed condition and for a range out of bounds. The protocol has no
        // codes for them.
        || (code == "invalid_request" && matches!(response.status, 412 | 416));
    assert!(fits, "the status does not match the code: {}", seen());
}
