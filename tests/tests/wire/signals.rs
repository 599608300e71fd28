//! How a server handles signals: some shut it down, one makes it reload its configuration, and others have no effect.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use artifact_store_tests::wire::{
    Connection, EventStream, Flavour, KeyProvider, Request, Server, ServerOptions, SigningKey,
    artifactd_path, control, flavours, put, sign_token_with, signal,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ada;

/// Waits until `condition` is true.
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: not within 30 s");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The log lines about SIGHUP.
fn reload_log_lines(server: &Server) -> Vec<Value> {
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with("SIGHUP"))).collect()
}

/// Sends SIGHUP and waits for its log line.
fn send_sighup(server: &Server) -> Value {
    let before = reload_log_lines(server).len();
    signal(server.pid(), "HUP");
    wait_until("a line about it", || reload_log_lines(server).len() > before);
    reload_log_lines(server).pop().unwrap()
}

fn assert_serves(server: &Server) {
    server.call(&ada(), "runtime.info", &json!({})).expect_json(200);
}

#[test]
fn a_sighup_applies_the_log_level_and_names_the_keys_that_need_a_restart() {
    let mut server = Server::start(Flavour::Inmem, &ServerOptions::new());
    let line = send_sighup(&server);
    assert_eq!((&line["log_level"], &line["needs_restart"]), (&json!("info"), &Value::Null), "{line}");

    server.reconfigure("telemetry.log_level", "debug");
    server.reconfigure("protocol.max_request_bytes", 12345);
    server.reconfigure("artifacts.cursor_secret", "hunter2-hunter2-hunter2");
    let line = send_sighup(&server);
    assert_eq!(line["log_level"], "debug", "{line}");
    assert_eq!(line["needs_restart"], "artifacts.cursor_secret, protocol.max_request_bytes", "{line}");
    let info = server.call(&ada(), "runtime.info", &json!({})).expect_json(200);
    assert_ne!(info["max_request_bytes"], 12345);

    // The new level is in effect: a broken connection is logged at debug.
    let mut connection = Connection::open(server.addr());
    connection.send(b"GET /healthz HTTP/1.1\r\nHost");
    drop(connection);
    wait_until("a line of debug", || server.log().contains("\"level\":\"DEBUG\""));
    assert!(!server.log().contains("hunter2"));

    server.reconfigure("telemetry.log_level", "error");
    assert_eq!(send_sighup(&server)["log_level"], "error");
    let id = Request::get("/nothing").send(&server).header("x-request-id").unwrap().to_owned();
    assert_serves(&server);
    server.reconfigure("telemetry.log_level", "info");
    send_sighup(&server);
    assert!(!server.log().contains(&id), "a refusal was logged at error");
    assert!(server.stop().success());
}

#[test]
fn a_sighup_with_a_bad_file_changes_nothing_and_logs_why() {
    let mut server = Server::start(Flavour::Inmem, &ServerOptions::new());
    for (bad, expected_error) in [
        ("telemetry:\n  log_level: loud\n", "telemetry.log_level: 'loud' is not legal"),
        ("telemetry:\n  log_level: debug\n", "artifacts.driver is not set"),
        ("a: [", "invalid YAML"),
    ] {
        server.write_configuration(bad);
        let line = send_sighup(&server);
        assert_eq!(line["level"], "ERROR", "{line}");
        assert!(line["error"].as_str().unwrap().contains(expected_error), "{line}");
        assert_eq!(line["keys"], "refreshed", "{line}");
        assert_serves(&server);
    }
    assert!(!server.log().contains("\"level\":\"DEBUG\""));
    server.reconfigure("telemetry.log_level", "debug");
    assert_eq!(send_sighup(&server)["log_level"], "debug");
}

#[test]
fn a_sighup_fetches_the_keys_of_a_provider_at_once() {
    let (old, new) = (SigningKey::generate(), SigningKey::generate());
    let provider = KeyProvider::new(&[&old]);
    let options = ServerOptions::new()
        .set("identity.jwks_url", provider.url())
        .set("identity.jwks_refresh_interval", "1h")
        .set("identity.jwks_refresh_min_interval", "1h");
    let server = Server::start(Flavour::Inmem, &options);
    let send_with = |keys: &SigningKey| {
        let token = sign_token_with(&keys.pem, Some(&keys.kid), &ada().claims());
        control("runtime.info", &json!({})).bearer(token).send(&server)
    };
    send_with(&old).expect_json(200);
    provider.publish(&[&new]);
    send_with(&new).expect_refusal("auth_rejected");
    assert_eq!(send_sighup(&server)["keys"], "refreshed");
    send_with(&new).expect_json(200);
    send_with(&old).expect_refusal("auth_rejected");

    provider.fail();
    let line = send_sighup(&server);
    assert!(line["keys"].as_str().unwrap().contains("the keys from before stay"), "{line}");
    send_with(&new).expect_json(200);
}

#[test]
fn a_sighup_rereads_the_key_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("jwks.json");
    let (old, new) = (SigningKey::generate(), SigningKey::generate());
    fs::copy(old.jwks(), &path).unwrap();
    let server = Server::start(Flavour::Inmem, &ServerOptions::new().set("identity.jwks_file", json!(path)));
    let send_with = |keys: &SigningKey| {
        let token = sign_token_with(&keys.pem, Some(&keys.kid), &ada().claims());
        control("runtime.info", &json!({})).bearer(token).send(&server)
    };
    fs::copy(new.jwks(), &path).unwrap();
    assert_eq!(send_sighup(&server)["keys"], "refreshed");
    send_with(&new).expect_json(200);
    fs::write(&path, "no keys").unwrap();
    for _ in 0..2 {
        assert!(send_sighup(&server)["keys"].as_str().unwrap().contains("the keys from before stay"));
        send_with(&new).expect_json(200);
    }
}

#[test]
fn an_upload_and_a_stream_survive_signals_that_do_not_stop_the_server() {
    for flavour in flavours() {
        let mut server = Server::start(flavour, &ServerOptions::new());
        let mut stream = EventStream::open(&server, &Request::get("/v1/events").identity(&ada()));
        let bytes = vec![7; 1 << 20];
        let mut upload = Connection::open(server.addr());
        assert!(upload.send(&put("", "").identity(&ada()).head(Some(bytes.len() as u64))));
        assert!(upload.send(&bytes[..1000]));
        for name in ["USR1", "USR2"] {
            signal(server.pid(), name);
            wait_until(name, || server.log().contains(&format!("SIG{name} is ignored")));
        }
        send_sighup(&server);
        assert!(upload.send(&bytes[1000..]));
        let (answer, _) = upload.read_response(false);
        let id = answer.expect_json(201)["ref"]["id"].as_str().unwrap().to_owned();
        server.download(&ada(), &id).expect_bytes(&bytes);
        assert_eq!(stream.next_event().event.as_deref(), Some("artifacts.uploaded"), "{flavour}");
        drop(stream);
        assert!(server.stop().success(), "{}", server.log());
    }
}

#[test]
fn every_signal_that_stops_a_server_shuts_it_down_in_order() {
    for name in ["TERM", "INT", "QUIT"] {
        let mut server = Server::start(Flavour::Sqlite, &ServerOptions::new());
        let id = server.store_id(&ada(), b"x");
        signal(server.pid(), name);
        let status = server.wait();
        assert_eq!(status.code(), Some(0), "SIG{name}: {status}");
        assert!(server.log().contains("shutting down"), "SIG{name}");
        server.restart();
        server.download(&ada(), &id).expect_bytes(b"x");
    }
}

#[test]
fn a_server_that_is_signalled_while_it_starts_shuts_down_in_order() {
    let provider = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = TempDir::new().unwrap();
    let options = ServerOptions::new()
        .set("server.bind_addr", "127.0.0.1:0")
        .set("artifacts.driver", "inmem")
        .set("identity.jwks_url", format!("http://{}/", provider.local_addr().unwrap()));
    let mut child =
        options.command(folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // It requests the keys and gets no response.
    let _asked = provider.accept().unwrap();
    signal(child.id(), "HUP");
    signal(child.id(), "TERM");
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
}

/// Starts `dev` in a folder of its own through this shell script, and waits until it serves.
fn start_dev(script: &str) -> (Child, TempDir) {
    let folder = TempDir::new().unwrap();
    let mut child = Command::new("sh")
        .args(["-c", script])
        .arg(artifactd_path())
        .args(["dev", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.path().join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let lines_read = lines.by_ref().map_while(Result::ok).take(2).collect::<Vec<_>>();
    assert!(
        lines_read.first().is_some_and(|line| line.starts_with("artifactd listens on ")),
        "{lines_read:?}"
    );
    thread::spawn(move || lines.for_each(drop));
    (child, folder)
}

#[test]
fn a_closed_terminal_ends_dev_in_order() {
    let (mut child, _folder) = start_dev("exec \"$0\" \"$@\"");
    signal(child.id(), "HUP");
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn a_closed_terminal_does_not_end_a_dev_that_was_started_to_outlive_it() {
    let (mut child, _folder) = start_dev("trap '' HUP; exec \"$0\" \"$@\"");
    signal(child.id(), "HUP");
    thread::sleep(Duration::from_millis(500));
    assert_eq!(child.try_wait().unwrap(), None, "as under nohup");
    signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_command_that_receives_sighup_says_so_and_stores_nothing() {
    let folder = TempDir::new().unwrap();
    let store = format!("fs:{}", folder.path().join("store").display());
    let scope = ["--tenant", "acme", "--user", "ada", "--session", "s"];
    let put = |input: Stdio| {
        let mut command = Command::new(artifactd_path());
        command.args(["put", "-", "--store", &store]).args(scope);
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut child = put(Stdio::piped());
    let mut input = child.stdin.take().unwrap();
    // More than a pipe holds: the program has read some of it, so its signal handler is installed.
    std::io::Write::write_all(&mut input, &vec![1; 1 << 20]).unwrap();
    signal(child.id(), "HUP");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(129));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "artifactd: hung up\n");
    let listed = Command::new(artifactd_path())
        .args(["ls", "--json", "--store", &store])
        .args(scope)
        .output()
        .unwrap();
    assert!(listed.stdout.is_empty(), "{listed:?}");
}
