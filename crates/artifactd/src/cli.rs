//! The command line: one module for each command, and below them what they share.
//!
//! Standard output carries data alone, so that scripts can take it; sentences, progress and failures go to standard error.

mod completions;
mod dev;
mod docs;
mod drivers;
mod failure;
mod get;
mod keygen;
mod ls;
mod out;
mod progress;
mod put;
mod reload;
mod rm;
mod save;
mod serve;
mod signals;
mod stat;
mod table;
mod target;
mod token;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

pub(crate) use drivers::markdown as drivers_markdown;
pub use failure::Failure;

use crate::log;

/// What every command's help ends with.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 4 no such artifact in this scope, \
                          129 hung up, 130 interrupted, 143 terminated.";

/// Release and commit.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("ARTIFACTD_COMMIT"), ")");

#[derive(Debug, Parser)]
#[command(name = "artifactd", version = VERSION, about, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve on this machine, with a store, a key and a token made for trying it out
    Dev(dev::DevArgs),
    /// Serve as a configuration file says
    Serve(serve::ServeArgs),
    /// Make a signing key: a private PEM and its jwks.json
    Keygen(keygen::KeygenArgs),
    /// Sign a token
    Token(token::TokenArgs),
    /// Store a file or standard input
    Put(put::PutArgs),
    /// Read an artifact into a file or standard output
    Get(get::GetArgs),
    /// List artifacts
    Ls(ls::LsArgs),
    /// Show what is known of an artifact
    Stat(stat::StatArgs),
    /// Remove artifacts
    Rm(rm::RmArgs),
    /// Show every driver compiled in and what it can do
    Drivers(drivers::DriversArgs),
    /// Write the generated pages of the documentation, or check them
    Docs(docs::DocsArgs),
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
}

/// The whole command line as data.
fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => return tell_usage(&said),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::caused("the runtime does not start", &error).tell(),
    };
    let done = runtime.block_on(async {
        signals::outlive_large_files();
        match cli.command {
            Command::Dev(args) => dev::run(args).await,
            Command::Serve(args) => serve::run(args).await,
            Command::Keygen(args) => keygen::run(args).await,
            Command::Token(args) => token::run(args).await,
            Command::Put(args) => put::run(args).await,
            Command::Get(args) => get::run(args).await,
            Command::Ls(args) => ls::run(args).await,
            Command::Stat(args) => stat::run(args).await,
            Command::Rm(args) => rm::run(args).await,
            Command::Drivers(args) => drivers::run(args).await,
            Command::Docs(args) => docs::run(args).await,
            Command::Completions(args) => completions::run(args).await,
        }
    });
    // Stores are closed by now. A thread that waits for standard input must not hold up the end.
    runtime.shutdown_background();
    let code = match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    };
    log::flush();
    code
}

/// The help, the version, or what is wrong with the arguments. What standard output does not take is a failure.
fn tell_usage(said: &clap::Error) -> ExitCode {
    let told = said.print().and_then(|()| std::io::stdout().flush());
    match told {
        Err(error) if !said.use_stderr() => Failure::of_stdout(&error).tell(),
        _ => ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(2)),
    }
}
