//! `artifactd keygen`: generates a signing key and the JWK set that verifies its tokens. This module must never
//! overwrite a key.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use artifact_store_identity::keys::{Minter, generate};

use super::error::CommandError;
use super::stdout;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct KeygenArgs {
    /// The directory for private.pem and jwks.json; created if it does not exist
    dir: PathBuf,
}

pub(super) async fn run(args: KeygenArgs) -> Result<(), CommandError> {
    let dir = &args.dir;
    let (private, public) = (dir.join("private.pem"), dir.join("jwks.json"));
    // The private key is written first, and must not be left alone if the file of the public key exists.
    if public.symlink_metadata().is_ok() {
        return Err(file_exists(&public));
    }
    let pem = generate().map_err(CommandError::failed)?;
    let minter = Minter::from_pem(pem.reveal(), None).map_err(CommandError::failed)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| CommandError::failed(format!("{} cannot be created: {error}", dir.display())))?;
    write_new(&private, 0o600, pem.reveal())?;
    if let Err(failure) = write_new(&public, 0o644, &minter.jwks()) {
        // A private key alone would block the next attempt. It is new, so no token is signed with it.
        let _ = std::fs::remove_file(&private);
        return Err(failure);
    }
    stdout::print(&next_steps(&private, &public, minter.kid())).await
}

fn write_new(path: &Path, mode: u32, content: &str) -> Result<(), CommandError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => file_exists(path),
        _ => CommandError::failed(format!("{} cannot be written: {error}", path.display())),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

fn file_exists(path: &Path) -> CommandError {
    CommandError::failed(format!(
        "{} exists, and a key is never overwritten; name another directory",
        path.display()
    ))
}

fn next_steps(private: &Path, public: &Path, kid: &str) -> String {
    let (private, public) = (private.display(), public.display());
    format!(
        "\
{private}  the private key: keep it where tokens are signed, never give it to the server
{public}  the public key (ES256, kid {kid}), for the server

Next, name the public key in the server's configuration:

  identity:
    jwks_file: \"{public}\"

and sign a token:

  artifactd token --key {private} --tenant acme --user ada --session s-1
"
    )
}
