//! Several mistakes in one configuration: all are reported, each with its line.

use artifactd::config::Purpose;

use crate::loading::{ConfigFile, lines_of_error, load_for};

const YAML: &str = "\
server:
  bind_adr: 127.0.0.1:1
  max_connections: many
  header_timeout: 10
identity:
  jwks_refresh_min_interval: 10m

  clock_skew: [1]
artifacts:
  driver: fs
  options:
    sync: maybe
    synk: never
telemetry:
  log_level:
loging: {}
";

const TOML: &str = "\
[server]
bind_adr = '127.0.0.1:1'
max_connections = 'many'
header_timeout = 10
[identity]
jwks_refresh_min_interval = '10m'

clock_skew = [1]
[artifacts]
driver = 'fs'

options.sync = 'maybe'
options.synk = 'never'

telemetry.x = 1
";

const JSON: &str = r#"{
 "server": {"bind_adr": "127.0.0.1:1",
  "max_connections": "many",
  "header_timeout": 10},
 "identity": {
  "jwks_refresh_min_interval": "10m", "issuer": "\u00e4\/\ud83d\ude00",
  "clock_skew": [1]
 },
 "artifacts": {"driver": "fs",
  "options": {"sync": "maybe",
   "synk": "never", "synk": "always"}
 }
}"#;

/// The line and the first words of each mistake.
fn mistakes(name: &str, text: &str) -> Vec<String> {
    let mistakes = ConfigFile::new(name, text).load_mistakes();
    mistakes
        .iter()
        .map(|(line, message)| format!("{line} {}", message.split([';', ':']).next().unwrap()))
        .collect()
}

#[test]
fn all_mistakes_of_a_file_are_reported_in_its_order_with_their_lines() {
    assert_eq!(
        mistakes("a.yaml", YAML),
        [
            "2 there is no key 'server.bind_adr'",
            "3 server.max_connections",
            "4 server.header_timeout",
            "6 identity.jwks_refresh_min_interval",
            "8 identity.clock_skew",
            "10 artifacts.driver",
            "12 artifacts.options.sync is not legal",
            "13 artifacts.options.synk",
            "15 telemetry.log_level",
            "16 there is no key 'loging'",
        ]
    );
    assert_eq!(
        mistakes("a.toml", TOML),
        [
            "2 there is no key 'server.bind_adr'",
            "3 server.max_connections",
            "4 server.header_timeout",
            "6 identity.jwks_refresh_min_interval",
            "8 identity.clock_skew",
            "10 artifacts.driver",
            "12 artifacts.options.sync is not legal",
            "13 artifacts.options.synk",
            "15 there is no key 'artifacts.telemetry'",
        ]
    );
    assert_eq!(
        mistakes("a.json", JSON),
        [
            "2 there is no key 'server.bind_adr'",
            "3 server.max_connections",
            "4 server.header_timeout",
            "6 identity.jwks_refresh_min_interval",
            "7 identity.clock_skew",
            "9 artifacts.driver",
            "10 artifacts.options.sync is not legal",
            "11 duplicate key 'artifacts.options.synk'",
        ]
    );
}

#[test]
fn file_environment_and_command_line_are_reported_together() {
    let file = ConfigFile::new("a.yaml", "server:\n  port: 1\n");
    let lines = lines_of_error(
        Some(&file.path),
        &[("ARTIFACTD__SERVER__BODY_TIMEOUT", "soon"), ("ARTIFACTD_ZZZ", "1")],
        &[("server.max_connections", "0"), ("artifacts.fetch_hard_max_bytes", "1")],
    );
    let begins: Vec<&str> = lines.iter().map(|line| line.split(": ").next().unwrap()).collect();
    let path = format!("{}:2", file.path.display());
    assert_eq!(
        begins,
        [
            &*path,
            "environment variable ARTIFACTD_ZZZ",
            "environment variable ARTIFACTD__SERVER__BODY_TIMEOUT",
            "command line",
            "command line",
        ]
    );
}

#[test]
fn the_message_of_several_mistakes_counts_them_and_ends() {
    let keys: Vec<_> = (0..60).map(|n| format!("  zzz{n}: 1\n")).collect();
    let many = format!("server:\n{}", keys.concat());
    let file = ConfigFile::new("a.yaml", many);
    let message = load_for(Purpose::Embed, Some(&file.path), &[], &[]).unwrap_err().to_string();
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines[0], "the configuration has 60 mistakes:");
    assert!(
        lines[1].starts_with("  ") && lines[1].contains("a.yaml:2: there is no key 'server.zzz0'"),
        "{message}"
    );
    assert_eq!((lines.len(), lines[51]), (52, "  … and 10 more"));
}

#[test]
fn a_mistake_has_no_second_one_as_its_consequence() {
    for text in [
        "artifacts: {drivr: fs}",
        "artefacts: {driver: fs}",
        "artifacts: {driver: [fs]}",
        "artifacts: {driver: fs, fs_roott: x}",
        "artifacts: {driver: fs, fs_root: 7}",
        "artifacts: fs",
        "artifacts: {driver: fs, driver: inmem}",
        "artifacts: {driver: floppy}",
        "artifacts: {fs_root: x}",
        "artifacts: {driver: inmem, fetch_hard_max_bytes: 0}",
        "artifacts: [",
        "- artifacts",
    ] {
        let file = ConfigFile::new("a.yaml", text);
        let error =
            load_for(Purpose::Serve, Some(&file.path), &[], &[("identity.jwks_file", "a")]).unwrap_err();
        assert_eq!(error.lines().len(), 1, "{text}: {error}");
    }
}

#[test]
fn what_a_server_needs_is_reported_with_the_other_mistakes() {
    let file = ConfigFile::new("a.yaml", "server: {body_timeout: 1}");
    let error = load_for(Purpose::Serve, Some(&file.path), &[], &[]).unwrap_err().to_string();
    for part in
        ["3 mistakes", ":1: server.body_timeout", "artifacts.driver is not set", "identity.jwks_file and"]
    {
        assert!(error.contains(part), "{error}");
    }
    let error = load_for(Purpose::OpenStore, None, &[], &[]).unwrap_err().to_string();
    assert!(
        error.starts_with("artifacts.driver is not set, and servers and commands have no default driver"),
        "{error}"
    );
}

#[test]
fn every_syntax_error_of_toml_is_reported_and_the_first_one_of_the_others() {
    let toml = ConfigFile::new("a.toml", "[server]\na = hunter2\nb = 1\nc == 2\n").load_mistakes();
    let positions: Vec<&str> = toml.iter().map(|(position, _)| position.as_str()).collect();
    assert_eq!(positions, ["2:5", "4:4"], "{toml:?}");
    let json = ConfigFile::new("a.json", "{\"server\": {\n\"a\": hunter2}}").load_mistakes();
    assert_eq!(json, [("2:6".to_owned(), "invalid JSON".to_owned())]);
    let json = ConfigFile::new("a.json", "{\"server\": ").load_error();
    assert_eq!(json, "invalid JSON: the file ends too early");
    let yaml = ConfigFile::new("a.yaml", "server:\n  x: [hunter2").load_mistakes();
    assert_eq!(yaml[0].0, "2:6");
}

#[test]
fn a_json_file_that_is_nested_very_deeply_is_refused() {
    let text = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    assert_eq!(ConfigFile::new("a.json", text).load_error(), "invalid JSON: it is nested too deeply");
    let text = format!("{{\"a\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(ConfigFile::new("a.json", text).load_error(), "invalid JSON: it is nested too deeply");
}

#[test]
fn a_json_value_that_is_well_formed_but_illegal_is_named_with_its_line() {
    let surrogate = "invalid JSON: a text has half of a surrogate pair: \\ud800 to \\udbff must be followed by \
                     \\udc00 to \\udfff";
    for (value, line, reason) in [
        (r#""\ud800""#, 2, surrogate),
        (r#""\ud800\u0041""#, 2, surrogate),
        (r#""\udc00""#, 2, surrogate),
        ("[\n\"a\",\n\"\\ud800\"]", 4, surrogate),
        (r#"{"\ud800": 1}"#, 2, surrogate),
        ("1e999", 2, "invalid JSON: a number is out of range"),
        ("[1,\n-1e999]", 3, "invalid JSON: a number is out of range"),
    ] {
        let text = format!("{{\n\"server\": {value}}}");
        let mistakes = ConfigFile::new("a.json", text).load_mistakes();
        assert_eq!(mistakes, [(line.to_string(), reason.to_owned())], "{value}");
    }
}

#[test]
fn an_unknown_key_names_the_nearest_one() {
    for (key, nearest) in [
        ("server.jwks_file", "identity.jwks_file"),
        ("bind_addr", "server.bind_addr"),
        ("server.max_conections", "server.max_connections"),
        ("artifacts.endpoint", "artifacts.s3_endpoint"),
        ("artifacts.path", "artifacts.dsn"),
        ("artifacts.synchronous", "artifacts.options.synchronous"),
        ("telemetry.loglevel", "telemetry.log_level"),
    ] {
        let lines = lines_of_error(None, &[], &[(key, "hunter2")]);
        assert_eq!(lines, [format!("command line: there is no key '{key}'; did you mean '{nearest}'?")]);
    }
}
