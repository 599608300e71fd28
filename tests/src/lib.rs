//! What the matrix, the wire tests and their programs share: the flavours, reproducible artifacts, tables, a client.
//!
//! The flavours' harnesses are the drivers' own: a driver's test and the matrix run the same ones.
#![allow(clippy::print_stdout, clippy::print_stderr)] // Programs of the command line.

pub mod corpus;
pub mod flavours;
pub mod hosted;
pub mod place;
pub mod table;
pub mod welch;
pub mod wire;

/// The Rust of the pages, compiled and run.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../docs/start.md")]
    struct Start;
    #[doc = include_str!("../../docs/embed.md")]
    struct Embed;
}
