//! Buffers of long reads: they are used again instead of being allocated for each part of a read.
//!
//! The operating system fills fresh memory with zeros page by page, which takes longer than the read of a cached file.
//! This module must never know what a buffer contains.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use artifact_store_core::Bytes;

/// The length of a buffer in bytes.
pub(crate) const BUFFER_BYTES: usize = 256 * 1024;
/// The maximum number of unused buffers of a store. Together they have 4 MiB.
const MAX_UNUSED: usize = 16;

/// The unused buffers of a store.
#[derive(Default)]
pub(crate) struct BufferPool {
    unused: Mutex<Vec<Vec<u8>>>,
}

/// A buffer that returns to its pool when it is dropped.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// The number of bytes that are used.
    length: usize,
    pool: Arc<BufferPool>,
}

impl BufferPool {
    /// A buffer of `length` bytes. It may contain bytes of an earlier read, so the caller must overwrite all of it.
    pub(crate) fn get(self: &Arc<Self>, length: usize) -> Buffer {
        let unused = if length <= BUFFER_BYTES { self.lock().pop() } else { None };
        let bytes = unused.unwrap_or_else(|| vec![0; length.max(BUFFER_BYTES)]);
        Buffer { bytes, length, pool: Arc::clone(self) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        // The list is consistent after every statement.
        self.unused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    /// The bytes to overwrite.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }

    /// The bytes. The buffer returns to its pool when the last clone of them is dropped.
    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut unused = self.pool.lock();
        // A longer buffer is freed, because few artifacts have blocks of more than `BUFFER_BYTES`.
        if self.bytes.len() == BUFFER_BYTES && unused.len() < MAX_UNUSED {
            unused.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BufferPool")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{BUFFER_BYTES, BufferPool, MAX_UNUSED};

    #[test]
    fn a_buffer_is_used_again_after_its_last_bytes_are_dropped() {
        let pool = Arc::new(BufferPool::default());
        let bytes = pool.get(10).into_bytes();
        let part = bytes.slice(2..4);
        let address = bytes.as_ptr();
        drop(bytes);
        assert_ne!(pool.get(10).into_bytes().as_ptr(), address);
        drop(part);
        let addresses = [pool.get(10).into_bytes(), pool.get(20).into_bytes()].map(|bytes| bytes.as_ptr());
        assert!(addresses.contains(&address));
    }

    #[test]
    fn a_pool_keeps_no_more_than_its_maximum_and_no_longer_buffer() {
        let pool = Arc::new(BufferPool::default());
        drop(pool.get(BUFFER_BYTES + 1));
        assert_eq!(pool.lock().len(), 0);
        let buffers: Vec<_> = (0..2 * MAX_UNUSED).map(|_| pool.get(1)).collect();
        drop(buffers);
        assert_eq!(pool.lock().len(), MAX_UNUSED);
    }
}
