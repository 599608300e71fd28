//! The program `artifactd`. All its code is in the library of this package.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

fn main() -> ExitCode {
    artifactd::cli::main()
}
