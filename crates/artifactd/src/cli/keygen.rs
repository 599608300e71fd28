//! `artifactd keygen`: a signing key and the JWK set that verifies its tokens.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Failure, out};
use crate::identity::keys::{Minter, generate};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct KeygenArgs {
    /// The directory for private.pem and jwks.json; made where it is missing
    dir: PathBuf,
}

pub(super) async fn run(args: KeygenArgs) -> Result<(), Failure> {
    let dir = &args.dir;
    let (private, public) = (dir.join("private.pem"), dir.join("jwks.json"));
    // The private key is written first, and must not be left over where the public one has no place.
    if public.symlink_metadata().is_ok() {
        return Err(exists(&public));
    }
    let pem = generate().map_err(Failure::failed)?;
    let minter = Minter::from_pem(pem.reveal(), None).map_err(Failure::failed)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| Failure::failed(format!("{} cannot be made: {error}", dir.display())))?;
    write_new(&private, 0o600, pem.reveal())?;
    if let Err(failure) = write_new(&public, 0o644, &minter.jwks()) {
        // Half a pair would be in the way of the next try. It was made just now, so that nothing is signed with it.
        let _ = std::fs::remove_file(&private);
        return Err(failure);
    }
    out::print(&next_steps(&private, &public, minter.kid())).await
}

fn write_new(path: &Path, mode: u32, content: &str) -> Result<(), Failure> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => Failure::failed(format!("{} cannot be written: {error}", path.display())),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

fn exists(path: &Path) -> Failure {
    Failure::failed(format!(
        "{} is there already, and a key is never overwritten; name another directory",
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
