//! The redb driver passes the conformance suite, bare and behind the gate.

mod harness;

use std::sync::Arc;

use artifact_store_conformance::{GatedHarness, checks, run, run_checks, seed};
use harness::RedbHarness;

#[test]
fn redb_conforms() {
    run(&RedbHarness).assert_conforms();
}

#[test]
fn redb_conforms_behind_the_gate() {
    run(&GatedHarness(Arc::new(RedbHarness))).assert_conforms();
}

#[test]
fn one_check() {
    let named: Vec<_> =
        checks().into_iter().filter(|check| check.name == "pages_cover_every_row_once").collect();
    run_checks(&RedbHarness, &named, seed(), |report| println!("{report:?}")).assert_conforms();
}
