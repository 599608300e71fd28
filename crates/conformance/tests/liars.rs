//! The suite bites: the honest base passes every check, and every liar is failed by the check named beside it.

use std::collections::HashSet;
use std::sync::Arc;

use artifact_store_conformance::liars::{self, Honest, Liar};
use artifact_store_conformance::{Gated, checks, run, run_checks, seed};

#[test]
fn the_honest_base_passes_every_check() {
    run(&Honest).assert_conforms();
}

#[test]
fn the_honest_base_passes_every_check_behind_the_gate() {
    run(&Gated(Arc::new(Honest))).assert_conforms();
}

/// Whoever wraps a store that is gated already, as a cache would, puts a second gate before the first.
#[test]
fn the_honest_base_passes_every_check_behind_two_gates() {
    run(&Gated(Arc::new(Gated(Arc::new(Honest))))).assert_conforms();
}

#[test]
fn every_liar_is_failed_by_the_check_named_beside_it() {
    let checks = checks();
    let mut passed = Vec::new();
    for catch in liars::ALL {
        let named: Vec<_> = checks.iter().copied().filter(|check| check.name == catch.check).collect();
        assert_eq!(named.len(), 1, "{catch:?} names no check");
        let report = run_checks(&Liar(catch.lie), &named, seed(), |_| ());
        match report.failures().next() {
            Some((_, failure)) => println!("{catch:?}: {failure}"),
            None => passed.push(format!("{catch:?}")),
        }
    }
    assert!(passed.is_empty(), "these liars pass: {passed:#?}");
}

#[test]
fn every_check_has_a_name_of_its_own() {
    let names: HashSet<_> = checks().iter().map(|check| check.name).collect();
    assert_eq!(names.len(), checks().len());
}
