//! A body whose bytes are all in memory: [`InMemoryBody`].

use std::fmt;

use bytes::Bytes;

use super::constraints::{BodyConstraints, CompletedBody};
use super::stream::BodyStream;
use crate::digest::{Digest, Hasher};
use crate::error::StoreError;
use crate::tree::{HashTree, MIN_BLOCK_BYTES, TreeHasher};

/// A whole body in memory that is not hashed yet. Its debug output does not show its bytes.
pub struct InMemoryBody {
    bytes: Bytes,
    constraints: BodyConstraints,
}

impl InMemoryBody {
    pub(super) const fn new(bytes: Bytes, constraints: BodyConstraints) -> Self {
        Self { bytes, constraints }
    }

    /// The number of bytes. A driver can use this number to decide between storing the body in one step and streaming
    /// it.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the body has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Hashes the bytes, compares the digest with the announced digest, and returns the bytes and their digest. Hashing
    /// takes about 0.5 ms per MiB, so call this method only where blocking is allowed.
    ///
    /// # Errors
    /// [`DigestMismatch`](crate::ErrorKind::DigestMismatch).
    pub fn finish(self) -> Result<(Bytes, Digest), StoreError> {
        let completed = self.constraints.complete(Digest::of(&self.bytes), None, self.bytes.len() as u64)?;
        Ok((self.bytes, completed.digest))
    }

    /// As [`finish`](Self::finish), and also computes the BLAKE3 tree of the bytes. The tree is `None` if the body is
    /// small. Hashing takes about 0.7 ms per MiB.
    ///
    /// # Errors
    /// [`DigestMismatch`](crate::ErrorKind::DigestMismatch).
    pub fn finish_with_tree(self) -> Result<(Bytes, CompletedBody, Option<HashTree>), StoreError> {
        let (mut sha256, mut tree) = (Hasher::new(), TreeHasher::new());
        // Both hashers read a block while it is in the cache of the processor.
        for block in self.bytes.chunks(MIN_BLOCK_BYTES) {
            sha256.update(block);
            tree.update(block);
        }
        let tree = tree.finish();
        let root = tree.as_ref().map(|tree| tree.root);
        let completed = self.constraints.complete(sha256.finish(), root, self.bytes.len() as u64)?;
        Ok((self.bytes, completed, tree))
    }

    pub(super) fn into_stream(self) -> BodyStream {
        let Self { bytes, mut constraints } = self;
        // `BodyStream::announced_length` returns this length.
        constraints.length = Some(bytes.len() as u64);
        BodyStream::new(None, bytes, constraints)
    }
}

impl fmt::Debug for InMemoryBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryBody")
            .field("length", &self.bytes.len())
            .field("constraints", &self.constraints)
            .finish()
    }
}
