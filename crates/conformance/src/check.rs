//! What a check is: [`Check`] as data, its [`Outcome`], and the [`Lab`] it works in.
//!
//! This module must never know which checks there are.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use artifact_store_core::{ArtifactStore, ErrorKind, Flag, StoreError};
use futures_util::future::BoxFuture;

use crate::harness::{OpenWith, Place};

/// How a check ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// What the contract or an advertised flag promises holds.
    Passed,
    /// The flag is not advertised, and the probe of its opposite ran and passed.
    NotPromised,
}

/// Why a check failed, in a sentence that a driver's author can act on.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// A failure for this reason.
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

/// So that `?` turns an error nobody expected into a failure that shows its causes.
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

/// What a check answers.
pub type CheckResult = Result<Outcome, Failure>;

/// One clause of the contract, as data.
#[derive(Clone, Copy)]
pub struct Check {
    /// The name: read as a sentence, it is the diagnosis.
    pub name: &'static str,
    /// The group of the contract that it belongs to.
    pub group: &'static str,
    /// The flag that it proves, both ways; `None`: every driver owes it.
    pub flag: Option<Flag>,
    pub(crate) run: for<'a> fn(&'a Lab) -> BoxFuture<'a, CheckResult>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.name)
    }
}

/// Where one check runs: an empty place, and the stores that the check opened on it.
#[derive(Debug)]
pub(crate) struct Lab {
    place: Box<dyn Place>,
    opened: Mutex<Vec<Arc<dyn ArtifactStore>>>,
    /// The seed of everything random in the check.
    pub(crate) seed: u64,
}

impl Lab {
    pub(crate) fn new(place: Box<dyn Place>, seed: u64) -> Self {
        Self { place, opened: Mutex::default(), seed }
    }

    pub(crate) fn place(&self) -> &dyn Place {
        self.place.as_ref()
    }

    /// Opens a store on the check's place; the lab closes it after the check.
    pub(crate) async fn open(&self) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        self.open_with(&OpenWith::default()).await
    }

    pub(crate) async fn open_with(&self, with: &OpenWith) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let store = self.place.open(with).await?;
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&store));
        Ok(store)
    }

    /// Closes every store that the check opened. The lab lets go of them.
    pub(crate) async fn close_all(&self) -> Result<(), StoreError> {
        let opened = std::mem::take(&mut *self.opened.lock().unwrap_or_else(PoisonError::into_inner));
        for store in opened {
            store.close().await?;
        }
        Ok(())
    }

    /// Waits for the residue to become nothing: what a dropped future leaves is cleared away without being awaited.
    pub(crate) async fn no_residue(&self) -> Result<(), Failure> {
        let mut last = Vec::new();
        for wait in [0, 5, 20, 50, 100, 200, 400, 800, 1600, 3000] {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            last = self
                .place
                .residue()
                .await
                .map_err(|error| Failure::new(format!("the residue cannot be looked at: {error}")))?;
            if last.is_empty() {
                return Ok(());
            }
        }
        last.truncate(8);
        Err(Failure::new(format!("residue is left in the raw storage: {}", last.join("; "))))
    }
}

/// Fails the check unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            return Err($crate::check::Failure::new(format!($($reason)+)));
        }
    };
}

/// Fails the check unless both are equal, and shows them.
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $($reason:tt)+) => {
        match (&$left, &$right) {
            (left, right) => {
                if left != right {
                    let reason = format!($($reason)+);
                    return Err($crate::check::Failure::new(format!("{reason}: {left:?} where {right:?} was due")));
                }
            }
        }
    };
}

pub(crate) use {ensure, ensure_eq};

/// Fails unless `result` is an error of a kind that `due` accepts.
pub(crate) fn ensure_kind<T>(
    result: Result<T, StoreError>,
    due: impl FnOnce(ErrorKind) -> bool,
    what: &str,
) -> Result<(), Failure> {
    match result {
        Ok(_) => Err(Failure::new(format!("{what}: it succeeded"))),
        Err(error) if due(error.kind()) => Ok(()),
        Err(error) => Err(Failure::new(format!("{what}: it failed otherwise: {error}"))),
    }
}
