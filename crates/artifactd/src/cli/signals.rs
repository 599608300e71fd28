//! The signals of the process and the reaction to each. This module must never know what runs when a signal arrives.
//!
//! SIGTERM, SIGINT and SIGQUIT shut a server down gracefully. For `dev`, SIGHUP does the same, because this signal
//! means that the terminal was closed. For `serve`, SIGHUP reloads the configuration. SIGUSR1 and SIGUSR2 are ignored
//! with a warning.

use std::future::pending;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::CommandError;
use crate::log;

/// The reaction of a server to SIGHUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HangupAction {
    /// SIGHUP shuts the server down gracefully. SIGHUP has no effect if the parent process set it to be ignored, as
    /// `nohup` does.
    Shutdown,
    /// SIGHUP reloads the configuration.
    Reload,
}

/// The signals that a server handles.
#[derive(Debug)]
pub(super) struct ServerSignals {
    pub(super) shutdown: ShutdownSignals,
    /// SIGHUP, if it reloads the configuration. Otherwise `None`.
    pub(super) reload: Option<Signal>,
}

/// The signals that shut a server down.
#[derive(Debug)]
pub(super) struct ShutdownSignals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    /// `None` if SIGHUP reloads the configuration or is ignored.
    hangup: Option<Signal>,
}

impl ServerSignals {
    /// Registers the handlers. A signal that arrives before the first wait is not lost. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// A handler cannot be registered.
    pub(super) fn listen(action: HangupAction) -> Result<Self, CommandError> {
        Self::register(action)
            .map_err(|error| CommandError::failed(format!("cannot register signal handlers: {error}")))
    }

    fn register(action: HangupAction) -> std::io::Result<Self> {
        let (reload, hangup) = match action {
            HangupAction::Reload => (Some(signal(SignalKind::hangup())?), None),
            HangupAction::Shutdown if hangup_is_ignored() => (None, None),
            HangupAction::Shutdown => (None, Some(signal(SignalKind::hangup())?)),
        };
        let shutdown = ShutdownSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup,
        };
        for (kind, name) in
            [(SignalKind::user_defined1(), "SIGUSR1"), (SignalKind::user_defined2(), "SIGUSR2")]
        {
            tokio::spawn(warn_when_ignored(signal(kind)?, name));
        }
        Ok(Self { shutdown, reload })
    }
}

/// Logs a warning whenever `signal` arrives. `name` is the name of the signal.
async fn warn_when_ignored(mut signal: Signal, name: &'static str) {
    while signal.recv().await.is_some() {
        tracing::warn!("{name} is ignored; to stop the server, send SIGTERM");
    }
}

impl ShutdownSignals {
    /// Waits for one of the signals.
    pub(super) async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
            () = recv_optional(self.hangup.as_mut()) => {}
        }
    }

    /// Waits for the first signal. After that, a second signal ends the process immediately with exit code 1.
    pub(super) async fn recv_first(mut self) {
        self.recv().await;
        tokio::spawn(async move {
            self.recv().await;
            log::flush_briefly();
            std::process::exit(1);
        });
    }
}

/// Waits for a signal. Waits forever if `signal` is `None`.
async fn recv_optional(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => pending().await,
    }
}

/// Waits for SIGINT, SIGTERM or SIGHUP, which end a command that is not a server. SIGHUP has no effect if the parent
/// process set it to be ignored. Returns the error with the exit code of the signal.
pub(super) async fn wait_for_signal() -> CommandError {
    let hangup = if hangup_is_ignored() { None } else { Some(SignalKind::hangup()) };
    tokio::select! {
        () = wait_for_kind(Some(SignalKind::interrupt())) => CommandError::from_signal(2, "interrupted"),
        () = wait_for_kind(Some(SignalKind::terminate())) => CommandError::from_signal(15, "terminated"),
        () = wait_for_kind(hangup) => CommandError::from_signal(1, "hung up"),
    }
}

/// Waits for a signal of this kind. Waits forever if `kind` is `None`.
async fn wait_for_kind(kind: Option<SignalKind>) {
    // If the handler cannot be registered, this waits forever, and the default action of the signal ends the process.
    match kind.and_then(|kind| signal(kind).ok()) {
        Some(mut signal) => drop(signal.recv().await),
        None => pending().await,
    }
}

/// Handles SIGXFSZ. Without a handler, a write beyond the limit of file sizes (`ulimit -f`) ends the process. With a
/// handler, the write fails. Must be called within a tokio runtime.
pub(super) fn handle_file_size_signal() {
    // 25 is the number of SIGXFSZ on Linux (x86, ARM, RISC-V), the BSDs and macOS. The handler stays registered after
    // the returned listener is dropped.
    #[cfg(not(any(target_arch = "mips", target_arch = "mips64", target_arch = "sparc64")))]
    let _ = signal(SignalKind::from_raw(25));
}

/// Whether the parent process set SIGHUP to be ignored. False on a system without `/proc`.
fn hangup_is_ignored() -> bool {
    // Bit 0 of the mask is signal 1, which is SIGHUP.
    const HANGUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & HANGUP != 0)
}
