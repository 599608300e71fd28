//! The inmem driver passes the conformance suite, bare and behind the gate.

mod harness;

use std::sync::Arc;

use artifact_store_conformance::{GatedHarness, run};
use harness::InmemHarness;

#[test]
fn inmem_conforms() {
    run(&InmemHarness).assert_conforms();
}

#[test]
fn inmem_conforms_behind_the_gate() {
    run(&GatedHarness(Arc::new(InmemHarness))).assert_conforms();
}
