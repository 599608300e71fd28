//! The driver conforms to the contract on real servers, bare and behind the gate.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // Helpers of tests.

mod harness;

use std::sync::Arc;

use artifact_store_backends::S3Kind;
use artifact_store_conformance::{GatedHarness, run};
use harness::S3Harness;

#[test]
fn garage_conforms() {
    run(&S3Harness::new(S3Kind::Garage)).assert_conforms();
}

#[test]
fn garage_conforms_behind_the_gate() {
    run(&GatedHarness(Arc::new(S3Harness::new(S3Kind::Garage)))).assert_conforms();
}

// This server is slower. Behind the gate it would show nothing that Garage does not.
#[test]
fn s3s_fs_conforms() {
    run(&S3Harness::new(S3Kind::S3sFs)).assert_conforms();
}

// As slow: it handles every request in Python.
#[test]
fn moto_conforms() {
    run(&S3Harness::new(S3Kind::Moto)).assert_conforms();
}
