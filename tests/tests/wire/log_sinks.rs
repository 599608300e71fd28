//! A log that cannot be written: whatever becomes of standard error, requests are answered and the server ends in order.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use artifact_store_tests::wire::{Options, Request, control, keys, put, signal};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ada;

/// A server whose standard error is of the test's choosing.
struct Served {
    child: Child,
    addr: SocketAddr,
    _home: TempDir,
}

fn options() -> Options {
    Options::new()
        .set("server.bind_addr", "127.0.0.1:0")
        .set("identity.jwks_file", json!(keys().jwks()))
        .set("artifacts.driver", "inmem")
}

impl Served {
    fn start(stderr: impl Into<Stdio>) -> Self {
        let home = TempDir::new().unwrap();
        let command = options().command(home.path());
        Self::of(command, stderr, home)
    }

    fn of(mut command: Command, stderr: impl Into<Stdio>, home: TempDir) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr =
            line.trim_end().strip_prefix("artifactd listens on http://").expect(&line).parse().unwrap();
        Self { child, addr, _home: home }
    }

    /// Hundred requests of each kind, all of which are answered, and what was put is there.
    fn answers_400(&self) {
        for number in 0..100 {
            for probe in ["/healthz", "/readyz"] {
                assert_eq!(Request::get(probe).send_to(self.addr).status, 200, "{probe}, {number}");
            }
            let bytes = format!("number {number}");
            let stored = put("", bytes.as_bytes()).by(&ada()).send_to(self.addr).ok(201);
            let id = stored["ref"]["id"].as_str().unwrap();
            let path = format!("/v1/artifacts/{id}");
            Request::get(path).by(&ada()).send_to(self.addr).ok_bytes(bytes.as_bytes());
        }
        let listed = control("artifacts.list", &json!({})).by(&ada()).send_to(self.addr).ok(200);
        assert_eq!(listed["total_matched"], 100);
    }

    fn ends_with_0(mut self) {
        signal(self.child.id(), "TERM");
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(0), "{status}");
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_request_is_answered_while_standard_error_is_on_a_full_disk() {
    let served = Served::start(File::options().write(true).open("/dev/full").unwrap());
    served.answers_400();
    served.ends_with_0();
}

#[test]
fn every_request_is_answered_while_standard_error_is_a_pipe_whose_reader_has_ended() {
    let (reader, writer) = std::io::pipe().unwrap();
    let served = Served::start(writer);
    drop(reader);
    served.answers_400();
    served.ends_with_0();
}

#[test]
fn every_request_is_answered_while_nobody_reads_standard_error() {
    let (mut reader, writer) = full_pipe();
    let served = Served::start(writer);
    served.answers_400();
    served.ends_with_0();
    // Nothing of the log found its way in.
    let mut filled = vec![1; PIPE];
    reader.read_exact(&mut filled).unwrap();
    assert!(filled.iter().all(|byte| *byte == 0));
}

/// What a pipe of Linux holds.
const PIPE: usize = 64 * 1024;

/// A pipe that takes no byte more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&vec![0; PIPE]).unwrap();
    (reader, writer)
}

#[test]
fn nobody_has_to_read_standard_output_either() {
    let home = TempDir::new().unwrap();
    let (_reader, writer) = full_pipe();
    let log = home.path().join("log");
    let mut command = options().command(home.path());
    let mut child = command.stdout(writer).stderr(File::create(&log).unwrap()).spawn().unwrap();
    let begun = Instant::now();
    while !fs::read_to_string(&log).unwrap().contains("\"listening\"") {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not serve");
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A file that may grow no further stands for a disk that is full for a while; the signal that comes with it ends nobody.
#[test]
fn once_the_log_can_be_written_again_one_line_says_how_many_are_missing() {
    let (home, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let log = folder.path().join("log");
    let inner = options().command(home.path());
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 8; exec \"$0\" \"$@\""]).arg(inner.get_program()).args(inner.get_args());
    let served = Served::of(command, File::options().create(true).append(true).open(&log).unwrap(), home);
    served.answers_400();
    assert!(whole_lines(&log).len() < 100, "the file did grow");

    File::options().write(true).open(&log).unwrap().set_len(0).unwrap();
    let begun = Instant::now();
    let told = loop {
        Request::get("/healthz").send_to(served.addr);
        if let Some(told) = whole_lines(&log).into_iter().find(|line| line["lines"].is_u64()) {
            break told;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing is told");
    };
    assert_eq!(told["level"], "WARN");
    assert!(told["lines"].as_u64().unwrap() > 300, "{told}");
    assert!(told["message"].as_str().unwrap().contains("missing"), "{told}");
    served.ends_with_0();
    let again = whole_lines(&log).iter().filter(|line| line["lines"].is_u64()).count();
    assert_eq!(again, 1, "it is told once");
}

/// The lines of the log that are JSON; the last one may be torn.
fn whole_lines(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn no_line_is_missing_at_the_end_of_a_server_whose_log_is_read() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("log");
    let served = Served::start(File::create(&log).unwrap());
    served.answers_400();
    served.ends_with_0();
    let lines = whole_lines(&log);
    assert_eq!(lines.iter().filter(|line| line["message"] == "request").count(), 401);
    assert!(lines.iter().all(|line| line["lines"].is_null()));
    assert!(lines.iter().any(|line| line["message"] == "shutting down"));
}

/// Where the last words have nobody to be read by, the exit code tells the same.
#[test]
fn a_server_that_cuts_requests_off_ends_with_1_though_nobody_reads_why() {
    let (_reader, writer) = full_pipe();
    let home = TempDir::new().unwrap();
    let command = options().set("server.shutdown_grace_period", "0s").command(home.path());
    let mut served = Served::of(command, writer, home);
    let mut upload = artifact_store_tests::wire::Connection::open(served.addr);
    assert!(upload.send(&put("", "").by(&ada()).head(Some(1000))));
    let begun = Instant::now();
    // Until it has begun to read the upload, there is nothing to cut off.
    std::thread::sleep(Duration::from_millis(500));
    signal(served.child.id(), "TERM");
    let status = loop {
        if let Some(status) = served.child.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(1));
}
