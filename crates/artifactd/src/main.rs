//! The program; everything it does is in the library beside it.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

fn main() -> ExitCode {
    artifactd::cli::main()
}
