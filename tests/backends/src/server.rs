//! A server, wherever it came from, and who may kill it.

use crate::Error;
use crate::docker::Container;
use crate::process::Process;

/// Where a server runs.
#[derive(Debug)]
pub(crate) enum Place {
    /// Somebody named its address.
    Given,
    Process(Process),
    Container(Container),
}

/// A server and who uses it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) place: Place,
    pub(crate) shared: bool,
}

impl Server {
    /// SIGKILL to all of it.
    pub(crate) async fn kill(&self) -> Result<(), Error> {
        match self.own()? {
            Place::Process(process) => process.kill().await,
            Place::Container(container) => container.kill().await,
            Place::Given => Err(NOT_OURS.into()),
        }
    }

    /// Starts it again at the same address with the same data; returns when it answers.
    pub(crate) async fn start(&self) -> Result<(), Error> {
        match self.own()? {
            Place::Process(process) => process.start().await,
            Place::Container(container) => container.start().await,
            Place::Given => Err(NOT_OURS.into()),
        }
    }

    /// Ends it and returns when it is gone.
    pub(crate) async fn end(self) -> Result<(), Error> {
        match self.place {
            Place::Process(process) => process.supervisor.end().await,
            Place::Container(container) => container.end().await,
            Place::Given => Ok(()),
        }
    }

    fn own(&self) -> Result<&Place, Error> {
        if self.shared {
            return Err("other tests use this server: kill and start one that is your own".into());
        }
        Ok(&self.place)
    }
}

const NOT_OURS: &str = "this server was given by its address and is not ours to kill or start";
