//! The driver keeps the contract with a real server, bare and gated.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // Helpers of tests.

mod harness;

use std::sync::Arc;

use artifact_store_backends::S3Kind;
use artifact_store_conformance::{Gated, run};
use harness::S3Harness;

#[test]
fn garage_conforms() {
    run(&S3Harness::new(S3Kind::Garage)).assert_conforms();
}

#[test]
fn garage_conforms_behind_the_gate() {
    run(&Gated(Arc::new(S3Harness::new(S3Kind::Garage)))).assert_conforms();
}

// The slower server: behind the gate it would show nothing that the other does not.
#[test]
fn s3s_fs_conforms() {
    run(&S3Harness::new(S3Kind::S3sFs)).assert_conforms();
}
