//! Clients that others have written read the same as the client of the tests.

use std::fs;
use std::process::Command;

use artifact_store_tests::corpus;
use artifact_store_tests::wire::{Server, ServerOptions, for_each_flavour, for_each_flavour_with, sha256};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ada;

/// Runs curl with a token and returns what it prints.
fn curl(server: &Server, arguments: &[&str], path: &str) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "30", "--header"])
        .arg(format!("Authorization: Bearer {}", ada().token()))
        .args(arguments)
        .arg(format!("http://{}{path}", server.addr()))
        .output()
        .expect("curl runs");
    assert!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn curl_moves_files_and_goes_on_where_it_stopped() {
    for_each_flavour(|server| {
        let folder = TempDir::new().unwrap();
        let (up, down) = (folder.path().join("up"), folder.path().join("down"));
        let bytes = corpus::bytes(1, 3_000_000);
        fs::write(&up, &bytes).unwrap();
        let stored = curl(server, &["--upload-file", up.to_str().unwrap()], "/v1/artifacts?filename=up.bin");
        let stored: Value = serde_json::from_str(&stored).unwrap();
        assert_eq!(stored["ref"]["sha256"], sha256(&bytes));
        let path = format!("/v1/artifacts/{}", stored["ref"]["id"].as_str().unwrap());
        // The first half is already downloaded.
        fs::write(&down, &bytes[..1_500_000]).unwrap();
        curl(server, &["--continue-at", "-", "--output", down.to_str().unwrap()], &path);
        assert!(fs::read(&down).unwrap() == bytes);
        let head = curl(server, &["--head"], &path);
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-length: 3000000"), "{head}");
        curl(
            server,
            &["--remote-name", "--remote-header-name", "--output-dir", folder.path().to_str().unwrap()],
            &path,
        );
        assert!(
            fs::read(folder.path().join("up.bin")).unwrap() == bytes,
            "the file name is not the one in the header"
        );
    });
}

#[test]
fn curl_reads_a_413() {
    for_each_flavour_with(&ServerOptions::new().set("protocol.max_request_bytes", 4 << 20), |server| {
        let folder = TempDir::new().unwrap();
        let large = folder.path().join("large");
        fs::write(&large, vec![0; 30_000_000]).unwrap();
        let large = large.to_str().unwrap();
        for arguments in [
            &["--upload-file", large][..],
            &["--upload-file", large, "--header", "Expect:"],
            &["--upload-file", large, "--header", "Transfer-Encoding: chunked", "--header", "Expect:"],
        ] {
            let body: Value = serde_json::from_str(&curl(server, arguments, "/v1/artifacts")).unwrap();
            assert_eq!(body["code"], "request_too_large", "{arguments:?}");
        }
    });
}

/// A client that sends a whole body before it reads anything, on one connection.
const PYTHON: &str = r#"
import http.client, json, sys
host, token, length = sys.argv[1], sys.argv[2], int(sys.argv[3])
connection = http.client.HTTPConnection(host, timeout=30)
headers = {"Authorization": "Bearer " + token}
connection.request("PUT", "/v1/artifacts", body=b"x" * length, headers=headers)
answer = connection.getresponse()
first = [answer.status, json.loads(answer.read())["code"]]
connection.request("PUT", "/v1/artifacts", body=b"small", headers=headers)
answer = connection.getresponse()
print(json.dumps([first, answer.status, json.loads(answer.read())["ref"]["size_bytes"]]))
"#;

#[test]
fn python_reads_a_413_and_goes_on_with_the_same_client() {
    for_each_flavour_with(&ServerOptions::new().set("protocol.max_request_bytes", 4 << 20), |server| {
        let output = Command::new("python3")
            .args([
                "-c",
                PYTHON,
                &server.addr().to_string(),
                &ada().token(),
                &(4 * 1024 * 1024 + 1).to_string(),
            ])
            .output()
            .expect("python3 runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said, json!([[413, "request_too_large"], 201, 5]));
    });
}
