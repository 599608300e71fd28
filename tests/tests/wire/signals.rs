//! What signals mean to a server: which end it in order, which make it read its configuration again, and which mean nothing.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use artifact_store_tests::wire::{
    Connection, EventStream, Flavour, KeyProvider, Keys, Options, Request, Server, artifactd, control,
    flavours, put, signal, signed_with,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ada;

/// Waits until `is_so`.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: not within 30 s");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The lines of the log about SIGHUP.
fn reloads(server: &Server) -> Vec<Value> {
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with("SIGHUP"))).collect()
}

/// Sends SIGHUP and waits for the line that it makes.
fn hang_up(server: &Server) -> Value {
    let before = reloads(server).len();
    signal(server.pid(), "HUP");
    until("a line about it", || reloads(server).len() > before);
    reloads(server).pop().unwrap()
}

fn runs(server: &Server) {
    server.call(&ada(), "runtime.info", &json!({})).ok(200);
}

#[test]
fn a_hangup_takes_over_the_level_of_the_log_and_says_which_keys_need_a_restart() {
    let mut server = Server::start(Flavour::Inmem, &Options::new());
    let line = hang_up(&server);
    assert_eq!((&line["log_level"], &line["needs_restart"]), (&json!("info"), &Value::Null), "{line}");

    server.reconfigure("telemetry.log_level", "debug");
    server.reconfigure("protocol.max_request_bytes", 12345);
    server.reconfigure("artifacts.cursor_secret", "hunter2-hunter2-hunter2");
    let line = hang_up(&server);
    assert_eq!(line["log_level"], "debug", "{line}");
    assert_eq!(line["needs_restart"], "artifacts.cursor_secret, protocol.max_request_bytes", "{line}");
    let info = server.call(&ada(), "runtime.info", &json!({})).ok(200);
    assert_ne!(info["max_request_bytes"], 12345);

    // The level counts: a broken connection is told of at debug.
    let mut connection = Connection::open(server.addr());
    connection.send(b"GET /healthz HTTP/1.1\r\nHost");
    drop(connection);
    until("a line of debug", || server.log().contains("\"level\":\"DEBUG\""));
    assert!(!server.log().contains("hunter2"));

    server.reconfigure("telemetry.log_level", "error");
    assert_eq!(hang_up(&server)["log_level"], "error");
    let id = Request::get("/nothing").send(&server).header("x-request-id").unwrap().to_owned();
    runs(&server);
    server.reconfigure("telemetry.log_level", "info");
    hang_up(&server);
    assert!(!server.log().contains(&id), "a refusal was logged at error");
    assert!(server.stop().success());
}

#[test]
fn a_hangup_with_a_bad_file_leaves_everything_as_it_was_and_says_why() {
    let mut server = Server::start(Flavour::Inmem, &Options::new());
    for (bad, why) in [
        ("telemetry:\n  log_level: loud\n", "telemetry.log_level: 'loud' is not legal"),
        ("telemetry:\n  log_level: debug\n", "artifacts.driver is not set"),
        ("a: [", "is no YAML"),
    ] {
        server.write_configuration(bad);
        let line = hang_up(&server);
        assert_eq!(line["level"], "ERROR", "{line}");
        assert!(line["error"].as_str().unwrap().contains(why), "{line}");
        assert_eq!(line["keys"], "refreshed", "{line}");
        runs(&server);
    }
    assert!(!server.log().contains("\"level\":\"DEBUG\""));
    server.reconfigure("telemetry.log_level", "debug");
    assert_eq!(hang_up(&server)["log_level"], "debug");
}

#[test]
fn a_hangup_fetches_the_keys_of_a_provider_at_once() {
    let (old, new) = (Keys::generate(), Keys::generate());
    let provider = KeyProvider::new(&[&old]);
    let options = Options::new()
        .set("identity.jwks_url", provider.url())
        .set("identity.jwks_refresh_interval", "1h")
        .set("identity.jwks_refresh_min_interval", "1h");
    let server = Server::start(Flavour::Inmem, &options);
    let with = |keys: &Keys| {
        let token = signed_with(&keys.pem, Some(&keys.kid), &ada().claims());
        control("runtime.info", &json!({})).bearer(token).send(&server)
    };
    with(&old).ok(200);
    provider.publish(&[&new]);
    with(&new).refused("auth_rejected");
    assert_eq!(hang_up(&server)["keys"], "refreshed");
    with(&new).ok(200);
    with(&old).refused("auth_rejected");

    provider.fail();
    let line = hang_up(&server);
    assert!(line["keys"].as_str().unwrap().contains("the keys from before stay"), "{line}");
    with(&new).ok(200);
}

#[test]
fn a_hangup_reads_the_file_of_keys_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("jwks.json");
    let (old, new) = (Keys::generate(), Keys::generate());
    fs::copy(old.jwks(), &path).unwrap();
    let server = Server::start(Flavour::Inmem, &Options::new().set("identity.jwks_file", json!(path)));
    let with = |keys: &Keys| {
        let token = signed_with(&keys.pem, Some(&keys.kid), &ada().claims());
        control("runtime.info", &json!({})).bearer(token).send(&server)
    };
    fs::copy(new.jwks(), &path).unwrap();
    assert_eq!(hang_up(&server)["keys"], "refreshed");
    with(&new).ok(200);
    fs::write(&path, "no keys").unwrap();
    for _ in 0..2 {
        assert!(hang_up(&server)["keys"].as_str().unwrap().contains("the keys from before stay"));
        with(&new).ok(200);
    }
}

#[test]
fn an_upload_and_a_stream_outlive_signals_that_do_not_end_the_server() {
    for flavour in flavours() {
        let mut server = Server::start(flavour, &Options::new());
        let mut stream = EventStream::open(&server, &Request::get("/v1/events").by(&ada()));
        let bytes = vec![7; 1 << 20];
        let mut upload = Connection::open(server.addr());
        assert!(upload.send(&put("", "").by(&ada()).head(Some(bytes.len() as u64))));
        assert!(upload.send(&bytes[..1000]));
        for name in ["USR1", "USR2"] {
            signal(server.pid(), name);
            until(name, || server.log().contains(&format!("SIG{name} means nothing to this server")));
        }
        hang_up(&server);
        assert!(upload.send(&bytes[1000..]));
        let (answer, _) = upload.response(false);
        let id = answer.ok(201)["ref"]["id"].as_str().unwrap().to_owned();
        server.download(&ada(), &id).ok_bytes(&bytes);
        assert_eq!(stream.event().event.as_deref(), Some("artifacts.uploaded"), "{flavour}");
        drop(stream);
        assert!(server.stop().success(), "{}", server.log());
    }
}

#[test]
fn every_signal_that_ends_a_server_ends_it_in_order() {
    for name in ["TERM", "INT", "QUIT"] {
        let mut server = Server::start(Flavour::Sqlite, &Options::new());
        let id = server.store_id(&ada(), b"x");
        signal(server.pid(), name);
        let status = server.wait();
        assert_eq!(status.code(), Some(0), "SIG{name}: {status}");
        assert!(server.log().contains("shutting down"), "SIG{name}");
        server.restart();
        server.download(&ada(), &id).ok_bytes(b"x");
    }
}

#[test]
fn a_server_that_is_told_to_end_while_it_starts_ends_in_order() {
    let provider = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = TempDir::new().unwrap();
    let options = Options::new()
        .set("server.bind_addr", "127.0.0.1:0")
        .set("artifacts.driver", "inmem")
        .set("identity.jwks_url", format!("http://{}/", provider.local_addr().unwrap()));
    let mut child = options.command(home.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // It asks for keys and gets no answer.
    let _asked = provider.accept().unwrap();
    signal(child.id(), "HUP");
    signal(child.id(), "TERM");
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
}

/// `dev` in a folder of its own, started by this shell script; it serves.
fn dev(script: &str) -> (Child, TempDir) {
    let home = TempDir::new().unwrap();
    let mut child = Command::new("sh")
        .args(["-c", script])
        .arg(artifactd())
        .args(["dev", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(home.path().join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines.by_ref().map_while(Result::ok).take(2).collect::<Vec<_>>();
    assert!(said.first().is_some_and(|line| line.starts_with("artifactd listens on ")), "{said:?}");
    thread::spawn(move || lines.for_each(drop));
    (child, home)
}

#[test]
fn a_closed_terminal_ends_dev_in_order() {
    let (mut child, _home) = dev("exec \"$0\" \"$@\"");
    signal(child.id(), "HUP");
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn a_closed_terminal_does_not_end_a_dev_that_was_started_to_outlive_it() {
    let (mut child, _home) = dev("trap '' HUP; exec \"$0\" \"$@\"");
    signal(child.id(), "HUP");
    thread::sleep(Duration::from_millis(500));
    assert_eq!(child.try_wait().unwrap(), None, "as under nohup");
    signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_command_that_is_hung_up_on_says_so_and_leaves_nothing_half() {
    let home = TempDir::new().unwrap();
    let store = format!("fs:{}", home.path().join("store").display());
    let scope = ["--tenant", "acme", "--user", "ada", "--session", "s"];
    let put = |input: Stdio| {
        let mut command = Command::new(artifactd());
        command.args(["put", "-", "--store", &store]).args(scope);
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut child = put(Stdio::piped());
    let mut input = child.stdin.take().unwrap();
    // More than a pipe holds: it has read some of it, so it listens.
    std::io::Write::write_all(&mut input, &vec![1; 1 << 20]).unwrap();
    signal(child.id(), "HUP");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(129));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "artifactd: hung up\n");
    let listed =
        Command::new(artifactd()).args(["ls", "--json", "--store", &store]).args(scope).output().unwrap();
    assert!(listed.stdout.is_empty(), "{listed:?}");
}
