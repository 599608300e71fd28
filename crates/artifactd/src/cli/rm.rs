//! `artifactd rm`: removes artifacts by their exact ids; there are no patterns.

use artifact_store::ArtifactStore;
use serde::Serialize;

use super::Failure;
use super::out::{self, Out, json_line};
use super::target::{ScopeArgs, StoreArgs, asked_id, no_such_artifact};

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
    /// Print a JSON object a line for each id
    #[arg(long)]
    json: bool,
    /// Do not say what was removed
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    deleted: bool,
}

pub(super) async fn run(args: RmArgs) -> Result<(), Failure> {
    args.store.run(async |store| remove(store, &args).await).await
}

/// Tries every id. Of several failures the worst gives the exit code: one that may have left an artifact.
async fn remove(store: &dyn ArtifactStore, args: &RmArgs) -> Result<(), Failure> {
    let mut out = Out::new();
    // Where nobody takes the answers the ids are removed all the same.
    let mut unheard: Option<Failure> = None;
    let mut worst: Option<Failure> = None;
    for text in &args.ids {
        let removed = remove_one(store, args, text).await;
        if args.json && unheard.is_none() {
            let line = json_line(&Answer { id: text, deleted: removed.is_ok() })?;
            unheard = out.write(line.as_bytes()).await.err();
        }
        match removed {
            Ok(()) if args.json || args.quiet => {}
            Ok(()) => out::note(&format!("removed {text}")),
            Err(failure) => {
                if args.ids.len() > 1 {
                    out::note(&format!("{}: {}", out::printable(text), failure.message()));
                }
                if worst.as_ref().is_none_or(|worst| failure.exit() < worst.exit()) {
                    worst = Some(failure);
                }
            }
        }
    }
    let heard = match unheard {
        Some(failure) => Err(failure),
        None => out.finish().await,
    };
    match worst {
        None => heard,
        Some(failure) if args.ids.len() == 1 => Err(failure),
        Some(failure) => Err(failure.retold("not every artifact was removed")),
    }
}

async fn remove_one(store: &dyn ArtifactStore, args: &RmArgs, text: &str) -> Result<(), Failure> {
    let id = asked_id(text)?;
    if store.delete(&args.scope.scope(), &id).await? { Ok(()) } else { Err(no_such_artifact()) }
}
