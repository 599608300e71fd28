//! A server of any origin: start, kill and shutdown.

use crate::Error;
use crate::docker::Container;
use crate::process::ServerProcess;

/// Where a server runs.
#[derive(Debug)]
pub(crate) enum ServerHost {
    /// The address was given in the environment.
    External,
    Process(ServerProcess),
    Container(Container),
}

/// A server, and whether tests share it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) host: ServerHost,
    pub(crate) shared: bool,
}

impl Server {
    /// Sends SIGKILL to all processes of the server.
    pub(crate) async fn kill(&self) -> Result<(), Error> {
        match self.require_dedicated()? {
            ServerHost::Process(process) => process.kill().await,
            ServerHost::Container(container) => container.kill().await,
            ServerHost::External => Err(EXTERNAL_SERVER.into()),
        }
    }

    /// Starts the server again, with the same address and data, and waits until it is ready.
    pub(crate) async fn start(&self) -> Result<(), Error> {
        match self.require_dedicated()? {
            ServerHost::Process(process) => process.start().await,
            ServerHost::Container(container) => container.start().await,
            ServerHost::External => Err(EXTERNAL_SERVER.into()),
        }
    }

    /// Ends the server and waits until it has ended.
    pub(crate) async fn shutdown(self) -> Result<(), Error> {
        match self.host {
            ServerHost::Process(process) => process.supervisor.shutdown().await,
            ServerHost::Container(container) => container.shutdown().await,
            ServerHost::External => Ok(()),
        }
    }

    fn require_dedicated(&self) -> Result<&ServerHost, Error> {
        if self.shared {
            return Err("other tests share this server; use a dedicated server to kill and start it".into());
        }
        Ok(&self.host)
    }
}

const EXTERNAL_SERVER: &str = "this server was given by its address and cannot be killed or started";
