//! The conformance suite, on the bare driver and through the Gate.

mod harness;

use std::sync::Arc;

use artifact_store_conformance::{GatedHarness, run};
use harness::SqliteHarness;

#[test]
fn sqlite_in_a_file_conforms() {
    run(&SqliteHarness::File).assert_conforms();
}

#[test]
fn sqlite_in_a_file_conforms_behind_the_gate() {
    run(&GatedHarness(Arc::new(SqliteHarness::File))).assert_conforms();
}

#[test]
fn sqlite_in_memory_conforms() {
    run(&SqliteHarness::Memory).assert_conforms();
}

#[test]
fn sqlite_in_memory_conforms_behind_the_gate() {
    run(&GatedHarness(Arc::new(SqliteHarness::Memory))).assert_conforms();
}
