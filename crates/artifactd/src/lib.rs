//! The server and the operator's command line: bytes on one side, the protocol's types on the other. Decides nothing: the
//! resolver does.

// They panic where a standard stream cannot be written: what goes out is written by `cli::out` and `log`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod config;
pub mod http;
pub mod identity;
pub mod log;
pub mod metrics;
pub mod openapi;
pub mod pages;
pub mod server;
