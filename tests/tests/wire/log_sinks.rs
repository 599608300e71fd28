//! A log that cannot be written: whatever happens to standard error, requests are served and the server shuts down in
//! order.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use artifact_store_tests::wire::{Request, ServerOptions, control, put, signal, signing_key};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ada;

/// A server whose standard error the test has chosen.
struct ServerWithStderr {
    child: Child,
    addr: SocketAddr,
    _folder: TempDir,
}

fn options() -> ServerOptions {
    ServerOptions::new()
        .set("server.bind_addr", "127.0.0.1:0")
        .set("identity.jwks_file", json!(signing_key().jwks()))
        .set("artifacts.driver", "inmem")
}

impl ServerWithStderr {
    fn start(stderr: impl Into<Stdio>) -> Self {
        let folder = TempDir::new().unwrap();
        let command = options().command(folder.path());
        Self::spawn(command, stderr, folder)
    }

    fn spawn(mut command: Command, stderr: impl Into<Stdio>, folder: TempDir) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr =
            line.trim_end().strip_prefix("artifactd listens on http://").expect(&line).parse().unwrap();
        Self { child, addr, _folder: folder }
    }

    /// Sends 100 requests of each of four kinds. All must succeed, and every put artifact must exist.
    fn assert_400_requests_answered(&self) {
        for number in 0..100 {
            for probe in ["/healthz", "/readyz"] {
                assert_eq!(Request::get(probe).send_to(self.addr).status, 200, "{probe}, {number}");
            }
            let bytes = format!("number {number}");
            let stored = put("", bytes.as_bytes()).identity(&ada()).send_to(self.addr).expect_json(201);
            let id = stored["ref"]["id"].as_str().unwrap();
            let path = format!("/v1/artifacts/{id}");
            Request::get(path).identity(&ada()).send_to(self.addr).expect_bytes(bytes.as_bytes());
        }
        let listed =
            control("artifacts.list", &json!({})).identity(&ada()).send_to(self.addr).expect_json(200);
        assert_eq!(listed["total_matched"], 100);
    }

    fn assert_exits_with_0(mut self) {
        signal(self.child.id(), "TERM");
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(0), "{status}");
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not exit");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for ServerWithStderr {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_request_is_answered_while_standard_error_is_on_a_full_disk() {
    let server = ServerWithStderr::start(File::options().write(true).open("/dev/full").unwrap());
    server.assert_400_requests_answered();
    server.assert_exits_with_0();
}

#[test]
fn every_request_is_answered_while_standard_error_is_a_pipe_whose_reader_has_ended() {
    let (reader, writer) = std::io::pipe().unwrap();
    let server = ServerWithStderr::start(writer);
    drop(reader);
    server.assert_400_requests_answered();
    server.assert_exits_with_0();
}

#[test]
fn every_request_is_answered_while_nobody_reads_standard_error() {
    let (mut reader, writer) = full_pipe();
    let server = ServerWithStderr::start(writer);
    server.assert_400_requests_answered();
    server.assert_exits_with_0();
    // No log line was written into the pipe.
    let mut filled = vec![1; PIPE_BYTES];
    reader.read_exact(&mut filled).unwrap();
    assert!(filled.iter().all(|byte| *byte == 0));
}

/// The capacity of a pipe on Linux.
const PIPE_BYTES: usize = 64 * 1024;

/// A full pipe.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&vec![0; PIPE_BYTES]).unwrap();
    (reader, writer)
}

#[test]
fn nobody_has_to_read_standard_output_either() {
    let folder = TempDir::new().unwrap();
    let (_reader, writer) = full_pipe();
    let log = folder.path().join("log");
    let mut command = options().command(folder.path());
    let mut child = command.stdout(writer).stderr(File::create(&log).unwrap()).spawn().unwrap();
    let begun = Instant::now();
    while !fs::read_to_string(&log).unwrap().contains("\"listening\"") {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not serve");
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A file with a size limit simulates a disk that is full for a while. The SIGXFSZ that comes with it must not end
/// the server.
#[test]
fn when_the_log_is_writable_again_one_line_reports_the_missing_lines() {
    let (config_folder, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let log = folder.path().join("log");
    let inner = options().command(config_folder.path());
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 8; exec \"$0\" \"$@\""]).arg(inner.get_program()).args(inner.get_args());
    let server = ServerWithStderr::spawn(
        command,
        File::options().create(true).append(true).open(&log).unwrap(),
        config_folder,
    );
    server.assert_400_requests_answered();
    assert!(complete_lines(&log).len() < 100, "the file grew past its limit");

    File::options().write(true).open(&log).unwrap().set_len(0).unwrap();
    let begun = Instant::now();
    let warning = loop {
        Request::get("/healthz").send_to(server.addr);
        if let Some(warning) = complete_lines(&log).into_iter().find(|line| line["lines"].is_u64()) {
            break warning;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "no warning is logged");
    };
    assert_eq!(warning["level"], "WARN");
    assert!(warning["lines"].as_u64().unwrap() > 300, "{warning}");
    assert!(warning["message"].as_str().unwrap().contains("missing"), "{warning}");
    server.assert_exits_with_0();
    let count = complete_lines(&log).iter().filter(|line| line["lines"].is_u64()).count();
    assert_eq!(count, 1, "it is logged once");
}

/// The lines of the log that are JSON. The last one may be incomplete.
fn complete_lines(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn no_line_is_missing_at_the_end_of_a_server_whose_log_is_read() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("log");
    let server = ServerWithStderr::start(File::create(&log).unwrap());
    server.assert_400_requests_answered();
    server.assert_exits_with_0();
    let lines = complete_lines(&log);
    assert_eq!(lines.iter().filter(|line| line["message"] == "request").count(), 401);
    assert!(lines.iter().all(|line| line["lines"].is_null()));
    assert!(lines.iter().any(|line| line["message"] == "shutting down"));
}

/// If nobody can read the last log lines, the exit code reports the same.
#[test]
fn a_server_that_aborts_requests_exits_with_1_even_if_nobody_reads_its_log() {
    let (_reader, writer) = full_pipe();
    let folder = TempDir::new().unwrap();
    let command = options().set("server.shutdown_grace_period", "0s").command(folder.path());
    let mut server = ServerWithStderr::spawn(command, writer, folder);
    let mut upload = artifact_store_tests::wire::Connection::open(server.addr);
    assert!(upload.send(&put("", "").identity(&ada()).head(Some(1000))));
    let begun = Instant::now();
    // The server must have begun to read the upload, or there is nothing to abort.
    std::thread::sleep(Duration::from_millis(500));
    signal(server.child.id(), "TERM");
    let status = loop {
        if let Some(status) = server.child.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not exit");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(1));
}
