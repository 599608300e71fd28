//! `artifactd rm`: deletes artifacts by their exact ids. This module must never accept a pattern.

use artifact_store::{ArtifactStore, Registry};
use serde::Serialize;

use super::error::CommandError;
use super::json_line::json_line;
use super::printable::printable;
use super::scope_args::{ScopeArgs, artifact_not_found, parse_artifact_id};
use super::stderr::print_message;
use super::stdout::StdoutWriter;
use super::store_args::StoreArgs;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct RmArgs {
    /// The artifacts' ids
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    scope: ScopeArgs,
    /// Print a line of JSON for each id
    #[arg(long)]
    json: bool,
    /// Do not print what was removed
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Serialize)]
struct DeletionOutput<'a> {
    id: &'a str,
    deleted: bool,
}

pub(super) async fn run(args: RmArgs, registry: &Registry) -> Result<(), CommandError> {
    args.store.run_on_existing(registry, async |store| delete_all(&**store, &args).await).await
}

/// Tries every id. If several ids fail, the command ends with the smallest exit code, which is the most serious: 1 (the
/// artifact may still exist) wins over 4 (there is no such artifact). A failure of standard output is returned only if
/// no id fails.
async fn delete_all(store: &dyn ArtifactStore, args: &RmArgs) -> Result<(), CommandError> {
    let mut stdout = StdoutWriter::new();
    // A failure of standard output does not stop the loop: the remaining artifacts are still deleted.
    let mut stdout_error: Option<CommandError> = None;
    let mut worst: Option<CommandError> = None;
    for text in &args.ids {
        let deleted = delete_one(store, args, text).await;
        if args.json && stdout_error.is_none() {
            let line = json_line(&DeletionOutput { id: text, deleted: deleted.is_ok() })?;
            stdout_error = stdout.write(line.as_bytes()).await.err();
        }
        match deleted {
            Ok(()) if args.json || args.quiet => {}
            Ok(()) => print_message(&format!("removed {text}")),
            Err(error) => {
                if args.ids.len() > 1 {
                    print_message(&format!("{}: {}", printable(text), error.message()));
                }
                if worst.as_ref().is_none_or(|worst| error.exit_code() < worst.exit_code()) {
                    worst = Some(error);
                }
            }
        }
    }
    let printed = match stdout_error {
        Some(error) => Err(error),
        None => stdout.finish().await,
    };
    match worst {
        None => printed,
        Some(error) if args.ids.len() == 1 => Err(error),
        Some(error) => Err(error.with_message("not every artifact was removed")),
    }
}

/// Deletes the artifact with the id `text`. It is an error if `text` is not an id, or if there is no such artifact.
async fn delete_one(store: &dyn ArtifactStore, args: &RmArgs, text: &str) -> Result<(), CommandError> {
    let id = parse_artifact_id(text)?;
    if store.delete(&args.scope.scope(), &id).await? { Ok(()) } else { Err(artifact_not_found()) }
}
