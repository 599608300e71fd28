//! Tools for the tests of programs that use a store. [`TestStore`] makes calls fail or wait, and records every call.
//! [`ManualClock`] is a clock that the test sets. The feature `testing` enables this module.
//!
//! # Examples
//! ```
//! use artifact_store::prelude::*;
//! use artifact_store::testing::{Rule, TestStore};
//! use artifact_store::Verb;
//! use std::sync::Arc;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let store = Arc::new(TestStore::inmem()?);
//! store.add_rule(Rule::fail(Verb::Put, || StoreError::unavailable("the disk is full")).times(1));
//!
//! // The code under test retries once.
//! let scope = Scope::new("acme", "ada", "session-1")?;
//! let first = store.put_text(&scope, "a report", PutOptions::default()).await;
//! assert!(first.unwrap_err().kind().is_retryable());
//! store.put_text(&scope, "a report", PutOptions::default()).await?;
//!
//! let results: Vec<_> = store.calls().iter().map(|call| (call.verb, call.result)).collect();
//! assert_eq!(results, [(Verb::Put, Some(Err(ErrorKind::Unavailable))), (Verb::Put, Some(Ok(())))]);
//! # Ok::<(), StoreError>(())
//! # }).unwrap();
//! ```
//!
//! This module must never know a driver other than inmem.

mod clock;
mod rule;
mod store;

pub use clock::ManualClock;
pub use rule::Rule;
pub use store::{Call, TestStore};
