//! Nothing is left of a server when the process that asked for it is gone, however it went.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use artifact_store_backends::{Postgres, S3, S3Kind, Via};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

/// `backends up`, with a folder for temporary files of its own.
struct Backends {
    program: Child,
    folder: TempDir,
    addresses: Vec<String>,
}

impl Backends {
    fn up(servers: &[&str]) -> Backends {
        let folder = tempfile::tempdir().unwrap();
        // PostgreSQL may have to run as somebody else, who makes a folder in it.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_backends"))
            .arg("up")
            .args(servers)
            .args(["--via", "local"])
            .env("TMPDIR", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let lines: Vec<String> = lines.map(Result::unwrap).take_while(|line| line != "ready").collect();
        let between = |line: &String| {
            line.split(['@', '/', '\'']).find(|part| part.starts_with("127.")).map(str::to_owned)
        };
        let addresses: Vec<String> = lines.iter().filter_map(between).collect();
        assert_eq!(addresses.len(), servers.len(), "{lines:?}");
        Backends { program, folder, addresses }
    }

    fn signal(&self, signal: &str) {
        let pid = self.program.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// PostgreSQL's lock file: its process, and the shared memory that it has.
    fn lock_file(&self) -> (String, String) {
        let mut folders = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let text =
            folders.find_map(|folder| fs::read_to_string(folder.join("data/postmaster.pid")).ok()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        (lines[0].to_owned(), lines[6].split_whitespace().last().unwrap().to_owned())
    }

    fn nothing_is_left(mut self) {
        self.program.wait().unwrap();
        eventually("its folder is empty", || fs::read_dir(self.folder.path()).unwrap().next().is_none());
        for address in &self.addresses {
            assert!(TcpStream::connect(address).is_err(), "{address} still answers");
        }
    }
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let by = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < by, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn nothing_is_left_after_sigkill() {
    let backends = Backends::up(&["postgres", "garage", "s3s-fs"]);
    backends.signal("KILL");
    backends.nothing_is_left();
}

#[test]
fn nothing_is_left_after_sigterm() {
    let backends = Backends::up(&["postgres", "s3s-fs"]);
    backends.signal("TERM");
    backends.nothing_is_left();
}

#[test]
fn nothing_is_left_when_standard_input_ends() {
    let mut backends = Backends::up(&["s3s-fs"]);
    drop(backends.program.stdin.take());
    backends.nothing_is_left();
}

#[test]
fn a_killed_postgresql_leaves_no_shared_memory() {
    let backends = Backends::up(&["postgres"]);
    let (process, memory) = backends.lock_file();
    let is_there = || Command::new("ipcs").args(["-m", "-i", &memory]).output().unwrap();
    assert!(String::from_utf8_lossy(&is_there().stdout).contains("shmid="));
    assert!(Command::new("kill").args(["-s", "KILL", &process]).status().unwrap().success());
    backends.signal("KILL");
    backends.nothing_is_left();
    assert!(!String::from_utf8_lossy(&is_there().stdout).contains("shmid="));
}

#[tokio::test]
async fn a_server_of_ones_own_is_gone_when_it_ends() {
    let postgres = Postgres::own().await.unwrap();
    let address = postgres.address();
    TcpStream::connect(address).unwrap();
    postgres.end().await.unwrap();
    TcpStream::connect(address).unwrap_err();
}

#[tokio::test]
async fn a_server_of_ones_own_is_gone_soon_after_it_is_dropped() {
    let s3 = S3::via(S3Kind::S3sFs, Some(Via::Local)).await.unwrap();
    let address = s3.address();
    TcpStream::connect(address).unwrap();
    drop(s3);
    eventually("it does not listen", || TcpStream::connect(address).is_err());
}
