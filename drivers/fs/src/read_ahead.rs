//! [`ReadAhead`]: a stream that reads a long range part by part on the blocking pool.
//!
//! This module must never know what a part is used for.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use artifact_store_core::StoreError;
use futures_util::Stream;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// The number of parts that are read at the same time. A part is read and checked on one thread, so with two parts one
/// stream uses two processors.
const PARALLEL_READS: usize = 2;

/// Reads the parts of a range in parallel, each with one call of `read`, and returns them in their order.
pub(crate) struct ReadAhead<T, F> {
    read: Arc<F>,
    runtime: Handle,
    /// The part of the range for which no read task has been spawned yet.
    remaining: Range<u64>,
    /// Each part but the last one ends at a multiple of this.
    part_bytes: u64,
    /// The reads whose results the stream has not returned yet, the first part first.
    pending: VecDeque<ReadTask<T>>,
}

/// A read of one part on the blocking pool. Dropping this value does not wait for the end of the read.
struct ReadTask<T>(JoinHandle<Result<T, StoreError>>);

impl<T> Drop for ReadTask<T> {
    fn drop(&mut self) {
        // If the read has not started yet, `abort` prevents it. A read that has started runs to its end.
        self.0.abort();
    }
}

impl<T, F> ReadAhead<T, F>
where
    T: Send + 'static,
    F: Fn(Range<u64>) -> Result<T, StoreError> + Send + Sync + 'static,
{
    /// Reads nothing before the first poll.
    pub(crate) fn new(range: Range<u64>, part_bytes: u64, runtime: Handle, read: F) -> Self {
        Self {
            read: Arc::new(read),
            runtime,
            remaining: range,
            part_bytes,
            pending: VecDeque::with_capacity(PARALLEL_READS),
        }
    }

    fn spawn_reads(&mut self) {
        while self.pending.len() < PARALLEL_READS && !self.remaining.is_empty() {
            let Range { start, end } = self.remaining;
            let part = start..end.min((start / self.part_bytes + 1).saturating_mul(self.part_bytes));
            self.remaining.start = part.end;
            let read = Arc::clone(&self.read);
            self.pending.push_back(ReadTask(self.runtime.spawn_blocking(move || read(part))));
        }
    }
}

impl<T, F> Stream for ReadAhead<T, F>
where
    T: Send + 'static,
    F: Fn(Range<u64>) -> Result<T, StoreError> + Send + Sync + 'static,
{
    type Item = Result<T, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.spawn_reads();
        let Some(task) = self.pending.front_mut() else { return Poll::Ready(None) };
        let result = match ready!(Pin::new(&mut task.0).poll(cx)) {
            Ok(result) => result,
            Err(error) => Err(StoreError::unavailable("the runtime cancelled a read").with_source(error)),
        };
        self.pending.pop_front();
        if result.is_err() {
            // The stream ends after an error, so nothing more is read.
            self.remaining.start = self.remaining.end;
            self.pending.clear();
        } else {
            // The next parts are read while the caller uses this part.
            self.spawn_reads();
        }
        Poll::Ready(Some(result))
    }
}
