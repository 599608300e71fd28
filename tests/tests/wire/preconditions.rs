//! Section 6: preconditions of a request (RFC 9110, 13).

use artifact_store_tests::wire::{Identity, Request, Response, Server, for_each_flavour, put, sha256};

use crate::ada;
use crate::upload::total_matched;

const MISSING: &str = "default_0123456789abcdef0123456789abcdef";
const LONG_AGO: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const FAR_OFF: &str = "Tue, 31 Dec 2999 23:59:59 GMT";

fn send(server: &Server, verb: &str, id: &str, headers: &[(&str, &str)]) -> Response {
    let request = Request::new(verb, format!("/v1/artifacts/{id}")).identity(&ada());
    headers.iter().fold(request, |request, (name, value)| request.header(name, *value)).send(server)
}

#[test]
fn a_condition_that_does_not_hold_is_412_with_the_envelope() {
    for_each_flavour(|server| {
        let id = server.store_id(&ada(), b"some bytes");
        let tag = format!("\"{}\"", sha256(b"some bytes"));
        let weak = format!("W/{tag}");
        for headers in [
            &[("If-Match", "\"other\"")][..],
            &[("If-Match", "")],
            &[("If-Match", &weak)],
            &[("If-Match", &tag[1..])],
            &[("If-Match", "\"a\", \"b\"")],
            &[("If-Unmodified-Since", LONG_AGO)],
            // `If-Match` is evaluated before `If-None-Match` and before the range.
            &[("If-Match", "\"other\""), ("If-None-Match", &tag)],
            &[("If-Match", "\"other\""), ("If-Unmodified-Since", FAR_OFF)],
            &[("If-Match", "\"other\""), ("Range", "bytes=0-3")],
            &[("If-Match", "\"other\""), ("Range", "bytes=99-")],
            &[("If-Unmodified-Since", LONG_AGO), ("If-None-Match", "*")],
        ] {
            let answer = send(server, "GET", &id, headers);
            assert_eq!((answer.status, answer.code().as_str()), (412, "invalid_request"), "{headers:?}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{headers:?}");
            assert_eq!(answer.header("content-range"), None, "{headers:?}");
            let head = send(server, "HEAD", &id, headers);
            assert_eq!((head.status, head.body.len()), (412, 0), "HEAD {headers:?}");
        }
    });
}

#[test]
fn a_condition_that_holds_changes_nothing() {
    for_each_flavour(|server| {
        let id = server.store_id(&ada(), b"some bytes");
        let tag = format!("\"{}\"", sha256(b"some bytes"));
        let list = format!("\"a\", W/\"b\", {tag}");
        for (headers, get, head) in [
            (&[("If-Match", "*")][..], 200, 200),
            (&[("If-Match", &tag)], 200, 200),
            (&[("If-Match", &list)], 200, 200),
            (&[("If-Match", "\"a\""), ("If-Match", &tag)], 200, 200),
            (&[("If-Unmodified-Since", FAR_OFF)], 200, 200),
            (&[("If-Unmodified-Since", "yesterday")], 200, 200),
            (&[("If-Unmodified-Since", LONG_AGO), ("If-Match", "*")], 200, 200),
            (&[("If-Match", &tag), ("Range", "bytes=0-3")], 206, 200),
            (&[("If-Match", &tag), ("Range", "bytes=99-")], 416, 200),
            (&[("If-Match", &tag), ("If-None-Match", &tag)], 304, 304),
            (&[("If-Unmodified-Since", FAR_OFF), ("If-Modified-Since", FAR_OFF)], 304, 304),
            (&[("If-Match", &tag), ("If-None-Match", "\"a\""), ("If-Modified-Since", FAR_OFF)], 200, 200),
            (&[("If-Match", &tag), ("If-Range", "\"a\""), ("Range", "bytes=0-3")], 200, 200),
        ] {
            assert_eq!(send(server, "GET", &id, headers).status, get, "{headers:?}");
            assert_eq!(send(server, "HEAD", &id, headers).status, head, "HEAD {headers:?}");
        }
        // The validators in a response are valid in the next request.
        let answer = send(server, "GET", &id, &[]);
        let (etag, modified) = (answer.header("etag").unwrap(), answer.header("last-modified").unwrap());
        let again = send(server, "GET", &id, &[("If-Match", etag), ("If-Unmodified-Since", modified)]);
        again.expect_bytes(b"some bytes");
        send(server, "GET", &id, &[("If-Unmodified-Since", modified)]).expect_bytes(b"some bytes");
    });
}

#[test]
fn a_condition_reveals_nothing_about_missing_or_foreign_artifacts() {
    for_each_flavour(|server| {
        let foreign = server.store_id(&Identity::new("globex", "ada", "session-1"), b"of globex");
        let tag = format!("\"{}\"", sha256(b"of globex"));
        for (name, value) in [
            ("If-Match", "*"),
            ("If-Match", "\"other\""),
            ("If-Match", tag.as_str()),
            ("If-Unmodified-Since", LONG_AGO),
            ("If-Unmodified-Since", FAR_OFF),
        ] {
            for verb in ["GET", "HEAD"] {
                let answers = [&foreign[..], MISSING].map(|id| send(server, verb, id, &[(name, value)]));
                assert_eq!(answers[0].status, 404, "{verb} {name}: {value}");
                assert_eq!(
                    answers[0].without_volatile_headers(),
                    answers[1].without_volatile_headers(),
                    "{verb} {name}: {value}"
                );
            }
        }
    });
}

#[test]
fn an_upload_with_if_match_is_412_and_stores_nothing() {
    // The target of an upload is the collection, which has no entity tag. The content has none before it is stored.
    for_each_flavour(|server| {
        let tag = format!("\"{}\"", sha256(b"bytes"));
        for value in ["*", "\"other\"", &tag] {
            let answer = put("", "bytes").identity(&ada()).header("If-Match", value).send(server);
            assert_eq!((answer.status, answer.code().as_str()), (412, "invalid_request"), "{value}");
        }
        assert_eq!(total_matched(server), 0);
        let upload = |namespace: &str| put(&format!("?namespace={namespace}"), "bytes").identity(&ada());
        upload("a").header("If-None-Match", "*").send(server).expect_json(201);
        upload("b").header("If-None-Match", tag).send(server).expect_json(201);
        upload("c").header("If-Unmodified-Since", LONG_AGO).send(server).expect_json(201);
    });
}

#[test]
fn the_date_of_a_response_is_never_before_last_modified() {
    for_each_flavour(|server| {
        for number in 0..30 {
            let id = server.store_id(&ada(), format!("bytes {number}").as_bytes());
            for (verb, headers) in [("GET", &[][..]), ("HEAD", &[]), ("GET", &[("If-None-Match", "*")])] {
                let answer = send(server, verb, &id, headers);
                let [date, modified] =
                    ["date", "last-modified"].map(|name| seconds(answer.header(name).unwrap()));
                assert!(modified <= date, "{verb}: {answer:?}");
            }
            std::thread::sleep(std::time::Duration::from_millis(70));
        }
    });
}

/// The day and the second of the day of an HTTP date. The day is comparable, because the tests may run over midnight.
fn seconds(date: &str) -> (String, u32) {
    let mut words = date.split(' ');
    let (day, time) = (words.by_ref().skip(1).take(3).collect::<Vec<_>>(), words.next().unwrap());
    let day = [day[2], month(day[1]), day[0]].concat();
    (day, time.split(':').fold(0, |total, part| total * 60 + part.parse::<u32>().unwrap()))
}

fn month(name: &str) -> &'static str {
    let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    ["01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12"]
        [names.iter().position(|month| *month == name).unwrap()]
}
