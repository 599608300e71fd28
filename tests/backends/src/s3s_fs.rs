//! s3s-fs as a local process: this crate's own program `s3s-fs-server`.

use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio::sync::Mutex;

use crate::process::Process;
use crate::ready::Protocol;
use crate::s3::{BUCKET, Login};
use crate::supervisor::{Ending, Supervisor};
use crate::{Error, ports};

const PROGRAM: &str = "s3s-fs-server";
const KEY: &str = "artifact";
const SECRET: &str = "artifact-secret";

pub(crate) fn login() -> Login {
    Login {
        bucket: BUCKET.to_owned(),
        region: "us-east-1".to_owned(),
        access_key_id: KEY.to_owned(),
        secret_access_key: SECRET.to_owned(),
    }
}

/// A process that is not started yet; its program is built if it is not there.
pub(crate) async fn process() -> Result<Process, Error> {
    program().await?;
    let ending = Ending { signal: "TERM", finally: String::new(), environment: Vec::new() };
    let supervisor = Supervisor::new(None, ending).await?;
    std::fs::create_dir_all(supervisor.folder().join("root").join(BUCKET))?;
    Ok(Process { supervisor, arguments: Vec::new(), address: ports::free()?, protocol: Protocol::Http })
}

/// What starts it at its address.
pub(crate) fn arguments(process: &Process) -> Result<Vec<String>, Error> {
    let program = beside_us(&std::env::current_exe()?).ok_or("the program has gone")?;
    let root = process.supervisor.folder().join("root");
    Ok(vec![
        program.to_string_lossy().into_owned(),
        process.address.to_string(),
        root.to_string_lossy().into_owned(),
        KEY.to_owned(),
        SECRET.to_owned(),
    ])
}

async fn program() -> Result<(), Error> {
    static ONE_BUILD: Mutex<()> = Mutex::const_new(());
    let _one = ONE_BUILD.lock().await;
    let us = std::env::current_exe()?;
    if beside_us(&us).is_some() {
        return Ok(());
    }
    build(&us).await?;
    beside_us(&us)
        .map(drop)
        .ok_or_else(|| format!("{PROGRAM} was built, but not beside {}", us.display()).into())
}

/// The program in the folder of this one, or in the one above, where tests stand in `deps`.
fn beside_us(us: &Path) -> Option<PathBuf> {
    us.ancestors().skip(1).take(2).map(|folder| folder.join(PROGRAM)).find(|file| file.is_file())
}

/// Cargo builds it together with this crate's own tests, but not with those of others.
async fn build(us: &Path) -> Result<(), Error> {
    let folder = us
        .ancestors()
        .skip(1)
        .find(|folder| !folder.ends_with("deps"))
        .ok_or("this program has no folder")?;
    let target = folder.parent().ok_or("this program is in no target folder")?;
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
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
