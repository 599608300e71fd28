//! Section 8: the configuration.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use artifact_store_tests::wire::{Flavour, Options, Server, artifactd, base64, control, keys, put};
use serde_json::json;
use tempfile::TempDir;

use crate::ada;

const SECRET: &str = "hunter2-4711";

/// A run of `serve` that has to be refused: what it says.
pub(crate) fn refused(name: &str, file: &str, environment: &[(&str, &str)], flags: &[&str]) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, file).unwrap();
    let mut child = Command::new(artifactd())
        .arg("serve")
        .arg("--config")
        .arg(&path)
        .args(flags)
        .envs(environment.iter().copied())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > Duration::from_secs(10) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it starts with\n{file}{environment:?} {flags:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let (mut out, mut said) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(2), "{file}{environment:?} {flags:?}\n{said}");
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    assert!(!said.contains(SECRET) && !out.contains(SECRET), "a secret is printed: {said}");
    said
}

/// A configuration that works, and lines more.
pub(crate) fn with(lines: &str) -> String {
    format!("identity:\n  jwks_file: {}\nserver:\n  bind_addr: 127.0.0.1:0\n{lines}", keys().jwks().display())
}

#[test]
fn what_is_not_legal_stops_the_start_and_is_named() {
    for (lines, named) in [
        ("artifacts:\n  drivr: fs\n", &["artifacts.drivr", "artifactd.yaml"][..]),
        ("artefacts:\n  driver: fs\n", &["artefacts"]),
        ("artifacts:\n  driver: floppy\n", &["artifacts.driver", "floppy", "inmem", "fs", "sqlite"]),
        ("artifacts:\n  driver: fs\n", &["artifacts.fs_root"]),
        ("artifacts:\n  driver: sqlite\n", &["artifacts.dsn"]),
        ("artifacts:\n  driver: [fs]\n", &["artifacts.driver"]),
        ("protocol:\n  max_request_bytes: -1\n", &["protocol.max_request_bytes", "-1"]),
        ("protocol:\n  max_request_bytes: many\n", &["protocol.max_request_bytes", "many"]),
        ("protocol:\n  max_request_bytes: 1.5\n", &["protocol.max_request_bytes"]),
        ("telemetry:\n  log_format: xml\n", &["telemetry.log_format", "xml", "json", "text"]),
        ("telemetry:\n  log_level: loud\n", &["telemetry.log_level", "loud"]),
        ("artifacts:\n  fetch_hard_max_bytes: x\n", &["artifacts.fetch_hard_max_bytes"]),
        ("artifacts: fs\n", &["artifacts"]),
        ("- a\n- b\n", &["artifactd.yaml"]),
        ("artifacts:\n  driver: fs\n  driver: inmem\n", &["artifactd.yaml", "twice"]),
        (": :\n\t{\n", &["artifactd.yaml"]),
    ] {
        let said = refused("artifactd.yaml", &with(lines), &[], &[]);
        for word in named {
            assert!(said.contains(word), "{lines:?} is refused without {word:?}: {said}");
        }
    }
    for (lines, named) in [
        ("server:\n  bind_addr: nowhere\n", "server.bind_addr"),
        ("server:\n  shutdown_grace_period: soon\n", "server.shutdown_grace_period"),
        ("server:\n  allowed_origins: [\"*\"]\n", "server.allowed_origins"),
        ("server:\n  allowed_origins: \"*\"\n", "server.allowed_origins"),
        ("server:\n  allowed_origins: [\"https://console.example/\"]\n", "server.allowed_origins"),
    ] {
        let file = format!("identity:\n  jwks_file: {}\n{lines}", keys().jwks().display());
        let said = refused("artifactd.yaml", &file, &[], &[]);
        assert!(said.contains(named), "{lines:?}: {said}");
    }
}

#[test]
fn a_server_without_keys_does_not_start() {
    assert!(
        refused(
            "artifactd.yaml",
            "artifacts:\n  driver: inmem\nserver:\n  bind_addr: 127.0.0.1:0\n",
            &[],
            &[]
        )
        .contains("identity.jwks_file")
    );
    for (content, what) in [
        (None, "missing"),
        (Some("{}"), "without keys"),
        (Some("{\"keys\": []}"), "empty"),
        (Some("no json"), "no JSON"),
    ] {
        let folder = TempDir::new().unwrap();
        let jwks = folder.path().join("other-keys.json");
        if let Some(content) = content {
            fs::write(&jwks, content).unwrap();
        }
        let file = format!("artifacts:\n  driver: inmem\nidentity:\n  jwks_file: {}\n", jwks.display());
        let said = refused("artifactd.yaml", &file, &[], &[]);
        assert!(said.contains("other-keys.json") && said.contains("identity.jwks_file"), "{what}: {said}");
    }
    for algorithms in ["[HS256]", "[none]", "[RS256, HS512]", "[]", "[EdDSA]"] {
        let file =
            format!("identity:\n  jwks_file: {}\n  jwt_algorithms: {algorithms}\n", keys().jwks().display());
        let said = refused("artifactd.yaml", &file, &[], &[]);
        assert!(said.contains("identity.jwt_algorithms"), "{algorithms}: {said}");
    }
}

#[test]
fn a_private_key_is_not_taken_for_a_public_one_and_not_printed() {
    let folder = TempDir::new().unwrap();
    let pem = folder.path().join("key.pem");
    fs::write(&pem, &keys().pem).unwrap();
    let file = format!("artifacts:\n  driver: inmem\nidentity:\n  jwks_file: {}\n", pem.display());
    let said = refused("artifactd.yaml", &file, &[], &[]);
    assert!(said.contains("identity.jwks_file"), "{said}");
    let secret = keys().pem.lines().nth(1).unwrap();
    assert!(!said.contains(secret), "{said}");
}

#[test]
fn a_variable_that_is_not_legal_is_named() {
    for (name, value, named) in [
        ("ARTIFACTD__ARTIFACTS__DRIVR", "fs", "ARTIFACTD__ARTIFACTS__DRIVR"),
        ("ARTIFACTD__PROTOCOL__MAX_REQUEST_BYTES", "many", "ARTIFACTD__PROTOCOL__MAX_REQUEST_BYTES"),
        ("ARTIFACTD__ARTIFACTS__DRIVER", "floppy", "floppy"),
    ] {
        let said = refused("artifactd.yaml", &with(""), &[(name, value)], &[]);
        assert!(said.contains(named), "{name}={value}: {said}");
    }
}

#[test]
fn secrets_are_never_printed() {
    let secrets = [
        ("artifacts:\n  driver: sqlite\n  dsn: postgres://user:hunter2-4711@db.example/x\n", &[][..]),
        ("artifacts:\n  driver: sqlite\n  dsn: [hunter2-4711]\n", &[]),
        ("artifacts:\n  driver: fs\n  s3_secret_access_key: hunter2-4711\n", &[]),
        ("artifacts:\n  driver: s3\n  s3_bucket: b\n  s3_secret_access_key: hunter2-4711\n", &[]),
        ("artifacts:\n  cursor_secret: [hunter2-4711]\n", &[]),
        ("artifacts:\n  driver: floppy\n", &[("ARTIFACTD__ARTIFACTS__DSN", SECRET)]),
        (
            "",
            &[
                ("ARTIFACTD__ARTIFACTS__S3_SECRET_ACCESS_KEY", SECRET),
                ("ARTIFACTD__PROTOCOL__MAX_REQUEST_BYTES", "x"),
            ],
        ),
    ];
    for (lines, environment) in secrets {
        refused("artifactd.yaml", &with(lines), environment, &[]);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = TempDir::new().unwrap();
    let output = Command::new(artifactd())
        .args(["serve", "--config"])
        .arg(folder.path().join("absent.yaml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("absent.yaml"), "{said}");
    let said = refused("artifactd.ini", "x", &[], &[]);
    assert!(said.contains("artifactd.ini"), "{said}");
}

#[test]
fn the_environment_goes_over_the_file() {
    let folder = TempDir::new().unwrap();
    let options = Options::new()
        .set("protocol.max_request_bytes", 10)
        .set("telemetry.service_name", "from the file")
        .env("ARTIFACTD__ARTIFACTS__DRIVER", "fs")
        .env("ARTIFACTD__ARTIFACTS__FS_ROOT", folder.path().join("root").to_str().unwrap())
        .env("ARTIFACTD__PROTOCOL__MAX_REQUEST_BYTES", "20");
    let server = Server::start(Flavour::Inmem, &options);
    let info = server.call(&ada(), "runtime.info", &json!({})).ok(200);
    assert_eq!((&info["artifacts"]["driver"], &info["max_request_bytes"]), (&json!("fs"), &json!(20)));
    assert_eq!(info["display_name"], "from the file");
    put("", vec![1; 20]).by(&ada()).send(&server).ok(201);
    put("", vec![1; 21]).by(&ada()).send(&server).refused("request_too_large");
    let body = json!({"bytes": base64(&[1; 21])});
    control("artifacts.put", &body).by(&ada()).send(&server).refused("request_too_large");
    assert!(folder.path().join("root").is_dir());
}

#[test]
fn toml_is_as_good_as_yaml() {
    let said = refused("artifactd.toml", "[artifacts]\ndrivr = \"fs\"\n", &[], &[]);
    assert!(said.contains("artifacts.drivr") && said.contains("artifactd.toml"), "{said}");
    let said = refused(
        "artifactd.toml",
        "[server]\nbind_addr = \"127.0.0.1:0\"\n[artifacts]\ndriver = \"inmem\"\n",
        &[],
        &[],
    );
    assert!(said.contains("identity.jwks_file"), "the rest of it was read: {said}");
}

#[test]
fn a_place_that_another_server_holds_is_refused() {
    // What not being shared means: not two on the same folder.
    let server = Server::start(Flavour::Fs, &Options::new());
    let shared =
        server.call(&ada(), "runtime.info", &json!({})).ok(200)["artifacts"]["capabilities"]["shared"]
            .clone();
    let folder = TempDir::new().unwrap();
    let options = Options::new()
        .set("server.bind_addr", "127.0.0.1:0")
        .set("identity.jwks_file", json!(keys().jwks()))
        .set("artifacts.driver", "fs")
        .set("artifacts.fs_root", json!(server.data()));
    if shared == false {
        let output = options.command(folder.path()).output().unwrap();
        assert!(!output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1, "one line");
    }
    server.store_id(&ada(), b"the first one works on");
}
