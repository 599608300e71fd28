//! The sections "Install it as a service" and "In front of it" of docs/operate.md, followed word by word: every command
//! is run and every file is written exactly as on the page. Each test has a machine of its own.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

mod machine;
mod page;
mod proxy;
mod service;
