//! The command line: a module for each command, and modules that they share. This module must never do the work of a
//! command.
//!
//! Commands write only data to standard output, so that scripts can use it. Messages, progress and errors go to
//! standard error.

mod background_sweep;
mod completions;
mod dev;
mod docs;
mod drivers;
mod error;
mod get;
mod json_line;
mod jwk_set_file;
mod keygen;
mod keys;
mod ls;
mod man;
mod output_file;
mod printable;
mod progress;
mod put;
mod reloader;
mod rm;
mod scope_args;
mod serve;
mod signals;
mod stat;
mod stderr;
mod stdout;
mod store_args;
mod sweep;
mod table;
mod token;

use std::io::Write as _;
use std::process::ExitCode;

use artifact_store::Registry;
use clap::{CommandFactory, Parser, Subcommand};

use crate::log;

use error::CommandError;

/// The last lines of the help of every command.
const EXIT_CODES: &str = "Exit codes: 0 success, 1 failed, 2 wrong usage or configuration, 4 no such artifact in this scope, \
                          129 hung up, 130 interrupted, 143 terminated.";

/// The version and the commit.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("ARTIFACTD_COMMIT"), ")");

#[derive(Debug, Parser)]
#[command(name = "artifactd", version = VERSION, about, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a local server to try out, with its own store, key and token
    Dev(dev::DevArgs),
    /// Run the server of a configuration file
    Serve(serve::ServeArgs),
    /// Generate a signing key: a private PEM and its jwks.json
    Keygen(keygen::KeygenArgs),
    /// List and retire the public keys of a JWK set
    Keys(keys::KeysArgs),
    /// Sign a token
    Token(token::TokenArgs),
    /// Store a file or standard input
    Put(put::PutArgs),
    /// Read an artifact into a file or standard output
    Get(get::GetArgs),
    /// List artifacts
    Ls(ls::LsArgs),
    /// Show the record of an artifact
    Stat(stat::StatArgs),
    /// Delete artifacts
    Rm(rm::RmArgs),
    /// Remove the leftovers of killed processes from a store
    Sweep(sweep::SweepArgs),
    /// Show the drivers of this build and their capabilities
    Drivers(drivers::DriversArgs),
    /// Write or check the generated pages of the documentation
    Docs(docs::DocsArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Write the manual pages
    Man(man::ManArgs),
}

/// Runs the command line of this process, with the drivers of `registry`. To add a driver to the drivers of this build,
/// register it in the registry that [`drivers`](crate::drivers) returns.
///
/// Call this function once, at the end of `main`, outside an async runtime: it builds a runtime of its own. The function
/// returns the exit code of the process.
pub fn run(registry: &Registry) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return print_clap_error(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return CommandError::caused_by("cannot start the async runtime", &error).report(),
    };
    let result = runtime.block_on(async {
        signals::handle_file_size_signal();
        match cli.command {
            Command::Dev(args) => dev::run(args, registry).await,
            Command::Serve(args) => serve::run(args, registry).await,
            Command::Keygen(args) => keygen::run(args).await,
            Command::Keys(args) => keys::run(args).await,
            Command::Token(args) => token::run(args).await,
            Command::Put(args) => put::run(args, registry).await,
            Command::Get(args) => get::run(args, registry).await,
            Command::Ls(args) => ls::run(args, registry).await,
            Command::Stat(args) => stat::run(args, registry).await,
            Command::Rm(args) => rm::run(args, registry).await,
            Command::Sweep(args) => sweep::run(args, registry).await,
            Command::Drivers(args) => drivers::run(args, registry).await,
            Command::Docs(args) => docs::run(args, registry).await,
            Command::Completions(args) => completions::run(args, Cli::command()).await,
            Command::Man(args) => man::run(args, Cli::command()).await,
        }
    });
    // All stores are closed here. A thread may still wait for standard input, and the process must not wait for this
    // thread.
    runtime.shutdown_background();
    let code = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    };
    log::flush();
    code
}

/// Prints the help, the version or the error about the arguments, and returns the exit code. clap returns the help and
/// the version as errors. If they cannot be written, the exit code is that of [`CommandError::from_stdout_error`].
fn print_clap_error(clap_error: &clap::Error) -> ExitCode {
    let printed = clap_error.print().and_then(|()| std::io::stdout().flush());
    match printed {
        Err(error) if !clap_error.use_stderr() => CommandError::from_stdout_error(&error).report(),
        _ => ExitCode::from(u8::try_from(clap_error.exit_code()).unwrap_or(2)),
    }
}
