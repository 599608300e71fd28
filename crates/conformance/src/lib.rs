//! The contract of artifact-store as named checks, and the liars that prove the checks bite.
//!
//! A driver's author gives a [`Harness`] and gets the whole list: no driver picks its checks.
//!
//! ```no_run
//! # use artifact_store_conformance::{Gated, Harness, run};
//! # use std::sync::Arc;
//! # fn my_harness() -> Arc<dyn Harness> { Arc::new(artifact_store_conformance::liars::Honest) }
//! #[test]
//! fn conforms() {
//!     run(&*my_harness()).assert_conforms();
//!     run(&Gated(my_harness())).assert_conforms();
//! }
//! ```
//!
//! Three outcomes, all counted: *passed*; *failed*; *not promised* — a flag is not advertised, and the probe of its
//! opposite ran and passed. Nothing is skipped. After each check its stores are closed, the raw storage must hold no
//! residue, and no task may be alive.
//!
//! The [`liars`] are wrappers around an honest store that each tell one lie; each must be failed by the check named
//! beside it, or the suite is decoration.

mod check;
mod checks;
mod gated;
mod harness;
mod kit;
pub mod liars;
mod runner;

pub use check::{Check, CheckResult, Failure, Outcome};
pub use checks::all as checks;
pub use gated::Gated;
pub use harness::{Harness, HttpClient, HttpResponse, OpenWith, Place};
pub use runner::{Line, Report, run, run_checks, seed};
