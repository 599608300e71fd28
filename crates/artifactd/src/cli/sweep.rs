//! `artifactd sweep`: removes the leftovers of killed processes from a store. This module must never know which driver
//! a store has.

use std::fmt::Write as _;
use std::pin::pin;

use artifact_store::{Registry, SweepMode, SweepSummary};
use indicatif::BinaryBytes;
use serde::Serialize;

use super::error::CommandError;
use super::json_line::json_line;
use super::store_args::StoreArgs;
use super::{signals, stdout};

const EXAMPLES: &str = "\
Leftovers are temporary files, bytes without an artifact, and empty directories of killed processes. A sweep removes no artifact
and no upload of a running process, so a server may use the store at the same time. Only one sweep of a store runs at a time: if
another one is running, the command does nothing and succeeds.

Examples:
  artifactd sweep --store fs:/var/lib/artifacts --dry-run
  artifactd sweep --config artifactd.yaml
  artifactd sweep --store sqlite:artifacts.db --json";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SweepArgs {
    /// Count what would be removed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Serialize)]
struct SweepOutput {
    dry_run: bool,
    #[serde(flatten)]
    swept: SweepSummary,
}

pub(super) async fn run(args: SweepArgs, registry: &Registry) -> Result<(), CommandError> {
    let store = args.store.select(registry)?;
    let mode = if args.dry_run { SweepMode::DryRun } else { SweepMode::Delete };
    let mut signal = pin!(signals::wait_for_signal());
    let swept = tokio::select! {
        biased;
        error = &mut signal => return Err(error),
        swept = artifact_store::sweep_with(registry, &store.config, mode) => swept.map_err(|error| store.open_error(&error))?,
    };
    let text = if args.json {
        json_line(&SweepOutput { dry_run: args.dry_run, swept })?
    } else {
        summary(swept, mode)
    };
    stdout::print(&text).await
}

/// The result of the sweep as one line of text.
fn summary(swept: SweepSummary, mode: SweepMode) -> String {
    let is_dry_run = mode == SweepMode::DryRun;
    if swept.busy {
        return "another sweep of this store is running; nothing was done\n".to_owned();
    }
    let noun = if swept.leftovers == 1 { "leftover" } else { "leftovers" };
    let mut text = match (swept.leftovers, is_dry_run) {
        (0, _) => "no leftovers".to_owned(),
        (count, true) => format!("{count} {noun} would be removed"),
        (count, false) => format!("{count} {noun} removed"),
    };
    // Writing into a `String` cannot fail.
    if let Some(bytes) = swept.bytes.filter(|_| swept.leftovers > 0) {
        let freed = if is_dry_run { "would be freed" } else { "freed" };
        let _ = write!(text, ", {} {freed}", BinaryBytes(bytes));
    }
    if swept.spared > 0 {
        let left = if is_dry_run { "would be left" } else { "left" };
        let _ = write!(
            text,
            "; {} {left} because a running process may still use {}",
            swept.spared,
            if swept.spared == 1 { "it" } else { "them" }
        );
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::{SweepMode, SweepSummary, summary};

    #[test]
    fn the_summary_counts_what_was_removed_and_what_was_left() {
        let swept = SweepSummary::new(3).with_bytes(1_258_291).with_spared(1);
        assert_eq!(
            summary(swept, SweepMode::Delete),
            "3 leftovers removed, 1.20 MiB freed; 1 left because a running process may still use it\n"
        );
        assert_eq!(
            summary(SweepSummary::new(1).with_bytes(5), SweepMode::DryRun),
            "1 leftover would be removed, 5 B would be freed\n"
        );
        assert_eq!(summary(SweepSummary::new(2), SweepMode::Delete), "2 leftovers removed\n");
        assert_eq!(summary(SweepSummary::new(0).with_bytes(0), SweepMode::Delete), "no leftovers\n");
        assert!(summary(SweepSummary::busy(), SweepMode::Delete).starts_with("another sweep"));
    }
}
