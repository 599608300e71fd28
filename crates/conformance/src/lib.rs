//! The contract of artifact-store as named checks, and liars that prove that the checks detect broken stores.
//!
//! The author of a driver implements [`Harness`] and calls [`run`], which runs all checks. No driver may leave out a
//! check.
//!
//! ```no_run
//! # use artifact_store_conformance::{GatedHarness, Harness, run};
//! # use std::sync::Arc;
//! # fn my_harness() -> Arc<dyn Harness> { Arc::new(artifact_store_conformance::liars::HonestHarness) }
//! #[test]
//! fn conforms() {
//!     run(&*my_harness()).assert_conforms();
//!     run(&GatedHarness(my_harness())).assert_conforms();
//! }
//! ```
//!
//! Each check ends with one of three outcomes: *passed*, *failed*, or *not promised*. All outcomes are counted, and no
//! check is skipped. *Not promised* means that the store does not advertise the flag of the check. The check has then
//! tested what the contract requires of a store without this flag.
//!
//! Items in the raw storage that belong to no visible artifact are called *residue*. After each check, the raw storage
//! must contain no residue, both before and after the check's stores are closed. After the close, no task may be alive.
//!
//! The [`liars`] are stores that each break one promise. [`liars::ALL`] names the check that must fail for each of
//! them.

mod bodies;
mod check;
mod checks;
mod fixtures;
mod gated;
mod harness;
pub mod liars;
mod runner;
mod stepped;

pub use check::{Check, CheckResult, Failure, Outcome};
pub use checks::all as checks;
pub use gated::GatedHarness;
pub use harness::{Backend, Harness, HttpClient, HttpResponse, StoreOptions};
pub use runner::{CheckReport, Report, run, run_checks, seed};
