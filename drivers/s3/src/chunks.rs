//! Cuts a body that flows into the parts of an upload, and lets each part lie in the memory of one that has gone.
//!
//! A part is some megabytes. Allocated anew each time, such pieces stay with the allocator of whichever thread freed them,
//! and an upload takes several times what it holds. This module must never know a request.

use std::sync::{Arc, Mutex, PoisonError};

use artifact_store_core::{BodyStream, Bytes, Digest, Sealed, StoreError};

/// A body cut into chunks of one size; the last may be smaller.
#[derive(Debug)]
pub(crate) struct Chunks {
    body: BodyStream,
    size: usize,
    /// What was read of the body and is in no chunk yet.
    rest: Bytes,
    filling: Vec<u8>,
    spare: Arc<Spare>,
}

/// The memory of chunks that nobody holds any more: as many pieces as were ever held at once.
#[derive(Debug, Default)]
struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    fn take(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give(&self, mut memory: Vec<u8>) {
        memory.clear();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
    }
}

/// Returns its memory when the last who holds it lets go, wherever that is: the client may keep a body to send it again.
struct Chunk {
    bytes: Vec<u8>,
    home: Arc<Spare>,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.home.give(std::mem::take(&mut self.bytes));
    }
}

impl Chunks {
    /// The chunks of `body`, of `size` bytes each.
    pub(crate) fn of(body: BodyStream, size: usize) -> Self {
        Self { body, size, rest: Bytes::new(), filling: Vec::new(), spare: Arc::default() }
    }

    /// The next chunk: full, or the last; `None` after it.
    ///
    /// Cancel-safe: a dropped call loses no byte.
    ///
    /// # Errors
    /// As [`BodyStream::next`].
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            if self.rest.is_empty() {
                match self.body.next().await? {
                    Some(piece) => self.rest = piece,
                    None if self.filling.is_empty() => return Ok(None),
                    None => return Ok(Some(self.full())),
                }
            }
            if self.filling.capacity() == 0 {
                self.filling = self.spare.take().unwrap_or_else(|| Vec::with_capacity(self.size));
            }
            let fits = self.rest.len().min(self.size - self.filling.len());
            self.filling.extend_from_slice(&self.rest.split_to(fits));
            if self.filling.len() == self.size {
                return Ok(Some(self.full()));
            }
        }
    }

    fn full(&mut self) -> Bytes {
        let bytes = std::mem::take(&mut self.filling);
        Bytes::from_owner(Chunk { bytes, home: Arc::clone(&self.spare) })
    }

    /// Reads on without keeping anything; `false` at the end.
    ///
    /// # Errors
    /// As [`BodyStream::next`].
    pub(crate) async fn skip(&mut self) -> Result<bool, StoreError> {
        self.filling.clear();
        self.rest.clear();
        Ok(self.body.next().await?.is_some())
    }

    /// What the body is announced to be, where both are: its SHA-256 and its length in bytes.
    pub(crate) fn announced(&self) -> Option<(Digest, u64)> {
        self.body.announced_digest().zip(self.body.announced_length())
    }

    /// What the body turned out to be.
    ///
    /// # Errors
    /// As [`BodyStream::finish`].
    pub(crate) fn finish(self) -> Result<Sealed, StoreError> {
        self.body.finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use artifact_store_core::{Body, BoxError};
    use futures_util::stream;

    use super::*;

    fn chunks(pieces: &[&'static [u8]], size: usize) -> Chunks {
        let pieces: Vec<_> =
            pieces.iter().map(|piece| Ok::<_, BoxError>(Bytes::from_static(piece))).collect();
        let body = Body::from_stream(stream::iter(pieces)).open(u64::MAX).unwrap();
        Chunks::of(body.into_stream(), size)
    }

    #[tokio::test]
    async fn chunks_are_full_but_the_last_and_lose_no_byte() {
        for size in 1..=12 {
            let mut chunks = chunks(&[b"one", b"", b"four", b"nine"], size);
            let mut read = Vec::new();
            while let Some(chunk) = chunks.next().await.unwrap() {
                assert!(chunk.len() == size || read.len() + chunk.len() == 11, "{chunk:?} of {size}");
                read.extend_from_slice(&chunk);
            }
            assert_eq!(read, b"onefournine");
            assert_eq!(chunks.finish().unwrap().size, 11);
        }
    }

    #[tokio::test]
    async fn a_chunk_lies_in_the_memory_of_one_that_has_gone() {
        let mut chunks = chunks(&[b"0123456789"], 2);
        let mut next = async || chunks.next().await.unwrap().unwrap();
        let (first, second) = (next().await, next().await);
        let (address, held) = (first.as_ptr(), second.as_ptr());
        let again = first.clone();
        drop(first);
        let third = next().await;
        assert!(![address, held].contains(&third.as_ptr()), "somebody still holds the first two");
        drop(again);
        let fourth = next().await;
        assert_eq!(fourth.as_ptr(), address);
        assert_eq!(&fourth[..], b"67");
    }
}
