//! moto as a local process: an S3 server that behaves like AWS, with users and policies. It keeps everything in memory.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::process::ServerProcess;
use crate::readiness::Protocol;
use crate::s3::{BUCKET, BucketCredentials};
use crate::supervisor::{ShutdownOptions, Supervisor};
use crate::{Error, ports, programs};

/// The same version as in `tests/images/build`.
const VERSION: &str = "5.2.5";
const VARIABLE: &str = "ARTIFACT_STORE_TEST_MOTO_BIN";
const KEY: &str = "AKIA617274696661637473";
const SECRET: &str = "artifact-secret";
const TOOL: &str = include_str!("moto_tool.py");

/// Finds the Python interpreter that has moto.
fn python() -> Result<PathBuf, Error> {
    let python_next_to = |server: &Path| Some(server.with_file_name("python3")).filter(|_| server.is_file());
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        return python_next_to(&path).filter(|python| python.is_file()).ok_or_else(|| {
            format!("{VARIABLE}={} is not a moto_server with python3 in the same directory", path.display())
                .into()
        });
    }
    let built = programs::tools_dir().map(|tools| tools.join(format!("moto-{VERSION}/bin/moto_server")));
    built.and_then(|server| python_next_to(&server)).ok_or_else(|| {
        format!(
            "moto is not installed: run `tests/images/build --only tools`, or name the moto_server of a venv in \
             {VARIABLE} or a running server in ARTIFACT_STORE_TEST_MOTO_URL"
        )
        .into()
    })
}

pub(crate) fn credentials() -> BucketCredentials {
    BucketCredentials {
        bucket: BUCKET.to_owned(),
        region: "us-east-1".to_owned(),
        access_key_id: KEY.to_owned(),
        secret_access_key: SECRET.to_owned(),
    }
}

/// Prepares a process without starting it.
pub(crate) async fn prepare() -> Result<ServerProcess, Error> {
    python()?;
    let shutdown = ShutdownOptions { signal: "TERM", cleanup_script: String::new(), environment: Vec::new() };
    let supervisor = Supervisor::new(None, shutdown).await?;
    // Not `moto.py`: Python would import that instead of the package.
    std::fs::write(supervisor.dir().join("moto_tool.py"), TOOL)?;
    Ok(ServerProcess {
        supervisor,
        arguments: Vec::new(),
        address: ports::find_free()?,
        protocol: Protocol::Http,
    })
}

/// Returns the command line that starts the server at its address.
pub(crate) fn command_line(process: &ServerProcess) -> Result<Vec<String>, Error> {
    let dir = process.supervisor.dir().display();
    Ok(vec![
        "env".to_owned(),
        // moto stores large objects as temporary files.
        format!("TMPDIR={dir}"),
        python()?.to_string_lossy().into_owned(),
        "-I".to_owned(),
        format!("{dir}/moto_tool.py"),
        "serve".to_owned(),
        process.address.ip().to_string(),
        process.address.port().to_string(),
        KEY.to_owned(),
        SECRET.to_owned(),
        BUCKET.to_owned(),
    ])
}

/// Runs a command of `moto_tool.py` against a running server. Returns the tool's output.
pub(crate) async fn run_tool(
    command_name: &str,
    endpoint: &str,
    credentials: &BucketCredentials,
    arguments: [&str; 2],
) -> Result<String, Error> {
    let mut command = Command::new(python()?);
    command.args([
        "-I",
        "-c",
        TOOL,
        command_name,
        endpoint,
        &credentials.access_key_id,
        &credentials.secret_access_key,
    ]);
    let output = command.args(arguments).kill_on_drop(true).output().await?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("moto at {endpoint}: {command_name}: {}", text.trim_end().lines().last().unwrap_or_default())
        .into())
}
