//! Garage as a local process: one node, one key, one bucket.

use std::path::PathBuf;

use crate::process::Process;
use crate::ready::Protocol;
use crate::s3::{BUCKET, Login};
use crate::supervisor::{Ending, Supervisor};
use crate::{Error, ports, programs};

const VERSION: &str = "2.5.0";
const VARIABLE: &str = "ARTIFACT_STORE_TEST_GARAGE_BIN";
const REGION: &str = "garage";
// Garage wants these very forms. They are the ones of docker-compose.yml, too.
const KEY: &str = "GK617274696661637473746f";
const SECRET: &str = "7465737474657374746573747465737474657374746573747465737474657374";
const RPC_SECRET: &str = "6e6f2d7365637265742d6a7573742d666f722d74657374732d6e6f2d73656372";

/// The binary.
pub(crate) fn program() -> Result<PathBuf, Error> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        return if named.is_file() {
            Ok(named)
        } else {
            Err(format!("{VARIABLE}={} is no file", named.display()).into())
        };
    }
    let built = programs::tools().map(|tools| tools.join(format!("garage-{VERSION}/bin/garage")));
    programs::in_path("garage").or_else(|| built.filter(|file| file.is_file())).ok_or_else(|| {
        format!(
            "Garage is not installed: run `tests/images/build --only tools`, or `cargo install garage --version \
             {VERSION} --locked`, or name a binary in {VARIABLE} or a running server in ARTIFACT_STORE_TEST_GARAGE_URL"
        )
        .into()
    })
}

pub(crate) fn login() -> Login {
    Login {
        bucket: BUCKET.to_owned(),
        region: REGION.to_owned(),
        access_key_id: KEY.to_owned(),
        secret_access_key: SECRET.to_owned(),
    }
}

/// A process that is not started yet.
pub(crate) async fn process() -> Result<Process, Error> {
    program()?;
    let ending = Ending { signal: "TERM", finally: String::new(), environment: Vec::new() };
    let supervisor = Supervisor::new(None, ending).await?;
    Ok(Process { supervisor, arguments: Vec::new(), address: ports::free()?, protocol: Protocol::Http })
}

/// What starts it at its address; writes the configuration for it.
pub(crate) fn arguments(process: &Process) -> Result<Vec<String>, Error> {
    let folder = process.supervisor.folder();
    let configuration = folder.join("garage.toml");
    let place = folder.display();
    std::fs::write(
        &configuration,
        format!(
            "metadata_dir = \"{place}/meta\"\ndata_dir = \"{place}/data\"\nreplication_factor = 1\n\
             disable_scrub = true\nrpc_bind_addr = \"{rpc}\"\nrpc_public_addr = \"{rpc}\"\n\
             rpc_secret = \"{RPC_SECRET}\"\n\n[s3_api]\napi_bind_addr = \"{s3}\"\ns3_region = \"{REGION}\"\n",
            rpc = ports::free()?,
            s3 = process.address,
        ),
    )?;
    let program = program()?.to_string_lossy().into_owned();
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
