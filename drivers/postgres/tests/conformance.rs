//! The driver against the whole contract, bare and gated.

mod harness;

use std::sync::Arc;

use artifact_store_conformance::{Gated, run};
use harness::PostgresHarness;

#[test]
fn a_schema_conforms() {
    run(&PostgresHarness).assert_conforms();
}

#[test]
fn a_gated_schema_conforms() {
    run(&Gated(Arc::new(PostgresHarness))).assert_conforms();
}
