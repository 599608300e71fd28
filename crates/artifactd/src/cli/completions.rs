//! `artifactd completions`: prints a completion script for a shell. This module must never know a command.

use clap_complete::Shell;

use super::error::CommandError;
use super::stdout;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the script that completes `command`.
pub(super) async fn run(args: CompletionsArgs, mut command: clap::Command) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "artifactd", &mut script);
    stdout::print(&String::from_utf8_lossy(&script)).await
}
