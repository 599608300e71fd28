//! `artifactd dev`: a local server to try out, with its own store, key and token. This module must never make a server
//! that other machines can reach.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use artifact_store_identity::keys::{KeyError, Minter, TokenClaims, generate};
use artifact_store_identity::{Rules, Verifier};
use artifact_store_server::random_id;

use super::error::CommandError;
use super::serve::{parse_key_value, serve};
use super::signals::{HangupAction, ServerSignals};
use crate::config::Settings;

/// How long the token is valid.
const TOKEN_TTL: Duration = Duration::from_hours(24);

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct DevArgs {
    /// Where to listen: a loopback address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:18080")]
    listen: SocketAddr,
    /// The driver of the store: sqlite, fs or inmem; another driver needs its keys as --set or in the environment
    #[arg(long, value_name = "NAME", default_value = "sqlite")]
    driver: String,
    /// The directory for the store and the token
    #[arg(long, value_name = "DIR", default_value = "./.artifactd")]
    data_dir: PathBuf,
    /// Give the token the scope admin: it may delete artifacts and use other tenants
    #[arg(long)]
    admin: bool,
    /// Set a key of the configuration; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_key_value)]
    set: Vec<(String, String)>,
}

pub(super) async fn run(args: DevArgs) -> Result<(), CommandError> {
    let signals = ServerSignals::listen(HangupAction::Shutdown)?;
    let settings = Settings::load(None, &flags(&args)?).map_err(CommandError::usage)?;
    let bind_addr = settings.server.bind_addr;
    if !bind_addr.ip().is_loopback() {
        return Err(CommandError::usage(format!(
            "{} is not a loopback address: dev prints a token, so it listens only on this machine; use serve instead",
            bind_addr.ip()
        )));
    }
    create_private_dir(&args.data_dir).map_err(|error| {
        CommandError::failed(format!("cannot create the data directory {}: {error}", args.data_dir.display()))
    })?;
    let (verifier, token) = identity(&args, &settings)?;
    let file = args.data_dir.join("dev-token");
    serve(&settings, verifier, signals.shutdown, |addr| {
        write_private_file(&file, token.as_bytes()).map_err(|error| {
            CommandError::failed(format!("cannot write the token to {}: {error}", file.display()))
        })?;
        Ok(instructions(addr, &file, &token))
    })
    .await
}

/// The arguments as keys of the configuration. `--set` comes last, so that it overrides the others.
fn flags(args: &DevArgs) -> Result<Vec<(String, String)>, CommandError> {
    let data_path = |name: &str| {
        let path = args.data_dir.join(name);
        path.to_str().map(ToOwned::to_owned).ok_or_else(|| {
            CommandError::usage("the name of the data directory is not UTF-8; choose another --data-dir")
        })
    };
    let mut flags = vec![
        ("server.bind_addr".to_owned(), args.listen.to_string()),
        ("artifacts.driver".to_owned(), args.driver.clone()),
        ("telemetry.log_format".to_owned(), "text".to_owned()),
    ];
    match args.driver.as_str() {
        "sqlite" => flags.push(("artifacts.dsn".to_owned(), data_path("artifacts.db")?)),
        "fs" => flags.push(("artifacts.fs_root".to_owned(), data_path("artifacts")?)),
        _ => {}
    }
    flags.extend(args.set.iter().cloned());
    Ok(flags)
}

/// Generates a key that exists only in this process, and a token signed with it.
fn identity(args: &DevArgs, settings: &Settings) -> Result<(Verifier, String), CommandError> {
    let failed = |error: KeyError| CommandError::failed(error);
    let key = generate().map_err(failed)?;
    let minter = Minter::from_pem(key.reveal(), None).map_err(failed)?;
    let claims = TokenClaims {
        tenant: "dev".to_owned(),
        user: "dev".to_owned(),
        session: Some("dev".to_owned()),
        scopes: if args.admin { vec!["admin".to_owned()] } else { Vec::new() },
        issuer: settings.identity.issuer.clone(),
        audience: settings.identity.audience.clone(),
    };
    let token = minter.mint(&claims, TOKEN_TTL).map_err(failed)?;
    let rules = Rules {
        issuer: settings.identity.issuer.clone(),
        audience: settings.identity.audience.clone(),
        clock_skew: settings.identity.clock_skew,
        types: settings.identity.jwt_types.clone(),
        session_bound: settings.identity.session_bound,
        ..Rules::default()
    };
    let verifier = Verifier::from_jwks(&minter.jwks(), rules).map_err(CommandError::failed)?;
    Ok((verifier, token))
}

/// Creates a directory that only its owner can access. A directory that exists stays as it is.
fn create_private_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file atomically. Only its owner can read it, at every moment.
fn write_private_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", random_id()));
    let temp = PathBuf::from(name);
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temp).and_then(|mut file| {
            // The umask may have removed permissions of the owner.
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(bytes)?;
            std::fs::rename(&temp, path)
        });
    if written.is_err() {
        let _ = std::fs::remove_file(&temp);
    }
    written
}

/// How to use the server, as commands that can be pasted into a shell.
fn instructions(addr: SocketAddr, file: &Path, token: &str) -> String {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let quoted = shell_quote(&absolute.to_string_lossy());
    let file = file.display();
    let bearer = format!("-H \"Authorization: Bearer $(cat {quoted})\"");
    format!(
        "\
token file: {file}
token (24 h): {token}

Put a file, list, and get it back by the id that the first line prints:
  ID=$(echo hello | curl -fsS {bearer} -H 'Content-Type: text/plain' --data-binary @- -X PUT 'http://{addr}/v1/artifacts?filename=hello.txt' | sed 's/.*\"id\":\"\\([^\"]*\\)\".*/\\1/'); echo \"$ID\"
  curl -fsS {bearer} --json '{{}}' http://{addr}/v1/control/artifacts.list
  curl -fsS {bearer} \"http://{addr}/v1/artifacts/$ID\"
"
    )
}

/// `text` as one word of a shell.
fn shell_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_replaced_and_readable_only_by_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dev-token");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        write_private_file(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_quoted_text_is_one_word() {
        assert_eq!(shell_quote("/a b/it's"), r"'/a b/it'\''s'");
    }
}
