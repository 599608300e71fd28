//! Runs the conformance suite against the driver, without and with the Gate.

mod harness;

use std::sync::Arc;

use artifact_store_conformance::{GatedHarness, run};
use harness::PostgresHarness;

#[test]
fn postgres_conforms() {
    run(&PostgresHarness).assert_conforms();
}

#[test]
fn postgres_conforms_behind_the_gate() {
    run(&GatedHarness(Arc::new(PostgresHarness))).assert_conforms();
}
