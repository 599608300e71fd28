//! The program `artifactd` as a library: configuration, command line, log and generated pages. The server is in the
//! crate `artifact_store_server`. This crate must never decide whether a request is allowed: the resolver does.

// The macros of std panic if a standard stream cannot be written. So the program writes only with `cli::stdout`,
// `cli::stderr` and `log`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod config;
mod driver_table;
pub mod log;
pub mod pages;
