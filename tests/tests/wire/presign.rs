//! Sections 4 and 5: presigned URLs as a plain `curl` sees them. Drivers that cannot presign refuse.

use std::fs;
use std::process::Command;

use artifact_store_tests::corpus;
use artifact_store_tests::wire::{Server, ServerOptions, flavours, for_each_flavour, unix_time};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ada;

/// The result of `curl`: the status, the headers in lower case, the body.
struct CurlResponse {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

/// Sends a request whose only credentials are in the URL.
fn curl(arguments: &[&str], url: &str) -> CurlResponse {
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
    CurlResponse {
        status: String::from_utf8_lossy(&output.stdout).parse().unwrap(),
        headers: fs::read_to_string(head).unwrap().to_ascii_lowercase(),
        body: fs::read(body).unwrap_or_default(),
    }
}

fn get_ref(server: &Server, id: &Value) -> Value {
    server.call(&ada(), "artifacts.get_ref", &json!({"id": id})).expect_json(200)
}

fn url_of(server: &Server, id: &Value) -> String {
    get_ref(server, id)["presigned_url"].as_str().unwrap().to_owned()
}

/// Runs a test on the flavours that accept presigned URLs. On the others it checks the refusal.
fn for_each_presigning_flavour(test: impl Fn(&Server)) {
    for_each_flavour(|server| {
        if server.flavour().accepts_presigned_urls() {
            return test(server);
        }
        let id = server.store_id(&ada(), b"own");
        if server.flavour().supports_presign() {
            assert!(
                curl(&[], &url_of(server, &json!(id))).status >= 400,
                "{} answers URLs",
                server.flavour()
            );
            return;
        }
        let answer = server.call(&ada(), "artifacts.get_ref", &json!({"id": id}));
        assert_eq!((answer.status, answer.code().as_str()), (501, "presign_unsupported"), "{answer:?}");
    });
}

#[test]
fn a_url_downloads_byte_for_byte_with_type_and_name() {
    for_each_presigning_flavour(|server| {
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
fn types_that_can_script_are_an_attachment() {
    for_each_presigning_flavour(|server| {
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
    for_each_presigning_flavour(|server| {
        let stored = server.store(&ada(), b"own", &json!({"filename": "a.txt"}));
        let other = server.store(&ada(), b"other", &json!({}));
        let url = url_of(server, &stored["id"]);
        assert_eq!(curl(&[], &url).status, 200);
        // A letter of the signature, of the signed file name, and of the expiry.
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
        assert_eq!(curl(&[], &url).body, b"own", "none of that has changed it");
    });
}

#[test]
fn a_url_expires_at_its_stated_time() {
    for_each_presigning_flavour(|server| {
        let stored = server.store(&ada(), b"own", &json!({}));
        for (expiry, seconds) in
            [(json!(null), 900), (json!(60_000_000_000_i64), 60), (json!(604_800_000_000_000_i64), 604_800)]
        {
            let answer = server
                .call(&ada(), "artifacts.get_ref", &json!({"id": stored["id"], "expiry": expiry}))
                .expect_json(200);
            let url = answer["presigned_url"].as_str().unwrap();
            assert!(
                url.contains(&format!("X-Amz-Expires={seconds}&"))
                    || url.ends_with(&format!("X-Amz-Expires={seconds}")),
                "{expiry}"
            );
            let ends: artifact_store_core::Timestamp =
                answer["expires_at"].as_str().unwrap().parse().unwrap();
            let left = ends.as_micros() / 1_000_000 - unix_time();
            assert!((seconds - 5..=seconds).contains(&left), "{left} of {seconds}");
        }
    });
}

#[test]
fn a_foreign_id_and_a_missing_one_have_no_url_and_get_equal_responses() {
    for_each_flavour(|server| {
        let foreign = artifact_store_tests::wire::Identity::new("globex", "ada", "session-1");
        let id = server.store_id(&foreign, b"foreign");
        let missing = "default_0123456789abcdef0123456789abcdef";
        let ask = |id: &str| server.call(&ada(), "artifacts.get_ref", &json!({"id": id}));
        ask(&id).expect_refusal("not_found");
        assert_eq!(ask(&id).without_volatile_headers(), ask(missing).without_volatile_headers());
        let named = |id: &str| {
            server
                .call(&ada(), "artifacts.get_ref", &json!({"id": id, "scope": foreign.scope()}))
                .without_volatile_headers()
        };
        assert_eq!(named(&id), named(missing));
    });
}

#[test]
fn a_url_is_in_no_log() {
    let options = ServerOptions::new().set("telemetry.log_level", "trace");
    for flavour in flavours().into_iter().filter(|flavour| flavour.supports_presign()) {
        let server = &Server::start(flavour, &options);
        let stored = server.store(&ada(), b"own", &json!({}));
        let url = url_of(server, &stored["id"]);
        let signature = url.split("X-Amz-Signature=").nth(1).unwrap();
        assert!(!server.log().contains(&signature[..32]), "the log contains a URL");
    }
}
