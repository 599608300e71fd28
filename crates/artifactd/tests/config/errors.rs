//! The whole line of every error.

use std::ffi::OsString;

use artifactd::config::Settings;

use crate::loading::{ConfigFile, load, variable};

#[test]
fn a_wrong_file_is_refused_with_one_line() {
    let yaml = |text: &str| ConfigFile::new("a.yaml", text).load_error();
    let toml = |text: &str| ConfigFile::new("a.toml", text).load_error();
    for (line, message) in [
        (
            yaml("server:\n  bind_adr: x"),
            "there is no key 'server.bind_adr'; did you mean 'server.bind_addr'?",
        ),
        (yaml("sever:\n  bind_addr: hunter2"), "there is no key 'sever'; did you mean 'server'?"),
        (
            yaml("hunter: 2"),
            "there is no key 'hunter'; the sections are server, identity, artifacts, protocol, telemetry",
        ),
        (
            yaml("protocol:\n  zzz: hunter2"),
            "there is no key 'protocol.zzz'; known: protocol.max_request_bytes, protocol.max_upload_bytes",
        ),
        (yaml("server: hunter2"), "server is a section; write its keys below it"),
        (yaml("server: [1]"), "server is a section; write its keys below it"),
        (yaml("artifacts:\n  options: never"), "artifacts.options is a section; write its keys below it"),
        (
            yaml("- server"),
            "a configuration consists of sections with keys, such as 'bind_addr' in the section 'server'",
        ),
        (
            yaml("hunter2"),
            "a configuration consists of sections with keys, such as 'bind_addr' in the section 'server'",
        ),
        (
            yaml("server.bind_addr: 127.0.0.1:1"),
            "the key 'server.bind_addr' has a dot; write it as a section with a key, such as 'bind_addr' in the section 'server'",
        ),
        (
            yaml("identity:\n  issuer:"),
            "identity.issuer: there is no value; leave the key out for its default",
        ),
        (
            yaml("artifacts: {driver: fs, fs_root: x, options: {\"a\\nb\": hunter2}}"),
            "artifacts.options.a\\nb: the driver fs has no option 'a\\nb'; known: artifacts.fs_root, artifacts.options.sync, artifacts.options.max_scan, artifacts.options.max_artifact_bytes",
        ),
        (yaml("server:\n  bind_addr: a\n  bind_addr: b"), "duplicate key 'server.bind_addr'; write it once"),
        (yaml("server:\n  x: [hunter2"), "invalid YAML: unclosed bracket '['"),
        (toml("[server]\nbind_addr = 'a'\nbind_addr = 'b'"), "invalid TOML: duplicate key"),
        (
            toml("[server]\n\nbind_addr = hunter2"),
            "invalid TOML: string values must be quoted, expected literal string",
        ),
        (ConfigFile::new("a.yaml", b"\xff").load_error(), "is not UTF-8"),
        (
            ConfigFile::new("a.ini", "").load_error(),
            "a configuration file's name ends in .yaml, .yml, .toml or .json",
        ),
        (
            ConfigFile::new("yaml", "").load_error(),
            "a configuration file's name ends in .yaml, .yml, .toml or .json",
        ),
        (yaml(&"#".repeat((1 << 20) + 1)), "is larger than 1 MiB, the limit of a configuration file"),
        (
            yaml("\"a\\nb\": 1"),
            "there is no key 'a\\nb'; the sections are server, identity, artifacts, protocol, telemetry",
        ),
    ] {
        assert_eq!(line, message);
    }
}

#[test]
fn a_syntax_error_contains_no_value_of_the_file() {
    let values =
        ["*hunter2", "&hunter2 *hunter2", "!hunter2!x y", "@hunter2", "%hunter2: [", "\"hunter2", "'hunter2"];
    for value in values {
        let yaml = ConfigFile::new("a.yaml", format!("artifacts:\n  cursor_secret: {value}")).load_error();
        assert!(!yaml.contains("hunter2"), "{yaml}");
        let toml = ConfigFile::new("a.toml", format!("[artifacts]\ncursor_secret = {value}")).load_error();
        assert!(toml.starts_with("invalid TOML: ") && !toml.contains("hunter2"), "{toml}");
    }
    for value in ["99999999999999999999", "9999999999999999999999999999999999999999999", "1979-99-99"] {
        let toml = ConfigFile::new("a.toml", format!("[artifacts]\ncursor_secret = {value}")).load_error();
        assert!(!toml.contains(value), "{toml}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.yaml");
    let line = load(Some(&path), &[], &[]).unwrap_err();
    assert_eq!(line, format!("{}: cannot be opened: No such file or directory (os error 2)", path.display()));
}

#[test]
fn a_wrong_value_is_refused_with_one_line() {
    let address = "an address and a port such as 127.0.0.1:18080, [::1]:18080, localhost:18080 or :18080 (all IPv4 addresses)";
    let text = "a text that is not empty, without control characters";
    let origins = "a list of exact origins such as https://console.example or http://127.0.0.1:3000: http or https, lower \
                   case, no path, no default port, no *";
    let networks =
        "a list of networks such as 10.0.0.0/8 or fd00::/8 without bits beyond the prefix, or of addresses";
    let algorithms = "a list of some of RS256, RS384, RS512, ES256, ES384, ES512";
    let types = "a list of token types such as my-token+jwt, each of 1 to 128 letters, digits and !#$&-^_.+/";
    let size = "a size in bytes such as 4096, 64KiB or 4M, from";
    let long = "a duration such as 250ms, 10s or 15m, from";
    for (key, value, expected) in [
        ("server.bind_addr", "db.example:80", format!("{address}; write the IP address instead of the name")),
        ("server.bind_addr", "http://127.0.0.1:80", format!("{address}; leave out the scheme and the path")),
        (
            "server.bind_addr",
            "18080",
            format!(
                "{address}; write :18080 for all IPv4 addresses, or localhost:18080 for this machine alone"
            ),
        ),
        ("server.bind_addr", "127.0.0.1", address.to_owned()),
        ("server.bind_addr", "127.0.0.1:99999", address.to_owned()),
        (
            "server.shutdown_grace_period",
            "10",
            format!("{long} 0s to 1h; 10 has no unit: write 10s for seconds, 10m for minutes"),
        ),
        ("server.shutdown_grace_period", "61m", format!("{long} 0s to 1h")),
        ("server.header_timeout", "0s", format!("{long} 100ms to 1h")),
        ("server.body_timeout", "-1s", format!("{long} 100ms to 1h")),
        ("server.body_timeout", "99999999999999999999d", format!("{long} 100ms to 1h")),
        ("server.max_connections", "0", "a whole number from 1 to 1000000".into()),
        ("server.max_connections", "1.5", "a whole number from 1 to 1000000".into()),
        ("server.allowed_origins", "*", origins.into()),
        ("server.allowed_origins", "https://*.example", origins.into()),
        ("server.allowed_origins", "https://a.example/", origins.into()),
        ("server.allowed_origins", "https://a.example/x", origins.into()),
        ("server.allowed_origins", "https://A.example", origins.into()),
        ("server.allowed_origins", "https://a.example:443", origins.into()),
        ("server.allowed_origins", "https://a.example:", origins.into()),
        ("server.allowed_origins", "https://a.example:99999", origins.into()),
        ("server.allowed_origins", "https://u@a.example", origins.into()),
        ("server.allowed_origins", "https://", origins.into()),
        ("server.allowed_origins", "https://[::1", origins.into()),
        ("server.allowed_origins", "https://a:1:2", origins.into()),
        ("server.allowed_origins", "https://a.example:080", origins.into()),
        ("server.allowed_origins", "a.example", origins.into()),
        ("server.allowed_origins", "null", origins.into()),
        ("server.allowed_origins", "https://a.example,,", origins.into()),
        ("server.trusted_proxies", "10.0.0.1/8", networks.into()),
        ("server.trusted_proxies", "10.0.0.0/33", networks.into()),
        ("server.trusted_proxies", "proxy.example", networks.into()),
        ("server.trusted_proxies", "*", networks.into()),
        ("identity.issuer", "", text.into()),
        ("identity.jwt_algorithms", "", algorithms.into()),
        ("identity.jwt_algorithms", "ES256,HS256", algorithms.into()),
        ("identity.jwt_algorithms", "none", algorithms.into()),
        ("identity.jwt_types", "a b", types.into()),
        ("identity.jwt_types", "a/b/c", types.into()),
        ("identity.jwt_types", "a,", types.into()),
        ("identity.session_bound", "yes", "true or false; write true".into()),
        ("identity.clock_skew", "2h", format!("{long} 0s to 1h")),
        ("artifacts.verify_reads", "sometimes", "one of always, never".into()),
        ("artifacts.fetch_default_max_bytes", "0", format!("{size} 1 to 64MiB")),
        ("artifacts.fetch_hard_max_bytes", "65MiB", format!("{size} 1 to 64MiB")),
        ("artifacts.fetch_hard_max_bytes", "4 kittens", format!("{size} 1 to 64MiB")),
        ("artifacts.fetch_hard_max_bytes", "1.5M", format!("{size} 1 to 64MiB")),
        ("artifacts.heavy_output_threshold_bytes", "-1", format!("{size} 0 to 1TiB")),
        ("protocol.max_request_bytes", "99999999999999999999", format!("{size} 1 to 1TiB")),
        ("telemetry.log_format", "xml", "one of json, text".into()),
        (
            "telemetry.log_level",
            "Warning",
            "one of error, warn, info, debug, trace; did you mean 'warn'?".into(),
        ),
        ("telemetry.log_level", "off", "one of error, warn, info, debug, trace".into()),
    ] {
        let message = format!("{key}: '{value}' is not legal; it takes {expected}");
        assert_eq!(load(None, &[], &[(key, value)]).unwrap_err(), format!("command line: {message}"));
        let name = variable(key);
        let line = load(None, &[(&name, value)], &[]).unwrap_err();
        assert_eq!(line, format!("environment variable {name}: {message}"));
        let (section, member) = key.split_once('.').unwrap();
        let file = ConfigFile::new("a.yaml", format!("{section}:\n  {member}: \"{value}\"\n"));
        assert_eq!(file.load_error(), message);
    }
}

#[test]
fn a_value_of_another_type_is_refused_with_one_line() {
    for (text, message) in [
        (
            "server: {bind_addr: 18080}",
            "server.bind_addr: 18080 is not legal; it takes an address and a port such as 127.0.0.1:18080, [::1]:18080, localhost:18080 or :18080 (all IPv4 addresses); write :18080 for all IPv4 addresses, or localhost:18080 for this machine alone",
        ),
        (
            "server: {max_connections: 1.5}",
            "server.max_connections: 1.5 is not legal; it takes a whole number from 1 to 1000000",
        ),
        (
            "identity: {clock_skew: 60}",
            "identity.clock_skew: 60 is not legal; it takes a duration such as 250ms, 10s or 15m, from 0s to 1h; 60 has no unit: write 60s for seconds, 60m for minutes",
        ),
        (
            "identity: {issuer: 7}",
            "identity.issuer: 7 is not legal; it takes a text that is not empty, without control characters; write it in quotes",
        ),
        (
            "identity: {issuer: {a: b}}",
            "identity.issuer: {\"a\":\"b\"} is not legal; it takes a text that is not empty, without control characters",
        ),
        (
            "identity: {jwt_algorithms: [1]}",
            "identity.jwt_algorithms: [1] is not legal; it takes a list of some of RS256, RS384, RS512, ES256, ES384, ES512",
        ),
        (
            "telemetry: {log_level: true}",
            "telemetry.log_level: true is not legal; it takes one of error, warn, info, debug, trace",
        ),
        (
            "protocol: {max_request_bytes: 1e3}",
            "protocol.max_request_bytes: 1000.0 is not legal; it takes a size in bytes such as 4096, 64KiB or 4M, from 1 to 1TiB",
        ),
        (
            "telemetry: {service_name: \"a\\nb\"}",
            "telemetry.service_name: 'a\\nb' is not legal; it takes a text that is not empty, without control characters",
        ),
    ] {
        assert_eq!(ConfigFile::new("a.yaml", text).load_error(), message);
    }
}

#[test]
fn values_that_contradict_each_other_are_refused_with_one_line() {
    let secret = "hunter2";
    for (flags, message) in [
        (
            vec![("artifacts.driver", "fs")],
            "command line: artifacts.driver: the driver fs needs artifacts.fs_root, such as /var/lib/artifactd",
        ),
        (
            vec![("artifacts.driver", "sqlite")],
            "command line: artifacts.driver: the driver sqlite needs artifacts.dsn, such as /var/lib/artifactd/artifacts.db",
        ),
        (
            vec![("artifacts.fs_root", "x")],
            "command line: artifacts.fs_root: this key is of the driver fs; set artifacts.driver, too",
        ),
        (
            vec![("artifacts.dsn", secret)],
            "command line: artifacts.dsn: this key is of the driver sqlite or postgres; set artifacts.driver, too",
        ),
        (
            vec![("artifacts.driver", "sqlite"), ("artifacts.dsn", "postgres://a:hunter2@h/d")],
            "command line: artifacts.dsn: this is a URL; write a path such as /var/lib/artifactd/artifacts.db",
        ),
        (
            vec![("artifacts.driver", "sqlite"), ("artifacts.dsn", "sqlite:hunter2")],
            "command line: artifacts.dsn: this is a URL; write a path such as /var/lib/artifactd/artifacts.db",
        ),
        (
            vec![("artifacts.driver", "sqlite"), ("artifacts.dsn", "hunter2\n")],
            "command line: artifacts.dsn: the value is not legal; it takes a text that is not empty, without control characters",
        ),
        (
            vec![("artifacts.driver", "fs"), ("artifacts.fs_root", "x"), ("artifacts.options.root", "y")],
            "command line: artifacts.options.root: set this option as artifacts.fs_root",
        ),
        (
            vec![("artifacts.driver", "fs"), ("artifacts.fs_root", "x"), ("artifacts.options.synk", secret)],
            "command line: artifacts.options.synk: the driver fs has no option 'synk'; did you mean artifacts.options.sync?",
        ),
        (
            vec![("artifacts.driver", "fs"), ("artifacts.fs_root", "x"), ("artifacts.options.sync", secret)],
            "command line: artifacts.options.sync is not legal; it takes one of always, never",
        ),
        (
            vec![("artifacts.options", "sync=never")],
            "command line: artifacts.options is a section; set one of its keys, such as artifacts.options.sync",
        ),
        (
            vec![("artifacts.driver", "sqllite")],
            "command line: artifacts.driver: there is no driver 'sqllite'; did you mean 'sqlite'? known: azure, fs, gcs, inmem, postgres, s3, sqlite",
        ),
        (
            vec![("artifacts.cursor_secret", secret)],
            "command line: artifacts.cursor_secret: a cursor secret needs at least 16 bytes",
        ),
        (
            vec![("server.max_event_streams", "11"), ("server.max_connections", "10")],
            "command line: server.max_event_streams: 11 is larger than server.max_connections, which is 10",
        ),
        (
            vec![("artifacts.fetch_default_max_bytes", "2MiB")],
            "command line: artifacts.fetch_default_max_bytes: 2097152 is larger than artifacts.fetch_hard_max_bytes, which is 1048576",
        ),
        (
            vec![("artifacts.fetch_hard_max_bytes", "1KiB")],
            "command line: artifacts.fetch_hard_max_bytes: 1024 is smaller than artifacts.fetch_default_max_bytes, which is 65536",
        ),
        (
            vec![("protocol.max_request_bytes", "1MiB"), ("protocol.max_upload_bytes", "2MiB")],
            "command line: protocol.max_upload_bytes: 2097152 is larger than protocol.max_request_bytes, which is 1048576 and limits uploads, too; raise that, or leave it out",
        ),
        (
            vec![("telemetry.otel_endpoint", secret)],
            "command line: telemetry.otel_endpoint: this version exports no traces; collect the log instead",
        ),
        (vec![("server", "x")], "command line: server is a section; write its keys below it"),
        (
            vec![("server.bind-addr", secret)],
            "command line: there is no key 'server.bind-addr'; did you mean 'server.bind_addr'?",
        ),
    ] {
        let line = load(None, &[], &flags).unwrap_err();
        assert_eq!(line, message);
        assert!(!line.contains(secret));
    }
}

#[test]
fn two_key_sets_and_an_unsafe_url_are_refused_with_one_line() {
    for (flags, message) in [
        (
            vec![("identity.jwks_url", "https://ada:hunter2@login.example/keys")],
            "command line: identity.jwks_url: the URL has a user name or password; keys are public, so leave it out",
        ),
        (
            vec![("identity.jwks_url", "http://login.example/keys?hunter2")],
            "command line: identity.jwks_url: 'login.example' is not this machine, and plain http does not protect keys from being replaced on the way; use https",
        ),
        (
            vec![("identity.jwks_url", "https://169.254.169.254/keys?hunter2")],
            "command line: identity.jwks_url: '169.254.169.254' is a link-local, unspecified, broadcast or multicast address (169.254.169.254)",
        ),
        (
            vec![("identity.jwks_url", "")],
            "command line: identity.jwks_url: the value is not legal; it takes an https URL such as https://login.example/.well-known/jwks.json, or an http URL if the host is this machine (127.0.0.1, [::1], localhost)",
        ),
        (
            vec![("identity.jwks_url", "https://login.example/keys"), ("identity.jwks_file", "jwks.json")],
            "command line: identity.jwks_url: identity.jwks_file is set too, and keys come from one source; remove one of the two",
        ),
        (
            vec![("identity.jwks_refresh_interval", "5s")],
            "command line: identity.jwks_refresh_interval: 5s is smaller than identity.jwks_refresh_min_interval, which is 10s",
        ),
        (
            vec![("identity.jwks_refresh_min_interval", "6m")],
            "command line: identity.jwks_refresh_min_interval: 360s is larger than identity.jwks_refresh_interval, which is 300s",
        ),
    ] {
        let line = load(None, &[], &flags).unwrap_err();
        assert_eq!(line, message);
    }
    let file =
        ConfigFile::new("a.yaml", "identity: {jwks_url: [\"https://ada:hunter2@login.example/keys\"]}");
    let line = file.load().unwrap_err();
    assert!(
        line.contains("identity.jwks_url: the value is not legal") && !line.contains("hunter2"),
        "{line}"
    );
}

#[test]
fn a_wrong_variable_is_refused_with_one_line() {
    for (name, message) in [
        (
            "ARTIFACTD__SERVER__BIND_ADRR",
            "there is no key 'server.bind_adrr'; did you mean 'server.bind_addr'?",
        ),
        (
            "ARTIFACTD__SERVER_BIND_ADDR",
            "there is no key 'server_bind_addr'; did you mean 'server.bind_addr'?",
        ),
        (
            "ARTIFACTD__",
            "there is no key ''; the sections are server, identity, artifacts, protocol, telemetry",
        ),
        ("ARTIFACTD__server__BIND_ADDR", "the name of a variable must be in upper case"),
        ("ARTIFACTD__SERVER", "server is a section; write its keys below it"),
    ] {
        let line = load(None, &[(name, "hunter2")], &[]).unwrap_err();
        assert_eq!(line, format!("environment variable {name}: {message}"));
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let value = OsString::from_vec(b"a\xff".to_vec());
    let env = [(OsString::from("ARTIFACTD__IDENTITY__ISSUER"), value)];
    let line = Settings::from_layers(None, env, &[]).unwrap_err().to_string();
    assert_eq!(line, "environment variable ARTIFACTD__IDENTITY__ISSUER: the value is not UTF-8");
}
