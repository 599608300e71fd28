//! [`BodyConstraints`]: the announced length and digest of a body, and its limit. [`CompletedBody`]: the size and
//! digest of a body that was read to its end.

use std::sync::{Arc, OnceLock};

use crate::digest::{Blake3Digest, Digest};
use crate::error::StoreError;
use crate::tree::HashTree;

/// The size and digest of a body that was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompletedBody {
    /// The SHA-256 of all its bytes.
    pub digest: Digest,
    /// The number of its bytes.
    pub size: u64,
}

/// Receives a body's size and digest once the driver has read the whole body.
#[derive(Debug, Clone, Default)]
pub(crate) struct BodyObserver(Arc<Observed>);

#[derive(Debug, Default)]
struct Observed {
    completed: OnceLock<CompletedBody>,
    blake3: OnceLock<Blake3Digest>,
}

impl BodyObserver {
    /// The body's size and digest; `None` if the driver did not read it to its end.
    pub(crate) fn completed(&self) -> Option<CompletedBody> {
        self.0.completed.get().copied()
    }

    /// The body's BLAKE3; `None` if the driver did not ask for the tree of the body.
    pub(crate) fn blake3(&self) -> Option<Blake3Digest> {
        self.0.blake3.get().copied()
    }
}

/// The announced length and digest of a body, its limit, and its observer.
#[derive(Debug, Clone)]
pub(super) struct BodyConstraints {
    /// The announced length in bytes; `None` if none was announced.
    pub(super) length: Option<u64>,
    /// The announced SHA-256; `None` if none was announced.
    pub(super) digest: Option<Digest>,
    /// The largest allowed length in bytes; `u64::MAX` if no limit was set.
    pub(super) limit: u64,
    /// The receiver of the size and digest; `None` if nobody asked for an observer.
    pub(super) observer: Option<BodyObserver>,
}

impl BodyConstraints {
    pub(super) const fn none() -> Self {
        Self { length: None, digest: None, limit: u64::MAX, observer: None }
    }

    /// Compares the digest and size of a whole body with the announced values. If they match, passes them to the
    /// observer.
    pub(super) fn complete(&self, digest: Digest, size: u64) -> Result<CompletedBody, StoreError> {
        if let Some(announced) = self.length
            && announced != size
        {
            return Err(StoreError::invalid(format!(
                "the body ended after {size} of its announced {announced} bytes"
            )));
        }
        if let Some(announced) = self.digest
            && announced != digest
        {
            return Err(StoreError::digest_mismatch(announced, digest));
        }
        let completed = CompletedBody { digest, size };
        if let Some(BodyObserver(observed)) = &self.observer {
            // `set` fails only if the cell is full. A body is completed once, so the cell is empty.
            let _ = observed.completed.set(completed);
        }
        Ok(completed)
    }

    /// Passes the BLAKE3 of a whole body to the observer.
    pub(super) fn complete_tree(&self, tree: Option<&HashTree>) {
        if let (Some(BodyObserver(observed)), Some(tree)) = (&self.observer, tree) {
            // As in `complete`, the cell is empty.
            let _ = observed.blake3.set(tree.root);
        }
    }
}
