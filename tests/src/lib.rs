//! Shared code of the matrix, the wire tests and their programs: flavours, reproducible artifacts, tables, an HTTP
//! client.
//!
//! The harnesses of the flavours belong to the drivers: a driver's tests and the matrix run the same ones.
#![allow(clippy::print_stdout, clippy::print_stderr)] // Command-line programs.

pub mod corpus;
pub mod flavour;
pub mod matrix_rows;
pub mod server_host;
pub mod table;
pub mod welch;
pub mod wire;

/// The Rust code of the pages, compiled and run.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../docs/start.md")]
    struct Start;
    #[doc = include_str!("../../docs/embed.md")]
    struct Embed;
}
