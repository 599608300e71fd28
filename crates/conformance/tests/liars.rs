//! Tests of the suite: the honest store passes every check, and every liar fails the check named beside it.

use std::collections::HashSet;
use std::sync::Arc;

use artifact_store_conformance::liars::{self, HonestHarness, Liar};
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

/// A wrapper around a store that is already gated, such as a cache, puts a second gate in front of the first.
#[test]
fn the_honest_store_passes_every_check_behind_two_gates() {
    run(&GatedHarness(Arc::new(GatedHarness(Arc::new(HonestHarness))))).assert_conforms();
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
