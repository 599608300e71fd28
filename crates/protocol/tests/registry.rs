//! The registry against the protocol's own table, and the answers' JSON.

use artifact_store_core::{Bytes, Digest};
use artifact_store_core::{PutOptions, Record, Scope, Timestamp};
use artifact_store_protocol::{Code, EventKind, GetResponse, Method, PROTOCOL_VERSION, Repeat, Row};

#[test]
fn the_eleven_codes_have_the_protocols_words_statuses_and_advice() {
    let table: Vec<_> =
        Code::ALL.iter().map(|code| (code.word(), code.status(), code.descriptor().repeat)).collect();
    assert_eq!(
        table,
        [
            ("auth_rejected", 401, Repeat::FreshToken),
            ("identity_required", 401, Repeat::No),
            ("identity_scope_required", 403, Repeat::No),
            ("invalid_request", 400, Repeat::No),
            ("not_found", 404, Repeat::No),
            ("payload_invalid", 422, Repeat::No),
            ("presign_unsupported", 501, Repeat::No),
            ("request_too_large", 413, Repeat::No),
            ("runtime_error", 500, Repeat::Backoff),
            ("scope_mismatch", 403, Repeat::No),
            ("unknown_method", 404, Repeat::No),
        ]
    );
    for code in Code::ALL {
        assert_eq!(code.word().parse(), Ok(*code));
        assert_eq!(serde_json::to_value(code).unwrap(), code.word());
        assert!(code.descriptor().when.ends_with('.') && code.descriptor().retry.ends_with('.'));
    }
    assert!("teapot".parse::<Code>().is_err());
}

#[test]
fn methods_and_events_are_found_by_their_words() {
    for method in Method::ALL {
        assert_eq!(Method::from_name(method.name()), Some(*method));
    }
    assert_eq!(Method::from_name("artifacts.Put"), None);
    for kind in EventKind::ALL {
        assert_eq!(EventKind::from_word(kind.word()), Some(*kind));
    }
    assert_eq!(EventKind::from_word("artifacts"), None);
}

#[test]
fn answers_are_flat_json_with_the_version() {
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
    let reference = r#"{"id":"default_2cf24dba5fb0a30e26e83b2ac5b9e29e","size_bytes":5,"sha256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","namespace":"default","scope":{"tenant":"acme","user":"ada","session":"s"}}"#;
    assert_eq!(
        serde_json::to_string(&get).unwrap(),
        format!(
            r#"{{"ref":{reference},"content":"aGVsbG8=","offset":0,"returned_bytes":5,"total_size_bytes":5,"truncated":false,"protocol_version":"0.1.0"}}"#
        )
    );
    assert_eq!(
        serde_json::to_string(&Row::new(record, "fs")).unwrap(),
        format!(
            r#"{{"ref":{reference},"tags":[],"source":"user_upload","driver":"fs","created_at":"1970-01-01T00:00:00.000001Z"}}"#
        )
    );
}
