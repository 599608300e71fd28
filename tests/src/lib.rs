//! What the matrix and its programs share: the flavours, reproducible artifacts, tables.
//!
//! The flavours' harnesses are the drivers' own: a driver's test and the matrix run the same ones.
#![allow(clippy::print_stdout, clippy::print_stderr)] // Programs of the command line.

pub mod corpus;
pub mod flavours;
pub mod table;
