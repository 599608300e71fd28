//! Sections 4 and 5: presigned URLs, where the storage gives them, as a plain `curl` meets them; their refusal elsewhere.

use std::fs;
use std::process::Command;

use artifact_store_tests::corpus;
use artifact_store_tests::wire::{Options, Server, flavours, now, on_every_driver};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ada;

/// What `curl` got: the status, the headers in lower case, the body.
struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

/// A request without any credentials but the URL's own.
fn curl(arguments: &[&str], url: &str) -> Answer {
    let folder = TempDir::new().unwrap();
    let (head, body) = (folder.path().join("head"), folder.path().join("body"));
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "30", "--write-out", "%{http_code}"])
        .arg("--dump-header")
        .arg(&head)
        .arg("--output")
        .arg(&body)
        .args(arguments)
        .arg(url)
        .output()
        .expect("curl runs");
    assert!(output.status.success(), "curl: {}", String::from_utf8_lossy(&output.stderr));
    Answer {
        status: String::from_utf8_lossy(&output.stdout).parse().unwrap(),
        headers: fs::read_to_string(head).unwrap().to_ascii_lowercase(),
        body: fs::read(body).unwrap_or_default(),
    }
}

fn get_ref(server: &Server, id: &Value) -> Value {
    server.call(&ada(), "artifacts.get_ref", &json!({"id": id})).ok(200)
}

fn url_of(server: &Server, id: &Value) -> String {
    get_ref(server, id)["presigned_url"].as_str().unwrap().to_owned()
}

/// Runs a test where URLs are presigned; elsewhere the refusal is the test.
fn where_urls_are_presigned(test: impl Fn(&Server)) {
    on_every_driver(|server| {
        if server.flavour().presigns() {
            return test(server);
        }
        let id = server.store_id(&ada(), b"own");
        let answer = server.call(&ada(), "artifacts.get_ref", &json!({"id": id}));
        assert_eq!((answer.status, answer.code().as_str()), (501, "presign_unsupported"), "{answer:?}");
    });
}

#[test]
fn a_url_downloads_byte_for_byte_with_type_and_name() {
    where_urls_are_presigned(|server| {
        for (length, name) in [(0, "empty.bin"), (1, "naïve “report”.csv"), (300_000, "large.csv")] {
            let bytes = corpus::bytes(length as u64, length);
            let opts = json!({"mime_type": "text/csv", "filename": name});
            let stored = server.store(&ada(), &bytes, &opts);
            let answer = curl(&[], &url_of(server, &stored["id"]));
            assert_eq!((answer.status, answer.body == *bytes), (200, true), "{}", answer.headers);
            assert!(answer.headers.contains("\r\ncontent-type: text/csv\r\n"), "{}", answer.headers);
            let disposition = answer.headers.lines().find(|line| line.starts_with("content-disposition:"));
            let disposition = disposition.expect("the answer names its file");
            assert!(disposition.starts_with("content-disposition: attachment; filename="), "{disposition}");
            assert!(name.is_ascii() == disposition.contains(name), "{disposition}");
        }
    });
}

#[test]
fn what_scripts_is_an_attachment() {
    where_urls_are_presigned(|server| {
        for (mime_type, body) in
            [("text/html", "<script>alert(1)</script>"), ("image/svg+xml", "<svg onload='alert(1)'/>")]
        {
            let stored = server.store(&ada(), body.as_bytes(), &json!({"mime_type": mime_type}));
            let answer = curl(&[], &url_of(server, &stored["id"]));
            assert!(answer.headers.contains("content-disposition: attachment"), "{}", answer.headers);
        }
    });
}

#[test]
fn one_letter_another_verb_another_key_or_a_later_day_is_refused_by_the_storage() {
    where_urls_are_presigned(|server| {
        let stored = server.store(&ada(), b"own", &json!({"filename": "a.txt"}));
        let other = server.store(&ada(), b"other", &json!({}));
        let url = url_of(server, &stored["id"]);
        assert_eq!(curl(&[], &url).status, 200);
        // A letter of the signature, of the name that is signed in, and of the span.
        for (from, to) in [
            ("X-Amz-Signature=", "X-Amz-Signature=0"),
            ("a.txt", "b.txt"),
            ("X-Amz-Expires=", "X-Amz-Expires=9"),
        ] {
            assert!(url.contains(from), "{from}");
            let answer = curl(&[], &url.replacen(from, to, 1));
            assert!(matches!(answer.status, 400 | 403), "{to}: {}", answer.headers);
            assert!(answer.body != b"own");
        }
        for arguments in [
            &["--request", "PUT", "--data-binary", "x"][..],
            &["--request", "DELETE"],
            &["--request", "POST", "--data-binary", "x"],
        ] {
            let answer = curl(arguments, &url);
            assert!((400..500).contains(&answer.status), "{arguments:?}: {}", answer.headers);
        }
        let others = url_of(server, &other["id"]);
        let (place, signed) = (others.split('?').next().unwrap(), url.split_once('?').unwrap().1);
        let answer = curl(&[], &format!("{place}?{signed}"));
        assert!(matches!(answer.status, 400 | 403), "another key: {}", answer.headers);
        assert_eq!(curl(&[], &url).body, b"own", "nothing of that has changed it");
    });
}

#[test]
fn a_url_ends_when_it_says() {
    where_urls_are_presigned(|server| {
        let stored = server.store(&ada(), b"own", &json!({}));
        for (expiry, seconds) in
            [(json!(null), 900), (json!(60_000_000_000_i64), 60), (json!(604_800_000_000_000_i64), 604_800)]
        {
            let answer = server
                .call(&ada(), "artifacts.get_ref", &json!({"id": stored["id"], "expiry": expiry}))
                .ok(200);
            let url = answer["presigned_url"].as_str().unwrap();
            assert!(
                url.contains(&format!("X-Amz-Expires={seconds}&"))
                    || url.ends_with(&format!("X-Amz-Expires={seconds}")),
                "{expiry}"
            );
            let ends: artifact_store_core::Timestamp =
                answer["expires_at"].as_str().unwrap().parse().unwrap();
            let left = ends.as_micros() / 1_000_000 - now();
            assert!((seconds - 5..=seconds).contains(&left), "{left} of {seconds}");
        }
    });
}

#[test]
fn a_foreign_id_and_a_missing_one_have_no_url_and_look_alike() {
    on_every_driver(|server| {
        let foreign = artifact_store_tests::wire::Who::new("globex", "ada", "session-1");
        let id = server.store_id(&foreign, b"foreign");
        let missing = "default_0123456789abcdef0123456789abcdef";
        let ask = |id: &str| server.call(&ada(), "artifacts.get_ref", &json!({"id": id}));
        ask(&id).refused("not_found");
        assert_eq!(ask(&id).comparable(), ask(missing).comparable());
        let named = |id: &str| {
            server
                .call(&ada(), "artifacts.get_ref", &json!({"id": id, "scope": foreign.scope()}))
                .comparable()
        };
        assert_eq!(named(&id), named(missing));
    });
}

#[test]
fn a_url_is_in_no_log() {
    let options = Options::new().set("telemetry.log_level", "trace");
    for flavour in flavours().into_iter().filter(|flavour| flavour.presigns()) {
        let server = &Server::start(flavour, &options);
        let stored = server.store(&ada(), b"own", &json!({}));
        let url = url_of(server, &stored["id"]);
        let signature = url.split("X-Amz-Signature=").nth(1).unwrap();
        assert!(!server.log().contains(&signature[..32]), "the log holds a URL");
    }
}
