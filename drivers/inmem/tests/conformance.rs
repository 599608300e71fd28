//! The inmem driver keeps the contract, bare and gated.

mod harness;

use std::sync::Arc;

use artifact_store_conformance::{Gated, run};
use harness::InmemHarness;

#[test]
fn inmem_conforms() {
    run(&InmemHarness).assert_conforms();
}

#[test]
fn inmem_conforms_behind_the_gate() {
    run(&Gated(Arc::new(InmemHarness))).assert_conforms();
}
