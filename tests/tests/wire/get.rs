//! Section 5: `artifacts.get` and `artifacts.get_ref`.

use artifact_store_core::{Bytes, Digest};
use artifact_store_tests::corpus;
use artifact_store_tests::wire::{
    Server, ServerOptions, base64, decode_base64, for_each_flavour, for_each_flavour_with, put,
};
use serde_json::{Value, json};

use crate::ada;

/// Stores bytes without repetitions.
fn store_artifact(server: &Server, length: usize) -> (String, Bytes) {
    let bytes = corpus::bytes(7, length);
    let answer = put("", bytes.to_vec()).identity(&ada()).send(server).expect_json(201);
    (answer["ref"]["id"].as_str().unwrap().to_owned(), bytes)
}

/// Checks a window against the bytes.
fn assert_window(server: &Server, id: &str, bytes: &[u8], query: &Value, range: std::ops::Range<usize>) {
    let mut body = json!({"id": id});
    body.as_object_mut().unwrap().extend(query.as_object().unwrap().clone());
    let answer = server.call(&ada(), "artifacts.get", &body).expect_json(200);
    assert!(decode_base64(&answer["content"]) == bytes[range.clone()], "{query}: other bytes");
    let window = json!({
        "returned_bytes": answer["returned_bytes"], "total_size_bytes": answer["total_size_bytes"],
        "truncated": answer["truncated"], "offset": answer["offset"], "protocol_version": answer["protocol_version"],
    });
    let expected = json!({
        "returned_bytes": range.len(), "total_size_bytes": bytes.len(),
        // Past the end nothing was left out.
        "truncated": !range.is_empty() && range.end < bytes.len(),
        "offset": query.get("offset").cloned().unwrap_or(json!(0)), "protocol_version": "0.1.0",
    });
    assert_eq!(window, expected, "{query}");
    assert_eq!(
        answer.as_object().unwrap().len(),
        7,
        "not exactly the members of the contract: {:?}",
        answer.as_object().unwrap().keys()
    );
}

#[test]
fn windows_are_64_kib_by_default_and_1_mib_at_most() {
    for_each_flavour(|server| {
        const KIB: usize = 1024;
        let length = 2560 * KIB;
        let (id, bytes) = store_artifact(server, length);
        for (query, range) in [
            (json!({}), 0..64 * KIB),
            (json!({"max_bytes": 0}), 0..64 * KIB),
            (json!({"offset": 10}), 10..64 * KIB + 10),
            (json!({"max_bytes": 1}), 0..1),
            (json!({"max_bytes": 1024 * KIB}), 0..1024 * KIB),
            (json!({"max_bytes": 1024 * KIB + 1}), 0..1024 * KIB),
            (json!({"max_bytes": u64::MAX}), 0..1024 * KIB),
            (json!({"offset": 2000 * KIB, "max_bytes": 1024 * KIB}), 2000 * KIB..length),
            (json!({"offset": length - 5}), length - 5..length),
            (json!({"offset": length - 5, "max_bytes": 5}), length - 5..length),
            (json!({"offset": length - 5, "max_bytes": 4}), length - 5..length - 1),
            (json!({"offset": length}), length..length),
            (json!({"offset": length + 1}), length..length),
            (json!({"offset": u64::MAX, "max_bytes": u64::MAX}), length..length),
        ] {
            assert_window(server, &id, &bytes, &query, range);
        }
    });
}

#[test]
fn the_windows_can_be_configured() {
    let options = ServerOptions::new()
        .set("artifacts.fetch_default_max_bytes", 10)
        .set("artifacts.fetch_hard_max_bytes", 20);
    for_each_flavour_with(&options, |server| {
        let (id, bytes) = store_artifact(server, 100);
        assert_window(server, &id, &bytes, &json!({}), 0..10);
        assert_window(server, &id, &bytes, &json!({"max_bytes": 20}), 0..20);
        assert_window(server, &id, &bytes, &json!({"max_bytes": 21}), 0..20);
    });
}

#[test]
fn an_empty_artifact_has_an_empty_window() {
    for_each_flavour(|server| {
        let (id, bytes) = store_artifact(server, 0);
        assert_window(server, &id, &bytes, &json!({}), 0..0);
        assert_window(server, &id, &bytes, &json!({"offset": 1}), 0..0);
    });
}

#[test]
fn concatenated_windows_are_the_artifact() {
    for_each_flavour(|server| {
        let (id, bytes) = store_artifact(server, 700_001);
        let (mut all, mut offset) = (Vec::new(), 0_u64);
        loop {
            let body = json!({"id": id, "offset": offset, "max_bytes": 99_999});
            let answer = server.call(&ada(), "artifacts.get", &body).expect_json(200);
            all.extend(decode_base64(&answer["content"]));
            offset += answer["returned_bytes"].as_u64().unwrap();
            if answer["truncated"] == false {
                break;
            }
        }
        assert_eq!(Digest::of(&all), Digest::of(&bytes));
    });
}

#[test]
fn a_window_that_is_not_a_number_of_bytes_is_refused() {
    for_each_flavour(|server| {
        let (id, _) = store_artifact(server, 10);
        for member in ["offset", "max_bytes"] {
            for value in
                [json!(-1), json!(i64::MIN), json!(1.5), json!("1"), json!(1e300), json!([1]), json!(true)]
            {
                let answer = server.call(&ada(), "artifacts.get", &json!({"id": id, member: value}));
                assert_eq!(answer.code(), "invalid_request", "{member}: {value}");
                assert!(answer.message().contains(member), "{answer:?}");
            }
        }
    });
}

#[test]
fn the_ref_of_a_get_is_that_of_the_put() {
    for_each_flavour(|server| {
        let opts = json!({"mime_type": "text/plain", "filename": "f", "namespace": "n"});
        let stored = server.store(&ada(), b"x", &opts);
        let answer = server
            .call(&ada(), "artifacts.get", &json!({"id": stored["id"], "scope": ada().scope()}))
            .expect_json(200);
        assert_eq!(answer["ref"], stored);
        assert_eq!(answer["content"], base64(b"x"));
    });
}

#[test]
fn a_missing_artifact_is_not_found_and_a_request_without_an_id_is_invalid() {
    for_each_flavour(|server| {
        for method in ["artifacts.get", "artifacts.get_ref"] {
            server
                .call(&ada(), method, &json!({"id": "default_0123456789abcdef0123456789abcdef"}))
                .expect_refusal("not_found");
            assert!(server.call(&ada(), method, &json!({})).expect_refusal("invalid_request").contains("id"));
            server.call(&ada(), method, &json!({"id": 7})).expect_refusal("invalid_request");
        }
    });
}

#[test]
fn a_presigned_url_is_valid_from_a_minute_to_a_week() {
    const SECOND: i64 = 1_000_000_000;
    for_each_flavour(|server| {
        let (id, _) = store_artifact(server, 10);
        let ask = |id: &str, expiry: &Value| {
            let answer = server.call(&ada(), "artifacts.get_ref", &json!({"id": id, "expiry": expiry}));
            if answer.status == 200 { "a URL".to_owned() } else { answer.code() }
        };
        let own = if server.flavour().supports_presign() { "a URL" } else { "presign_unsupported" };
        for expiry in
            [json!(0), json!(60 * SECOND), json!(7 * 86_400 * SECOND), json!(3600 * SECOND), json!(null)]
        {
            assert_eq!(ask(&id, &expiry), own, "{expiry}");
            // A missing artifact is `not_found` even if the driver cannot presign.
            assert_eq!(ask("default_0123456789abcdef0123456789abcdef", &expiry), "not_found", "{expiry}");
        }
        for expiry in [
            json!(1),
            json!(-1),
            json!(60 * SECOND - 1),
            json!(7 * 86_400 * SECOND + 1),
            json!(i64::MIN),
            json!(u64::MAX),
            json!(60.5e9),
            json!("15m"),
            json!(1e300),
            json!(true),
        ] {
            assert_eq!(ask(&id, &expiry), "invalid_request", "{expiry}");
        }
    });
}
