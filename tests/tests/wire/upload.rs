//! Section 6: uploads of bytes.

use std::time::{Duration, Instant};

use artifact_store_tests::corpus;
use artifact_store_tests::wire::{
    Connection, Request, Server, base64, digest_field, for_each_flavour, put, sha256,
};
use serde_json::{Value, json};

use crate::ada;

pub(crate) fn total_matched(server: &Server) -> Value {
    server.call(&ada(), "artifacts.list", &json!({})).expect_json(200)["total_matched"].clone()
}

/// Waits until the raw storage holds nothing without an artifact.
pub(crate) fn wait_until_no_residue(server: &Server) {
    let begun = Instant::now();
    loop {
        let residue = server.residue();
        if residue.is_empty() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "orphans are left: {residue:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Resolves a relative reference against `target` (RFC 3986, 5.2). The reference has no dot segments and no
/// authority.
fn resolve_reference(target: &str, reference: &str) -> String {
    let path = target.split('?').next().unwrap();
    let (folder, _) = path.rsplit_once('/').unwrap();
    format!("{folder}/{reference}")
}

#[test]
fn the_location_of_an_artifact_resolves_behind_the_path_of_a_proxy_too() {
    for_each_flavour(|server| {
        for query in ["", "?task=t%2F1%20%3F"] {
            let answer = put(query, "bytes").identity(&ada()).send(server);
            answer.expect_json(201);
            let location = answer.header("location").unwrap();
            let target = resolve_reference(&format!("/x/y/v1/artifacts{query}"), location);
            let own =
                target.strip_prefix("/x/y").unwrap_or_else(|| panic!("{location} leaves the proxy's path"));
            Request::get(own).identity(&ada()).send(server).expect_bytes(b"bytes");
        }
    });
}

#[test]
fn a_new_artifact_is_201_with_its_location_and_an_existing_one_200() {
    for_each_flavour(|server| {
        let upload = put("", "bytes").identity(&ada()).header("Content-Type", "text/plain");
        let first = upload.send(server);
        let stored = first.expect_json(201);
        assert_eq!(stored["protocol_version"], "0.1.0");
        assert_eq!(
            (&stored["ref"]["sha256"], &stored["ref"]["size_bytes"]),
            (&json!(sha256(b"bytes")), &json!(5))
        );
        assert_eq!(
            (&stored["ref"]["mime_type"], &stored["ref"]["scope"]),
            (&json!("text/plain"), &ada().scope())
        );
        let location = first.header("location").unwrap();
        assert_eq!(location, format!("artifacts/{}", stored["ref"]["id"].as_str().unwrap()));
        Request::get(resolve_reference("/v1/artifacts", location))
            .identity(&ada())
            .send(server)
            .expect_bytes(b"bytes");
        let again = put("?filename=other", "bytes").identity(&ada()).send(server);
        assert_eq!(again.expect_json(200), stored);
        assert_eq!(total_matched(server), 1);
        // `artifacts.put` returns the same artifact.
        assert_eq!(server.store(&ada(), b"bytes", &json!({})), stored["ref"]);
    });
}

#[test]
fn the_query_sets_what_opts_set() {
    for_each_flavour(|server| {
        let query =
            "?namespace=n.1&filename=na%C3%AFve%20%26%20co.txt&task=task%2F1&source=planner&tag=a&tag=b%20c";
        let answer = put(query, "bytes")
            .identity(&ada())
            .header("Content-Type", "text/plain; charset=utf-8")
            .send(server);
        let stored = answer.expect_json(201)["ref"].clone();
        assert_eq!(stored["namespace"], "n.1");
        assert_eq!(stored["filename"], "naïve & co.txt");
        assert_eq!(stored["scope"]["task"], "task/1");
        assert_eq!(stored["mime_type"], "text/plain; charset=utf-8");
        let location =
            resolve_reference(&format!("/v1/artifacts{query}"), answer.header("location").unwrap());
        Request::get(location).identity(&ada()).send(server).expect_bytes(b"bytes");
        let page =
            server.call(&ada(), "artifacts.list", &json!({"scope": {"task": "task/1"}})).expect_json(200);
        assert_eq!(page["rows"][0]["tags"], json!(["a", "b c"]));
        assert_eq!(page["rows"][0]["source"], "planner");
        server.download(&ada(), stored["id"].as_str().unwrap()).expect_refusal("not_found");
    });
}

#[test]
fn without_a_content_type_there_is_no_media_type() {
    for_each_flavour(|server| {
        let stored = put("", "bytes").identity(&ada()).send(server).expect_json(201);
        assert_eq!(stored["ref"].get("mime_type"), None);
        assert_eq!(put("", "").identity(&ada()).send(server).expect_json(201)["ref"]["size_bytes"], 0);
    });
}

#[test]
fn an_announced_digest_is_verified_before_anything_is_visible() {
    for_each_flavour(|server| {
        let bytes = corpus::bytes(1, 1_000_000).to_vec();
        for (field, other) in [
            (digest_field(b"other"), &bytes),
            (format!("sha-256=:{}:", base64(&[1; 31])), &bytes),
            ("sha-256=:####:".into(), &bytes),
            ("sha-256=abc".into(), &bytes),
            (digest_field(&bytes), &b"other".to_vec()),
        ] {
            let upload = put("", other.clone()).identity(&ada()).header("Content-Digest", field.clone());
            for answer in [upload.clone().send(server), upload.chunked().send(server)] {
                assert_eq!(answer.code(), "invalid_request", "{field}");
            }
        }
        assert_eq!(total_matched(server), 0);
        wait_until_no_residue(server);
        let good = digest_field(&bytes);
        for field in [good.clone(), format!("sha-512=:{}:, {good}", base64(&[2; 64]))] {
            let answer = put("", bytes.clone()).identity(&ada()).header("Content-Digest", field).send(server);
            assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        }
        assert_eq!(total_matched(server), 1);
    });
}

#[test]
fn a_connection_that_breaks_half_way_leaves_nothing() {
    for_each_flavour(|server| {
        let bytes = corpus::bytes(2, 1_500_000);
        for broken in 0..6 {
            let upload = put("", bytes.to_vec()).identity(&ada());
            let mut connection = Connection::open(server.addr());
            if broken % 2 == 0 {
                connection.send(&upload.head(None));
                connection.send(&bytes[..700_000 + broken]);
            } else {
                connection.send(&upload.chunked().head(None));
                connection
                    .send(&[format!("{:x}\r\n", 700_000).as_bytes(), &bytes[..700_000], b"\r\n"].concat());
                // The end of the connection is not the end of the body.
                connection.shutdown_write();
                if broken == 3 {
                    let _ = connection.try_read_response(false);
                    continue;
                }
            }
            if broken == 4 {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(total_matched(server), 0);
        wait_until_no_residue(server);
        put("", bytes.to_vec()).identity(&ada()).send(server).expect_json(201);
    });
}
