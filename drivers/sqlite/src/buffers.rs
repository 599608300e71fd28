//! [`BufferPool`]: buffers of one chunk that are used again.
//!
//! A new buffer of this size costs more than reading into it, because the system maps and clears its pages. This module
//! must never know what is read.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::schema::CHUNK_BYTES;

/// The largest number of buffers that are kept: 4 MiB.
const MAX_IDLE_BUFFERS: usize = 16;

/// Buffers of [`CHUNK_BYTES`] bytes that no reader uses.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    idle: Mutex<Vec<Vec<u8>>>,
}

impl BufferPool {
    /// Takes a buffer. Its bytes are not specified.
    pub(crate) fn take(self: &Arc<Self>) -> Buffer {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer { bytes: idle.unwrap_or_else(|| vec![0; CHUNK_BYTES]), pool: Arc::clone(self) }
    }
}

/// A buffer of [`CHUNK_BYTES`] bytes. Dropping it returns it to its pool.
pub(crate) struct Buffer {
    pub(crate) bytes: Vec<u8>,
    pool: Arc<BufferPool>,
}

impl Buffer {
    /// The first `length` bytes. The buffer returns to its pool when the last clone of them is dropped.
    pub(crate) fn into_bytes(self, length: usize) -> Bytes {
        let mut bytes = Bytes::from_owner(self);
        bytes.truncate(length);
        bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE_BUFFERS {
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}
