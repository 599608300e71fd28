//! The log lines of a server about its store at the start.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::artifactd;

#[test]
fn the_log_has_the_capabilities_of_the_store_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = artifactd()
        .args([
            "dev",
            "--listen",
            "127.0.0.1:0",
            "--set",
            "artifacts.options.synchronous=normal",
            "--data-dir",
        ])
        .arg(dir.path().join("data"))
        .env("ARTIFACTD__ARTIFACTS__CURSOR_SECRET", "hunter2-hunter2-hunter2")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut log = Vec::new();
    for line in lines.by_ref() {
        let is_last = line.contains("listening");
        log.push(line);
        if is_last {
            break;
        }
    }
    server.kill().unwrap();
    server.wait().unwrap();
    let line = log.iter().find(|line| line.contains("the store is open")).unwrap();
    assert!(line.contains("sqlite") && line.contains("shared") && !line.contains("durable"), "{line}");
    assert!(!log.concat().contains("hunter2"), "{log:?}");
}
