//! The fs driver keeps the contract, bare and gated, with each sync policy.

mod harness;

use std::sync::Arc;

use artifact_store_conformance::{Gated, run};
use harness::FsHarness;

#[test]
fn fs_conforms() {
    run(&FsHarness::new()).assert_conforms();
}

#[test]
fn fs_conforms_behind_the_gate() {
    run(&Gated(Arc::new(FsHarness::new()))).assert_conforms();
}

#[test]
fn fs_without_syncing_conforms() {
    run(&FsHarness::sync_never()).assert_conforms();
}

#[test]
fn fs_without_syncing_conforms_behind_the_gate() {
    run(&Gated(Arc::new(FsHarness::sync_never()))).assert_conforms();
}
