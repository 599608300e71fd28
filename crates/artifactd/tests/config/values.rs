//! The values of a configuration, and how file, environment and flags set them.

use std::path::Path;
use std::time::Duration;

use artifact_store::VerifyReads;
use artifact_store_identity::Algorithm;
use artifactd::config::LogFormat;
use artifactd::config::keys::{KEYS, ValueKind};
use tracing::Level;

use crate::loading::{ConfigFile, load, variable};

/// A key and its value.
type Pair = (&'static str, &'static str);

#[test]
fn the_defaults_are_those_of_the_table() {
    let settings = load(None, &[], &[]).unwrap();
    assert_eq!(settings.server.bind_addr.to_string(), "127.0.0.1:18080");
    assert_eq!(settings.server.shutdown_grace_period, Duration::from_secs(10));
    assert!(settings.server.allowed_origins.is_empty() && settings.server.trusted_proxies.is_empty());
    assert_eq!(settings.server.header_timeout, Duration::from_secs(10));
    assert_eq!(settings.server.body_timeout, Duration::from_secs(30));
    assert_eq!(settings.server.max_connections, 1024);
    assert_eq!(settings.server.reserved_connections, 64);
    assert_eq!(settings.server.max_connections_per_client, None);
    assert_eq!(settings.server.queue_timeout, Duration::from_secs(10));
    assert_eq!(settings.server.max_requests_per_user, 512);
    assert_eq!(settings.server.max_requests_per_tenant, 768);
    let streams = settings.server.event_streams;
    assert_eq!(
        (streams.per_session, streams.per_user, streams.per_tenant, streams.in_all),
        (16, 64, 256, 512)
    );
    assert_eq!(settings.identity.jwks_file, None);
    assert_eq!(settings.identity.jwks_url, None);
    assert_eq!(settings.identity.jwks_refresh_interval, Duration::from_mins(5));
    assert_eq!(settings.identity.jwks_refresh_min_interval, Duration::from_secs(10));
    assert_eq!(settings.identity.jwt_algorithms, Algorithm::ALL);
    assert!(settings.identity.jwt_types.is_empty() && !settings.identity.session_bound);
    assert_eq!(settings.identity.clock_skew, Duration::from_mins(1));
    assert_eq!(settings.artifacts.store, artifact_store::Config::new("inmem"));
    assert_eq!(settings.artifacts.fetch_default_max_bytes, 65_536);
    assert_eq!(settings.artifacts.fetch_hard_max_bytes, 1_048_576);
    assert_eq!(settings.artifacts.heavy_output_threshold_bytes, 32_768);
    assert_eq!((settings.protocol.max_request_bytes, settings.protocol.max_upload_bytes), (None, None));
    assert_eq!(settings.telemetry.log_format, LogFormat::Json);
    assert_eq!(settings.telemetry.log_level, Level::INFO);
    assert_eq!(settings.telemetry.service_name, None);
}

const YAML: &str = r#"
# Every key.
server:
  bind_addr: "[::1]:9000"
  shutdown_grace_period: 5s
  allowed_origins: [https://console.example, "http://127.0.0.1:3000"]
  header_timeout: 2s
  body_timeout: 1m
  max_connections: 10
identity:
  jwks_file: keys/jwks.json
  issuer: https://issuer.example
  audience: artifacts
  jwt_algorithms:
    - ES256
    - RS512
  clock_skew: 0s
artifacts:
  driver: fs
  fs_root: /var/lib/artifacts
  options:
    sync: never
    max_scan: 5
  verify_reads: never
  cursor_secret: 0123456789abcdef
  fetch_default_max_bytes: 1KiB
  fetch_hard_max_bytes: 2048
  heavy_output_threshold_bytes: 64KiB
protocol:
  max_request_bytes: 8MiB
  max_upload_bytes: 6MiB
telemetry:
  log_format: text
  log_level: debug
  service_name: Artifacts
"#;

const TOML: &str = r#"
[server]
bind_addr = "[::1]:9000"
shutdown_grace_period = "5s"
allowed_origins = ["https://console.example", "http://127.0.0.1:3000"]
header_timeout = "2s"
body_timeout = "1m"
max_connections = 10

[identity]
jwks_file = "keys/jwks.json"
issuer = "https://issuer.example"
audience = "artifacts"
jwt_algorithms = ["ES256", "RS512"]
clock_skew = "0s"

[artifacts]
driver = "fs"
fs_root = "/var/lib/artifacts"
options = { sync = "never", max_scan = 5 }
verify_reads = "never"
cursor_secret = "0123456789abcdef"
fetch_default_max_bytes = 1024
fetch_hard_max_bytes = "2KiB"
heavy_output_threshold_bytes = 65_536

[protocol]
max_request_bytes = "8MiB"
max_upload_bytes = 6_291_456

[telemetry]
log_format = "text"
log_level = "debug"
service_name = "Artifacts"
"#;

#[test]
fn a_file_can_set_every_section() {
    let settings = ConfigFile::new("a.yaml", YAML).load().unwrap();
    assert_eq!(settings.server.bind_addr.to_string(), "[::1]:9000");
    assert_eq!(settings.server.shutdown_grace_period, Duration::from_secs(5));
    assert_eq!(settings.server.allowed_origins, ["https://console.example", "http://127.0.0.1:3000"]);
    assert_eq!(settings.server.header_timeout, Duration::from_secs(2));
    assert_eq!(settings.server.body_timeout, Duration::from_mins(1));
    assert_eq!(settings.server.max_connections, 10);
    assert_eq!(settings.server.event_streams.in_all, 5, "half of the connections");
    assert_eq!(settings.identity.jwks_file.as_deref(), Some(Path::new("keys/jwks.json")));
    assert_eq!(settings.identity.issuer.as_deref(), Some("https://issuer.example"));
    assert_eq!(settings.identity.audience.as_deref(), Some("artifacts"));
    assert_eq!(settings.identity.jwt_algorithms, [Algorithm::Es256, Algorithm::Rs512]);
    assert_eq!(settings.identity.clock_skew, Duration::ZERO);
    let store = &settings.artifacts.store;
    let expected = artifact_store::Config::new("fs")
        .option("root", "/var/lib/artifacts")
        .option("sync", "never")
        .option("max_scan", 5);
    assert_eq!((&store.driver, &store.options), (&expected.driver, &expected.options));
    assert_eq!(store.verify_reads, VerifyReads::Never);
    assert_eq!(store.cursor_secret.as_ref().map(artifact_store::Secret::reveal), Some("0123456789abcdef"));
    assert_eq!(settings.artifacts.fetch_default_max_bytes, 1024);
    assert_eq!(settings.artifacts.fetch_hard_max_bytes, 2048);
    assert_eq!(settings.artifacts.heavy_output_threshold_bytes, 65_536);
    assert_eq!(settings.protocol.max_request_bytes, Some(8 << 20));
    assert_eq!(settings.protocol.max_upload_bytes, Some(6 << 20));
    assert_eq!(settings.telemetry.log_format, LogFormat::Text);
    assert_eq!(settings.telemetry.log_level, Level::DEBUG);
    assert_eq!(settings.telemetry.service_name.as_deref(), Some("Artifacts"));
}

#[test]
fn toml_and_yaml_give_the_same_settings() {
    let yaml = ConfigFile::new("a.yml", YAML).load().unwrap();
    assert_eq!(ConfigFile::new("a.toml", TOML).load().unwrap(), yaml);
}

/// The pairs that must be set together with any key of s3.
const S3: &[Pair] = &[("artifacts.driver", "s3"), ("artifacts.s3_bucket", "b")];
const S3_WITH_ID: &[Pair] = &[S3[0], S3[1], ("artifacts.s3_access_key_id", "of the key")];
const S3_WITH_SECRET: &[Pair] = &[S3[0], S3[1], ("artifacts.s3_secret_access_key", "of the key")];

/// For each key: a legal value other than the default, and the pairs that must be set together with the key.
const VALUES: &[(&str, &str, &[Pair])] = &[
    ("server.bind_addr", "0.0.0.0:1", &[]),
    ("server.shutdown_grace_period", "1s", &[]),
    (
        "server.allowed_origins",
        "https://a.example,https://b.example:8443,http://[::1]:3000,http://[::1]",
        &[],
    ),
    ("server.trusted_proxies", "10.0.0.0/8,fd00::/8,127.0.0.1", &[]),
    ("server.header_timeout", "1s", &[]),
    ("server.body_timeout", "1s", &[]),
    ("server.max_connections", "7", &[]),
    ("server.reserved_connections", "7", &[]),
    ("server.max_connections_per_client", "7", &[]),
    ("server.queue_timeout", "1s", &[]),
    ("server.max_requests_per_user", "7", &[]),
    ("server.max_requests_per_tenant", "7", &[]),
    ("server.max_event_streams", "7", &[]),
    ("server.max_event_streams_per_session", "7", &[]),
    ("server.max_event_streams_per_user", "7", &[]),
    ("server.max_event_streams_per_tenant", "7", &[]),
    ("identity.jwks_file", "a.json", &[]),
    ("identity.jwks_url", "https://login.example/keys", &[]),
    ("identity.jwks_refresh_interval", "1m", &[]),
    ("identity.jwks_refresh_min_interval", "1s", &[]),
    ("identity.issuer", "i", &[]),
    ("identity.audience", "a", &[]),
    ("identity.jwt_algorithms", "ES256, ES512", &[]),
    ("identity.jwt_types", "a+jwt, application/b+jwt", &[]),
    ("identity.session_bound", "true", &[]),
    ("identity.clock_skew", "1s", &[]),
    ("artifacts.driver", "fs", &[("artifacts.fs_root", "x")]),
    ("artifacts.fs_root", "x", &[("artifacts.driver", "fs")]),
    ("artifacts.dsn", ":memory:", &[("artifacts.driver", "sqlite")]),
    ("artifacts.options.synchronous", "normal", &[("artifacts.driver", "sqlite"), ("artifacts.dsn", "a.db")]),
    ("artifacts.s3_bucket", "b", &[("artifacts.driver", "s3")]),
    ("artifacts.s3_endpoint", "http://127.0.0.1:3900", S3),
    ("artifacts.s3_region", "garage", S3),
    ("artifacts.s3_prefix", "a/b", S3),
    ("artifacts.s3_access_key_id", "id", S3_WITH_SECRET),
    ("artifacts.s3_secret_access_key", "secret", S3_WITH_ID),
    ("artifacts.s3_use_path_style", "true", S3),
    ("artifacts.verify_reads", "never", &[]),
    ("artifacts.cursor_secret", "0123456789abcdef", &[]),
    ("artifacts.fetch_default_max_bytes", "1KiB", &[]),
    ("artifacts.fetch_hard_max_bytes", "2MiB", &[]),
    ("artifacts.heavy_output_threshold_bytes", "1", &[]),
    ("artifacts.sweep_interval", "1h", &[]),
    ("protocol.max_request_bytes", "1", &[]),
    ("protocol.max_upload_bytes", "1", &[]),
    ("telemetry.log_format", "text", &[]),
    ("telemetry.log_level", "error", &[]),
    ("telemetry.service_name", "x", &[]),
];

#[test]
fn every_key_can_be_set_by_file_environment_and_flag() {
    let defaults = load(None, &[], &[]).unwrap();
    for (key, value, required) in VALUES {
        let pairs: Vec<(&str, &str)> = required.iter().copied().chain([(*key, *value)]).collect();
        let by_flag = load(None, &[], &pairs).unwrap_or_else(|line| panic!("{key}: {line}"));
        assert_ne!(by_flag, defaults, "{key} changes nothing");
        let variables: Vec<String> = pairs.iter().map(|(key, _)| variable(key)).collect();
        let env: Vec<(&str, &str)> =
            variables.iter().zip(&pairs).map(|(name, (_, value))| (&**name, *value)).collect();
        assert_eq!(load(None, &env, &[]).unwrap(), by_flag, "{key} by environment");
        let lines: Vec<String> = pairs.iter().map(|(key, value)| format!("{key} = \"{value}\"")).collect();
        assert_eq!(ConfigFile::new("a.toml", lines.join("\n")).load().unwrap(), by_flag, "{key} by file");
    }
}

#[test]
fn one_file_can_have_the_keys_of_several_drivers() {
    let file = ConfigFile::new("a.yaml", "artifacts: {driver: sqlite, dsn: a.db, fs_root: folder}");
    let fs = load(Some(&file.path), &[("ARTIFACTD__ARTIFACTS__DRIVER", "fs")], &[]).unwrap();
    let alone = load(None, &[], &[("artifacts.driver", "fs"), ("artifacts.fs_root", "folder")]).unwrap();
    assert_eq!(fs, alone);
}

#[test]
fn every_key_has_a_value_to_test() {
    for key in KEYS.iter().filter(|key| !matches!(key.kind, ValueKind::Unsupported(_))) {
        let tested = VALUES.iter().any(|(name, ..)| {
            *name == key.name || (matches!(key.kind, ValueKind::Options) && name.starts_with(key.name))
        });
        assert!(tested, "{}", key.name);
    }
}

#[test]
fn the_environment_overrides_the_file_and_flags_override_both() {
    let file = ConfigFile::new(
        "a.yaml",
        "telemetry:\n  service_name: file\n  log_level: warn\n  log_format: text\n",
    );
    let env = [("ARTIFACTD__TELEMETRY__SERVICE_NAME", "env"), ("ARTIFACTD__TELEMETRY__LOG_LEVEL", "debug")];
    let flags = [("telemetry.service_name", "flag")];
    let telemetry = load(Some(&file.path), &env, &flags).unwrap().telemetry;
    assert_eq!(telemetry.service_name.as_deref(), Some("flag"));
    assert_eq!(telemetry.log_level, Level::DEBUG);
    assert_eq!(telemetry.log_format, LogFormat::Text);
}

#[test]
fn options_of_file_environment_and_flags_are_merged() {
    let file = ConfigFile::new(
        "a.yaml",
        "artifacts: {driver: fs, fs_root: x, options: {sync: never, max_scan: 1, max_artifact_bytes: 1}}",
    );
    let env = [
        ("ARTIFACTD__ARTIFACTS__OPTIONS__MAX_SCAN", "2"),
        ("ARTIFACTD__ARTIFACTS__OPTIONS__MAX_ARTIFACT_BYTES", "2KiB"),
    ];
    let flags = [("artifacts.options.max_artifact_bytes", "3KiB")];
    let expected = artifact_store::Config::new("fs")
        .option("root", "x")
        .option("sync", "never")
        .option("max_scan", "2")
        .option("max_artifact_bytes", "3KiB");
    assert_eq!(load(Some(&file.path), &env, &flags).unwrap().artifacts.store, expected);
}

#[test]
fn other_variables_are_ignored() {
    load(None, &[("ARTIFACTD_PORT", "tcp://10.0.0.1:80"), ("artifactd__x", "1"), ("PATH", "/bin")], &[])
        .unwrap();
}

#[test]
fn empty_files_and_sections_are_defaults() {
    let defaults = load(None, &[], &[]).unwrap();
    for (name, text) in [
        ("a.yaml", ""),
        ("a.yaml", "# nothing\n"),
        ("a.yaml", "server:\nartifacts:\n  options:\n"),
        ("a.toml", ""),
        ("a.toml", "[server]"),
    ] {
        assert_eq!(ConfigFile::new(name, text).load().unwrap(), defaults, "{text:?}");
    }
}

#[test]
fn debug_output_shows_no_secret() {
    let secret = "hunter2-hunter2-hunter2";
    let settings = load(
        None,
        &[],
        &[("artifacts.driver", "sqlite"), ("artifacts.dsn", secret), ("artifacts.cursor_secret", secret)],
    );
    assert!(!format!("{:?}", settings.unwrap()).contains("hunter2"));
    for flags in [
        vec![("artifacts.driver", "postgres"), ("artifacts.dsn", "postgres://a:hunter2@h/d")],
        [S3_WITH_ID, &[("artifacts.s3_secret_access_key", secret)]].concat(),
    ] {
        assert!(!format!("{:?}", load(None, &[], &flags).unwrap()).contains("hunter2"));
    }
}
