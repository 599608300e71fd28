//! `artifactd keygen`: generates a private key that signs tokens, and the public key that verifies these tokens. This
//! module must never overwrite a key.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use artifact_store_identity::keys::{Minter, generate};
use serde_json::Value;

use super::error::CommandError;
use super::jwk_set_file::{JwkSetFile, folder_of};
use super::{stderr, stdout};

const EXAMPLES: &str = "\
The private key is in a folder that only its owner can enter. A server that runs as another user needs the public key
elsewhere: name its file with --jwks.

Examples:
  artifactd keygen ./keys
  artifactd keygen /etc/artifactd/signer --jwks /etc/artifactd/jwks.json
  artifactd keygen /etc/artifactd/signer-2 --add-to /etc/artifactd/jwks.json";

/// What the user can do if the directory already contains a key file.
const OTHER_DIR_ADVICE: &str = "name another directory";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct KeygenArgs {
    /// The directory for private.pem; created for its owner alone if it does not exist
    dir: PathBuf,
    /// The file for the public key, readable by everyone; without it, jwks.json in the directory
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Add the public key to this existing JWK set; tokens of its other keys stay valid
    #[arg(long, value_name = "FILE", conflicts_with = "jwks")]
    add_to: Option<PathBuf>,
}

pub(super) async fn run(args: KeygenArgs) -> Result<(), CommandError> {
    let dir = &args.dir;
    let private = dir.join("private.pem");
    let pem = generate().map_err(CommandError::failed)?;
    let minter = Minter::from_pem(pem.reveal(), None).map_err(CommandError::failed)?;
    let key = NewKey { dir, private: &private, pem: pem.reveal(), minter: &minter };
    let public = if let Some(set_file) = &args.add_to {
        add_to_set(&key, set_file).await?;
        set_file.clone()
    } else {
        let public = args.jwks.clone().unwrap_or_else(|| dir.join("jwks.json"));
        create_set(&key, &public, args.jwks.is_some())?;
        public
    };
    if args.jwks.is_some() || args.add_to.is_some() {
        warn_if_unreadable_by_others(&public);
    }
    stdout::print(&next_steps(&args, &private, &public, minter.kid())).await
}

/// A generated key that is not written yet.
struct NewKey<'a> {
    dir: &'a Path,
    /// The file of the private key, in `dir`.
    private: &'a Path,
    pem: &'a str,
    minter: &'a Minter,
}

/// Writes the private key, and adds the public key to a set that exists.
async fn add_to_set(key: &NewKey<'_>, set_file: &Path) -> Result<(), CommandError> {
    let set = JwkSetFile::read_locked(set_file)?;
    let mut keys = set.keys().to_vec();
    keys.push(public_jwk(key.minter)?);
    write_private_key(key)?;
    // If the set cannot be written, the private key is removed: an existing file would block the next attempt. No token
    // is signed with this key yet.
    set.replace_keys(keys).await.inspect_err(|_| drop(std::fs::remove_file(key.private)))
}

/// Writes the private key, and the public key into a new set. `is_named` says whether the file of the set was given as
/// an argument.
fn create_set(key: &NewKey<'_>, public: &Path, is_named: bool) -> Result<(), CommandError> {
    let advice = if is_named { "add to it with --add-to, or name another file" } else { OTHER_DIR_ADVICE };
    // If the file of the public key exists, the command must fail before it writes the private key.
    if public.symlink_metadata().is_ok() {
        return Err(file_exists_error(public, advice));
    }
    if is_named && !folder_of(public).starts_with(key.dir) {
        // If the private folder were created first, its missing parents would get the mode 0700, and other users could
        // not enter a public folder below these parents.
        create_public_folder(folder_of(public))?;
    }
    write_private_key(key)?;
    // If the set cannot be written, the private key is removed: an existing file would block the next attempt.
    write_new(public, 0o644, &key.minter.jwks(), advice)
        .inspect_err(|_| drop(std::fs::remove_file(key.private)))
}

/// The public key of `minter` as a member of a JWK set.
fn public_jwk(minter: &Minter) -> Result<Value, CommandError> {
    let set: Value = serde_json::from_str(&minter.jwks()).map_err(CommandError::failed)?;
    // A minter has exactly one key.
    Ok(set["keys"][0].clone())
}

/// Creates the folder for its owner alone if the folder does not exist, and writes the private key into the folder.
fn write_private_key(key: &NewKey<'_>) -> Result<(), CommandError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(key.dir)
        .map_err(|error| creation_error(key.dir, &error))?;
    write_new(key.private, 0o600, key.pem, OTHER_DIR_ADVICE)
}

/// Creates the folder of the public key and its missing parents. Everyone may enter these folders, whatever the umask.
/// A folder that already exists is not changed.
fn create_public_folder(folder: &Path) -> Result<(), CommandError> {
    if folder.is_dir() {
        return Ok(());
    }
    create_public_folder(folder_of(folder))?;
    let created = DirBuilder::new().create(folder);
    created
        .and_then(|()| std::fs::set_permissions(folder, Permissions::from_mode(0o755)))
        .map_err(|error| creation_error(folder, &error))
}

fn creation_error(dir: &Path, error: &io::Error) -> CommandError {
    CommandError::failed(format!("{} cannot be created: {error}", dir.display()))
}

/// Creates the file `path` with `content`. The file has the mode `mode`, whatever the umask. If the file exists, the
/// error ends with `advice`, which says what to do.
fn write_new(path: &Path, mode: u32, content: &str, advice: &str) -> Result<(), CommandError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => file_exists_error(path, advice),
        _ => CommandError::failed(format!("{} cannot be written: {error}", path.display())),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    let written = file
        .set_permissions(Permissions::from_mode(mode))
        .and_then(|()| file.write_all(content.as_bytes()))
        .and_then(|()| file.sync_all());
    // A file that is not complete is removed, because it would block the next attempt.
    written.inspect_err(|_| drop(std::fs::remove_file(path))).map_err(failed)
}

fn file_exists_error(path: &Path, advice: &str) -> CommandError {
    CommandError::failed(format!("{} exists, and a key is never overwritten; {advice}", path.display()))
}

/// Warns if other users cannot open the file: a server that runs as another user could not read the file.
fn warn_if_unreadable_by_others(public: &Path) {
    let absolute = std::path::absolute(public).unwrap_or_else(|_| public.to_owned());
    // Other users need the permission to read the file, and the permission to enter each folder above the file.
    let closed = absolute.ancestors().find(|path| {
        let needed = if *path == absolute { 0o004 } else { 0o001 };
        path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & needed == 0)
    });
    if let Some(closed) = closed {
        stderr::print_message(&format!(
            "artifactd: warning: {} is closed to other users: a server that runs as another user cannot read {}",
            closed.display(),
            public.display()
        ));
    }
}

/// What the command prints at the end: the files that it wrote, and what the user does next.
fn next_steps(args: &KeygenArgs, private: &Path, public: &Path, kid: &str) -> String {
    let (private, public) = (private.display(), public.display());
    let files = format!(
        "\
{private}  the private key: keep it where tokens are signed, never give it to the server
{public}  the public key (ES256, kid {kid}), for the server
"
    );
    if args.add_to.is_some() {
        return format!(
            "\
{files}
A server reads the changed set within a second. Next, sign tokens with the new key:

  artifactd token --key {private} --tenant acme --user ada --session s-1

and when the last token of an old key has expired, retire that key:

  artifactd keys list {public}
  artifactd keys retire KID --from {public}
"
        );
    }
    let note = match args.jwks {
        Some(_) => "",
        None => {
            "
Only the owner of this directory can enter it. For a server that runs as another user, generate the key with --jwks FILE.
"
        }
    };
    format!(
        "\
{files}
Next, name the public key in the server's configuration:

  identity:
    jwks_file: \"{public}\"

and sign a token, with --issuer and --audience if identity.issuer and identity.audience are set:

  artifactd token --key {private} --tenant acme --user ada --session s-1
{note}"
    )
}
