//! Oversized heads, and headers that select bytes in ways that no honest client uses.

use std::fmt::Write as _;

use artifact_store_tests::corpus;
use artifact_store_tests::wire::{
    Connection, Flavour, Request, Response, Server, ServerOptions, base64, encode, put,
};
use percent_encoding::percent_decode_str;
use serde_json::json;

use crate::ada;

fn start_server() -> Server {
    Server::start(Flavour::Inmem, &ServerOptions::new())
}

/// Returns the response to these bytes, after which the connection must end.
fn single_response(server: &Server, name: &str, bytes: &[u8]) -> Response {
    let mut connection = Connection::open(server.addr());
    connection.send(bytes);
    let (answer, rest) = connection.try_read_response(false).unwrap_or_else(|| panic!("{name}: no response"));
    assert!(rest.try_read_response(false).is_none(), "{name}: the connection stays open");
    answer
}

fn healthz_request(lines: &str) -> Vec<u8> {
    format!("GET /healthz HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
}

#[test]
fn a_head_at_its_limits_is_read_and_past_them_refused_with_the_envelope() {
    let server = start_server();
    let headers = |count: usize| {
        (0..count).fold(String::new(), |mut lines, number| {
            let _ = write!(lines, "X-{number}: 1\r\n");
            lines
        })
    };
    let long_header = |length: usize| format!("X: {}\r\n", "a".repeat(length));
    // Host is one of the 100.
    for (name, bytes) in [
        ("100 headers", healthz_request(&headers(99))),
        ("a head of nearly 64 KiB", healthz_request(&long_header(65_000))),
        (
            "a path of 60 000 letters",
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(60_000)).into_bytes(),
        ),
    ] {
        let mut connection = Connection::open(server.addr());
        connection.send(&bytes);
        let (answer, rest) = connection.read_response(false);
        assert!(matches!(answer.status, 200 | 404), "{name}: {answer:?}");
        assert_eq!(Request::get("/healthz").send_on(rest).0.status, 200, "{name}: the connection was closed");
    }
    for (name, bytes) in [
        ("101 headers", healthz_request(&headers(100))),
        ("1 000 headers", healthz_request(&headers(1_000))),
        ("a head of more than 64 KiB", healthz_request(&long_header(66_000))),
        ("a header's name of more than 64 KiB", healthz_request(&format!("{}: 1\r\n", "x".repeat(66_000)))),
        (
            "a path of more than 64 KiB",
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(66_000)).into_bytes(),
        ),
        (
            "a query of more than 64 KiB",
            format!("GET /healthz?{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(66_000)).into_bytes(),
        ),
        (
            "a verb of more than 64 KiB",
            format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(66_000)).into_bytes(),
        ),
    ] {
        let answer = single_response(&server, name, &bytes);
        assert_eq!(answer.status, 400, "{name}: {answer:?}");
        answer.expect_refusal("invalid_request");
    }
}

#[test]
fn an_oversized_query_is_refused_without_repeating_it() {
    let server = start_server();
    for (name, query) in [
        ("a thousand parameters", "a=1&".repeat(1000)),
        ("a long name", "a".repeat(20_000)),
        ("a long value", format!("disposition={}", "a".repeat(20_000))),
        ("a parameter twice", "task=a&task=a".into()),
        ("a parameter twice, once in escapes", "task=a&t%61sk=a".into()),
        ("an escape that breaks off", "task=%".into()),
        ("an invalid escape", "task=%zz".into()),
        ("an escape that is not UTF-8", "task=%ff".into()),
        ("an overlong escape", "task=%c0%af".into()),
        ("a control character in escapes", "task=%0d%0ax".into()),
    ] {
        let answer = Request::get(format!("/v1/artifacts/default_00000000000000000000000000000000?{query}"))
            .identity(&ada())
            .send(&server);
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{name}: {answer:?}");
        assert!(answer.message().len() < 400, "{name}: {answer:?}");
    }
}

#[test]
fn many_ranges_get_the_whole_artifact_once() {
    let server = start_server();
    let bytes = corpus::bytes(79, 100_000);
    let id = put("", bytes.to_vec()).identity(&ada()).send(&server).expect_json(201)["ref"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let ask = |ranges: &[String]| {
        let request = Request::get(format!("/v1/artifacts/{id}")).identity(&ada());
        ranges.iter().fold(request, |request, range| request.header("Range", range)).send(&server)
    };
    let set = |range: &str, count: usize| format!("bytes={}", vec![range; count].join(","));
    // More than one range is ignored, so the whole artifact is the response (RFC 9110, 14.2): once.
    for (name, ranges) in [
        ("two ranges", vec!["bytes=0-0,2-2".to_owned()]),
        ("two ranges that touch", vec!["bytes=0-4,5-9".to_owned()]),
        ("1 000 ranges", vec![set("0-0", 1000)]),
        ("1 000 ranges of everything", vec![set("0-", 1000)]),
        ("1 000 ranges that overlap", vec![set("0-99999", 1000)]),
        ("1 000 suffixes", vec![set("-1", 1000)]),
        ("ranges that end with a comma", vec!["bytes=0-0,".to_owned()]),
        ("a range in two headers", vec!["bytes=0-0".to_owned(), "bytes=2-2".to_owned()]),
        ("the same range in two headers", vec!["bytes=0-0".to_owned(), "bytes=0-0".to_owned()]),
        ("50 headers", vec!["bytes=0-".to_owned(); 50]),
        (
            "a range of 20 000 digits that ends before it begins",
            vec![format!("bytes=1{}-0", "0".repeat(20_000))],
        ),
        ("a range of letters", vec!["bytes=a-z".to_owned()]),
    ] {
        let answer = ask(&ranges);
        answer.expect_bytes(&bytes);
        assert_eq!(answer.header("content-range"), None, "{name}");
    }
    let far = ask(&[format!("bytes=1{}-", "0".repeat(20_000))]);
    assert_eq!((far.status, far.code().as_str()), (416, "invalid_request"), "{far:?}");
    let long = ask(&[format!("bytes={}1-{}2", "0".repeat(20_000), "0".repeat(20_000))]);
    assert_eq!((long.status, &long.body[..]), (206, &bytes[1..=2]), "{long:?}");
}

/// The full file name of a download, and the plain one.
fn file_names(answer: &Response) -> (String, String) {
    let header = answer.header("content-disposition").unwrap();
    assert!(header.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{header:?}");
    let names = header.strip_prefix("attachment; filename=\"").unwrap_or_else(|| panic!("{header:?}"));
    let (plain, full) = names.split_once("\"; filename*=UTF-8''").unwrap_or_else(|| panic!("{header:?}"));
    assert!(!plain.contains(['"', '\\', '%']) && !full.contains([';', '"', '\'', ' ']), "{header:?}");
    (percent_decode_str(full).decode_utf8().unwrap().into_owned(), plain.to_owned())
}

#[test]
fn a_client_sees_the_name_that_was_given_or_a_safe_one() {
    let server = start_server();
    let (long, wide) = (format!("{}.html", "x".repeat(4091)), format!("{}.html", "é".repeat(4091)));
    for (given, full, plain) in [
        // Legal names.
        ("a b (1).tar.gz", "a b (1).tar.gz", "a b (1).tar.gz"),
        ("it's 100%.txt", "it's 100%.txt", "it's 100_.txt"),
        ("a;b=c.txt", "a;b=c.txt", "a;b=c.txt"),
        ("cafe\u{301}.txt", "cafe\u{301}.txt", "cafe_.txt"),
        ("caf\u{e9}.txt", "caf\u{e9}.txt", "caf_.txt"),
        ("🦀.rs", "🦀.rs", "_.rs"),
        ("👩‍💻.txt".trim(), "👩_💻.txt", "___.txt"),
        ("%2e%2e%2f.txt", "%2e%2e%2f.txt", "_2e_2e_2f.txt"),
        ("=?utf-8?B?eA==?=", "=?utf-8?B?eA==?=", "=?utf-8?B?eA==?="),
        // Hostile names, made safe.
        ("a\r\nX-Evil: 1", "a__X-Evil: 1", "a__X-Evil: 1"),
        ("a\r\n\r\n<script>", "a____<script>", "a____<script>"),
        ("a\"; filename=\"b.exe", "a_; filename=_b.exe", "a_; filename=_b.exe"),
        ("a\\\"b", "a__b", "a__b"),
        ("invoice\u{202e}fdp.exe", "invoice_fdp.exe", "invoice_fdp.exe"),
        ("\u{2066}a\u{2069}.txt", "_a_.txt", "_a_.txt"),
        ("a\u{200f}b\u{61c}.txt", "a_b_.txt", "a_b_.txt"),
        ("a\0b", "a_b", "a_b"),
        ("../../etc/passwd", ".._.._etc_passwd", ".._.._etc_passwd"),
        ("C:\\boot.ini", "C:_boot.ini", "C:_boot.ini"),
        ("..", "__", "__"),
        ("\u{feff}a", "_a", "_a"),
        (
            &long,
            &format!("{}_{}.html", "x".repeat(167), "x".repeat(27)),
            &format!("{}_{}.html", "x".repeat(167), "x".repeat(27)),
        ),
        (
            &wide,
            &format!("{}_{}.html", "é".repeat(167), "é".repeat(27)),
            &format!("{}.html", "_".repeat(195)),
        ),
    ] {
        let body = json!({"bytes": base64(given.as_bytes()), "opts": {"filename": given}});
        let by_method = server.call(&ada(), "artifacts.put", &body).expect_json(200);
        // The record keeps the name as given. The header for browsers gets a safe one.
        assert_eq!(by_method["ref"]["filename"], given);
        let by_upload = put(&format!("?namespace=b&filename={}", encode(given)), given).identity(&ada());
        let mut refs = vec![by_method["ref"].clone()];
        // Four thousand characters of several bytes each do not fit into a head.
        if encode(given).len() < 60_000 {
            refs.push(by_upload.send(&server).expect_json(201)["ref"].clone());
        }
        for stored in refs {
            let answer = server.download(&ada(), stored["id"].as_str().unwrap());
            answer.expect_bytes(given.as_bytes());
            assert_eq!(file_names(&answer), (full.to_owned(), plain.to_owned()), "{given:?}");
            for injected in ["x-evil", "set-cookie"] {
                assert_eq!(answer.header(injected), None, "{given:?}");
            }
        }
    }
}
