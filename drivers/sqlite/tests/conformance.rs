//! The driver against the whole contract, bare and gated.

mod harness;

use std::sync::Arc;

use artifact_store_conformance::{Gated, run};
use harness::SqliteHarness;

#[test]
fn a_file_conforms() {
    run(&SqliteHarness::File).assert_conforms();
}

#[test]
fn a_gated_file_conforms() {
    run(&Gated(Arc::new(SqliteHarness::File))).assert_conforms();
}

#[test]
fn memory_conforms() {
    run(&SqliteHarness::Memory).assert_conforms();
}

#[test]
fn gated_memory_conforms() {
    run(&Gated(Arc::new(SqliteHarness::Memory))).assert_conforms();
}
