//! Section 6: downloads of bytes, whole and in part.

use std::fs;
use std::path::{Path, PathBuf};

use artifact_store_core::Bytes;
use artifact_store_tests::corpus;
use artifact_store_tests::wire::{
    Flavour, Request, Response, Server, ServerOptions, digest_field, for_each_flavour, put, sha256,
};

use crate::ada;

/// Stores bytes without repetitions and returns the path of the artifact.
fn store_artifact(server: &Server, length: usize) -> (String, Bytes) {
    let bytes = corpus::bytes(11, length);
    let upload =
        put("?filename=report.csv", bytes.to_vec()).identity(&ada()).header("Content-Type", "text/csv");
    let id = upload.send(server).expect_json(201)["ref"]["id"].as_str().unwrap().to_owned();
    (format!("/v1/artifacts/{id}"), bytes)
}

fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Response {
    send(server, "GET", path, headers)
}

fn send(server: &Server, verb: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let request = Request::new(verb, path).identity(&ada());
    headers.iter().fold(request, |request, (name, value)| request.header(name, *value)).send(server)
}

#[test]
fn a_download_carries_every_header_of_the_contract() {
    for_each_flavour(|server| {
        let (path, bytes) = store_artifact(server, 1000);
        let answer = get(server, &path, &[]);
        answer.expect_bytes(&bytes);
        for (name, value) in [
            ("content-type", "text/csv"),
            ("content-length", "1000"),
            ("accept-ranges", "bytes"),
            ("etag", format!("\"{}\"", sha256(&bytes)).as_str()),
            ("repr-digest", digest_field(&bytes).as_str()),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "sandbox; default-src 'none'"),
            ("cache-control", "private, immutable"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
        let disposition = answer.header("content-disposition").unwrap();
        assert!(disposition.starts_with("attachment") && disposition.contains("report.csv"), "{disposition}");
        let modified = answer.header("last-modified").unwrap();
        assert!(modified.ends_with(" GMT") && modified.len() == 29, "{modified}");
    });
}

#[test]
fn head_is_get_without_the_bytes() {
    for_each_flavour(|server| {
        let (path, bytes) = store_artifact(server, 1000);
        for path in [path.clone(), format!("{path}?disposition=inline")] {
            for headers in [&[][..], &[("If-None-Match", "\"x\"")]] {
                let (get, head) = (get(server, &path, headers), send(server, "HEAD", &path, headers));
                assert_eq!((get.status, head.status), (200, 200));
                assert_eq!(head.without_volatile_headers().1, get.without_volatile_headers().1);
                assert_eq!((get.body, head.body), (bytes.to_vec(), Vec::new()));
            }
        }
        let etag = format!("\"{}\"", sha256(&bytes));
        assert_eq!(send(server, "HEAD", &path, &[("If-None-Match", &etag)]).status, 304);
        // Ranges apply only to GET (RFC 9110, 14.2).
        assert_eq!(send(server, "HEAD", &path, &[("Range", "bytes=0-0")]).status, 200);
    });
}

#[test]
fn ranges_are_served_as_asked() {
    for_each_flavour(|server| {
        let (path, bytes) = store_artifact(server, 1000);
        for (range, part) in [
            ("bytes=0-0", 0..1),
            ("bytes=0-9", 0..10),
            ("bytes=10-19", 10..20),
            ("bytes=0-", 0..1000),
            ("bytes=999-", 999..1000),
            ("bytes=990-", 990..1000),
            ("bytes=0-999", 0..1000),
            ("bytes=0-1000", 0..1000),
            ("bytes=990-5000", 990..1000),
            ("bytes=0-99999999999999999999999999", 0..1000),
            ("bytes=-1", 999..1000),
            ("bytes=-1000", 0..1000),
            ("bytes=-5000", 0..1000),
            ("Bytes=0-9", 0..10),
        ] {
            let answer = get(server, &path, &[("Range", range)]);
            assert_eq!(answer.status, 206, "{range}: {answer:?}");
            assert!(answer.complete && answer.body == bytes[part.clone()], "{range}: other bytes");
            let said = format!("bytes {}-{}/1000", part.start, part.end - 1);
            assert_eq!(answer.header("content-range"), Some(said.as_str()), "{range}");
            assert_eq!(answer.header("content-length"), Some(part.len().to_string().as_str()), "{range}");
            // The headers describe the whole artifact.
            assert_eq!(answer.header("etag"), Some(format!("\"{}\"", sha256(&bytes)).as_str()));
            assert_eq!(answer.header("repr-digest"), Some(digest_field(&bytes).as_str()));
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert!(
                answer.header("content-security-policy").is_some()
                    && answer.header("content-disposition").is_some()
            );
        }
    });
}

#[test]
fn ranges_that_lie_outside_are_416() {
    for_each_flavour(|server| {
        let (path, _) = store_artifact(server, 1000);
        for range in ["bytes=1000-", "bytes=1000-2000", "bytes=18446744073709551615-", "bytes=-0"] {
            let answer = get(server, &path, &[("Range", range)]);
            assert_eq!(answer.status, 416, "{range}: {answer:?}");
            answer.expect_refusal("invalid_request");
            assert_eq!(answer.header("content-range"), Some("bytes */1000"), "{range}");
        }
        let (path, _) = store_artifact(server, 0);
        for range in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            let answer = get(server, &path, &[("Range", range)]);
            // For an empty artifact, a suffix range may also select the whole (RFC 9110, 14.1.2 leaves it to the
            // server).
            assert!(
                answer.status == 416 || (range == "bytes=-1" && answer.status == 200),
                "{range}: {answer:?}"
            );
        }
        get(server, &path, &[]).expect_bytes(b"");
    });
}

#[test]
fn anything_but_a_single_range_of_bytes_is_ignored() {
    for_each_flavour(|server| {
        let (path, bytes) = store_artifact(server, 1000);
        for range in [
            "bytes=5-4",
            "bytes=a-b",
            "bytes=",
            "bytes=-",
            "bytes",
            "lines=0-1",
            "bytes=0-1,5-6",
            "bytes=0-1, 900-",
            "bytes=1-2-3",
            "bytes=+1-2",
            "bytes=0x1-2",
            "",
        ] {
            let answer = get(server, &path, &[("Range", range)]);
            assert!(answer.status == 200 && answer.body == bytes, "{range}: {answer:?}");
        }
        let many = format!("bytes={}", "0-,".repeat(2000));
        get(server, &path, &[("Range", &many)]).expect_bytes(&bytes);
    });
}

#[test]
fn if_range_serves_a_part_of_the_same_bytes_only() {
    for_each_flavour(|server| {
        let (path, bytes) = store_artifact(server, 1000);
        let etag = format!("\"{}\"", sha256(&bytes));
        let get_if_range =
            |condition: &str| get(server, &path, &[("Range", "bytes=0-9"), ("If-Range", condition)]);
        assert_eq!(get_if_range(&etag).status, 206);
        for condition in [
            format!("W/{etag}"),
            "\"other\"".into(),
            "x".into(),
            "Thu, 01 Jan 1970 00:00:00 GMT".into(),
            etag.replace('"', ""),
        ] {
            get_if_range(&condition).expect_bytes(&bytes);
        }
    });
}

#[test]
fn if_none_match_is_304_for_the_same_bytes() {
    for_each_flavour(|server| {
        let (path, bytes) = store_artifact(server, 1000);
        let etag = format!("\"{}\"", sha256(&bytes));
        let same = [
            etag.clone(),
            format!("W/{etag}"),
            "*".into(),
            format!("\"a\", {etag}"),
            format!("{etag},\"b\""),
        ];
        for condition in same {
            let answer = get(server, &path, &[("If-None-Match", &condition), ("Range", "bytes=0-9")]);
            assert_eq!(answer.status, 304, "{condition}");
            assert!(answer.body.is_empty());
            assert_eq!(answer.header("etag"), Some(etag.as_str()));
            assert_eq!(answer.header("cache-control"), Some("private, immutable"));
        }
        for condition in ["\"a\"", "\"\"", "a", &etag[..20], &etag.to_uppercase()] {
            get(server, &path, &[("If-None-Match", condition)]).expect_bytes(&bytes);
        }
    });
}

#[test]
fn a_task_is_asked_for_in_the_query() {
    for_each_flavour(|server| {
        let stored = put("?task=t%201", "of a task").identity(&ada()).send(server).expect_json(201);
        let path = format!("/v1/artifacts/{}", stored["ref"]["id"].as_str().unwrap());
        get(server, &path, &[]).expect_refusal("not_found");
        get(server, &format!("{path}?task=t"), &[]).expect_refusal("not_found");
        get(server, &format!("{path}?task="), &[]).expect_refusal("not_found");
        get(server, &format!("{path}?task=t%201"), &[]).expect_bytes(b"of a task");
        get(server, &format!("{path}?task=a%00b"), &[]).expect_refusal("invalid_request");
    });
}

#[test]
fn large_artifacts_come_back_equal() {
    for_each_flavour(|server| {
        for length in [65_535, 65_536, 65_537, 262_144, 1_048_577, 4_194_304] {
            let (path, bytes) = store_artifact(server, length);
            get(server, &path, &[]).expect_bytes(&bytes);
            let middle = format!("bytes={}-{}", length / 3, length / 2);
            let answer = get(server, &path, &[("Range", &middle)]);
            assert!(answer.status == 206 && answer.body == bytes[length / 3..=length / 2], "{middle}");
        }
    });
}

/// Collects the files of a store that hold artifacts.
fn artifact_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            artifact_files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn bytes_that_were_altered_in_the_store_never_end_as_if_complete() {
    // The driver whose files a test can alter byte by byte.
    let server = Server::start(Flavour::Fs, &ServerOptions::new());
    for length in [1, 10_000, 65_536, 1_000_000, 4_000_000] {
        for at in [0, length / 2, length - 1] {
            let (path, bytes) = store_artifact(&server, length);
            let mut files = Vec::new();
            artifact_files(&server.data().join("artifacts"), &mut files);
            let file = files
                .iter()
                .find(|file| fs::read(file).unwrap().starts_with(&bytes))
                .unwrap_or_else(|| panic!("no file of {length} bytes"));
            let mut altered = fs::read(file).unwrap();
            altered[at] ^= 1;
            fs::write(file, altered).unwrap();
            // If the connection ends before the head, there is no response at all.
            if let Some(answer) = Request::get(&path).identity(&ada()).try_send(server.addr()) {
                assert!(answer.status >= 500 || !answer.complete, "{length} at {at}: {:?}", answer.status);
            }
            let id = path.rsplit('/').next().unwrap();
            server
                .call(&ada().with_admin(), "artifacts.delete", &serde_json::json!({"id": id}))
                .expect_json(200);
        }
    }
    assert!(server.log().to_lowercase().contains("corrupt"), "the log does not report it: {}", server.log());
}

#[test]
fn a_client_that_disconnects_half_way_delays_nobody() {
    for_each_flavour(|server| {
        let (path, bytes) = store_artifact(server, 4_000_000);
        for _ in 0..20 {
            let mut incoming = Request::get(&path).identity(&ada()).send_streaming(server.addr());
            incoming.next_data();
        }
        get(server, &path, &[]).expect_bytes(&bytes);
    });
}
