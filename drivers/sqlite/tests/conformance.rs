//! The conformance suite, on the bare driver and through the Gate.

mod harness;

use std::sync::Arc;

use artifact_store_conformance::{GatedHarness, run};
use harness::SqliteHarness;

#[test]
fn a_file_conforms() {
    run(&SqliteHarness::File).assert_conforms();
}

#[test]
fn a_gated_file_conforms() {
    run(&GatedHarness(Arc::new(SqliteHarness::File))).assert_conforms();
}

#[test]
fn memory_conforms() {
    run(&SqliteHarness::Memory).assert_conforms();
}

#[test]
fn gated_memory_conforms() {
    run(&GatedHarness(Arc::new(SqliteHarness::Memory))).assert_conforms();
}
