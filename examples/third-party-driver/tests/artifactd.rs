//! The program: its table of drivers has redb, with every command and the keys of the configuration.
#![cfg(feature = "artifactd")]
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

fn artifactd(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_artifactd"));
    command.args(arguments).current_dir(directory).env_remove("ARTIFACTD_STORE");
    command
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    artifactd(directory, arguments).output().unwrap()
}

/// Runs a command that must succeed, and returns its standard output.
fn stdout_of(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_table_of_drivers_has_redb_with_its_options() {
    let directory = TempDir::new().unwrap();
    let shown = stdout_of(directory.path(), &["drivers", "--options"]);
    assert!(
        shown.lines().any(|line| line.starts_with("redb") && line.contains("one redb database")),
        "{shown}"
    );
    assert!(shown.contains("redb (as a URL: redb:path)") && shown.contains("cache_bytes"), "{shown}");
    assert!(shown.lines().any(|line| line.starts_with("fs")), "{shown}");
}

#[test]
fn a_file_goes_in_and_comes_out_by_url_and_by_configuration() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    fs::write(path.join("report.txt"), "a report").unwrap();
    fs::write(
        path.join("artifactd.yaml"),
        "artifacts:\n  driver: redb\n  options:\n    path: artifacts.redb\n    cache_bytes: 8M\n",
    )
    .unwrap();
    let scope = ["--tenant", "acme", "--user", "ada", "--session", "s-1"];
    let put = [&["put", "report.txt", "--store", "redb:artifacts.redb"][..], &scope].concat();
    let id = stdout_of(path, &put).trim().to_owned();
    let get = [&["get", &id, "--config", "artifactd.yaml"][..], &scope].concat();
    assert_eq!(stdout_of(path, &get), "a report");
    let rm = [&["rm", &id, "--config", "artifactd.yaml"][..], &scope].concat();
    stdout_of(path, &rm);
    assert_eq!(stdout_of(path, &["sweep", "--config", "artifactd.yaml"]), "no leftovers\n");
}

#[test]
fn a_mistake_is_a_line_with_the_key_and_what_is_legal() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    for (yaml, line) in [
        (
            "artifacts: {driver: redis}",
            "there is no driver 'redis'; did you mean 'redb'? known: fs, inmem, redb",
        ),
        ("artifacts: {driver: redb}", "the driver redb needs artifacts.options.path: The database file."),
        (
            "artifacts: {driver: redb, options: {path: a.redb, cache: 8M}}",
            "the driver redb has no option 'cache'; did you mean artifacts.options.cache_bytes?",
        ),
        (
            "artifacts: {driver: redb, options: {path: none/a.redb}}",
            "is in a directory that does not exist; create the directory",
        ),
        ("artifacts: {driver: sqlite, dsn: a.db}", "the driver sqlite is not compiled in"),
    ] {
        fs::write(path.join("artifactd.yaml"), yaml).unwrap();
        let scope = ["--tenant", "acme", "--user", "ada", "--session", "s-1"];
        fs::write(path.join("a.txt"), "a").unwrap();
        let output = run(path, &[&["put", "a.txt", "--config", "artifactd.yaml"][..], &scope].concat());
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && message.contains(line), "{yaml}: {message}");
    }
}

/// A server that is killed if the test fails.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_server_serves_a_redb_store_and_stops() {
    let directory = TempDir::new().unwrap();
    let mut command = artifactd(directory.path(), &["dev", "--driver", "redb", "--listen", "127.0.0.1:0"]);
    let mut server = Server(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = first.strip_prefix("artifactd listens on http://").unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    write!(connection, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    connection.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert!(directory.path().join(".artifactd/artifacts").is_file());
    let pid = server.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(server.0.wait().unwrap().success());
}
