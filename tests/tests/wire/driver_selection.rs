//! The driver must be configured explicitly: without one the server does not start. A store in memory logs a warning.

use std::fs;
use std::process::{Command, Stdio};

use artifact_store_tests::wire::{Flavour, Server, ServerOptions, artifactd_path};
use serde_json::Value;
use tempfile::TempDir;

use crate::ada;
use crate::configuration::{config_with, serve_refusal};

const DRIVERS: [&str; 7] = ["azure", "fs", "gcs", "inmem", "postgres", "s3", "sqlite"];

#[test]
fn a_server_without_a_configured_driver_does_not_start_and_names_the_legal_drivers() {
    for lines in ["", "artifacts:\n", "artifacts:\n  # driver: fs\n", "artifacts:\n  verify_reads: always\n"]
    {
        let stderr = serve_refusal("artifactd.yaml", &config_with(lines), &[], &[]);
        assert!(stderr.contains("artifacts.driver is not set"), "{lines:?}: {stderr}");
        for driver in DRIVERS {
            assert!(stderr.contains(driver), "{driver} is not in: {stderr}");
        }
    }
    // An indentation mistake.
    let stderr = serve_refusal("artifactd.yaml", &config_with("artifacts:\ndriver: fs\n"), &[], &[]);
    assert!(stderr.contains("there is no key 'driver'"), "{stderr}");
}

#[test]
fn a_command_that_is_given_a_file_without_a_driver_says_the_same() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("artifactd.yaml");
    fs::write(&file, "server:\n  bind_addr: 127.0.0.1:0\n").unwrap();
    let scope = ["--tenant", "acme", "--user", "ada", "--session", "s"];
    for verb in [&["ls"][..], &["get", "x"], &["stat", "x"], &["rm", "x"], &["put", "-"], &["drivers"]] {
        let mut command = Command::new(artifactd_path());
        command.args(verb).arg("--config").arg(&file).stdin(Stdio::null());
        if verb[0] != "drivers" {
            command.args(scope);
        }
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{verb:?}: {stderr}");
        assert!(stderr.contains("artifacts.driver is not set"), "{verb:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn a_warning_is_logged_for_a_store_in_memory_and_for_no_other() {
    let warning_levels = |server: &Server| {
        let log = server.log();
        let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let warns = |line: &&Value| {
            line["message"].as_str().is_some_and(|text| text.contains("is lost when the server ends"))
        };
        lines.iter().filter(warns).map(|line| line["level"].clone()).collect::<Vec<_>>()
    };
    let in_memory = ServerOptions::new().set("artifacts.dsn", ":memory:");
    for (flavour, options) in [(Flavour::Inmem, &ServerOptions::new()), (Flavour::Sqlite, &in_memory)] {
        let server = Server::start(flavour, options);
        server.store_id(&ada(), b"x");
        assert_eq!(warning_levels(&server), ["WARN"], "{flavour}");
    }
    for flavour in [Flavour::Fs, Flavour::Sqlite] {
        let server = Server::start(flavour, &ServerOptions::new());
        assert!(warning_levels(&server).is_empty(), "{flavour}");
    }
}

#[test]
fn a_variable_with_the_prefix_that_is_not_a_key_stops_the_start() {
    for (name, meant) in [
        ("ARTIFACTD_ARTIFACTS__DRIVER", "ARTIFACTD__ARTIFACTS__DRIVER"),
        ("ARTIFACTD_ARTIFACTS_DRIVER", "ARTIFACTD__ARTIFACTS__DRIVER"),
        ("ARTIFACTD_LOG_LEVEL", "ARTIFACTD__TELEMETRY__LOG_LEVEL"),
        ("ARTIFACTD_ZZZ", "ARTIFACTD__SECTION__KEY"),
    ] {
        let stderr = serve_refusal(
            "artifactd.yaml",
            &config_with("artifacts:\n  driver: inmem\n"),
            &[(name, "hunter2-4711")],
            &[],
        );
        assert!(
            stderr.contains(&format!("environment variable {name}: ")) && stderr.contains(meant),
            "{stderr}"
        );
    }
}

#[test]
fn documented_variables_and_those_of_an_orchestrator_do_not_stop_the_start() {
    let mut options = ServerOptions::new();
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
