//! The signals of a process, and what each of them means here.
//!
//! SIGTERM, SIGINT and SIGQUIT end a server in order. SIGHUP ends `dev` in order, whose terminal is closed, and makes `serve` read
//! its configuration again. SIGUSR1 and SIGUSR2 mean nothing, and say so.

use std::future::pending;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use crate::log;

/// What SIGHUP means to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hangup {
    /// The end, in order; nothing where whoever started the process has it ignored, as `nohup` does.
    Ends,
    /// The configuration is to be read again.
    Reloads,
}

/// The signals that a server listens to.
#[derive(Debug)]
pub(super) struct Signals {
    /// Those that end it.
    pub(super) end: End,
    /// SIGHUP, where it means to reload.
    pub(super) reload: Option<Signal>,
}

/// The signals that end a server.
#[derive(Debug)]
pub(super) struct End {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// Listens from here on: a signal that comes before somebody waits for it is not lost.
    ///
    /// # Errors
    /// Where the system does not pass on signals.
    pub(super) fn listen(hangup: Hangup) -> Result<Self, Failure> {
        let signals = Self::new(hangup);
        signals.map_err(|error| Failure::failed(format!("the system does not pass on signals: {error}")))
    }

    fn new(hangup: Hangup) -> std::io::Result<Self> {
        let listens = match hangup {
            Hangup::Reloads => true,
            Hangup::Ends => !hangup_is_ignored(),
        };
        let heard = listens.then(|| signal(SignalKind::hangup())).transpose()?;
        let (reload, hangup) = if hangup == Hangup::Reloads { (heard, None) } else { (None, heard) };
        let end = End {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup,
        };
        for (kind, name) in
            [(SignalKind::user_defined1(), "SIGUSR1"), (SignalKind::user_defined2(), "SIGUSR2")]
        {
            tokio::spawn(disregard(signal(kind)?, name));
        }
        Ok(Self { end, reload })
    }
}

/// Says of each signal that it means nothing.
async fn disregard(mut signal: Signal, name: &'static str) {
    while signal.recv().await.is_some() {
        tracing::warn!("{name} means nothing to this server; SIGTERM ends it");
    }
}

impl End {
    /// Waits for one of them.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
            () = next(self.hangup.as_mut()) => {}
        }
    }

    /// Waits for the first one. A second one ends the process where it stands.
    pub(super) async fn first(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            log::flush_at_once();
            std::process::exit(1);
        });
    }
}

/// Waits for a signal that may not be listened to.
async fn next(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => pending().await,
    }
}

/// Waits until a command that is no server is asked to end.
pub(super) async fn ended() -> Failure {
    let hangup = if hangup_is_ignored() { None } else { Some(SignalKind::hangup()) };
    tokio::select! {
        () = heard(Some(SignalKind::interrupt())) => Failure::signalled(2, "interrupted"),
        () = heard(Some(SignalKind::terminate())) => Failure::signalled(15, "terminated"),
        () = heard(hangup) => Failure::signalled(1, "hung up"),
    }
}

async fn heard(kind: Option<SignalKind>) {
    // Without a handler the signal ends the process by itself.
    match kind.and_then(|kind| signal(kind).ok()) {
        Some(mut signal) => drop(signal.recv().await),
        None => pending().await,
    }
}

/// Makes a write past the largest size of files that the process may make (`ulimit -f`) fail, in place of ending the process. Needs
/// a runtime.
pub(super) fn outlive_large_files() {
    // SIGXFSZ of Linux on x86, ARM and RISC-V, of the BSDs and of macOS. The handler stays when the listener is gone.
    #[cfg(not(any(target_arch = "mips", target_arch = "mips64", target_arch = "sparc64")))]
    let _ = signal(SignalKind::from_raw(25));
}

/// Whether whoever started this process has SIGHUP ignored. Where the system does not tell, it is not.
fn hangup_is_ignored() -> bool {
    const HANGUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & HANGUP != 0)
}
