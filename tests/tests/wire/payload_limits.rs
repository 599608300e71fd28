//! Section 5: the limits of the control payload, each at its edge.

use artifact_store_tests::wire::{Server, base64, control, encode, for_each_flavour};
use serde_json::{Value, json};

use crate::ada;

/// Puts with these opts, which are a string because JSON values cannot express all of them.
fn put(server: &Server, bytes: &[u8], opts: &str) -> artifact_store_tests::wire::Response {
    let body = format!("{{\"bytes\": \"{}\", \"opts\": {opts}}}", base64(bytes));
    control("artifacts.put", &json!({})).identity(&ada()).body(body).send(server)
}

/// Checks that opts at a limit are accepted, and that opts past it are refused.
fn assert_limit(server: &Server, what: &str, at: &Value, past: &Value) {
    assert_text_limit(server, what, &at.to_string(), &past.to_string());
}

fn assert_text_limit(server: &Server, what: &str, at: &str, past: &str) {
    let answer = put(server, what.as_bytes(), at);
    assert_eq!(answer.status, 200, "{what}, at the limit: {answer:?}");
    let answer = put(server, format!("{what}, past").as_bytes(), past);
    assert_eq!((answer.status, answer.code().as_str()), (422, "payload_invalid"), "{what}, past the limit");
}

/// `depth` containers, each inside the other.
fn nested_containers(depth: usize, list: bool) -> Value {
    (1..depth).fold(
        json!({}),
        |inner, _| if list && depth > 1 { json!({"a": [inner]}) } else { json!({"a": inner}) },
    )
}

fn members_of_count(count: usize) -> Value {
    (0..count).map(|number| (format!("k{number}"), json!(number))).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn texts_have_at_most_4096_characters() {
    for_each_flavour(|server| {
        // Two bytes each: the limit counts characters.
        let (at, past) = ("é".repeat(4096), "é".repeat(4097));
        assert_limit(server, "a file name", &json!({"filename": at}), &json!({"filename": past}));
        assert_limit(server, "a tag", &json!({"tags": [at]}), &json!({"tags": [past]}));
        assert_limit(server, "a text", &json!({"metadata": {"a": at}}), &json!({"metadata": {"a": past}}));
        assert_limit(
            server,
            "a text in a list",
            &json!({"metadata": {"a": [at]}}),
            &json!({"metadata": {"a": [past]}}),
        );
        assert_limit(
            server,
            "a name",
            &json!({"metadata": {at.as_str(): 1}}),
            &json!({"metadata": {past.as_str(): 1}}),
        );
        let mime = |length: usize| json!({"mime_type": format!("text/{}", "x".repeat(length - 5))});
        assert_limit(server, "a media type", &mime(4096), &mime(4097));
    });
}

#[test]
fn lists_have_at_most_50_items() {
    for_each_flavour(|server| {
        let (at, past) = (vec!["t"; 50], vec!["t"; 51]);
        let unique = |count: usize| (0..count).map(|tag| tag.to_string()).collect::<Vec<_>>();
        assert_limit(server, "tags", &json!({"tags": unique(50)}), &json!({"tags": unique(51)}));
        assert_limit(server, "a list", &json!({"metadata": {"a": at}}), &json!({"metadata": {"a": past}}));
        assert_limit(
            server,
            "a list in a list",
            &json!({"metadata": {"a": [at]}}),
            &json!({"metadata": {"a": [past]}}),
        );
    });
}

#[test]
fn objects_have_at_most_64_keys() {
    for_each_flavour(|server| {
        assert_limit(
            server,
            "metadata",
            &json!({"metadata": members_of_count(64)}),
            &json!({"metadata": members_of_count(65)}),
        );
        let inner = |count| json!({"metadata": {"a": [members_of_count(count)]}});
        assert_limit(server, "an object within", &inner(64), &inner(65));
    });
}

#[test]
fn metadata_is_at_most_6_containers_deep() {
    for_each_flavour(|server| {
        assert_limit(
            server,
            "objects",
            &json!({"metadata": nested_containers(6, false)}),
            &json!({"metadata": nested_containers(7, false)}),
        );
        let lists = |depth: usize| {
            let inner = (1..depth).fold(json!(1), |inner, _| json!([inner]));
            json!({"metadata": {"a": inner}})
        };
        assert_limit(server, "lists", &lists(6), &lists(7));
        for depth in [100, 127, 128, 129, 1000, 8000] {
            let deep = format!("{{\"metadata\": {{\"a\": {}{}}}}}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(put(server, b"deep", &deep).code(), "payload_invalid", "{depth}");
        }
    });
}

#[test]
fn compact_json_has_at_most_16_kib() {
    for_each_flavour(|server| {
        let with = |size: usize| {
            let opts = |last: usize| {
                let text = "x".repeat(4000);
                json!({"tags": [text, text], "metadata": {"a": [text], "b": "y".repeat(last)}, "filename": "f".repeat(1000)})
            };
            let base = opts(0).to_string().len();
            opts(size - base)
        };
        assert_limit(server, "the payload", &with(16 * 1024), &with(16 * 1024 + 1));
        // White space and escapes of the sender do not count.
        let pretty = serde_json::to_string_pretty(&with(16 * 1024)).unwrap().replace("  ", "          ");
        let pretty = pretty.replace('x', "\\u0078");
        assert_eq!(put(server, b"pretty", &pretty).status, 200);
    });
}

#[test]
fn leaves_are_texts_booleans_nulls_and_numbers_of_64_bits() {
    for_each_flavour(|server| {
        assert_text_limit(
            server,
            "a large number",
            r#"{"metadata": {"a": 1e308}}"#,
            r#"{"metadata": {"a": 1e309}}"#,
        );
        assert_text_limit(
            server,
            "a negative one",
            r#"{"metadata": {"a": -1e308}}"#,
            r#"{"metadata": {"a": [-1e400]}}"#,
        );
        let metadata = json!({
            "text": "t", "true": true, "null": null, "float": 0.1, "u64": u64::MAX, "i64": i64::MIN,
            "nested": {"list": [1, "2", null, {"x": 1.5e-300}]},
        });
        server.store(&ada(), b"leaves", &json!({"metadata": metadata}));
        let page = server.call(&ada(), "artifacts.list", &json!({"limit": 1})).expect_json(200);
        assert_eq!(page["rows"][0]["metadata"], metadata);
    });
}

#[test]
fn metadata_that_is_no_object_is_of_the_wrong_shape() {
    for_each_flavour(|server| {
        for opts in [
            r#"{"metadata": []}"#,
            r#"{"metadata": "x"}"#,
            r#"{"tags": "x"}"#,
            r#"{"tags": [1]}"#,
            r#"{"filename": 1}"#,
            r#"{"tags": [null]}"#,
            "[]",
            "1",
            r#""x""#,
            r#"{"metadata": {"a": NaN}}"#,
            r#"{"metadata": {"a": 01}}"#,
        ] {
            assert_eq!(put(server, b"x", opts).code(), "invalid_request", "{opts}");
        }
    });
}

#[test]
fn an_upload_of_bytes_has_the_same_limits() {
    for_each_flavour(|server| {
        let upload =
            |query: &str| artifact_store_tests::wire::put(query, query).identity(&ada()).send(server);
        let tags = |count: usize| {
            let tags: Vec<_> = (0..count).map(|tag| format!("tag={tag}")).collect();
            format!("?{}", tags.join("&"))
        };
        assert_eq!(upload(&tags(50)).status, 201);
        upload(&tags(51)).expect_refusal("payload_invalid");
        let (at, past) = ("é".repeat(4096), "é".repeat(4097));
        assert_eq!(upload(&format!("?filename={}", encode(&at))).status, 201);
        upload(&format!("?filename={}", encode(&past))).expect_refusal("payload_invalid");
        upload(&format!("?tag={}", encode(&past))).expect_refusal("payload_invalid");
        upload("?source=robot").expect_refusal("invalid_request");
        upload("?namespace=.a").expect_refusal("invalid_request");
    });
}
