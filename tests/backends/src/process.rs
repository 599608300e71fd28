//! A server as a local process: it starts, answers, is killed, and starts again at the same place.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::Error;
use crate::ready::Protocol;
use crate::supervisor::Supervisor;

/// A server has so long to come up: recovery after a kill on a slow disk is in it.
const UP: Duration = Duration::from_mins(1);
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(20);

/// A process under a supervisor.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) supervisor: Supervisor,
    pub(crate) arguments: Vec<String>,
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
}

impl Process {
    /// Starts it and returns when it answers.
    pub(crate) async fn start(&self) -> Result<(), Error> {
        if self.supervisor.alive().await? {
            return Err(format!("the server at {} runs already", self.address).into());
        }
        self.supervisor.start(self.arguments.clone()).await?;
        let by = Instant::now() + UP;
        loop {
            let answer = self.protocol.ask(self.address).await;
            // In this order: an answer counts only from a server that is still there, and not from who took its port.
            let alive = self.supervisor.alive().await?;
            match answer {
                Ok(()) if alive => return Ok(()),
                Err(error) if alive && Instant::now() >= by => return Err(self.failed(&error.to_string())),
                _ if !alive => return Err(self.failed("it ended")),
                _ => tokio::time::sleep(BETWEEN_QUESTIONS).await,
            }
        }
    }

    pub(crate) async fn kill(&self) -> Result<(), Error> {
        self.supervisor.kill().await
    }

    fn failed(&self, why: &str) -> Error {
        let program = self.arguments.first().map_or("", String::as_str);
        format!("{program} does not come up at {}: {why}\n{}", self.address, self.supervisor.log_tail())
            .into()
    }
}
