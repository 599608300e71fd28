//! The parts of a check: [`Check`] as data, its [`Outcome`], and the [`CheckContext`] that it runs in.
//!
//! This module must never know which checks exist.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use artifact_store_core::{ArtifactStore, ErrorKind, Flag, StoreError};
use futures_util::future::BoxFuture;

use crate::harness::{Backend, StoreOptions};

/// The outcome of a check that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The store does what the contract or an advertised flag promises.
    Passed,
    /// The store does not advertise the flag. The check has proved that the store does what the contract requires of a
    /// store without this flag.
    NotPromised,
}

/// The reason why a check failed, as a sentence that the author of a driver can act on.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// Creates a failure with this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lets `?` turn an unexpected error into a failure that shows its causes.
impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut reason = format!("unexpected error: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            reason.push_str(" ← ");
            reason.push_str(&cause.to_string());
            source = cause.source();
        }
        Self(reason)
    }
}

/// The result of a check.
pub type CheckResult = Result<Outcome, Failure>;

/// One clause of the contract, as data.
#[derive(Clone, Copy)]
pub struct Check {
    /// The name: a sentence that is true for a store that passes the check, and false for a store that fails it.
    pub name: &'static str,
    /// The part of the contract that the check belongs to, such as `listing`.
    pub group: &'static str,
    /// The flag that the check tests. The check runs for stores with and without the flag. `None` if the check does not
    /// depend on a flag.
    pub flag: Option<Flag>,
    pub(crate) run: for<'a> fn(&'a CheckContext) -> BoxFuture<'a, CheckResult>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.name)
    }
}

/// The context of one check: an empty backend, and the stores that the check opened on it.
#[derive(Debug)]
pub(crate) struct CheckContext {
    backend: Box<dyn Backend>,
    /// The stores that the check opened. They are closed after the check.
    opened: Mutex<Vec<Arc<dyn ArtifactStore>>>,
    /// The seed of all random values in the check.
    pub(crate) seed: u64,
}

impl CheckContext {
    pub(crate) fn new(backend: Box<dyn Backend>, seed: u64) -> Self {
        Self { backend, opened: Mutex::default(), seed }
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        self.backend.as_ref()
    }

    /// Opens a store on the check's backend. The context closes the store after the check.
    pub(crate) async fn open(&self) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        self.open_with(&StoreOptions::default()).await
    }

    /// Opens a store as [`open`](Self::open), with these options.
    pub(crate) async fn open_with(
        &self,
        options: &StoreOptions,
    ) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let store = self.backend.open(options).await?;
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&store));
        Ok(store)
    }

    /// Closes and drops every store that the check opened.
    pub(crate) async fn close_all(&self) -> Result<(), StoreError> {
        let opened = std::mem::take(&mut *self.opened.lock().unwrap_or_else(PoisonError::into_inner));
        for store in opened {
            store.close().await?;
        }
        Ok(())
    }

    /// Waits until no residue is left, at most 6 seconds. This is necessary because a driver may delete the residue of
    /// a dropped future in the background.
    pub(crate) async fn ensure_no_residue(&self) -> Result<(), Failure> {
        let mut residue = Vec::new();
        // The sum of these delays is 6 seconds.
        for wait in [0, 5, 20, 50, 100, 200, 400, 800, 1600, 3000] {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            residue = self
                .backend
                .residue()
                .await
                .map_err(|error| Failure::new(format!("cannot read the residue: {error}")))?;
            if residue.is_empty() {
                return Ok(());
            }
        }
        // The failure shows only the first items.
        residue.truncate(8);
        Err(Failure::new(format!("residue is left in the raw storage: {}", residue.join("; "))))
    }
}

/// Fails the check with the formatted reason if the condition is false.
macro_rules! ensure {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            return Err($crate::check::Failure::new(format!($($reason)+)));
        }
    };
}

/// Fails the check if the values differ. The left value is the actual one, and the right value is the expected one. The
/// failure shows the formatted reason and both values.
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $($reason:tt)+) => {
        // With a `match`, temporary values in the expressions live long enough, as in `assert_eq!`.
        match (&$left, &$right) {
            (left, right) => {
                if left != right {
                    let reason = format!($($reason)+);
                    return Err($crate::check::Failure::new(format!("{reason}: expected {right:?}, got {left:?}")));
                }
            }
        }
    };
}

pub(crate) use {ensure, ensure_eq};

/// Ensures that `result` is an error of a kind for which `is_expected` returns true. `what` names the call in the
/// failure.
pub(crate) fn ensure_error_kind<T>(
    result: Result<T, StoreError>,
    is_expected: impl FnOnce(ErrorKind) -> bool,
    what: &str,
) -> Result<(), Failure> {
    match result {
        Ok(_) => Err(Failure::new(format!("{what}: succeeded, but must fail"))),
        Err(error) if is_expected(error.kind()) => Ok(()),
        Err(error) => Err(Failure::new(format!("{what}: failed with another error: {error}"))),
    }
}
