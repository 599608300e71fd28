//! What a server says of its store when it starts.
#![allow(clippy::unwrap_used)] // Helpers of tests.

mod cli_kit;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use cli_kit::artifactd;

#[test]
fn the_log_says_what_the_store_promises_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = artifactd()
        .args([
            "dev",
            "--listen",
            "127.0.0.1:0",
            "--set",
            "artifacts.options.synchronous=normal",
            "--data-dir",
        ])
        .arg(folder.path().join("data"))
        .env("ARTIFACTD__ARTIFACTS__CURSOR_SECRET", "hunter2-hunter2-hunter2")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut said = Vec::new();
    for line in lines.by_ref() {
        let last = line.contains("listening");
        said.push(line);
        if last {
            break;
        }
    }
    server.kill().unwrap();
    server.wait().unwrap();
    let line = said.iter().find(|line| line.contains("the store is open")).unwrap();
    assert!(line.contains("sqlite") && line.contains("shared") && !line.contains("durable"), "{line}");
    assert!(!said.concat().contains("hunter2"), "{said:?}");
}
