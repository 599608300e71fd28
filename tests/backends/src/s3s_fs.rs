//! s3s-fs as a local process: the program `s3s-fs-server` of this crate.

use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio::sync::Mutex;

use crate::process::ServerProcess;
use crate::readiness::Protocol;
use crate::s3::{BUCKET, BucketCredentials};
use crate::supervisor::{ShutdownOptions, Supervisor};
use crate::{Error, ports};

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
    build_if_missing().await?;
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
    let program =
        find_program(&std::env::current_exe()?).ok_or("the program s3s-fs-server no longer exists")?;
    let root = process.supervisor.dir().join("root");
    Ok(vec![
        program.to_string_lossy().into_owned(),
        process.address.to_string(),
        root.to_string_lossy().into_owned(),
        KEY.to_owned(),
        SECRET.to_owned(),
    ])
}

async fn build_if_missing() -> Result<(), Error> {
    static BUILD_LOCK: Mutex<()> = Mutex::const_new(());
    let _guard = BUILD_LOCK.lock().await;
    let this_program = std::env::current_exe()?;
    if find_program(&this_program).is_some() {
        return Ok(());
    }
    build(&this_program).await?;
    find_program(&this_program).map(drop).ok_or_else(|| {
        format!("{PROGRAM} was built, but not in the directory of {}", this_program.display()).into()
    })
}

/// Finds the program in the directory of this program or in its parent. Test programs are in `deps`.
fn find_program(this_program: &Path) -> Option<PathBuf> {
    this_program.ancestors().skip(1).take(2).map(|dir| dir.join(PROGRAM)).find(|file| file.is_file())
}

/// Builds the program. Cargo builds it with the tests of this crate, but not with those of other crates.
async fn build(this_program: &Path) -> Result<(), Error> {
    let dir = this_program
        .ancestors()
        .skip(1)
        .find(|dir| !dir.ends_with("deps"))
        .ok_or("this program has no directory")?;
    let target = dir.parent().ok_or("this program is not in a target directory")?;
    let profile = match dir.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => "dev",
        Some(name) => name,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "build",
            "-q",
            "-p",
            env!("CARGO_PKG_NAME"),
            "--bin",
            PROGRAM,
            "--profile",
            profile,
            "--target-dir",
        ])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .kill_on_drop(true)
        .output()
        .await?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("`cargo build -p {} --bin {PROGRAM}` failed:\n{text}", env!("CARGO_PKG_NAME")).into())
}
