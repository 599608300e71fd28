//! The programs of this crate that are servers of their own, so that a test can kill them: finds them, and builds
//! them if they are missing. Cargo builds them with the tests of this crate, but not with those of other crates.

use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio::sync::Mutex;

use crate::Error;

/// Builds `program` if it does not exist.
pub(crate) async fn build_if_missing(program: &str) -> Result<(), Error> {
    static BUILD_LOCK: Mutex<()> = Mutex::const_new(());
    let _guard = BUILD_LOCK.lock().await;
    let this_program = std::env::current_exe()?;
    if find_near(&this_program, program).is_some() {
        return Ok(());
    }
    build(&this_program, program).await?;
    find_near(&this_program, program).map(drop).ok_or_else(|| {
        format!("{program} was built, but not in the directory of {}", this_program.display()).into()
    })
}

/// Returns the path of `program`, which [`build_if_missing`] has built.
pub(crate) fn find(program: &str) -> Result<String, Error> {
    let found = find_near(&std::env::current_exe()?, program);
    let path = found.ok_or_else(|| format!("the program {program} no longer exists"))?;
    Ok(path.to_string_lossy().into_owned())
}

/// Finds the program in the directory of this program or in its parent. Test programs are in `deps`.
fn find_near(this_program: &Path, program: &str) -> Option<PathBuf> {
    this_program.ancestors().skip(1).take(2).map(|dir| dir.join(program)).find(|file| file.is_file())
}

async fn build(this_program: &Path, program: &str) -> Result<(), Error> {
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
        .args(["build", "-q", "-p", env!("CARGO_PKG_NAME"), "--bin", program])
        .args(["--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .kill_on_drop(true)
        .output()
        .await?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("`cargo build -p {} --bin {program}` failed:\n{text}", env!("CARGO_PKG_NAME")).into())
}
