//! Section 5: the bounds of the control payload, each at its edge.

use artifact_store_tests::wire::{Server, base64, control, encode, on_every_driver};
use serde_json::{Value, json};

use crate::ada;

/// Puts with these opts, written by hand where JSON has no value for them.
fn put(server: &Server, bytes: &[u8], opts: &str) -> artifact_store_tests::wire::Response {
    let body = format!("{{\"bytes\": \"{}\", \"opts\": {opts}}}", base64(bytes));
    control("artifacts.put", &json!({})).by(&ada()).body(body).send(server)
}

/// Holds opts at a bound to be fine, and opts past it to be refused.
fn edge(server: &Server, what: &str, at: &Value, past: &Value) {
    edge_text(server, what, &at.to_string(), &past.to_string());
}

fn edge_text(server: &Server, what: &str, at: &str, past: &str) {
    let answer = put(server, what.as_bytes(), at);
    assert_eq!(answer.status, 200, "{what}, at the bound: {answer:?}");
    let answer = put(server, format!("{what}, past").as_bytes(), past);
    assert_eq!((answer.status, answer.code().as_str()), (422, "payload_invalid"), "{what}, past the bound");
}

/// Containers within each other, `depth` of them.
fn nested(depth: usize, list: bool) -> Value {
    (1..depth).fold(
        json!({}),
        |inner, _| if list && depth > 1 { json!({"a": [inner]}) } else { json!({"a": inner}) },
    )
}

fn members(count: usize) -> Value {
    (0..count).map(|number| (format!("k{number}"), json!(number))).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn texts_have_at_most_4096_characters() {
    on_every_driver(|server| {
        // Two bytes each: what counts is characters.
        let (at, past) = ("é".repeat(4096), "é".repeat(4097));
        edge(server, "a file name", &json!({"filename": at}), &json!({"filename": past}));
        edge(server, "a tag", &json!({"tags": [at]}), &json!({"tags": [past]}));
        edge(server, "a text", &json!({"metadata": {"a": at}}), &json!({"metadata": {"a": past}}));
        edge(
            server,
            "a text in a list",
            &json!({"metadata": {"a": [at]}}),
            &json!({"metadata": {"a": [past]}}),
        );
        edge(
            server,
            "a name",
            &json!({"metadata": {at.as_str(): 1}}),
            &json!({"metadata": {past.as_str(): 1}}),
        );
        let mime = |length: usize| json!({"mime_type": format!("text/{}", "x".repeat(length - 5))});
        edge(server, "a media type", &mime(4096), &mime(4097));
    });
}

#[test]
fn lists_have_at_most_50_items() {
    on_every_driver(|server| {
        let (at, past) = (vec!["t"; 50], vec!["t"; 51]);
        let unique = |count: usize| (0..count).map(|tag| tag.to_string()).collect::<Vec<_>>();
        edge(server, "tags", &json!({"tags": unique(50)}), &json!({"tags": unique(51)}));
        edge(server, "a list", &json!({"metadata": {"a": at}}), &json!({"metadata": {"a": past}}));
        edge(
            server,
            "a list in a list",
            &json!({"metadata": {"a": [at]}}),
            &json!({"metadata": {"a": [past]}}),
        );
    });
}

#[test]
fn objects_have_at_most_64_keys() {
    on_every_driver(|server| {
        edge(server, "metadata", &json!({"metadata": members(64)}), &json!({"metadata": members(65)}));
        let inner = |count| json!({"metadata": {"a": [members(count)]}});
        edge(server, "an object within", &inner(64), &inner(65));
    });
}

#[test]
fn metadata_is_at_most_6_containers_deep() {
    on_every_driver(|server| {
        edge(
            server,
            "objects",
            &json!({"metadata": nested(6, false)}),
            &json!({"metadata": nested(7, false)}),
        );
        let lists = |depth: usize| {
            let inner = (1..depth).fold(json!(1), |inner, _| json!([inner]));
            json!({"metadata": {"a": inner}})
        };
        edge(server, "lists", &lists(6), &lists(7));
        for depth in [100, 127, 128, 129, 1000, 8000] {
            let deep = format!("{{\"metadata\": {{\"a\": {}{}}}}}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(put(server, b"deep", &deep).code(), "payload_invalid", "{depth}");
        }
    });
}

#[test]
fn compact_json_has_at_most_16_kib() {
    on_every_driver(|server| {
        let with = |size: usize| {
            let opts = |last: usize| {
                let text = "x".repeat(4000);
                json!({"tags": [text, text], "metadata": {"a": [text], "b": "y".repeat(last)}, "filename": "f".repeat(1000)})
            };
            let base = opts(0).to_string().len();
            opts(size - base)
        };
        edge(server, "the payload", &with(16 * 1024), &with(16 * 1024 + 1));
        // Blanks and escapes of the sender do not count.
        let pretty = serde_json::to_string_pretty(&with(16 * 1024)).unwrap().replace("  ", "          ");
        let pretty = pretty.replace('x', "\\u0078");
        assert_eq!(put(server, b"pretty", &pretty).status, 200);
    });
}

#[test]
fn leaves_are_texts_booleans_nulls_and_numbers_of_64_bits() {
    on_every_driver(|server| {
        edge_text(server, "a large number", r#"{"metadata": {"a": 1e308}}"#, r#"{"metadata": {"a": 1e309}}"#);
        edge_text(
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
        let page = server.call(&ada(), "artifacts.list", &json!({"limit": 1})).ok(200);
        assert_eq!(page["rows"][0]["metadata"], metadata);
    });
}

#[test]
fn metadata_that_is_no_object_is_of_the_wrong_shape() {
    on_every_driver(|server| {
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
fn an_upload_of_bytes_is_held_to_the_same_bounds() {
    on_every_driver(|server| {
        let upload = |query: &str| artifact_store_tests::wire::put(query, query).by(&ada()).send(server);
        let tags = |count: usize| {
            let tags: Vec<_> = (0..count).map(|tag| format!("tag={tag}")).collect();
            format!("?{}", tags.join("&"))
        };
        assert_eq!(upload(&tags(50)).status, 201);
        upload(&tags(51)).refused("payload_invalid");
        let (at, past) = ("é".repeat(4096), "é".repeat(4097));
        assert_eq!(upload(&format!("?filename={}", encode(&at))).status, 201);
        upload(&format!("?filename={}", encode(&past))).refused("payload_invalid");
        upload(&format!("?tag={}", encode(&past))).refused("payload_invalid");
        upload("?source=robot").refused("invalid_request");
        upload("?namespace=.a").refused("invalid_request");
    });
}
