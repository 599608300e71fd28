//! `artifactd man`: writes the manual pages. This module must never know a command.

use std::path::PathBuf;

use super::error::CommandError;
use super::stderr::print_message;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  artifactd man ~/.local/share/man/man1     then: man artifactd-put")]
pub(super) struct ManArgs {
    /// The directory of the pages; created if it does not exist
    dir: PathBuf,
}

/// Writes a page for `command` and one for each of its subcommands. Pages that exist are replaced.
pub(super) async fn run(args: ManArgs, command: clap::Command) -> Result<(), CommandError> {
    let shown = args.dir.display().to_string();
    tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&args.dir)?;
        // clap adds the subcommand `help` to each command. A manual page for `help` would contain nothing new.
        clap_mangen::generate_to(command.disable_help_subcommand(true), &args.dir)
    })
    .await
    .map_err(std::io::Error::other)
    .flatten()
    .map_err(|error| CommandError::caused_by(format!("cannot write manual pages into {shown}"), &error))?;
    print_message(&format!("{shown}: the manual pages of artifactd"));
    Ok(())
}
