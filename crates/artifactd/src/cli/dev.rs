//! `artifactd dev`: a server on this machine to try things out, with a store, a key and a token made for it.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Failure;
use super::serve::{key_value, serve};
use super::signals::{Hangup, Signals};
use crate::config::Settings;
use crate::http::random_id;
use crate::identity::keys::{KeyError, Minter, TokenClaims, generate};
use crate::identity::{Rules, Verifier};

/// How long the token is valid.
const TOKEN_LIFE: Duration = Duration::from_hours(24);

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct DevArgs {
    /// Where to listen: an address of this machine's loopback
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:18080")]
    listen: SocketAddr,
    /// The driver that holds the bytes: sqlite, fs or inmem; another one with its place as --set or in the environment
    #[arg(long, value_name = "NAME", default_value = "sqlite")]
    driver: String,
    /// Where the store and the token are kept
    #[arg(long, value_name = "DIR", default_value = "./.artifactd")]
    data_dir: PathBuf,
    /// Give the token the scope admin, so that it may delete and reach other tenants
    #[arg(long)]
    admin: bool,
    /// Set a key of the configuration; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

pub(super) async fn run(args: DevArgs) -> Result<(), Failure> {
    let signals = Signals::listen(Hangup::Ends)?;
    let settings = Settings::load(None, &flags(&args)?).map_err(Failure::usage)?;
    let at = settings.server.bind_addr;
    if !at.ip().is_loopback() {
        return Err(Failure::usage(format!(
            "dev hands out a token, so it listens on this machine only, and {} is reachable from outside; use serve for that",
            at.ip()
        )));
    }
    make_private_dir(&args.data_dir).map_err(|error| {
        Failure::failed(format!("cannot make the data directory {}: {error}", args.data_dir.display()))
    })?;
    let (verifier, token) = identity(&args, &settings)?;
    let file = args.data_dir.join("dev-token");
    serve(&settings, verifier, signals.end, |at| {
        write_private(&file, token.as_bytes()).map_err(|error| {
            Failure::failed(format!("cannot write the token to {}: {error}", file.display()))
        })?;
        Ok(explanation(at, &file, &token))
    })
    .await
}

/// The arguments as keys of the configuration; what is set by hand comes last, so that it counts.
fn flags(args: &DevArgs) -> Result<Vec<(String, String)>, Failure> {
    let place = |name: &str| {
        let path = args.data_dir.join(name);
        path.to_str().map(ToOwned::to_owned).ok_or_else(|| {
            Failure::usage("the data directory's name is not UTF-8; choose another --data-dir")
        })
    };
    let mut flags = vec![
        ("server.bind_addr".to_owned(), args.listen.to_string()),
        ("artifacts.driver".to_owned(), args.driver.clone()),
        ("telemetry.log_format".to_owned(), "text".to_owned()),
    ];
    match args.driver.as_str() {
        "sqlite" => flags.push(("artifacts.dsn".to_owned(), place("artifacts.db")?)),
        "fs" => flags.push(("artifacts.fs_root".to_owned(), place("artifacts")?)),
        _ => {}
    }
    flags.extend(args.set.iter().cloned());
    Ok(flags)
}

/// A key that lives as long as the process, and a token signed with it.
fn identity(args: &DevArgs, settings: &Settings) -> Result<(Verifier, String), Failure> {
    let failed = |error: KeyError| Failure::failed(error);
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
    let token = minter.mint(&claims, TOKEN_LIFE).map_err(failed)?;
    let rules = Rules {
        issuer: settings.identity.issuer.clone(),
        audience: settings.identity.audience.clone(),
        clock_skew: settings.identity.clock_skew,
        types: settings.identity.jwt_types.clone(),
        session_bound: settings.identity.session_bound,
        ..Rules::default()
    };
    let verifier = Verifier::from_jwks(&minter.jwks(), rules).map_err(Failure::failed)?;
    Ok((verifier, token))
}

/// Makes a directory that only its owner can enter, and keeps one that is there.
fn make_private_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file that only its owner can read, whole or not at all, and at no moment readable to others.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", random_id()));
    let fresh = PathBuf::from(name);
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).and_then(|mut file| {
            // The process's umask may have taken bits away.
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(bytes)?;
            std::fs::rename(&fresh, path)
        });
    if written.is_err() {
        let _ = std::fs::remove_file(&fresh);
    }
    written
}

/// How to use the server, in lines that work when they are pasted.
fn explanation(at: SocketAddr, file: &Path, token: &str) -> String {
    let shown = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let shown = quoted(&shown.to_string_lossy());
    let file = file.display();
    let bearer = format!("-H \"Authorization: Bearer $(cat {shown})\"");
    format!(
        "\
token file: {file}
token (24 h): {token}

Put a file, list, and get it back by the id that the first line prints:
  ID=$(echo hello | curl -fsS {bearer} -H 'Content-Type: text/plain' --data-binary @- -X PUT 'http://{at}/v1/artifacts?filename=hello.txt' | sed 's/.*\"id\":\"\\([^\"]*\\)\".*/\\1/'); echo \"$ID\"
  curl -fsS {bearer} --json '{{}}' http://{at}/v1/control/artifacts.list
  curl -fsS {bearer} \"http://{at}/v1/artifacts/$ID\"
"
    )
}

/// `text` as one word of a shell within a command substitution.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_replaced_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dev-token");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_quoted_text_is_one_word() {
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
