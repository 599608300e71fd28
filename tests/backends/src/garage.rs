//! Garage as a local process, with one node, one key and one bucket.

use std::path::PathBuf;

use crate::process::ServerProcess;
use crate::readiness::Protocol;
use crate::s3::{BUCKET, BucketCredentials};
use crate::supervisor::{ShutdownOptions, Supervisor};
use crate::{Error, ports, programs};

const VERSION: &str = "2.5.0";
const VARIABLE: &str = "ARTIFACT_STORE_TEST_GARAGE_BIN";
const REGION: &str = "garage";
// Garage requires keys of this form. docker-compose.yml uses the same ones.
const KEY: &str = "GK617274696661637473746f";
const SECRET: &str = "7465737474657374746573747465737474657374746573747465737474657374";
const RPC_SECRET: &str = "6e6f2d7365637265742d6a7573742d666f722d74657374732d6e6f2d73656372";

/// Finds the Garage binary.
pub(crate) fn find_program() -> Result<PathBuf, Error> {
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(format!("{VARIABLE}={} is not a file", path.display()).into())
        };
    }
    let built = programs::tools_dir().map(|tools| tools.join(format!("garage-{VERSION}/bin/garage")));
    programs::find_in_path("garage").or_else(|| built.filter(|file| file.is_file())).ok_or_else(|| {
        format!(
            "Garage is not installed: run `tests/images/build --only tools`, or `cargo install garage --version \
             {VERSION} --locked`, or name a binary in {VARIABLE} or a running server in ARTIFACT_STORE_TEST_GARAGE_URL"
        )
        .into()
    })
}

pub(crate) fn credentials() -> BucketCredentials {
    BucketCredentials {
        bucket: BUCKET.to_owned(),
        region: REGION.to_owned(),
        access_key_id: KEY.to_owned(),
        secret_access_key: SECRET.to_owned(),
    }
}

/// Prepares a process without starting it.
pub(crate) async fn prepare() -> Result<ServerProcess, Error> {
    find_program()?;
    let shutdown = ShutdownOptions { signal: "TERM", cleanup_script: String::new(), environment: Vec::new() };
    let supervisor = Supervisor::new(None, shutdown).await?;
    Ok(ServerProcess {
        supervisor,
        arguments: Vec::new(),
        address: ports::find_free()?,
        protocol: Protocol::Http,
    })
}

/// Writes the configuration, and returns the command line that starts the server at its address.
pub(crate) fn command_line(process: &ServerProcess) -> Result<Vec<String>, Error> {
    let dir = process.supervisor.dir();
    let configuration = dir.join("garage.toml");
    let root = dir.display();
    std::fs::write(
        &configuration,
        format!(
            "metadata_dir = \"{root}/meta\"\ndata_dir = \"{root}/data\"\nreplication_factor = 1\n\
             disable_scrub = true\nrpc_bind_addr = \"{rpc}\"\nrpc_public_addr = \"{rpc}\"\n\
             rpc_secret = \"{RPC_SECRET}\"\n\n[s3_api]\napi_bind_addr = \"{s3}\"\ns3_region = \"{REGION}\"\n",
            rpc = ports::find_free()?,
            s3 = process.address,
        ),
    )?;
    let program = find_program()?.to_string_lossy().into_owned();
    Ok(vec![
        "env".to_owned(),
        format!("GARAGE_DEFAULT_ACCESS_KEY={KEY}"),
        format!("GARAGE_DEFAULT_SECRET_KEY={SECRET}"),
        format!("GARAGE_DEFAULT_BUCKET={BUCKET}"),
        program,
        "-c".to_owned(),
        configuration.to_string_lossy().into_owned(),
        "server".to_owned(),
        "--single-node".to_owned(),
        "--default-bucket".to_owned(),
    ])
}
