//! `artifactd token`: signs a token and prints only the token on standard output. This module must never print the key.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use artifact_store::ScopePart;
use artifact_store::core::parse_duration;
use artifact_store_identity::keys::{Minter, TokenClaims};

use super::error::CommandError;
use super::{stderr, stdout};

/// At most this number of bytes of a PEM file is read.
const MAX_PEM_BYTES: u64 = 1 << 20;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct TokenArgs {
    /// The private key (PEM) that signs
    #[arg(long, value_name = "PEM")]
    key: PathBuf,
    /// The tenant
    #[arg(long)]
    tenant: String,
    /// The user
    #[arg(long)]
    user: String,
    /// The session; without it, each request must name one in X-Harbor-Session
    #[arg(long)]
    session: Option<String>,
    /// A scope claim, which grants rights beyond the session: admin, console:fleet, artifacts:delete; may be repeated
    #[arg(long = "scope", value_parser = ["admin", "console:fleet", "artifacts:delete"])]
    scopes: Vec<String>,
    /// How long the token is valid, such as 15m, 1h or 30d
    #[arg(long, default_value = "1h", value_parser = parse_ttl)]
    ttl: Duration,
    /// The key id; without it, the thumbprint of the key, as keygen writes it
    #[arg(long, allow_hyphen_values = true)]
    kid: Option<String>,
    /// The issuer (iss)
    #[arg(long)]
    issuer: Option<String>,
    /// The audience (aud)
    #[arg(long)]
    audience: Option<String>,
}

pub(super) async fn run(args: TokenArgs) -> Result<(), CommandError> {
    for (argument, value) in
        [("--tenant", Some(&args.tenant)), ("--user", Some(&args.user)), ("--session", args.session.as_ref())]
    {
        if let Some(value) = value {
            ScopePart::new(value).map_err(|error| CommandError::usage(format!("{argument}: {error}")))?;
        }
    }
    let (pem, is_readable_by_others) = read_pem(&args.key)
        .map_err(|error| CommandError::failed(format!("{} cannot be read: {error}", args.key.display())))?;
    if is_readable_by_others {
        // The warning is not written to standard output, which contains only the token.
        stderr::print_message(&format!(
            "artifactd: warning: {} can be read by others on this machine; chmod 600 it",
            args.key.display()
        ));
    }
    let failed = |error| CommandError::failed(format!("{}: {error}", args.key.display()));
    let minter = Minter::from_pem(&pem, args.kid).map_err(failed)?;
    let claims = TokenClaims {
        tenant: args.tenant,
        user: args.user,
        session: args.session,
        scopes: args.scopes,
        issuer: args.issuer,
        audience: args.audience,
    };
    let token = minter.mint(&claims, args.ttl).map_err(failed)?;
    stdout::print(&format!("{token}\n")).await
}

fn parse_ttl(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text)
        .filter(|ttl| *ttl >= Duration::from_secs(1))
        .ok_or("it takes a duration from 1s, such as 15m, 1h or 30d")
}

/// The text of the file, and whether the mode of the file gives access to other users.
fn read_pem(path: &Path) -> io::Result<(String, bool)> {
    let file = std::fs::File::open(path)?;
    let is_readable_by_others = file.metadata()?.permissions().mode() & 0o077 != 0;
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(file, MAX_PEM_BYTES), &mut text)?;
    Ok((text, is_readable_by_others))
}
