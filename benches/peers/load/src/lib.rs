//! The load of the benchmarks beside other libraries.
//!
//! Two programs share it, because a program links one SQLite, and OpenDAL and artifact-store pin different versions.
//! [`BACKENDS`] says what is measured, a [`Store`] is what is measured, [`measure`] measures, and [`run`] is the command
//! line of both programs. This crate must never know a library that it measures.

mod bodies;
mod case;
mod cli;
mod measure;
mod store;

pub use case::{BACKENDS, Backend, Case, Group, KIB, MIB, RARE_EVERY, Rows, Work, size_name};
pub use cli::{Place, run};
pub use measure::{Sample, measure};
pub use store::{BoxFuture, Error, Kind, Measured, PAGE_ROWS, Store, measured, unsupported};
