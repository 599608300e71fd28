//! Gets: the bytes of a published file as a stream that reads one block ahead.
//!
//! This module must never know where a file is. Callers pass an open file, which stays readable after a delete.

use std::fs::File;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use artifact_store_core::{
    ByteRange, ByteStream, Bytes, GetResult, MAX_PIECE_BYTES, RangeRead, Record, StoreError,
};
use futures_util::{Stream, StreamExt};
use rustix::buffer::spare_capacity;
use rustix::io::retry_on_intr;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::error::map_io_error;

/// A range of at most this many bytes is read in the same blocking task as the record.
const INLINE_BYTES: u64 = 256 * 1024;
/// A longer range is read in blocks of this many bytes, each in a blocking task of its own.
const READ_BYTES: u64 = 512 * 1024;

/// Returns the result of a get: `record`, and the bytes `range` of `file` as a stream. `None` means all bytes. For
/// `runtime` see [`stream_range`].
///
/// # Errors
/// As [`stream_range`].
pub(crate) fn get_range(
    record: Record,
    file: File,
    range: Option<ByteRange>,
    runtime: &Handle,
) -> Result<GetResult, StoreError> {
    let range = range.map_or(0..record.size, |range| range.resolve(record.size));
    let read = RangeRead::new(&record, range.clone());
    let file = Arc::new(file);
    // In the file, the nodes follow the bytes of the artifact.
    let [groups, blocks] = read.nodes().map(|part| record.size + part.start..record.size + part.end);
    let mut nodes = stream_range(&file, &blocks, runtime)?;
    if !groups.is_empty() {
        nodes = ByteStream::new(stream_range(&file, &groups, runtime)?.chain(nodes));
    }
    let data = stream_range(&file, &read.data(), runtime)?;
    let stream = read.into_stream(data, nodes);
    Ok(GetResult { record, range, stream })
}

/// Returns a stream of the bytes `range` of `file`.
///
/// A range of at most `INLINE_BYTES` is read before this function returns. A longer range is read block by block on the
/// blocking pool of `runtime`, while the stream is polled.
///
/// # Errors
/// `Corrupt` if the file ends too early, `Unavailable`, `Backend`. The same errors may end the stream.
fn stream_range(file: &Arc<File>, range: &Range<u64>, runtime: &Handle) -> Result<ByteStream, StoreError> {
    if range.end - range.start <= INLINE_BYTES {
        return read_range(file, range.clone()).map(ByteStream::from_bytes);
    }
    Ok(ByteStream::new(ChunkStream {
        file: Arc::clone(file),
        runtime: runtime.clone(),
        remaining: range.clone(),
        pending: None,
        buffer: Bytes::new(),
    }))
}

/// Reads the bytes `range` of `file` into memory.
fn read_range(file: &File, range: Range<u64>) -> Result<Bytes, StoreError> {
    let length = usize::try_from(range.end - range.start)
        .map_err(|error| StoreError::backend("the range is too large for memory").with_source(error))?;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let offset = range.start + bytes.len() as u64;
        let count = retry_on_intr(|| rustix::io::pread(file, spare_capacity(&mut bytes), offset))
            .map_err(|error| map_io_error("reading an artifact", error))?;
        if count == 0 {
            return Err(StoreError::corrupt("the file was truncated while it was read"));
        }
    }
    // A vector may have more capacity than requested. Then `pread` also reads bytes that follow the range in the file.
    bytes.truncate(length);
    Ok(bytes.into())
}

/// A read of one block on the blocking pool. Dropping this value does not wait for the end of the read.
struct ReadTask(JoinHandle<Result<Bytes, StoreError>>);

impl Drop for ReadTask {
    fn drop(&mut self) {
        // If the read has not started yet, `abort` prevents it. A read that has started runs to its end.
        self.0.abort();
    }
}

/// Streams a range of a file block by block.
struct ChunkStream {
    file: Arc<File>,
    runtime: Handle,
    /// The part of the range for which no read task has been spawned yet.
    remaining: Range<u64>,
    /// The read of the next block. `None` before the first read and after the last read.
    pending: Option<ReadTask>,
    /// The bytes of the current block that the stream has not returned yet.
    buffer: Bytes,
}

impl ChunkStream {
    /// Spawns the read of the next block if there is one.
    fn spawn_next_read(&mut self) {
        let Range { start, end } = self.remaining;
        if start < end {
            let block = start..end.min(start + READ_BYTES);
            self.remaining.start = block.end;
            let file = Arc::clone(&self.file);
            self.pending = Some(ReadTask(self.runtime.spawn_blocking(move || read_range(&file, block))));
        }
    }
}

impl Stream for ChunkStream {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.buffer.is_empty() {
            if self.pending.is_none() {
                self.spawn_next_read();
            }
            let Some(task) = &mut self.pending else { return Poll::Ready(None) };
            let result = match ready!(Pin::new(&mut task.0).poll(cx)) {
                Ok(result) => result,
                Err(error) => Err(StoreError::unavailable("the runtime cancelled a read").with_source(error)),
            };
            self.pending = None;
            match result {
                Ok(block) => self.buffer = block,
                Err(error) => {
                    // The stream ends after an error, so nothing more is read.
                    self.remaining.start = self.remaining.end;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            // The next block is read while the caller hashes or sends this block.
            self.spawn_next_read();
        }
        let length = self.buffer.len().min(MAX_PIECE_BYTES);
        Poll::Ready(Some(Ok(self.buffer.split_to(length))))
    }
}
