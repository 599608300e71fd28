//! A body whose bytes are all in memory: [`InMemoryBody`].

use std::fmt;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::constraints::{BodyConstraints, CompletedBody};
use super::stream::{BodyStream, MAX_PIECE_BYTES, yield_now};
use crate::digest::{Digest, Hasher};
use crate::error::StoreError;
use crate::tree::{HashTree, MAX_BYTES_WITHOUT_TREE, MIN_BLOCK_BYTES, TreeHasher};

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
        let completed = self.constraints.complete(Digest::of(&self.bytes), self.bytes.len() as u64)?;
        Ok((self.bytes, completed.digest))
    }

    /// As [`finish`](Self::finish), on an async thread: yields to the executor after each [`MAX_PIECE_BYTES`]. For bodies
    /// of a few MiB this takes less time than moving the work to another thread.
    ///
    /// Cancel-safe: a dropped call has no effect.
    ///
    /// # Errors
    /// [`DigestMismatch`](crate::ErrorKind::DigestMismatch).
    pub async fn finish_in_pieces(self) -> Result<(Bytes, Digest), StoreError> {
        let mut hasher = Hasher::new();
        for (number, piece) in self.bytes.chunks(MAX_PIECE_BYTES).enumerate() {
            if number > 0 {
                yield_now().await;
            }
            hasher.update(piece);
        }
        let completed = self.constraints.complete(hasher.finish(), self.bytes.len() as u64)?;
        Ok((self.bytes, completed.digest))
    }

    /// As [`finish`](Self::finish), and also computes the BLAKE3 tree of the bytes. The tree is `None` if the body is
    /// small. Hashing takes about 0.7 ms per MiB.
    ///
    /// # Errors
    /// [`DigestMismatch`](crate::ErrorKind::DigestMismatch).
    pub fn finish_with_tree(self) -> Result<(Bytes, CompletedBody, Option<HashTree>), StoreError> {
        if self.bytes.len() as u64 <= MAX_BYTES_WITHOUT_TREE {
            let completed = self.constraints.complete(Digest::of(&self.bytes), self.bytes.len() as u64)?;
            return Ok((self.bytes, completed, None));
        }
        let (mut sha256, mut tree) = (Hasher::new(), TreeHasher::new());
        // Both hashers read a block while it is in the cache of the processor.
        for block in self.bytes.chunks(MIN_BLOCK_BYTES) {
            sha256.update(block);
            tree.update(block);
        }
        let completed = self.constraints.complete(sha256.finish(), self.bytes.len() as u64)?;
        let tree = tree.finish();
        self.constraints.complete_tree(tree.as_ref());
        Ok((self.bytes, completed, tree))
    }

    /// As [`finish_with_tree`](Self::finish_with_tree), but each piece is passed to `write` before it is hashed, so the
    /// processor reads the bytes from memory once. The pieces have at most [`MAX_PIECE_BYTES`] bytes. The driver must
    /// make nothing visible and keep nothing if this call fails, because an announced digest is compared at the end.
    ///
    /// If `spawn` is given, it is called once, and should run its argument on another thread. This thread computes the
    /// SHA-256 while the calling thread writes and computes the tree. If the other thread has not begun when the calling
    /// thread has written everything, the calling thread computes the SHA-256, so this call never waits for a free thread.
    ///
    /// # Errors
    /// [`DigestMismatch`](crate::ErrorKind::DigestMismatch), and the errors of `write`.
    pub fn finish_while_writing(
        self,
        spawn: Option<impl FnOnce(Box<dyn FnOnce() + Send>)>,
        mut write: impl FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(CompletedBody, Option<HashTree>), StoreError> {
        let (mut sha256, mut tree) = (Hasher::new(), TreeHasher::new());
        let other_thread = spawn.map(|spawn| OtherThread::start(self.bytes.clone(), spawn));
        for piece in self.bytes.chunks(MAX_PIECE_BYTES) {
            write(piece)?;
            tree.update(piece);
            if other_thread.is_none() {
                sha256.update(piece);
            }
        }
        let digest = match other_thread {
            Some(other_thread) => other_thread.finish().unwrap_or_else(|| Digest::of(&self.bytes)),
            None => sha256.finish(),
        };
        let completed = self.constraints.complete(digest, self.bytes.len() as u64)?;
        let tree = tree.finish();
        self.constraints.complete_tree(tree.as_ref());
        Ok((completed, tree))
    }

    pub(super) fn into_stream(self) -> BodyStream {
        let Self { bytes, mut constraints } = self;
        // `BodyStream::announced_length` returns this length.
        constraints.length = Some(bytes.len() as u64);
        BodyStream::new(None, bytes, constraints)
    }
}

/// The SHA-256 of bytes, computed on another thread unless this thread begins too late.
struct OtherThread {
    /// `None` after the other thread has begun.
    bytes: Arc<Mutex<Option<Bytes>>>,
    digest: Receiver<Digest>,
}

impl OtherThread {
    fn start(bytes: Bytes, spawn: impl FnOnce(Box<dyn FnOnce() + Send>)) -> Self {
        let (sender, digest) = mpsc::channel();
        let bytes = Arc::new(Mutex::new(Some(bytes)));
        let taken = Arc::clone(&bytes);
        spawn(Box::new(move || {
            let Some(bytes) = take(&taken) else { return };
            let mut hasher = Hasher::new();
            for piece in bytes.chunks(MAX_PIECE_BYTES) {
                // The put has failed, so nobody waits for the digest.
                if Arc::strong_count(&taken) == 1 {
                    return;
                }
                hasher.update(piece);
            }
            let _ = sender.send(hasher.finish());
        }));
        Self { bytes, digest }
    }

    /// The digest. `None` if the other thread has not begun, and will not begin any more.
    fn finish(self) -> Option<Digest> {
        if take(&self.bytes).is_some() { None } else { self.digest.recv().ok() }
    }
}

fn take(bytes: &Mutex<Option<Bytes>>) -> Option<Bytes> {
    bytes.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl fmt::Debug for InMemoryBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryBody")
            .field("length", &self.bytes.len())
            .field("constraints", &self.constraints)
            .finish()
    }
}
