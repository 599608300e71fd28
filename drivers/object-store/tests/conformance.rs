//! The driver conforms to the contract on the stores of `object_store` that need no server, bare and behind the gate.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // Helpers of tests.

mod harness;

use std::sync::Arc;

use artifact_store_conformance::{GatedHarness, run};
use harness::{ObjectsHarness, Storage};

#[test]
fn in_memory_conforms() {
    run(&ObjectsHarness(Storage::InMemory)).assert_conforms();
}

#[test]
fn in_memory_conforms_behind_the_gate() {
    run(&GatedHarness(Arc::new(ObjectsHarness(Storage::InMemory)))).assert_conforms();
}

#[test]
fn a_folder_of_files_conforms() {
    run(&ObjectsHarness(Storage::LocalFiles)).assert_conforms();
}

#[test]
fn a_folder_of_files_conforms_behind_the_gate() {
    run(&GatedHarness(Arc::new(ObjectsHarness(Storage::LocalFiles)))).assert_conforms();
}

#[test]
fn a_storage_that_ignores_conditions_conforms() {
    run(&ObjectsHarness(Storage::WithoutConditions)).assert_conforms();
}

#[test]
fn a_storage_that_ignores_conditions_conforms_behind_the_gate() {
    run(&GatedHarness(Arc::new(ObjectsHarness(Storage::WithoutConditions)))).assert_conforms();
}
