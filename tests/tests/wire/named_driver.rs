//! Where a server keeps what it is given is said in so many words: no driver, no start; and a store in memory is warned of.

use std::fs;
use std::process::{Command, Stdio};

use artifact_store_tests::wire::{Flavour, Options, Server, artifactd};
use serde_json::Value;
use tempfile::TempDir;

use crate::ada;
use crate::configuration::{refused, with};

const DRIVERS: [&str; 5] = ["fs", "inmem", "postgres", "s3", "sqlite"];

#[test]
fn a_server_that_is_told_no_driver_does_not_start_and_says_what_is_legal() {
    for lines in ["", "artifacts:\n", "artifacts:\n  # driver: fs\n", "artifacts:\n  verify_reads: always\n"]
    {
        let said = refused("artifactd.yaml", &with(lines), &[], &[]);
        assert!(said.contains("artifacts.driver is not set"), "{lines:?}: {said}");
        for driver in DRIVERS {
            assert!(said.contains(driver), "{driver} is not in: {said}");
        }
    }
    // A slip of indentation.
    let said = refused("artifactd.yaml", &with("artifacts:\ndriver: fs\n"), &[], &[]);
    assert!(said.contains("there is no key 'driver'"), "{said}");
}

#[test]
fn a_command_that_is_given_a_file_without_a_driver_says_the_same() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("artifactd.yaml");
    fs::write(&file, "server:\n  bind_addr: 127.0.0.1:0\n").unwrap();
    let scope = ["--tenant", "acme", "--user", "ada", "--session", "s"];
    for verb in [&["ls"][..], &["get", "x"], &["stat", "x"], &["rm", "x"], &["put", "-"], &["drivers"]] {
        let mut command = Command::new(artifactd());
        command.args(verb).arg("--config").arg(&file).stdin(Stdio::null());
        if verb[0] != "drivers" {
            command.args(scope);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{verb:?}: {said}");
        assert!(said.contains("artifacts.driver is not set"), "{verb:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_store_that_lives_in_memory_is_warned_of_and_no_other() {
    let warned = |server: &Server| {
        let log = server.log();
        let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let lost = |line: &&Value| {
            line["message"].as_str().is_some_and(|text| text.contains("is lost when the server ends"))
        };
        lines.iter().filter(lost).map(|line| line["level"].clone()).collect::<Vec<_>>()
    };
    let in_memory = Options::new().set("artifacts.dsn", ":memory:");
    for (flavour, options) in [(Flavour::Inmem, &Options::new()), (Flavour::Sqlite, &in_memory)] {
        let server = Server::start(flavour, options);
        server.store_id(&ada(), b"x");
        assert_eq!(warned(&server), ["WARN"], "{flavour}");
    }
    for flavour in [Flavour::Fs, Flavour::Sqlite] {
        let server = Server::start(flavour, &Options::new());
        assert!(warned(&server).is_empty(), "{flavour}");
    }
}

#[test]
fn a_variable_that_begins_like_a_key_and_is_none_stops_the_start() {
    for (name, meant) in [
        ("ARTIFACTD_ARTIFACTS__DRIVER", "ARTIFACTD__ARTIFACTS__DRIVER"),
        ("ARTIFACTD_ARTIFACTS_DRIVER", "ARTIFACTD__ARTIFACTS__DRIVER"),
        ("ARTIFACTD_LOG_LEVEL", "ARTIFACTD__TELEMETRY__LOG_LEVEL"),
        ("ARTIFACTD_ZZZ", "ARTIFACTD__SECTION__KEY"),
    ] {
        let said =
            refused("artifactd.yaml", &with("artifacts:\n  driver: inmem\n"), &[(name, "hunter2-4711")], &[]);
        assert!(said.contains(&format!("environment variable {name}: ")) && said.contains(meant), "{said}");
    }
}

#[test]
fn what_the_program_documents_and_what_an_orchestrator_sets_stops_no_start() {
    let mut options = Options::new();
    for (name, value) in [
        ("ARTIFACTD_STORE", "fs:/somewhere"),
        ("ARTIFACTD_COMMIT", "0123"),
        ("ARTIFACTD_SERVICE_HOST", "10.0.0.1"),
        ("ARTIFACTD_SERVICE_PORT", "80"),
        ("ARTIFACTD_PORT", "tcp://10.0.0.1:80"),
        ("ARTIFACTD_PORT_80_TCP_ADDR", "10.0.0.1"),
    ] {
        options = options.env(name, value);
    }
    Server::start(Flavour::Inmem, &options).store_id(&ada(), b"x");
}
