//! The server under attack: the real program, with standard error connected as the attack needs it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use artifact_store_core::BoxError;
use artifact_store_tests::wire::{ServerOptions, signal, signing_key};
use serde_json::json;
use tempfile::TempDir;

use super::attacks::{Attack, StderrTarget};

/// How long the program may take to exit.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct AttackedServer {
    _folder: TempDir,
    child: Child,
    addr: SocketAddr,
}

impl AttackedServer {
    pub(crate) fn start(driver: &str, attack: &Attack) -> Result<Self, BoxError> {
        let folder = TempDir::new()?;
        let mut options = ServerOptions::new()
            .set("server.bind_addr", "127.0.0.1:0")
            .set("identity.jwks_file", json!(signing_key().jwks()))
            .set("artifacts.driver", driver);
        if driver == "sqlite" {
            options = options.set("artifacts.dsn", json!(folder.path().join("data.db")));
        }
        for (key, value) in attack.options {
            options = options.set(key, *value);
        }
        let stderr = match attack.stderr {
            StderrTarget::File => Stdio::from(File::create(folder.path().join("log"))?),
            StderrTarget::Full => Stdio::from(File::options().write(true).open("/dev/full")?),
            StderrTarget::Unread | StderrTarget::Closed => Stdio::piped(),
        };
        let mut child = options.command(folder.path()).stdout(Stdio::piped()).stderr(stderr).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("standard output is not captured")?).read_line(&mut line)?;
        let addr = line.trim().strip_prefix("artifactd listens on http://");
        let addr = addr.ok_or_else(|| format!("unexpected first line of the server: {line:?}"))?.parse()?;
        if matches!(attack.stderr, StderrTarget::Closed) {
            drop(child.stderr.take());
        }
        Ok(Self { _folder: folder, child, addr })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The processor time that the server has used, in milliseconds (proc(5): ticks of 10 ms).
    pub(crate) fn cpu_millis(&self) -> Result<u64, BoxError> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| {
            fields.get(at).ok_or("/proc/PID/stat has too few fields")?.parse::<u64>().map_err(BoxError::from)
        };
        Ok((ticks(11)? + ticks(12)?) * 10)
    }

    /// Sends SIGTERM, waits, and returns how the server exited.
    pub(crate) fn stop(&mut self) -> Result<String, BoxError> {
        signal(self.child.id(), "TERM");
        let begun = Instant::now();
        while begun.elapsed() < TIMEOUT {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status
                    .code()
                    .map_or_else(|| "a signal".into(), |code| format!("exit code {code}")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok("no exit code: it does not exit".into())
    }
}

impl Drop for AttackedServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
