//! `artifactd keys`: lists and retires the public keys of a JWK set. This module must never need a private key.

use std::path::PathBuf;

use artifact_store_identity::unusable_key_reason;
use serde::Serialize;
use serde_json::Value;

use super::error::CommandError;
use super::json_line::json_line;
use super::jwk_set_file::JwkSetFile;
use super::stdout::{self, supports_colours};
use super::table::{Cell, Table};

const EXAMPLES: &str = "\
Rotate a key:
  artifactd keygen /etc/artifactd/signer-2 --add-to /etc/artifactd/jwks.json
  artifactd token --key /etc/artifactd/signer-2/private.pem …
  artifactd keys list /etc/artifactd/jwks.json
  artifactd keys retire KID --from /etc/artifactd/jwks.json

A running server reads the changed file within a second. When it has, every token of a retired key is rejected.";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeysCommand {
    /// List the keys of a JWK set
    List {
        /// The JWK set that the server reads
        file: PathBuf,
        /// Print a JSON object for each key
        #[arg(long)]
        json: bool,
    },
    /// Remove a key from a JWK set: its tokens are rejected from then on
    Retire {
        /// The id of the key (kid), as list prints it
        // A generated id is a hash in base64url, which may begin with a hyphen.
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// The JWK set that the server reads
        #[arg(long = "from", value_name = "FILE")]
        file: PathBuf,
        /// Print a JSON object for the removed key
        #[arg(long)]
        json: bool,
    },
}

/// A key of the set, as it is listed.
#[derive(Debug, Serialize)]
struct KeyRow {
    /// The id of the key. Null if the key has none.
    kid: Option<String>,
    /// Type and curve, such as `EC P-256`.
    #[serde(rename = "type")]
    key_type: String,
    /// The only algorithm that the key may be used for. Null if the key does not name an algorithm.
    alg: Option<String>,
    /// Whether a server with default settings verifies tokens with this key.
    usable: bool,
    /// Why the key is not usable. Absent if it is usable.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) async fn run(args: KeysArgs) -> Result<(), CommandError> {
    match args.command {
        KeysCommand::List { file, json } => {
            let rows: Vec<KeyRow> = JwkSetFile::read(&file)?.keys().iter().map(KeyRow::new).collect();
            stdout::print(&render_rows(&rows, json)?).await
        }
        KeysCommand::Retire { kid, file, json } => {
            let set = JwkSetFile::read_locked(&file)?;
            let (retired, kept): (Vec<Value>, Vec<Value>) =
                set.keys().iter().cloned().partition(|key| kid_of(key) == Some(&kid));
            // If no key was found, `kept` contains all keys of the set.
            if retired.is_empty() {
                return Err(no_such_key(&kid, &file, &kept));
            }
            if !kept.iter().any(|key| KeyRow::new(key).usable) {
                return Err(CommandError::failed(format!(
                    "'{kid}' is the last usable key of {}, and a running server does not load a set without a usable key: it \
                     would keep this key; add another key first, with 'artifactd keygen DIR --add-to {}'",
                    file.display(),
                    file.display()
                )));
            }
            set.replace_keys(kept).await?;
            let rows: Vec<KeyRow> = retired.iter().map(KeyRow::new).collect();
            let text = if json { render_rows(&rows, true)? } else { format!("{kid} is retired\n") };
            stdout::print(&text).await
        }
    }
}

/// The id of a key. `None` if the key has none.
fn kid_of(key: &Value) -> Option<&str> {
    key.get("kid").and_then(Value::as_str)
}

/// The error that no key in `keys` has the id `kid`. The message lists the ids of `keys`.
fn no_such_key(kid: &str, file: &std::path::Path, keys: &[Value]) -> CommandError {
    let known: Vec<&str> = keys.iter().filter_map(kid_of).collect();
    CommandError::failed(format!("{} has no key '{kid}'; it has: {}", file.display(), known.join(", ")))
}

impl KeyRow {
    fn new(key: &Value) -> Self {
        let member = |name: &str| key.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        let type_parts: Vec<String> = [member("kty"), member("crv")].into_iter().flatten().collect();
        let reason = unusable_key_reason(key);
        Self {
            kid: member("kid"),
            key_type: type_parts.join(" "),
            alg: member("alg"),
            usable: reason.is_none(),
            reason,
        }
    }
}

/// A table, or a JSON object on each line.
fn render_rows(rows: &[KeyRow], json: bool) -> Result<String, CommandError> {
    if json {
        return rows.iter().map(json_line).collect();
    }
    let cells: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| {
            vec![
                Cell::uncut(row.kid.as_deref().unwrap_or("–")).bold(),
                Cell::new(row.alg.as_deref().unwrap_or("–")),
                Cell::new(&row.key_type),
                Cell::check_mark(row.usable),
                Cell::uncut(row.reason.as_deref().unwrap_or_default()),
            ]
        })
        .collect();
    Ok(Table::new(vec!["KID", "ALG", "TYPE", "USABLE", "REASON"], &[], supports_colours()).render(&cells))
}
