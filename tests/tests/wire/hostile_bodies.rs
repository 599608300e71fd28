//! Bodies that no honest client sends: compressed ones, and JSON at the edge of its grammar.

use std::io::Write as _;

use artifact_store_tests::wire::{
    Connection, Flavour, Request, Response, Server, ServerOptions, base64, control, put,
};
use serde_json::json;

use crate::ada;

fn start_server() -> Server {
    Server::start(Flavour::Inmem, &ServerOptions::new())
}

/// `{}` compressed by gzip.
const GZIPPED: [u8; 22] =
    [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0xae, 5, 0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0, 0];

fn call(server: &Server, method: &str, body: impl Into<Vec<u8>>) -> Response {
    control(method, &json!({})).identity(&ada()).body(body).send(server)
}

#[test]
fn a_body_in_a_content_coding_is_refused_and_nothing_is_decoded_or_stored() {
    let server = start_server();
    for coding in [
        "gzip",
        "GZIP",
        "x-gzip",
        "deflate",
        "br",
        "zstd",
        "compress",
        "aes128gcm",
        "gzip, identity",
        "identity, gzip",
        "gzip,gzip",
        "x",
    ] {
        for request in [
            put("", GZIPPED),
            control("artifacts.list", &json!({})).body(GZIPPED),
            // Plain JSON that claims to be compressed: a server that accepts it has not checked the header.
            control("artifacts.list", &json!({})),
            control("runtime.info", &json!({})),
            control("artifacts.put", &json!({"bytes": base64(b"bytes")})),
        ] {
            let refused = request.identity(&ada()).header("Content-Encoding", coding).send(&server);
            let message = refused.expect_refusal("invalid_request");
            assert!(message.contains("Content-Encoding"), "{coding}: {message}");
        }
    }
    let twice = put("", "x")
        .identity(&ada())
        .header("Content-Encoding", "identity")
        .header("Content-Encoding", "gzip");
    twice.send(&server).expect_refusal("invalid_request");
    assert_eq!(server.call(&ada(), "artifacts.list", &json!({})).expect_json(200)["total_matched"], 0);
    for request in [put("", "plain"), control("runtime.info", &json!({}))] {
        let answer = request.identity(&ada()).header("Content-Encoding", "identity").send(&server);
        assert!(answer.status < 300, "{answer:?}");
    }
}

#[test]
fn compressed_bytes_are_stored_like_any_others() {
    let server = start_server();
    let id = put("", GZIPPED)
        .identity(&ada())
        .header("Content-Type", "application/gzip")
        .send(&server)
        .expect_json(201)["ref"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for accepted in ["gzip", "gzip, deflate, br, zstd", "*", "identity;q=0"] {
        let download =
            Request::get(format!("/v1/artifacts/{id}")).identity(&ada()).header("Accept-Encoding", accepted);
        let answer = download.send(&server);
        answer.expect_bytes(&GZIPPED);
        assert_eq!(answer.header("content-encoding"), None, "{accepted}");
    }
}

#[test]
fn a_decompression_bomb_gets_no_100_continue() {
    let server = start_server();
    for request in [put("", ""), control("artifacts.put", &json!({}))] {
        let mut connection = Connection::open(server.addr());
        let request =
            request.identity(&ada()).header("Content-Encoding", "gzip").header("Expect", "100-continue");
        connection.send(&request.head(Some(1_000_000)));
        let (answer, _) = connection.read_response(false);
        answer.expect_refusal("invalid_request");
        assert!(!answer.continued, "the server sent 100 Continue");
    }
}

#[test]
#[allow(clippy::too_many_lines)] // A table.
fn json_at_the_edge_of_its_grammar_is_parsed_strictly() {
    let server = start_server();
    let id = server.store_id(&ada(), b"own");
    let with = |member: &str| format!("{{\"id\": \"{id}\", {member}}}").into_bytes();
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, method, body) in [
        ("100 000 lists", "artifacts.list", deep("[", "]").into_bytes()),
        ("100 000 lists without an end", "artifacts.list", "[".repeat(100_000).into_bytes()),
        (
            "100 000 objects",
            "artifacts.list",
            format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000)).into_bytes(),
        ),
        ("100 000 scopes", "artifacts.list", "{\"scope\":".repeat(100_000).into_bytes()),
        ("100 000 lists as a member", "artifacts.get", with(&format!("\"offset\": {}", deep("[", "]")))),
        (
            "100 000 lists as a member that is not declared",
            "artifacts.get",
            with(&format!("\"x\": {}", deep("[", "]"))),
        ),
        (
            "100 000 lists in a put",
            "artifacts.put",
            format!("{{\"bytes\": \"\", \"opts\": {}}}", deep("[", "]")).into_bytes(),
        ),
        (
            "100 000 lists as the bytes of a put",
            "artifacts.put",
            format!("{{\"bytes\": {}}}", deep("[", "]")).into_bytes(),
        ),
        ("100 000 brackets before a put", "artifacts.put", "[".repeat(100_000).into_bytes()),
        ("a member twice", "artifacts.get", format!("{{\"id\": \"{id}\", \"id\": \"{id}\"}}").into_bytes()),
        (
            "a member twice, once in escapes",
            "artifacts.get",
            format!("{{\"id\": \"{id}\", \"\\u0069d\": \"{id}\"}}").into_bytes(),
        ),
        (
            "a member of the scope twice",
            "artifacts.get",
            with("\"scope\": {\"task\": \"a\", \"task\": \"\"}"),
        ),
        ("the scope twice", "artifacts.get", with("\"scope\": {}, \"scope\": {}")),
        ("the bytes twice", "artifacts.put", b"{\"bytes\": \"\", \"bytes\": \"\"}".to_vec()),
        (
            "the bytes twice, once in escapes",
            "artifacts.put",
            b"{\"bytes\": \"\", \"b\\u0079tes\": \"\"}".to_vec(),
        ),
        ("opts twice", "artifacts.put", b"{\"bytes\": \"\", \"opts\": {}, \"opts\": {}}".to_vec()),
        (
            "a member of opts twice",
            "artifacts.put",
            b"{\"bytes\": \"\", \"opts\": {\"tags\": [], \"tags\": []}}".to_vec(),
        ),
        ("a text that is not UTF-8", "artifacts.get", b"{\"id\": \"\xff\"}".to_vec()),
        ("a text with half a letter", "artifacts.get", b"{\"id\": \"\xc3\"}".to_vec()),
        ("a text with a letter in too many bytes", "artifacts.get", b"{\"id\": \"\xc0\xaf\"}".to_vec()),
        ("a text with a surrogate in UTF-8", "artifacts.get", b"{\"id\": \"\xed\xa0\x80\"}".to_vec()),
        ("a name that is not UTF-8", "artifacts.get", b"{\"\xff\": 1}".to_vec()),
        (
            "metadata that is not UTF-8",
            "artifacts.put",
            b"{\"bytes\": \"\", \"opts\": {\"metadata\": {\"a\": \"\xff\"}}}".to_vec(),
        ),
        ("bytes that are not UTF-8", "artifacts.put", b"{\"bytes\": \"\xff\"}".to_vec()),
        ("half a surrogate", "artifacts.get", br#"{"id": "\ud800"}"#.to_vec()),
        ("the other half of a surrogate", "artifacts.get", br#"{"id": "\udc00\ud800"}"#.to_vec()),
        (
            "half a surrogate in metadata",
            "artifacts.put",
            br#"{"bytes": "", "opts": {"metadata": {"a": "\ud800"}}}"#.to_vec(),
        ),
        ("half a surrogate in a name", "artifacts.list", br#"{"\ud800": 1}"#.to_vec()),
        ("an invalid escape", "artifacts.get", br#"{"id": "\x41"}"#.to_vec()),
        ("an escape that breaks off", "artifacts.get", br#"{"id": "\u00"}"#.to_vec()),
        ("a control character in a text", "artifacts.get", b"{\"id\": \"a\nb\"}".to_vec()),
        ("a NUL in a text", "artifacts.get", b"{\"id\": \"a\0b\"}".to_vec()),
        ("1e999", "artifacts.get", with("\"offset\": 1e999")),
        ("-1e999", "artifacts.get", with("\"offset\": -1e999")),
        ("-0", "artifacts.get", with("\"offset\": -0")),
        ("-1", "artifacts.get", with("\"offset\": -1")),
        ("2^64", "artifacts.get", with("\"offset\": 18446744073709551616")),
        ("1.0", "artifacts.get", with("\"offset\": 1.0")),
        ("1e2", "artifacts.get", with("\"offset\": 1e2")),
        ("a number with a plus", "artifacts.get", with("\"offset\": +1")),
        ("a number with zeros before", "artifacts.get", with("\"offset\": 01")),
        ("a number in hex", "artifacts.get", with("\"offset\": 0x1")),
        ("a number that ends in a point", "artifacts.get", with("\"offset\": 1.")),
        ("no number at all", "artifacts.get", with("\"offset\": NaN")),
        ("a number without an end", "artifacts.get", with("\"offset\": Infinity")),
        (
            "a number of 100 000 digits",
            "artifacts.get",
            with(&format!("\"offset\": {}", "9".repeat(100_000))),
        ),
        ("a number as a text", "artifacts.get", with("\"offset\": \"1\"")),
        ("a byte order mark", "artifacts.list", b"\xef\xbb\xbf{}".to_vec()),
        ("another encoding", "artifacts.list", utf16),
        ("text after it", "artifacts.list", b"{} x".to_vec()),
        ("a second object after it", "artifacts.list", b"{}{}".to_vec()),
        ("a NUL after it", "artifacts.list", b"{}\0".to_vec()),
        ("a comma after the last member", "artifacts.list", b"{\"limit\": 1,}".to_vec()),
        ("a comment", "artifacts.list", b"{/* */}".to_vec()),
        ("single quotes", "artifacts.list", b"{'limit': 1}".to_vec()),
        ("a name without quotes", "artifacts.list", b"{limit: 1}".to_vec()),
        ("white space that JSON does not allow", "artifacts.list", "{}\u{a0}".as_bytes().to_vec()),
        ("white space alone", "artifacts.get", b" \r\n".to_vec()),
        ("nothing", "artifacts.get", Vec::new()),
        ("an object without an end", "artifacts.list", b"{".to_vec()),
        ("true", "artifacts.list", b"true".to_vec()),
        ("null", "artifacts.list", b"null".to_vec()),
        (
            "the values of a request in a list",
            "artifacts.get",
            format!("[{{}}, \"{id}\", 0, 1]").into_bytes(),
        ),
        ("a form", "artifacts.list", b"limit=1&cursor=".to_vec()),
    ] {
        let answer = call(&server, method, body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{name}: {answer:?}");
        assert!(answer.message().chars().count() < 1000, "{name}: {answer:?}");
    }
    assert_eq!(
        server.call(&ada(), "artifacts.list", &json!({})).expect_json(200)["total_matched"],
        1,
        "something was stored"
    );
}

#[test]
fn odd_json_that_is_legal_means_what_it_says() {
    let server = start_server();
    let id = server.store_id(&ada(), b"own");
    for (name, body) in [
        ("white space everywhere", format!("\r\n\t {{ \"id\" : \"{id}\" , \"offset\" :\n1 }} \t\r\n")),
        (
            "escapes everywhere",
            format!(
                "{{\"\\u0069\\u0064\": \"\\u{:04x}{}\", \"offset\": 1}}",
                u32::from(id.as_bytes()[0]),
                &id[1..]
            ),
        ),
        (
            "null for what is left out",
            format!("{{\"id\": \"{id}\", \"scope\": null, \"max_bytes\": null, \"offset\": 1}}"),
        ),
    ] {
        let answer = call(&server, "artifacts.get", body).expect_json(200);
        assert_eq!(answer["content"], base64(b"wn"), "{name}");
    }
    let largest =
        call(&server, "artifacts.get", format!("{{\"id\": \"{id}\", \"offset\": 18446744073709551615}}"))
            .expect_json(200);
    assert_eq!((&largest["returned_bytes"], &largest["truncated"]), (&json!(0), &json!(false)));
}

#[test]
fn odd_metadata_comes_back_as_it_was_or_is_refused() {
    let server = start_server();
    for (name, given, back) in [
        ("minus zero", "{\"a\": -0}", Some("{\"a\":-0.0}")),
        ("2^64", "{\"a\": 18446744073709551616}", Some("{\"a\":1.8446744073709552e+19}")),
        ("the largest whole number", "{\"a\": 18446744073709551615}", Some("{\"a\":18446744073709551615}")),
        ("the smallest whole number", "{\"a\": -9223372036854775808}", Some("{\"a\":-9223372036854775808}")),
        ("the largest number", "{\"a\": 1.7976931348623157e308}", Some("{\"a\":1.7976931348623157e+308}")),
        ("the smallest number above zero", "{\"a\": 5e-324}", Some("{\"a\":5e-324}")),
        ("a number too small to represent", "{\"a\": 1e-400}", Some("{\"a\":0.0}")),
        ("a number too large", "{\"a\": 1e999}", None),
        ("a member twice: the last one counts", "{\"a\": 1, \"a\": 2}", Some("{\"a\":2}")),
        ("a whole pair of surrogates", "{\"a\": \"\\ud83d\\ude00\"}", Some("{\"a\":\"😀\"}")),
        ("a NUL in escapes", "{\"a\": \"\\u0000\"}", Some("{\"a\":\"\\u0000\"}")),
        ("an empty name", "{\"\": null}", Some("{\"\":null}")),
        (
            "a name of a prototype",
            "{\"__proto__\": {\"admin\": true}}",
            Some("{\"__proto__\":{\"admin\":true}}"),
        ),
        ("100 000 lists", &format!("{{\"a\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000)), None),
    ] {
        let body =
            format!("{{\"bytes\": \"{}\", \"opts\": {{\"metadata\": {given}}}}}", base64(name.as_bytes()));
        let answer = call(&server, "artifacts.put", body);
        let Some(back) = back else {
            answer.expect_refusal("payload_invalid");
            continue;
        };
        let id = answer.expect_json(200)["ref"]["id"].clone();
        let page = server.call(&ada(), "artifacts.list", &json!({})).expect_json(200);
        let row = page["rows"].as_array().unwrap().iter().find(|row| row["ref"]["id"] == id).unwrap().clone();
        assert_eq!(row["metadata"].to_string(), back, "{name}");
    }
}

#[test]
fn a_body_in_ten_thousand_chunks_is_one_body() {
    let server = start_server();
    let mut connection = Connection::open(server.addr());
    connection.send(&put("", "").identity(&ada()).chunked().head(None));
    let mut writer = connection.try_clone_stream();
    writer.write_all(&b"1\r\nx\r\n".repeat(10_000)).unwrap();
    writer.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(connection.read_response(false).0.expect_json(201)["ref"]["size_bytes"], 10_000);
}
