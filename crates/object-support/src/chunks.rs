//! Cuts a body into the parts of an upload, and reuses their memory.
//!
//! A part is several megabytes. If each part is allocated anew, the allocator reserves freed memory for the thread that
//! freed it. Then an upload uses several times the memory of its parts. This module must never send a request.

use std::sync::{Arc, Mutex, PoisonError};

use artifact_store_core::{BodyStream, Bytes, CompletedBody, Digest, StoreError};

/// A body cut into chunks of one size. The last chunk may be smaller. The memory of a chunk is reused when its last
/// reference is dropped.
#[derive(Debug)]
pub struct Chunks {
    body: BodyStream,
    /// The size of a chunk, in bytes.
    size: usize,
    /// Bytes that were read from the body and are not in a chunk yet.
    unread: Bytes,
    /// The chunk that is being filled.
    buffer: Vec<u8>,
    pool: Arc<BufferPool>,
}

/// The buffers of dropped chunks. Their number is at most the largest number of chunks that existed at the same time.
#[derive(Debug, Default)]
struct BufferPool(Mutex<Vec<Vec<u8>>>);

impl BufferPool {
    /// Takes a buffer from the pool; `None` if the pool is empty.
    fn acquire(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Returns a buffer to the pool.
    fn release(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

/// A buffer that returns to the pool when its last reference is dropped. A client may keep a reference, to send a
/// part again.
struct PooledBuffer {
    bytes: Vec<u8>,
    pool: Arc<BufferPool>,
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        self.pool.release(std::mem::take(&mut self.bytes));
    }
}

impl Chunks {
    /// Cuts `body` into chunks of `size` bytes. A `size` of 0 is treated as 1.
    pub fn new(body: BodyStream, size: usize) -> Self {
        Self { body, size: size.max(1), unread: Bytes::new(), buffer: Vec::new(), pool: Arc::default() }
    }

    /// The next chunk; `None` after the last one. Every chunk except the last is full.
    ///
    /// Cancel-safe: a dropped call loses no bytes.
    ///
    /// # Errors
    /// As [`BodyStream::next`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            if self.unread.is_empty() {
                match self.body.next().await? {
                    Some(bytes) => self.unread = bytes,
                    None if self.buffer.is_empty() => return Ok(None),
                    None => return Ok(Some(self.take_chunk())),
                }
            }
            // `take_chunk` leaves an empty `Vec` without memory.
            if self.buffer.capacity() == 0 {
                self.buffer = self.pool.acquire().unwrap_or_else(|| Vec::with_capacity(self.size));
            }
            let length = self.unread.len().min(self.size - self.buffer.len());
            self.buffer.extend_from_slice(&self.unread.split_to(length));
            if self.buffer.len() == self.size {
                return Ok(Some(self.take_chunk()));
            }
        }
    }

    /// Returns the bytes in `buffer` as a chunk. The next chunk gets another buffer.
    fn take_chunk(&mut self) -> Bytes {
        let bytes = std::mem::take(&mut self.buffer);
        Bytes::from_owner(PooledBuffer { bytes, pool: Arc::clone(&self.pool) })
    }

    /// Reads the next bytes of the body and discards them. Also discards all bytes that [`next`](Self::next) has read
    /// and not returned. Returns `false` at the end of the body.
    ///
    /// # Errors
    /// As [`BodyStream::next`].
    pub async fn skip(&mut self) -> Result<bool, StoreError> {
        self.buffer.clear();
        self.unread.clear();
        Ok(self.body.next().await?.is_some())
    }

    /// The announced SHA-256 and length of the body; `None` if at least one of them is not announced.
    pub fn announced_digest_and_length(&self) -> Option<(Digest, u64)> {
        self.body.announced_digest().zip(self.body.announced_length())
    }

    /// The digest and length of the body that was read.
    ///
    /// # Errors
    /// As [`BodyStream::finish`].
    pub fn finish(self) -> Result<CompletedBody, StoreError> {
        self.body.finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use artifact_store_core::{Body, BoxError};
    use futures_util::stream;

    use super::*;

    /// Cuts a body that arrives in these `pieces` into chunks of `size` bytes.
    fn chunks(pieces: &[&'static [u8]], size: usize) -> Chunks {
        let pieces: Vec<_> =
            pieces.iter().map(|piece| Ok::<_, BoxError>(Bytes::from_static(piece))).collect();
        let body = Body::from_stream(stream::iter(pieces)).open(u64::MAX).unwrap();
        Chunks::new(body.into_stream(), size)
    }

    #[tokio::test]
    async fn all_chunks_except_the_last_are_full_and_no_byte_is_lost() {
        let body = b"onefournine";
        for size in 1..=12 {
            let mut chunks = chunks(&[b"one", b"", b"four", b"nine"], size);
            let mut read = Vec::new();
            while let Some(chunk) = chunks.next().await.unwrap() {
                let is_last = read.len() + chunk.len() == body.len();
                assert!(chunk.len() == size || is_last, "{chunk:?} of {size}");
                read.extend_from_slice(&chunk);
            }
            assert_eq!(read, body);
            assert_eq!(chunks.finish().unwrap().size, body.len() as u64);
        }
    }

    #[tokio::test]
    async fn a_chunk_reuses_the_memory_of_a_dropped_one() {
        let mut chunks = chunks(&[b"0123456789"], 2);
        let mut next = async || chunks.next().await.unwrap().unwrap();
        let (first, second) = (next().await, next().await);
        let (first_address, second_address) = (first.as_ptr(), second.as_ptr());
        let clone_of_first = first.clone();
        drop(first);
        let third = next().await;
        assert!(
            ![first_address, second_address].contains(&third.as_ptr()),
            "the memory of a referenced chunk was reused"
        );
        // The last reference to the first chunk.
        drop(clone_of_first);
        let fourth = next().await;
        assert_eq!(fourth.as_ptr(), first_address);
        assert_eq!(&fourth[..], b"67");
    }
}
