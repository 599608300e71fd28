//! The program `artifactd` as a library: configuration, command line, log and generated pages. The server is in the
//! crate `artifact_store_server`. This crate must never decide whether a request is allowed: the resolver does.
//!
//! With [`run`], a driver of another crate gets a program `artifactd` of its own, with every command. This is its whole
//! `main.rs`:
//!
//! ```no_run
//! use std::process::ExitCode;
//! # fn your_driver() -> std::sync::Arc<dyn artifact_store::Driver> { panic!("the example is not run") }
//!
//! fn main() -> Result<ExitCode, artifact_store::StoreError> {
//!     let mut registry = artifactd::drivers()?;
//!     registry.register(your_driver())?;
//!     Ok(artifactd::run(&registry))
//! }
//! ```
//!
//! The options of such a driver are keys of the section `artifacts.options` of the configuration.

// `println!` and `eprintln!` panic if the standard stream cannot be written. So the program writes only with
// `cli::stdout`, `cli::stderr` and `log`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cli;
pub mod config;
mod driver_table;
pub mod log;
pub mod pages;

pub use artifact_store::drivers;
pub use cli::run;
