//! The template driver passes the conformance suite, bare and behind the gate.

mod harness;

use std::sync::Arc;

use artifact_store_conformance::{GatedHarness, run};
use artifact_store_template as driver;
use harness::TemplateHarness;

#[test]
fn template_conforms() {
    run(&TemplateHarness).assert_conforms();
}

#[test]
fn template_conforms_behind_the_gate() {
    run(&GatedHarness(Arc::new(TemplateHarness))).assert_conforms();
}
