//! A server as a local process, which can be started, killed, and started again at the same address.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::readiness::Protocol;
use crate::supervisor::Supervisor;
use crate::{Error, ports};

/// The time limit for a start, including recovery after a kill on a slow disk.
const STARTUP_TIMEOUT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A process under a supervisor.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    pub(crate) supervisor: Supervisor,
    pub(crate) arguments: Vec<String>,
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
}

impl ServerProcess {
    /// Starts the command that `command_line` makes for its address. Tries another port if the first one was taken in
    /// the meantime.
    pub(crate) async fn launch(
        mut self,
        command_line: impl Fn(&ServerProcess) -> Result<Vec<String>, Error>,
    ) -> Result<ServerProcess, Error> {
        let mut attempts = 0;
        loop {
            self.address = ports::find_free()?;
            self.arguments = command_line(&self)?;
            let Err(error) = self.start().await else { return Ok(self) };
            attempts += 1;
            if attempts == 3 || self.supervisor.is_running().await? {
                return Err(error);
            }
        }
    }

    /// Starts the server and waits until it is ready.
    pub(crate) async fn start(&self) -> Result<(), Error> {
        if self.supervisor.is_running().await? {
            return Err(format!("the server at {} is already running", self.address).into());
        }
        self.supervisor.start(self.arguments.clone()).await?;
        let deadline = Instant::now() + STARTUP_TIMEOUT;
        loop {
            let probed = self.protocol.probe(self.address).await;
            // Checked after the probe: a response counts only if the server is still running. Otherwise another process
            // may have taken its port.
            let is_running = self.supervisor.is_running().await?;
            match probed {
                Ok(()) if is_running => return Ok(()),
                Err(error) if is_running && Instant::now() >= deadline => {
                    return Err(self.startup_error(&error.to_string()));
                }
                _ if !is_running => return Err(self.startup_error("it ended")),
                _ => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }

    pub(crate) async fn kill(&self) -> Result<(), Error> {
        self.supervisor.kill().await
    }

    fn startup_error(&self, reason: &str) -> Error {
        let program = self.arguments.first().map_or("", String::as_str);
        format!("{program} did not start at {}: {reason}\n{}", self.address, self.supervisor.log_tail())
            .into()
    }
}
