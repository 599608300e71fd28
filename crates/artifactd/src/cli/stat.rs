//! `artifactd stat`: prints the record of an artifact. This module must never read the bytes of the artifact.

use std::fmt::Write;

use artifact_store::{ArtifactStore, Record, Registry};
use artifact_store_protocol::Row;
use indicatif::BinaryBytes;

use super::error::CommandError;
use super::json_line::json_line;
use super::printable::printable;
use super::scope_args::{ScopeArgs, artifact_not_found, parse_artifact_id};
use super::stdout;
use super::store_args::StoreArgs;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct StatArgs {
    /// The artifact's id
    id: String,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    scope: ScopeArgs,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: StatArgs, registry: &Registry) -> Result<(), CommandError> {
    args.store.run_on_read_only(registry, async |store| stat(&**store, &args).await).await
}

async fn stat(store: &dyn ArtifactStore, args: &StatArgs) -> Result<(), CommandError> {
    let id = parse_artifact_id(&args.id)?;
    let record = store.stat(&args.scope.scope(), &id).await?.ok_or_else(artifact_not_found)?;
    if args.json {
        stdout::print(&json_line(&Row::new(record, store.driver()))?).await
    } else {
        stdout::print(&format_record(&record, store.driver())?).await
    }
}

/// The record as lines of a name and a value.
fn format_record(record: &Record, driver: &str) -> Result<String, CommandError> {
    let Record { id, digest, blake3: _, size, scope, created_at, options } = record;
    let size =
        if *size < 1024 { format!("{size} bytes") } else { format!("{size} bytes ({})", BinaryBytes(*size)) };
    let mut rows = vec![
        ("id", id.to_string()),
        ("sha256", digest.to_string()),
        ("size", size),
        ("created", created_at.to_string()),
        ("tenant", scope.tenant().to_string()),
        ("user", scope.user().to_string()),
        ("session", scope.session().to_string()),
    ];
    rows.extend(scope.task().map(|task| ("task", task.to_string())));
    rows.push(("namespace", options.namespace.to_string()));
    rows.extend(options.media_type.clone().map(|media_type| ("media type", media_type)));
    rows.extend(options.filename.clone().map(|filename| ("filename", filename)));
    rows.push(("source", options.source.to_string()));
    rows.extend(options.tags.iter().map(|tag| ("tag", tag.clone())));
    if !options.metadata.is_empty() {
        rows.push(("metadata", json_line(&options.metadata)?.trim_end().to_owned()));
    }
    rows.push(("driver", driver.to_owned()));
    let mut text = String::new();
    for (key, value) in rows {
        // The longest name with its colon, `media type:`, has 11 characters. Writing into a `String` cannot fail.
        let _ = writeln!(text, "{:<11} {}", format!("{key}:"), printable(&value));
    }
    Ok(text)
}
