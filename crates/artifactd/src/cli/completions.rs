//! `artifactd completions`: a script that completes this command line.

use clap_complete::Shell;

use super::{Failure, out};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) async fn run(args: CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "artifactd", &mut script);
    out::print(&String::from_utf8_lossy(&script)).await
}
