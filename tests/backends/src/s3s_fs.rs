//! s3s-fs as a local process: the program `s3s-fs-server` of this crate.

use crate::process::ServerProcess;
use crate::readiness::Protocol;
use crate::s3::{BUCKET, BucketCredentials};
use crate::supervisor::{ShutdownOptions, Supervisor};
use crate::{Error, own_program, ports};

const PROGRAM: &str = "s3s-fs-server";
const KEY: &str = "artifact";
const SECRET: &str = "artifact-secret";

pub(crate) fn credentials() -> BucketCredentials {
    BucketCredentials {
        bucket: BUCKET.to_owned(),
        region: "us-east-1".to_owned(),
        access_key_id: KEY.to_owned(),
        secret_access_key: SECRET.to_owned(),
    }
}

/// Prepares a process without starting it. Builds the program if it does not exist.
pub(crate) async fn prepare() -> Result<ServerProcess, Error> {
    own_program::build_if_missing(PROGRAM).await?;
    let shutdown = ShutdownOptions { signal: "TERM", cleanup_script: String::new(), environment: Vec::new() };
    let supervisor = Supervisor::new(None, shutdown).await?;
    std::fs::create_dir_all(supervisor.dir().join("root").join(BUCKET))?;
    Ok(ServerProcess {
        supervisor,
        arguments: Vec::new(),
        address: ports::find_free()?,
        protocol: Protocol::Http,
    })
}

/// Returns the command line that starts the server at its address.
pub(crate) fn command_line(process: &ServerProcess) -> Result<Vec<String>, Error> {
    let program = own_program::find(PROGRAM)?;
    let root = process.supervisor.dir().join("root");
    Ok(vec![
        program,
        process.address.to_string(),
        root.to_string_lossy().into_owned(),
        KEY.to_owned(),
        SECRET.to_owned(),
    ])
}
