//! What is configured, by whom, and the whole line for everything that is wrong.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

mod environment;
mod kit;
mod places;
mod refused;
mod said;
