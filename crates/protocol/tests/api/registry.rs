//! The registry against the table of the protocol, and the JSON of responses.

use artifact_store_core::{Bytes, Digest};
use artifact_store_core::{PutOptions, Record, Scope, Timestamp};
use artifact_store_protocol::{Code, EventKind, GetResponse, Method, PROTOCOL_VERSION, RetryPolicy, Row};

#[test]
fn the_eleven_codes_have_the_names_statuses_and_retry_policies_of_the_protocol() {
    let table: Vec<_> =
        Code::ALL.iter().map(|code| (code.as_str(), code.status(), code.descriptor().retry_policy)).collect();
    assert_eq!(
        table,
        [
            ("auth_rejected", 401, RetryPolicy::FreshToken),
            ("identity_required", 401, RetryPolicy::Never),
            ("identity_scope_required", 403, RetryPolicy::Never),
            ("invalid_request", 400, RetryPolicy::Never),
            ("not_found", 404, RetryPolicy::Never),
            ("payload_invalid", 422, RetryPolicy::Never),
            ("presign_unsupported", 501, RetryPolicy::Never),
            ("request_too_large", 413, RetryPolicy::Never),
            ("runtime_error", 500, RetryPolicy::Backoff),
            ("scope_mismatch", 403, RetryPolicy::Never),
            ("unknown_method", 404, RetryPolicy::Never),
        ]
    );
    for code in Code::ALL {
        assert_eq!(code.as_str().parse(), Ok(*code));
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        assert!(
            code.descriptor().description.ends_with('.') && code.descriptor().retry_advice.ends_with('.')
        );
    }
    assert!("teapot".parse::<Code>().is_err());
}

#[test]
fn methods_and_events_are_found_by_their_names() {
    for method in Method::ALL {
        assert_eq!(Method::from_name(method.name()), Some(*method));
    }
    assert_eq!(Method::from_name("artifacts.Put"), None);
    for kind in EventKind::ALL {
        assert_eq!(EventKind::from_name(kind.as_str()), Some(*kind));
    }
    assert_eq!(EventKind::from_name("artifacts"), None);
}

#[test]
fn responses_are_flat_json_with_the_version() {
    let scope = Scope::new("acme", "ada", "s").unwrap();
    let record =
        Record::new(scope, PutOptions::default(), Digest::of(b"hello"), 5, Timestamp::from_micros(1));
    let get = GetResponse {
        artifact: record.artifact_ref(),
        content: Bytes::from_static(b"hello"),
        offset: 0,
        returned_bytes: 5,
        total_size_bytes: 5,
        truncated: false,
        protocol_version: PROTOCOL_VERSION,
    };
    let ref_json = r#"{"id":"default_2cf24dba5fb0a30e26e83b2ac5b9e29e","size_bytes":5,"sha256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","namespace":"default","scope":{"tenant":"acme","user":"ada","session":"s"}}"#;
    assert_eq!(
        serde_json::to_string(&get).unwrap(),
        format!(
            r#"{{"ref":{ref_json},"content":"aGVsbG8=","offset":0,"returned_bytes":5,"total_size_bytes":5,"truncated":false,"protocol_version":"0.1.0"}}"#
        )
    );
    assert_eq!(
        serde_json::to_string(&Row::new(record, "fs")).unwrap(),
        format!(
            r#"{{"ref":{ref_json},"tags":[],"source":"user_upload","driver":"fs","created_at":"1970-01-01T00:00:00.000001Z"}}"#
        )
    );
}
