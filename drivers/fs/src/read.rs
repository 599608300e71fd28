//! Getting: the bytes of a published file as a stream that reads one chunk ahead.
//!
//! This module must never know where a file is: it is given an open one, which stays readable after a delete.

use std::fs::File;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use artifact_store_core::{ByteStream, Bytes, MAX_PIECE_BYTES, StoreError};
use futures_util::Stream;
use rustix::buffer::spare_capacity;
use rustix::io::retry_on_intr;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::error::failed;

/// A range up to this many bytes is read together with the record.
const AT_ONCE_BYTES: u64 = 256 * 1024;
/// A longer one in chunks of this many bytes.
const CHUNK_BYTES: u64 = 512 * 1024;

/// The bytes `range` of `file`. Blocks, for a small range, until they are read.
///
/// # Errors
/// `Corrupt` where the file ends before them, `Unavailable`, `Backend`; the same may end the stream.
pub(crate) fn stream(file: File, range: &Range<u64>, runtime: Handle) -> Result<ByteStream, StoreError> {
    if range.end - range.start <= AT_ONCE_BYTES {
        return read(&file, range.clone()).map(ByteStream::from_bytes);
    }
    Ok(ByteStream::new(Chunks {
        file: Arc::new(file),
        runtime,
        to_read: range.clone(),
        reading: None,
        ready: Bytes::new(),
    }))
}

fn read(file: &File, range: Range<u64>) -> Result<Bytes, StoreError> {
    let length = usize::try_from(range.end - range.start)
        .map_err(|error| StoreError::backend("a range does not fit into memory").with_source(error))?;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = range.start + bytes.len() as u64;
        let read = retry_on_intr(|| rustix::io::pread(file, spare_capacity(&mut bytes), at))
            .map_err(|error| failed("reading an artifact", error))?;
        if read == 0 {
            return Err(StoreError::corrupt("the file was cut short while it was read"));
        }
    }
    // A vector may have room for more than was asked, and a read fills it: into the record behind the bytes.
    bytes.truncate(length);
    Ok(bytes.into())
}

/// A read in flight. Dropped, it is not waited for: it ends by itself within one chunk.
struct Reading(JoinHandle<Result<Bytes, StoreError>>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Chunks {
    file: Arc<File>,
    runtime: Handle,
    to_read: Range<u64>,
    reading: Option<Reading>,
    ready: Bytes,
}

impl Chunks {
    fn read_on(&mut self) {
        let Range { start, end } = self.to_read;
        if start < end {
            let chunk = start..end.min(start + CHUNK_BYTES);
            self.to_read.start = chunk.end;
            let file = Arc::clone(&self.file);
            self.reading = Some(Reading(self.runtime.spawn_blocking(move || read(&file, chunk))));
        }
    }
}

impl Stream for Chunks {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ready.is_empty() {
            if self.reading.is_none() {
                self.read_on();
            }
            let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
            let chunk = match ready!(Pin::new(&mut reading.0).poll(cx)) {
                Ok(chunk) => chunk,
                Err(error) => Err(StoreError::unavailable("the runtime ended a read").with_source(error)),
            };
            self.reading = None;
            match chunk {
                Ok(chunk) => self.ready = chunk,
                Err(error) => {
                    self.to_read.start = self.to_read.end;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            // One chunk ahead, while this one is being hashed or sent.
            self.read_on();
        }
        let piece = self.ready.len().min(MAX_PIECE_BYTES);
        Poll::Ready(Some(Ok(self.ready.split_to(piece))))
    }
}
