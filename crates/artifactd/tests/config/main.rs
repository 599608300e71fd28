//! The configuration: values and their sources, and the whole line of every error.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

mod driver_keys;
mod environment;
mod errors;
mod lines;
mod loading;
mod own_driver;
mod spellings;
mod values;
