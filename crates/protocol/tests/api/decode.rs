//! Decoding of requests and its refusals: members are named, values are not repeated.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests.

use artifact_store_protocol::{
    Code, CreatedRange, DeleteRequest, Envelope, GetRefRequest, GetRequest, ListRequest, RuntimeRequest,
    decode,
};

fn refused<T: serde::de::DeserializeOwned>(json: &str) -> Envelope {
    match decode::<T>(json.as_bytes()) {
        Ok(_) => panic!("{json} was accepted"),
        Err(envelope) => envelope,
    }
}

#[test]
fn a_member_that_is_not_declared_is_named_with_its_path() {
    for (json, message) in [
        (
            r#"{"id": "x", "colour": 1}"#,
            "the member `colour` is not declared; declared are `scope`, `id`, `offset`, `max_bytes`",
        ),
        (
            r#"{"id": "x", "scope": {"tennant": "t"}}"#,
            "the member `tennant` of `scope` is not declared; declared are `tenant`, `user`, `session`, `task`",
        ),
    ] {
        let envelope = refused::<GetRequest>(json);
        assert_eq!((envelope.code, envelope.message.as_ref()), (Code::InvalidRequest, message));
    }
    let envelope = refused::<ListRequest>(r#"{"size_range": {"min": 1}}"#);
    assert_eq!(
        envelope.message,
        "the member `min` of `size_range` is not declared; declared are `min_bytes` or `max_bytes`"
    );
    let envelope = refused::<RuntimeRequest>(r#"{"identity": {"org": "x"}}"#);
    assert_eq!(
        envelope.message,
        "the member `org` of `identity` is not declared; declared are `tenant`, `user`, `session`"
    );
}

#[test]
fn missing_duplicate_and_mistyped_members_are_named_and_no_value_is_repeated() {
    for (json, message) in [
        ("{}", "the member `id` is missing"),
        (r#"{"id": "x", "id": "y"}"#, "the member `id` is given twice"),
        (r#"{"id": ["hunter2"]}"#, "the value of the member `id` is not legal; expected a string"),
        (
            r#"{"id": "x", "offset": -1}"#,
            "the value of the member `offset` is not legal; expected a whole number, 0 or more",
        ),
        (
            r#"{"id": "x", "offset": "hunter2"}"#,
            "the value of the member `offset` is not legal; expected a whole number, 0 or more",
        ),
        (
            r#"{"id": "x", "offset": 1.5}"#,
            "the value of the member `offset` is not legal; expected a whole number, 0 or more",
        ),
        (
            r#"{"id": "x", "scope": "hunter2"}"#,
            "the value of the member `scope` is not legal; expected an object",
        ),
        (
            r#"{"id": "x", "scope": {"tenant": 5}}"#,
            "the value of the member `scope.tenant` is not legal; expected a string",
        ),
        (r#"[{}, "hunter2"]"#, "the body is not legal: expected an object"),
        (
            r#"{"id": "x", "scope": ["hunter2", "u", "s", ""]}"#,
            "the value of the member `scope` is not legal; expected an object",
        ),
        (r#""hunter2, expected hunter3""#, "the body is not legal: expected an object"),
        (r#"{"id": "hunter2""#, "the body is not JSON: line 1, column 16"),
        ("", "the body is not JSON: line 1, column 0"),
        (r#"{"id": "x"} {"id": "hunter2"}"#, "the body is not JSON: line 1, column 13"),
    ] {
        let envelope = refused::<GetRequest>(json);
        assert_eq!(envelope.code, Code::InvalidRequest, "{json}");
        assert!(!envelope.message.contains("hunter"), "{json}: {}", envelope.message);
        assert!(envelope.message.starts_with(message), "{json}: {}", envelope.message);
    }
    let envelope = refused::<ListRequest>(r#"{"source": ["tool", "hunter2"]}"#);
    assert!(
        envelope
            .message
            .starts_with("the value of the member `source[1]` is not legal; expected one of `tool`"),
        "{envelope}"
    );
    let envelope = refused::<ListRequest>(r#"{"created_range": {"after": "hunter2"}}"#);
    assert_eq!(
        envelope.message,
        "the value of the member `created_range.after` is not legal; expected a time as RFC 3339, such as 2026-01-02T03:04:05Z"
    );
}

#[test]
fn untrusted_names_are_shortened_and_lose_their_control_characters() {
    let json = format!(r#"{{"id": "x", "a\u001b[31m{}": 1}}"#, "n".repeat(1000));
    let envelope = refused::<GetRequest>(&json);
    assert!(envelope.message.starts_with("the member `a[31mnnn"), "{envelope}");
    assert!(envelope.message.len() < 300 && !envelope.message.contains('\u{1b}'), "{envelope}");
}

#[test]
fn a_shortened_name_is_not_reported_as_its_own_parent() {
    let long = "n".repeat(100);
    let short = format!("{}…", "n".repeat(64));
    for (json, message) in [
        (format!(r#"{{"{long}": 1}}"#), format!("the member `{short}` is not declared;")),
        (
            format!(r#"{{"scope": {{"{long}": 1}}}}"#),
            format!("the member `{short}` of `scope` is not declared;"),
        ),
        (r#"{"a\u001bb": 1}"#.into(), "the member `ab` is not declared;".into()),
        (r#"{"scope": {"a`b": 1}}"#.into(), "the member `a`b` of `scope` is not declared;".into()),
        (r#"{"a`, expected `b": 1}"#.into(), "the member `a`, expected `b` is not declared;".into()),
    ] {
        let envelope = refused::<DeleteRequest>(&json);
        assert!(envelope.message.starts_with(&message), "{json}: {envelope}");
    }
}

#[test]
fn an_enum_value_must_be_a_string_even_if_serde_would_accept_more() {
    for value in [r#"{"tool": null}"#, "5", "[\"tool\"]", "true", "null"] {
        let envelope = refused::<ListRequest>(&format!(r#"{{"source": [{value}]}}"#));
        assert!(
            envelope.message.starts_with("the value of the member `source[0]` is not legal; expected"),
            "{value}: {envelope}"
        );
    }
}

#[test]
fn bytes_that_are_not_text_are_not_json() {
    let error = decode::<GetRequest>(b"{\"id\": \"\xff\"}").unwrap_err();
    assert_eq!(error.code, Code::InvalidRequest);
    assert!(error.message.starts_with("the body is not JSON"), "{error}");
}

#[test]
fn json_of_hostile_depth_is_refused_and_does_not_overflow() {
    let deep = format!(r#"{{"id": {}1{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(refused::<DeleteRequest>(&deep).code, Code::InvalidRequest);
}

#[test]
fn null_counts_as_absent() {
    let request: ListRequest = decode(
        br#"{"scope": null, "mime_type": null, "source": null, "size_range": null, "created_range": {"after": null},
             "tags": null, "limit": null, "cursor": null}"#,
    )
    .unwrap();
    assert_eq!(request, ListRequest { created_range: CreatedRange::default(), ..ListRequest::default() });
    let request: GetRequest =
        decode(br#"{"id": "x", "scope": {"tenant": null, "task": null}, "offset": null}"#).unwrap();
    assert_eq!(request, GetRequest { id: "x".into(), ..GetRequest::default() });
}

#[test]
fn parts_of_a_scope_are_checked_and_named() {
    let scope =
        |tenant: &str| artifact_store_protocol::RequestScope { tenant: tenant.into(), ..Default::default() };
    for legal in ["..", "/", "%2f", "\\", "🦀", &"x".repeat(256)] {
        assert_eq!(scope(legal).parts().unwrap().tenant.unwrap().as_str(), legal);
    }
    assert_eq!(scope("").parts().unwrap().tenant, None);
    for illegal in ["a\0b", "\n", &"x".repeat(257)] {
        let envelope = scope(illegal).parts().unwrap_err();
        assert_eq!(envelope.code, Code::InvalidRequest);
        assert!(envelope.message.starts_with("the member `scope.tenant` is not legal"), "{envelope}");
    }
}

const MINUTE: u64 = 60_000_000_000;
const WEEK: u64 = 7 * 24 * 60 * MINUTE;

#[test]
fn the_expiry_of_a_presigned_url_is_1_minute_to_7_days() {
    let expiry =
        |nanos: Option<u64>| GetRefRequest { expiry: nanos, ..GetRefRequest::default() }.expiry_nanos();
    assert_eq!(expiry(None), Ok(None));
    assert_eq!(expiry(Some(0)), Ok(None));
    assert_eq!(expiry(Some(MINUTE)), Ok(Some(MINUTE)));
    assert_eq!(expiry(Some(WEEK)), Ok(Some(WEEK)));
    for nanos in [1, MINUTE - 1, WEEK + 1, u64::MAX] {
        assert_eq!(expiry(Some(nanos)).unwrap_err().code, Code::InvalidRequest, "{nanos}");
    }
    assert_eq!(refused::<GetRefRequest>(r#"{"id": "x", "expiry": -1}"#).code, Code::InvalidRequest);
}
