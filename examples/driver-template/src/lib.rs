//! The driver: where it stores artifacts, in one sentence.
//!
//! # Layout
//! How records and bytes are named and kept. What is compared in every read.
//!
//! # Commit point
//! The one atomic step after which the artifact is visible, and what is done before it and after it.
//!
//! # Concurrency
//! Which calls wait for each other, what is held while a stream is open (nothing), and how many processes may open one
//! location.
//!
//! # Flags and limits
//! Each flag that is advertised and why it holds. The largest artifact.
//!
//! # Not done here
//! What a user may expect and this driver does not do.

mod config;
mod delete;
mod driver;
mod error;
mod list;
mod name;
mod put;
mod read;
mod store;

pub use config::TemplateConfig;
pub use driver::TemplateDriver;
pub use name::NAME;
pub use store::TemplateStore;
