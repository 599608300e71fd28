//! The program `artifactd`. All its code is in the library of this package.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use artifact_store::StoreError;

fn main() -> Result<ExitCode, StoreError> {
    artifactd::drivers().map(|registry| artifactd::run(&registry))
}
