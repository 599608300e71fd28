//! A shell process that supervises a server and its directory. When this process ends, even by SIGKILL, the shell ends
//! the server and deletes the directory.
//!
//! The shell notices the end by its standard input, because the kernel closes the pipe of a dead process. The shell has
//! a separate process group: Ctrl-C in a terminal ends the tests, and the shell still has time to clean up.
//!
//! This module must never know which kind of server it supervises.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Error;
use crate::programs::User;

const SCRIPT: &str = include_str!("supervisor.sh");
/// How much of a server's log an error shows.
const TAIL_BYTES: usize = 4096;

/// How a supervisor ends its server.
#[derive(Debug, Clone)]
pub(crate) struct ShutdownOptions {
    /// The signal that asks the server to end. SIGKILL follows after ten seconds.
    pub(crate) signal: &'static str,
    /// Shell script that runs after the end of the server, before its directory is deleted.
    pub(crate) cleanup_script: String,
    /// Environment variables for the script.
    pub(crate) environment: Vec<(&'static str, String)>,
}

/// Supervises a server. Dropping it ends the server.
pub(crate) struct Supervisor {
    channel: Arc<Mutex<ShellChannel>>,
    dir: PathBuf,
}

/// The shell process, and the pipes for commands and replies.
struct ShellChannel {
    shell: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Supervisor {
    /// Starts a supervisor with an empty directory, as `user` if given.
    pub(crate) async fn new(user: Option<User>, shutdown: ShutdownOptions) -> Result<Supervisor, Error> {
        run_on_thread(move || Supervisor::spawn(user, &shutdown)).await
    }

    fn spawn(user: Option<User>, shutdown: &ShutdownOptions) -> Result<Supervisor, Error> {
        let base = std::env::temp_dir();
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "artifact-store-test"]).arg(&base).arg(shutdown.signal);
        command
            .env("CLEANUP", &shutdown.cleanup_script)
            .envs(shutdown.environment.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        if let Some(user) = user {
            command.uid(user.uid).gid(user.gid).current_dir("/");
        }
        let mut shell = command.spawn().map_err(|error| format!("sh cannot be started: {error}"))?;
        let stdin = shell.stdin.take();
        let stdout = shell.stdout.take().ok_or("the supervisor has no standard output")?;
        let mut channel = ShellChannel { shell, stdin, stdout: BufReader::new(stdout) };
        let dir = channel.read_reply().map_err(|_| {
            let who = user.map_or_else(|| "this user".to_owned(), |user| format!("user {}", user.uid));
            format!("{who} cannot create a temporary directory in {}: set TMPDIR", base.display())
        })?;
        Ok(Supervisor { channel: Arc::new(Mutex::new(channel)), dir: PathBuf::from(dir) })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs a program to its end. Returns an error with the log if the exit code is not 0.
    pub(crate) async fn run(&self, arguments: Vec<String>) -> Result<(), Error> {
        let program = arguments.first().cloned().unwrap_or_default();
        match self.command("run", arguments).await?.as_str() {
            "exit 0" => Ok(()),
            code => Err(format!("{program} ended with {code}\n{}", self.log_tail()).into()),
        }
    }

    /// Starts the server, without waiting until it is ready.
    pub(crate) async fn start(&self, arguments: Vec<String>) -> Result<(), Error> {
        self.command("start", arguments).await.map(drop)
    }

    /// Sends SIGKILL to the server and all its children, and waits until they have ended.
    pub(crate) async fn kill(&self) -> Result<(), Error> {
        self.command("kill", Vec::new()).await.map(drop)
    }

    pub(crate) async fn is_running(&self) -> Result<bool, Error> {
        Ok(self.command("alive", Vec::new()).await? == "yes")
    }

    /// Ends the server, deletes its directory, and waits for both.
    pub(crate) async fn shutdown(self) -> Result<(), Error> {
        let channel = Arc::clone(&self.channel);
        run_on_thread(move || channel.lock().unwrap_or_else(PoisonError::into_inner).shutdown()).await
    }

    /// The end of the server's log.
    pub(crate) fn log_tail(&self) -> String {
        let log = std::fs::read(self.dir.join("log")).unwrap_or_default();
        let tail = log.get(log.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
        String::from_utf8_lossy(tail).into_owned()
    }

    async fn command(&self, command: &'static str, arguments: Vec<String>) -> Result<String, Error> {
        if arguments.iter().any(|argument| argument.is_empty() || argument.contains('\n')) {
            return Err("an argument of a server is empty or has several lines".into());
        }
        let channel = Arc::clone(&self.channel);
        run_on_thread(move || {
            let mut channel = channel.lock().unwrap_or_else(PoisonError::into_inner);
            channel.send_command(command, &arguments)?;
            channel.read_reply()
        })
        .await
    }
}

impl ShellChannel {
    fn send_command(&mut self, command: &str, arguments: &[String]) -> Result<(), Error> {
        let mut text = format!("{command}\n");
        if matches!(command, "run" | "start") {
            for argument in arguments {
                text.push_str(argument);
                text.push('\n');
            }
            text.push('\n');
        }
        let stdin = self.stdin.as_mut().ok_or("the supervisor has ended")?;
        stdin.write_all(text.as_bytes())?;
        Ok(stdin.flush()?)
    }

    fn shutdown(&mut self) -> Result<(), Error> {
        self.stdin = None;
        Ok(self.shell.wait().map(drop)?)
    }

    fn read_reply(&mut self) -> Result<String, Error> {
        let mut text = String::new();
        if self.stdout.read_line(&mut text)? == 0 {
            return Err("the supervisor has ended".into());
        }
        Ok(text.trim_end().to_owned())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let channel = Arc::clone(&self.channel);
        // Waits for the shell, so that no zombie is left. A command in progress finishes first.
        std::thread::spawn(move || {
            channel.lock().unwrap_or_else(PoisonError::into_inner).shutdown().unwrap_or_default();
        });
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Runs `work` on a separate thread. Unlike for `spawn_blocking`, a runtime that shuts down does not wait for it.
async fn run_on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().spawn(move || drop(sender.send(work())))?;
    receiver.await?
}
