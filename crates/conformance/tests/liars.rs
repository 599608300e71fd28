//! Tests of the suite: the honest store passes every check, and every liar fails the check named beside it.

use std::collections::HashSet;
use std::sync::Arc;

use artifact_store_conformance::liars::{self, HonestHarness, Liar, Lie, LockingHarness};
use artifact_store_conformance::{GatedHarness, checks, run, run_checks, seed};
use artifact_store_core::Flag;

#[test]
fn the_honest_store_passes_every_check() {
    run(&HonestHarness).assert_conforms();
}

#[test]
fn the_honest_store_passes_every_check_behind_the_gate() {
    run(&GatedHarness(Arc::new(HonestHarness))).assert_conforms();
}

/// A wrapper around a gated store, such as a cache, may be behind a second gate.
#[test]
fn the_honest_store_passes_every_check_behind_two_gates() {
    run(&GatedHarness(Arc::new(GatedHarness(Arc::new(HonestHarness))))).assert_conforms();
}

#[test]
fn a_store_that_cannot_be_opened_twice_passes_every_check() {
    run(&LockingHarness).assert_conforms();
    run(&GatedHarness(Arc::new(LockingHarness))).assert_conforms();
}

#[test]
fn a_wrong_error_of_a_second_open_fails_only_the_check_of_its_flag() {
    let report = run(&Liar(Lie::SecondOpenIsABackendError));
    let failures: Vec<_> =
        report.failures().map(|(check, failure)| (check.name, failure.to_string())).collect();
    assert!(
        matches!(&failures[..], [("shared_is_as_advertised", text)] if text.contains("the storage is locked")),
        "{failures:#?}"
    );
}

/// Only drops in a few of the put's steps hit the commit. A check with drops at random moments would sometimes miss
/// this lie.
#[test]
fn a_destroyed_commit_is_found_every_time() {
    let mut named = checks();
    named.retain(|check| check.name == "a_dropped_put_leaves_nothing");
    for run in 0..30 {
        let report = run_checks(&Liar(Lie::DestroysADroppedCommit), &named, seed() + run, |_| ());
        assert_eq!(report.failures().count(), 1, "run {run}: {report}");
    }
}

#[test]
fn every_flag_has_a_check_of_its_own() {
    let checks = checks();
    for flag in Flag::ALL {
        let name = format!("{flag}_is_as_advertised");
        assert!(
            checks.iter().any(|check| check.name == name && check.flag == Some(*flag)),
            "no check {name} for the flag {flag}"
        );
    }
}

#[test]
fn every_liar_fails_the_check_named_beside_it() {
    let checks = checks();
    let mut passed = Vec::new();
    for expected in liars::ALL {
        let named: Vec<_> = checks.iter().copied().filter(|check| check.name == expected.check).collect();
        assert_eq!(named.len(), 1, "{expected:?}: no check has this name");
        let report = run_checks(&Liar(expected.lie), &named, seed(), |_| ());
        match report.failures().next() {
            Some((_, failure)) => println!("{expected:?}: {failure}"),
            None => passed.push(format!("{expected:?}")),
        }
    }
    assert!(passed.is_empty(), "these liars pass: {passed:#?}");
}

#[test]
fn every_check_has_a_name_of_its_own() {
    let names: HashSet<_> = checks().iter().map(|check| check.name).collect();
    assert_eq!(names.len(), checks().len());
}
