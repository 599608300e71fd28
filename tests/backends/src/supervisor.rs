//! A small shell that keeps a server and its folder, and ends both when this process ends, even by SIGKILL.
//!
//! The life line is the shell's standard input: the kernel closes our end whatever happens to us. The shell stands in
//! a process group of its own, so that Ctrl-C at a terminal ends the tests and leaves it the time to clean up.
//!
//! It must never know what kind of server it keeps.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Error;
use crate::programs::User;

const SCRIPT: &str = include_str!("supervisor.sh");
/// As much of a server's log as an error shows.
const TAIL_BYTES: usize = 4096;

/// How a supervisor ends what it keeps.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    /// The signal that asks the server to end; SIGKILL follows ten seconds later.
    pub(crate) signal: &'static str,
    /// Shell text that runs when the server has ended, before the folder goes.
    pub(crate) finally: String,
    /// What that text reads.
    pub(crate) environment: Vec<(&'static str, String)>,
}

/// A server's keeper. Dropping it ends the server.
pub(crate) struct Supervisor {
    line: Arc<Mutex<Line>>,
    folder: PathBuf,
}

struct Line {
    shell: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Supervisor {
    /// Starts a keeper with an empty folder; as another user, if one is named.
    pub(crate) async fn new(user: Option<User>, ending: Ending) -> Result<Supervisor, Error> {
        off_thread(move || Supervisor::spawn(user, &ending)).await
    }

    fn spawn(user: Option<User>, ending: &Ending) -> Result<Supervisor, Error> {
        let base = std::env::temp_dir();
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "artifact-store-test"]).arg(&base).arg(ending.signal);
        command
            .env("FINALLY", &ending.finally)
            .envs(ending.environment.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        if let Some(user) = user {
            command.uid(user.uid).gid(user.gid).current_dir("/");
        }
        let mut shell = command.spawn().map_err(|error| format!("sh cannot be started: {error}"))?;
        let orders = shell.stdin.take();
        let answers = shell.stdout.take().ok_or("the supervisor has no standard output")?;
        let mut line = Line { shell, orders, answers: BufReader::new(answers) };
        let folder = line.answer().map_err(|_| {
            let whom = user.map_or_else(|| "this user".to_owned(), |user| format!("user {}", user.uid));
            format!("no temporary folder can be made in {} by {whom}: set TMPDIR", base.display())
        })?;
        Ok(Supervisor { line: Arc::new(Mutex::new(line)), folder: PathBuf::from(folder) })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a program to its end; anything but success is an error that shows the log.
    pub(crate) async fn run(&self, arguments: Vec<String>) -> Result<(), Error> {
        let program = arguments.first().cloned().unwrap_or_default();
        match self.order("run", arguments).await?.as_str() {
            "exit 0" => Ok(()),
            code => Err(format!("{program} ended with {code}\n{}", self.log_tail()).into()),
        }
    }

    /// Starts the server, and does not wait until it answers.
    pub(crate) async fn start(&self, arguments: Vec<String>) -> Result<(), Error> {
        self.order("start", arguments).await.map(drop)
    }

    /// SIGKILL to the server and all its children; returns when they are gone.
    pub(crate) async fn kill(&self) -> Result<(), Error> {
        self.order("kill", Vec::new()).await.map(drop)
    }

    pub(crate) async fn alive(&self) -> Result<bool, Error> {
        Ok(self.order("alive", Vec::new()).await? == "yes")
    }

    /// Ends the server, and returns when it is gone and its folder, too.
    pub(crate) async fn end(self) -> Result<(), Error> {
        let line = Arc::clone(&self.line);
        off_thread(move || line.lock().unwrap_or_else(PoisonError::into_inner).end()).await
    }

    /// The end of what the server wrote.
    pub(crate) fn log_tail(&self) -> String {
        let log = std::fs::read(self.folder.join("log")).unwrap_or_default();
        let tail = log.get(log.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
        String::from_utf8_lossy(tail).into_owned()
    }

    async fn order(&self, word: &'static str, arguments: Vec<String>) -> Result<String, Error> {
        if arguments.iter().any(|argument| argument.is_empty() || argument.contains('\n')) {
            return Err("a server's argument is empty or of several lines".into());
        }
        let line = Arc::clone(&self.line);
        off_thread(move || {
            let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
            line.order(word, &arguments)?;
            line.answer()
        })
        .await
    }
}

impl Line {
    fn order(&mut self, word: &str, arguments: &[String]) -> Result<(), Error> {
        let mut text = format!("{word}\n");
        if matches!(word, "run" | "start") {
            for argument in arguments {
                text.push_str(argument);
                text.push('\n');
            }
            text.push('\n');
        }
        let orders = self.orders.as_mut().ok_or("the supervisor has ended")?;
        orders.write_all(text.as_bytes())?;
        Ok(orders.flush()?)
    }

    fn end(&mut self) -> Result<(), Error> {
        self.orders = None;
        Ok(self.shell.wait().map(drop)?)
    }

    fn answer(&mut self) -> Result<String, Error> {
        let mut text = String::new();
        if self.answers.read_line(&mut text)? == 0 {
            return Err("the supervisor has ended".into());
        }
        Ok(text.trim_end().to_owned())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let line = Arc::clone(&self.line);
        // Waits, so that no zombie is left; an order on its way comes to its end first.
        std::thread::spawn(move || {
            line.lock().unwrap_or_else(PoisonError::into_inner).end().unwrap_or_default();
        });
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Runs `work` on a thread of its own: a runtime that shuts down does not wait for it, as it would for its own threads.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().spawn(move || drop(sender.send(work())))?;
    receiver.await?
}
