//! Section 8: the configuration.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use artifact_store_tests::wire::{
    Flavour, Server, ServerOptions, artifactd_path, base64, control, put, signing_key,
};
use serde_json::json;
use tempfile::TempDir;

use crate::ada;

const SECRET: &str = "hunter2-4711";

/// Runs `serve`, which must refuse to start, and returns its standard error.
pub(crate) fn serve_refusal(name: &str, file: &str, environment: &[(&str, &str)], flags: &[&str]) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, file).unwrap();
    let mut child = Command::new(artifactd_path())
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
            panic!("the server starts with\n{file}{environment:?} {flags:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{file}{environment:?} {flags:?}\n{stderr}");
    assert_a_line_for_each_mistake(&stderr);
    assert!(!stderr.contains(SECRET) && !stdout.contains(SECRET), "a secret is printed: {stderr}");
    stderr
}

/// One mistake is one line. Several are counted in a line above them.
fn assert_a_line_for_each_mistake(stderr: &str) {
    let lines = stderr.lines().count();
    let heading = format!("artifactd: the configuration has {} mistakes:", lines.saturating_sub(1));
    assert!(lines == 1 || stderr.lines().next() == Some(&*heading), "{stderr}");
}

/// A configuration that works, with additional lines.
pub(crate) fn config_with(lines: &str) -> String {
    format!(
        "identity:\n  jwks_file: {}\nserver:\n  bind_addr: 127.0.0.1:0\n{lines}",
        signing_key().jwks().display()
    )
}

#[test]
fn an_illegal_configuration_stops_the_start_and_is_named() {
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
        (
            "protocol:\n  max_request_bytes: 1MiB\n  max_upload_bytes: 2MiB\n",
            &["protocol.max_upload_bytes", "protocol.max_request_bytes, which is 1048576"],
        ),
        ("telemetry:\n  log_format: xml\n", &["telemetry.log_format", "xml", "json", "text"]),
        ("telemetry:\n  log_level: loud\n", &["telemetry.log_level", "loud"]),
        ("artifacts:\n  fetch_hard_max_bytes: x\n", &["artifacts.fetch_hard_max_bytes"]),
        ("artifacts: fs\n", &["artifacts"]),
        ("- a\n- b\n", &["artifactd.yaml"]),
        ("artifacts:\n  driver: fs\n  driver: inmem\n", &["artifactd.yaml", "duplicate key"]),
        (": :\n\t{\n", &["artifactd.yaml"]),
    ] {
        let stderr = serve_refusal("artifactd.yaml", &config_with(lines), &[], &[]);
        for word in named {
            assert!(stderr.contains(word), "{lines:?} is refused without {word:?}: {stderr}");
        }
    }
    for (lines, named) in [
        ("server:\n  bind_addr: nowhere\n", "server.bind_addr"),
        ("server:\n  shutdown_grace_period: soon\n", "server.shutdown_grace_period"),
        ("server:\n  allowed_origins: [\"*\"]\n", "server.allowed_origins"),
        ("server:\n  allowed_origins: \"*\"\n", "server.allowed_origins"),
        ("server:\n  allowed_origins: [\"https://console.example/\"]\n", "server.allowed_origins"),
    ] {
        let file = format!("identity:\n  jwks_file: {}\n{lines}", signing_key().jwks().display());
        let stderr = serve_refusal("artifactd.yaml", &file, &[], &[]);
        assert!(stderr.contains(named), "{lines:?}: {stderr}");
    }
}

#[test]
fn a_server_without_keys_does_not_start() {
    assert!(
        serve_refusal(
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
        let stderr = serve_refusal("artifactd.yaml", &file, &[], &[]);
        assert!(
            stderr.contains("other-keys.json") && stderr.contains("identity.jwks_file"),
            "{what}: {stderr}"
        );
    }
    for algorithms in ["[HS256]", "[none]", "[RS256, HS512]", "[]", "[EdDSA]"] {
        let file = format!(
            "identity:\n  jwks_file: {}\n  jwt_algorithms: {algorithms}\n",
            signing_key().jwks().display()
        );
        let stderr = serve_refusal("artifactd.yaml", &file, &[], &[]);
        assert!(stderr.contains("identity.jwt_algorithms"), "{algorithms}: {stderr}");
    }
}

#[test]
fn a_private_key_is_not_taken_for_a_public_one_and_not_printed() {
    let folder = TempDir::new().unwrap();
    let pem = folder.path().join("key.pem");
    fs::write(&pem, &signing_key().pem).unwrap();
    let file = format!("artifacts:\n  driver: inmem\nidentity:\n  jwks_file: {}\n", pem.display());
    let stderr = serve_refusal("artifactd.yaml", &file, &[], &[]);
    assert!(stderr.contains("identity.jwks_file"), "{stderr}");
    let secret = signing_key().pem.lines().nth(1).unwrap();
    assert!(!stderr.contains(secret), "{stderr}");
}

#[test]
fn a_variable_that_is_not_legal_is_named() {
    for (name, value, named) in [
        ("ARTIFACTD__ARTIFACTS__DRIVR", "fs", "ARTIFACTD__ARTIFACTS__DRIVR"),
        ("ARTIFACTD__PROTOCOL__MAX_REQUEST_BYTES", "many", "ARTIFACTD__PROTOCOL__MAX_REQUEST_BYTES"),
        ("ARTIFACTD__ARTIFACTS__DRIVER", "floppy", "floppy"),
    ] {
        let stderr = serve_refusal("artifactd.yaml", &config_with(""), &[(name, value)], &[]);
        assert!(stderr.contains(named), "{name}={value}: {stderr}");
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
        serve_refusal("artifactd.yaml", &config_with(lines), environment, &[]);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = TempDir::new().unwrap();
    let output = Command::new(artifactd_path())
        .args(["serve", "--config"])
        .arg(folder.path().join("absent.yaml"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{stderr}");
    assert!(stderr.contains("absent.yaml"), "{stderr}");
    let stderr = serve_refusal("artifactd.ini", "x", &[], &[]);
    assert!(stderr.contains("artifactd.ini"), "{stderr}");
}

#[test]
fn the_environment_overrides_the_file() {
    let folder = TempDir::new().unwrap();
    let options = ServerOptions::new()
        .set("protocol.max_request_bytes", 10)
        .set("telemetry.service_name", "from the file")
        .env("ARTIFACTD__ARTIFACTS__DRIVER", "fs")
        .env("ARTIFACTD__ARTIFACTS__FS_ROOT", folder.path().join("root").to_str().unwrap())
        .env("ARTIFACTD__PROTOCOL__MAX_REQUEST_BYTES", "20");
    let server = Server::start(Flavour::Inmem, &options);
    let info = server.call(&ada(), "runtime.info", &json!({})).expect_json(200);
    assert_eq!((&info["artifacts"]["driver"], &info["max_request_bytes"]), (&json!("fs"), &json!(20)));
    assert_eq!(info["display_name"], "from the file");
    put("", vec![1; 20]).identity(&ada()).send(&server).expect_json(201);
    put("", vec![1; 21]).identity(&ada()).send(&server).expect_refusal("request_too_large");
    let body = json!({"bytes": base64(&[1; 21])});
    control("artifacts.put", &body).identity(&ada()).send(&server).expect_refusal("request_too_large");
    assert!(folder.path().join("root").is_dir());
}

#[test]
fn toml_is_accepted_like_yaml() {
    let stderr = serve_refusal("artifactd.toml", "[artifacts]\ndrivr = \"fs\"\n", &[], &[]);
    assert!(stderr.contains("artifacts.drivr") && stderr.contains("artifactd.toml"), "{stderr}");
    let stderr = serve_refusal(
        "artifactd.toml",
        "[server]\nbind_addr = \"127.0.0.1:0\"\n[artifacts]\ndriver = \"inmem\"\n",
        &[],
        &[],
    );
    assert!(stderr.contains("identity.jwks_file"), "the rest of it was read: {stderr}");
}

#[test]
fn a_folder_that_another_server_holds_is_refused() {
    // A driver that is not shared does not allow two servers on the same folder.
    let server = Server::start(Flavour::Fs, &ServerOptions::new());
    let shared =
        server.call(&ada(), "runtime.info", &json!({})).expect_json(200)["artifacts"]["capabilities"]["shared"]
            .clone();
    let folder = TempDir::new().unwrap();
    let options = ServerOptions::new()
        .set("server.bind_addr", "127.0.0.1:0")
        .set("identity.jwks_file", json!(signing_key().jwks()))
        .set("artifacts.driver", "fs")
        .set("artifacts.fs_root", json!(server.data()));
    if shared == false {
        let output = options.command(folder.path()).output().unwrap();
        assert!(!output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1, "one line");
    }
    server.store_id(&ada(), b"the first one works on");
}
