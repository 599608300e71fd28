//! The fs driver passes the conformance suite, bare and behind the gate, with each sync policy.

mod harness;

use std::sync::Arc;

use artifact_store_conformance::{GatedHarness, run};
use harness::FsHarness;

#[test]
fn fs_conforms() {
    run(&FsHarness::new()).assert_conforms();
}

#[test]
fn fs_conforms_behind_the_gate() {
    run(&GatedHarness(Arc::new(FsHarness::new()))).assert_conforms();
}

#[test]
fn fs_without_syncing_conforms() {
    run(&FsHarness::sync_never()).assert_conforms();
}

#[test]
fn fs_without_syncing_conforms_behind_the_gate() {
    run(&GatedHarness(Arc::new(FsHarness::sync_never()))).assert_conforms();
}
