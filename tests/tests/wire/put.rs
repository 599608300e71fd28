//! Section 5: `artifacts.put`.

use artifact_store_core::Timestamp;
use artifact_store_tests::wire::{
    Connection, Identity, ServerOptions, base64, control, for_each_flavour, for_each_flavour_with, sha256,
    unix_time,
};
use serde_json::{Value, json};

use crate::ada;

fn put_body(bytes: &[u8], opts: &Value) -> Value {
    json!({"bytes": base64(bytes), "opts": opts})
}

#[test]
fn a_ref_says_what_was_put() {
    for_each_flavour(|server| {
        let opts = json!({"mime_type": "text/csv", "filename": "a b.csv", "namespace": "reports"});
        let answer = server.call(&ada(), "artifacts.put", &put_body(b"1,2", &opts)).expect_json(200);
        assert_eq!(answer["protocol_version"], "0.1.0");
        let digest = sha256(b"1,2");
        let stored = &answer["ref"];
        let id = stored["id"].as_str().unwrap();
        let digits = id.strip_prefix("reports_").unwrap();
        assert!(digits.len() >= 32 && digest.starts_with(digits), "{id}");
        let expected = json!({
            "id": id, "mime_type": "text/csv", "size_bytes": 3, "filename": "a b.csv", "sha256": digest,
            "namespace": "reports", "scope": ada().scope(),
        });
        assert_eq!(*stored, expected);
    });
}

#[test]
fn a_ref_without_opts_leaves_out_what_nobody_said() {
    for_each_flavour(|server| {
        let stored =
            server.call(&ada(), "artifacts.put", &json!({"bytes": ""})).expect_json(200)["ref"].clone();
        assert_eq!(stored["size_bytes"], 0);
        assert_eq!(stored["namespace"], "default");
        assert_eq!(stored["sha256"], sha256(b""));
        assert!(stored.get("filename").is_none() && stored.get("mime_type").is_none(), "{stored}");
    });
}

#[test]
fn a_source_is_one_of_four_values() {
    for_each_flavour(|server| {
        let mut wanted = vec!["user_upload"];
        server.store(&ada(), b"nothing said", &json!({}));
        for source in ["tool", "planner", "user_upload", "system"] {
            server.store(&ada(), source.as_bytes(), &json!({"source": source}));
            wanted.push(source);
        }
        for source in [json!("robot"), json!("Tool"), json!(""), json!(1)] {
            let answer = server.call(&ada(), "artifacts.put", &put_body(b"x", &json!({"source": source})));
            assert_eq!(answer.code(), "invalid_request", "{source}");
        }
        let page = server.call(&ada(), "artifacts.list", &json!({})).expect_json(200);
        let rows = page["rows"].as_array().unwrap();
        let mut sources: Vec<_> = rows.iter().map(|row| row["source"].as_str().unwrap()).collect();
        sources.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(sources, wanted);
    });
}

#[test]
fn a_body_of_exactly_the_limit_is_stored_and_one_byte_more_is_refused() {
    // Three lengths in a row, because base64 pads each of them differently.
    for limit in [100_000, 100_001, 100_002] {
        for_each_flavour_with(&ServerOptions::new().set("protocol.max_request_bytes", limit), |server| {
            // The opts are as large as allowed, written with as many bytes as JSON permits. The rest of the JSON has
            // a size limit of its own.
            let opts = opts_of_size(16 * 1024);
            let wide = |bytes: &[u8]| {
                let body = serde_json::to_string_pretty(&put_body(bytes, &opts)).unwrap();
                body.replace('p', "\\u0070").replace("\\u0070o\\u0070ts", "opts")
            };
            let send = |body: String| {
                let request =
                    control("artifacts.put", &json!({})).identity(&ada()).body(restore_base64(&body));
                [request.clone().send(server), request.chunked().send(server)]
            };
            for answer in send(wide(&vec![5; limit])) {
                assert_eq!(answer.expect_json(200)["ref"]["size_bytes"], limit);
            }
            for answer in send(wide(&vec![6; limit + 1])) {
                answer.expect_refusal("request_too_large");
            }
            let page = server.call(&ada(), "artifacts.list", &json!({})).expect_json(200);
            assert_eq!(page["total_matched"], 1);
        });
    }
}

/// Base64 must not contain escapes, so the member `bytes` gets its letters back.
fn restore_base64(body: &str) -> String {
    let (before, rest) = body.split_once("\"bytes\": \"").unwrap();
    let (bytes, after) = rest.split_once('"').unwrap();
    format!("{before}\"bytes\": \"{}\"{after}", bytes.replace("\\u0070", "p"))
}

/// Opts whose compact JSON has exactly `size` bytes.
fn opts_of_size(size: usize) -> Value {
    let with = |last: usize| json!({"metadata": {"a": "p".repeat(4096), "b": "p".repeat(4096), "c": "p".repeat(4096), "d": "p".repeat(last)}});
    let base = with(0).to_string().len();
    let opts = with(size - base);
    assert_eq!(opts.to_string().len(), size);
    opts
}

#[test]
fn the_announced_length_alone_is_enough_to_refuse() {
    for_each_flavour(|server| {
        for length in [4 * 1024 * 1024 * 4 / 3 + 2 * 1024 * 1024, 10_000_000_000, u64::MAX / 2] {
            let head = control("artifacts.put", &json!({})).identity(&ada()).head(Some(length));
            let mut connection = Connection::open(server.addr());
            assert!(connection.send(&head));
            connection.read_response(false).0.expect_refusal("request_too_large");
        }
        server.store_id(&ada(), b"the next one works");
    });
}

#[test]
fn bad_base64_is_an_invalid_request() {
    for_each_flavour(|server| {
        for bytes in [
            json!("a"),
            json!("ab"),
            json!("abc"),
            json!("YQ"),
            json!("YQ="),
            json!("=YQ="),
            json!("YQ==YQ=="),
            json!("===="),
            json!("YW Jj"),
            json!("YWJj\n"),
            json!("_-_-"),
            json!("ä123"),
            json!("YR=="),
            json!(7),
            json!(null),
            json!(["YQ=="]),
            json!({}),
            json!(true),
        ] {
            let answer = server.call(&ada(), "artifacts.put", &json!({"bytes": bytes}));
            assert_eq!(answer.code(), "invalid_request", "{bytes}");
        }
        let missing = server.call(&ada(), "artifacts.put", &json!({"opts": {}}));
        assert!(missing.expect_refusal("invalid_request").contains("bytes"));
        let page = server.call(&ada(), "artifacts.list", &json!({})).expect_json(200);
        assert_eq!(page["total_matched"], 0);
    });
}

#[test]
fn base64_may_be_written_with_the_escapes_of_json() {
    for_each_flavour(|server| {
        let body = r#"{"opts": {}, "bytes": "\/\/\/\/\u002b\u002B++"}"#;
        let answer =
            control("artifacts.put", &json!({})).identity(&ada()).body(body).send(server).expect_json(200);
        assert_eq!(answer["ref"]["sha256"], sha256(&data_encoding::BASE64.decode(b"////++++").unwrap()));
    });
}

#[test]
fn namespaces_have_128_letters_and_no_dot_in_front() {
    for_each_flavour(|server| {
        let longest = "n".repeat(128);
        for namespace in ["a", "A.b_c-9", "_", "-", "a..b", &longest] {
            let stored = server.store(&ada(), b"x", &json!({"namespace": namespace}));
            assert_eq!(stored["namespace"], namespace);
            assert!(stored["id"].as_str().unwrap().starts_with(&format!("{namespace}_")));
            server.download(&ada(), stored["id"].as_str().unwrap()).expect_bytes(b"x");
        }
        let too_long = "n".repeat(129);
        for namespace in [".", "..", ".a", "a/b", "a b", "ä", "a\\b", "a\n", "a%2f", &too_long] {
            let answer =
                server.call(&ada(), "artifacts.put", &put_body(b"x", &json!({"namespace": namespace})));
            assert_eq!(answer.code(), "invalid_request", "{namespace}");
        }
    });
}

#[test]
fn the_same_bytes_are_stored_once_and_the_first_opts_stay() {
    for_each_flavour(|server| {
        let first = server.store(
            &ada(),
            b"same",
            &json!({"filename": "first", "mime_type": "text/plain", "tags": ["a"]}),
        );
        let second =
            server.store(&ada(), b"same", &json!({"filename": "second", "tags": ["b"], "source": "tool"}));
        assert_eq!(first, second);
        let page = server.call(&ada(), "artifacts.list", &json!({})).expect_json(200);
        assert_eq!(page["total_matched"], 1);
        assert_eq!(page["rows"][0]["ref"], first);
        assert_eq!(
            (&page["rows"][0]["tags"], &page["rows"][0]["source"]),
            (&json!(["a"]), &json!("user_upload"))
        );
        // In another namespace the same bytes are another artifact.
        let other = server.store(&ada(), b"same", &json!({"namespace": "other", "filename": "third"}));
        assert_ne!(other["id"], first["id"]);
        assert_eq!(other["filename"], "third");
    });
}

#[test]
fn the_same_bytes_in_another_scope_are_another_artifact() {
    for_each_flavour(|server| {
        let others = [
            Identity::new("globex", "ada", "session-1"),
            Identity::new("acme", "bob", "session-1"),
            Identity::new("acme", "ada", "session-2"),
        ];
        let mine = server.store(&ada(), b"same", &json!({"filename": "mine"}));
        for other in &others {
            let theirs = server.store(other, b"same", &json!({"filename": "theirs"}));
            assert_eq!((&theirs["filename"], &theirs["scope"]), (&json!("theirs"), &other.scope()));
        }
        server.call(&ada().with_admin(), "artifacts.delete", &json!({"id": mine["id"]})).expect_json(200);
        for other in &others {
            server.download(other, mine["id"].as_str().unwrap()).expect_bytes(b"same");
        }
    });
}

#[test]
fn digests_that_agree_in_twelve_digits_are_kept_apart() {
    for_each_flavour(|server| {
        let (one, two) = (b"a1877572", b"a9584613");
        assert_eq!(sha256(one)[..12], sha256(two)[..12]);
        let ids = [server.store_id(&ada(), one), server.store_id(&ada(), two)];
        assert_ne!(ids[0], ids[1]);
        server.download(&ada(), &ids[0]).expect_bytes(one);
        server.download(&ada(), &ids[1]).expect_bytes(two);
    });
}

#[test]
fn many_writers_of_the_same_bytes_get_one_artifact() {
    for_each_flavour(|server| {
        let refs: Vec<Value> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..12)
                .map(|writer| {
                    let opts = json!({"filename": format!("writer {writer}")});
                    scope.spawn(move || server.store(&ada(), &vec![9; 300_000], &opts))
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        assert!(refs.iter().all(|stored| *stored == refs[0]), "{refs:?}");
        let page = server.call(&ada(), "artifacts.list", &json!({})).expect_json(200);
        assert_eq!(page["total_matched"], 1);
    });
}

#[test]
fn the_store_says_when_it_was_created() {
    for_each_flavour(|server| {
        let before = unix_time() - 1;
        server.store_id(&ada(), b"x");
        let page = server.call(&ada(), "artifacts.list", &json!({})).expect_json(200);
        let created: Timestamp = page["rows"][0]["created_at"].as_str().unwrap().parse().unwrap();
        let seconds = created.as_micros() / 1_000_000;
        assert!((before..=unix_time() + 1).contains(&seconds), "{created}");
        let claimed = put_body(b"y", &json!({"created_at": "2001-01-01T00:00:00Z"}));
        assert!(
            server
                .call(&ada(), "artifacts.put", &claimed)
                .expect_refusal("invalid_request")
                .contains("created_at")
        );
    });
}
