//! Nothing is left of a server after the process that started it has ended, in whatever way.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use artifact_store_backends::{LaunchMethod, Postgres, S3, S3Kind};
use tempfile::TempDir;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A running `backends up`, with a separate directory for temporary files.
struct Backends {
    program: Child,
    temp_dir: TempDir,
    addresses: Vec<String>,
}

impl Backends {
    fn up(servers: &[&str]) -> Backends {
        let temp_dir = tempfile::tempdir().unwrap();
        // PostgreSQL may have to run as another user, who creates a directory in it.
        fs::set_permissions(temp_dir.path(), Permissions::from_mode(0o1777)).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_backends"))
            .arg("up")
            .args(servers)
            .args(["--via", "local"])
            .env("TMPDIR", temp_dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let lines: Vec<String> = lines.map(Result::unwrap).take_while(|line| line != "ready").collect();
        let find_address = |line: &String| {
            line.split(['@', '/', '\'']).find(|part| part.starts_with("127.")).map(str::to_owned)
        };
        let addresses: Vec<String> = lines.iter().filter_map(find_address).collect();
        assert_eq!(addresses.len(), servers.len(), "{lines:?}");
        Backends { program, temp_dir, addresses }
    }

    fn signal(&self, signal: &str) {
        let pid = self.program.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// Reads PostgreSQL's lock file. Returns the process id and the id of the shared memory.
    fn lock_file(&self) -> (String, String) {
        let mut temp_dirs = fs::read_dir(self.temp_dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let text = temp_dirs
            .find_map(|temp_dir| fs::read_to_string(temp_dir.join("data/postmaster.pid")).ok())
            .unwrap();
        let lines: Vec<&str> = text.lines().collect();
        (lines[0].to_owned(), lines[6].split_whitespace().last().unwrap().to_owned())
    }

    fn assert_nothing_left(mut self) {
        self.program.wait().unwrap();
        wait_until("its directory is empty", || fs::read_dir(self.temp_dir.path()).unwrap().next().is_none());
        for address in &self.addresses {
            assert!(TcpStream::connect(address).is_err(), "{address} still responds");
        }
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {TIMEOUT:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn nothing_is_left_after_sigkill() {
    let backends = Backends::up(&["postgres", "garage", "s3s-fs"]);
    backends.signal("KILL");
    backends.assert_nothing_left();
}

#[test]
fn nothing_is_left_after_sigterm() {
    let backends = Backends::up(&["postgres", "s3s-fs"]);
    backends.signal("TERM");
    backends.assert_nothing_left();
}

#[test]
fn nothing_of_moto_is_left_after_sigkill() {
    let backends = Backends::up(&["moto"]);
    backends.signal("KILL");
    backends.assert_nothing_left();
}

#[test]
fn nothing_is_left_when_standard_input_ends() {
    let mut backends = Backends::up(&["s3s-fs"]);
    drop(backends.program.stdin.take());
    backends.assert_nothing_left();
}

#[test]
fn a_killed_postgresql_leaves_no_shared_memory() {
    let backends = Backends::up(&["postgres"]);
    let (process, memory) = backends.lock_file();
    let is_there = || Command::new("ipcs").args(["-m", "-i", &memory]).output().unwrap();
    assert!(String::from_utf8_lossy(&is_there().stdout).contains("shmid="));
    assert!(Command::new("kill").args(["-s", "KILL", &process]).status().unwrap().success());
    backends.signal("KILL");
    backends.assert_nothing_left();
    assert!(!String::from_utf8_lossy(&is_there().stdout).contains("shmid="));
}

#[tokio::test]
async fn a_dedicated_server_has_ended_after_shutdown() {
    let postgres = Postgres::dedicated().await.unwrap();
    let address = postgres.address();
    TcpStream::connect(address).unwrap();
    postgres.shutdown().await.unwrap();
    TcpStream::connect(address).unwrap_err();
}

#[tokio::test]
async fn a_dedicated_server_ends_soon_after_it_is_dropped() {
    let s3 = S3::launch(S3Kind::S3sFs, Some(LaunchMethod::Local)).await.unwrap();
    let address = s3.address();
    TcpStream::connect(address).unwrap();
    drop(s3);
    wait_until("it does not listen", || TcpStream::connect(address).is_err());
}
