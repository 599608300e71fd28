//! Values in other spellings that have one meaning, and where a relative path starts.

use std::time::Duration;

use artifactd::config::LogFormat;
use tracing::Level;

use crate::loading::{ConfigFile, load};

#[test]
fn a_json_file_sets_what_the_same_yaml_file_sets() {
    let json = r#"{"server": {"bind_addr": "[::1]:9000", "max_connections": 10, "allowed_origins": ["https://a.example"]},
      "artifacts": {"driver": "fs", "fs_root": "/x", "options": {"sync": "never", "max_scan": 5}},
      "identity": {"session_bound": true}, "telemetry": {}}"#;
    let yaml = "server: {bind_addr: '[::1]:9000', max_connections: 10, allowed_origins: ['https://a.example']}\n\
                artifacts: {driver: fs, fs_root: /x, options: {sync: never, max_scan: 5}}\n\
                identity: {session_bound: true}\n";
    let from_json = ConfigFile::new("a.json", json).load().unwrap();
    assert_eq!(from_json, ConfigFile::new("a.yaml", yaml).load().unwrap());
    assert_eq!(ConfigFile::new("a.json", "{}").load().unwrap(), load(None, &[], &[]).unwrap());
}

#[test]
fn sizes_durations_words_and_addresses_have_other_spellings() {
    let yaml = "server: {bind_addr: ':9000', body_timeout: 2 minutes}\n\
                protocol: {max_request_bytes: 10G}\n\
                artifacts: {driver: sqlite, dsn: ':memory:', verify_reads: Never, fetch_hard_max_bytes: 2 MiB, \
                options: {max_artifact_bytes: 64M, busy_timeout: 2 s, synchronous: NORMAL}}\n\
                telemetry: {log_level: DEBUG, log_format: Text}\n";
    let settings = ConfigFile::new("a.yaml", yaml).load().unwrap();
    assert_eq!(settings.server.bind_addr.to_string(), "0.0.0.0:9000");
    assert_eq!(settings.server.body_timeout, Duration::from_mins(2));
    assert_eq!(settings.protocol.max_request_bytes, Some(10 << 30));
    assert_eq!(settings.artifacts.fetch_hard_max_bytes, 2 << 20);
    assert_eq!(
        (settings.telemetry.log_level, settings.telemetry.log_format),
        (Level::DEBUG, LogFormat::Text)
    );
    let expected = artifact_store::Config::new("sqlite")
        .option("path", ":memory:")
        .option("max_artifact_bytes", 64 << 20)
        .option("busy_timeout", "2000ms")
        .option("synchronous", "normal");
    assert_eq!(settings.artifacts.store.options, expected.options);
    let local = load(None, &[], &[("server.bind_addr", "localhost:18080")]).unwrap();
    assert_eq!(local.server.bind_addr.to_string(), "127.0.0.1:18080");
}

#[test]
fn an_option_of_a_driver_asks_for_the_unit_of_a_duration() {
    let flags = [
        ("artifacts.driver", "sqlite"),
        ("artifacts.dsn", ":memory:"),
        ("artifacts.options.busy_timeout", "30"),
    ];
    assert_eq!(
        load(None, &[], &flags).unwrap_err(),
        "command line: artifacts.options.busy_timeout is not legal; it takes a duration such as 250ms, 5s, 15m or 1h; 30 has no \
         unit: write 30s for seconds, 30m for minutes"
    );
}

#[test]
fn a_relative_path_is_named_with_the_folder_that_it_starts_at() {
    let folder = std::env::current_dir().unwrap();
    let line = load(Some(std::path::Path::new("no-such.yaml")), &[], &[]).unwrap_err();
    let begin = format!("no-such.yaml: cannot be opened in the working directory {}: ", folder.display());
    assert!(line.starts_with(&begin), "{line}");
}
