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

// s3s-fs is slower, so it is tested only without the gate. Behind the gate, a test on it would show nothing new.
#[test]
fn s3s_fs_conforms() {
    run(&S3Harness::new(S3Kind::S3sFs)).assert_conforms();
}

// moto is as slow, because it handles every request in Python. It is also tested only without the gate.
#[test]
fn moto_conforms() {
    run(&S3Harness::new(S3Kind::Moto)).assert_conforms();
}
