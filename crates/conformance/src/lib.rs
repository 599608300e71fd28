//! The contract of artifact-store as named checks.
mod harness;
pub use harness::{Harness, HttpClient, HttpResponse, OpenWith, Place};
