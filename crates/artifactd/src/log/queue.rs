//! [`LineQueue`]: the lines that are not written yet. The size of the queue is limited: if nobody reads the log, lines
//! are dropped, and the memory does not fill up.
//!
//! A thread that logs must never wait for the writer. This module must never know where lines are written.
//!
//! The writer takes all queued lines at once, as a [`Batch`]. The first line after a quiet time is taken immediately.
//! Then the lines of [`BATCH_INTERVAL`] make the next batch. So under load, lines wake the writer at most once in this
//! interval, whatever the number of lines.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::LogCounts;

/// The largest size of the queue, in bytes. The batch that is being written counts too.
pub(super) const MAX_BYTES: usize = 4 << 20;
/// An estimate of the memory that a line takes in addition to its bytes, in bytes.
const LINE_OVERHEAD: usize = 64;
/// How long lines are collected after a batch was written.
const BATCH_INTERVAL: Duration = Duration::from_millis(10);
/// A batch of this size, in bytes, is written before its interval has passed.
const FULL_BATCH_BYTES: usize = MAX_BYTES / 8;
/// The largest buffer that is kept for the next batch, in bytes.
const MAX_KEPT_BUFFER_BYTES: usize = 256 * 1024;

/// Lines in the order in which they were queued.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The bytes of all lines, one line after the other.
    bytes: Vec<u8>,
    lines: Vec<QueuedLine>,
    /// How many lines were dropped after the last line, because the queue was full.
    dropped_at_end: u64,
}

/// A line of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueuedLine {
    /// The length of the line, in bytes.
    pub(super) length: usize,
    /// How many lines were dropped directly before this one, because the queue was full.
    pub(super) dropped: u64,
}

impl Batch {
    /// The bytes of all lines, one line after the other.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn lines(&self) -> &[QueuedLine] {
        &self.lines
    }

    /// How many lines were dropped after the last line.
    pub(super) fn dropped_at_end(&self) -> u64 {
        self.dropped_at_end
    }

    /// Appends a line. The lines that were dropped since the last line count as dropped before this one.
    pub(super) fn push(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.lines.push(QueuedLine { length: line.len(), dropped: std::mem::take(&mut self.dropped_at_end) });
    }

    /// The size, with [`LINE_OVERHEAD`] for each line, in bytes.
    fn size(&self) -> usize {
        self.bytes.len() + self.lines.len() * LINE_OVERHEAD
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped_at_end == 0
    }

    /// Removes everything. Small buffers are kept for the next lines.
    fn clear(&mut self) {
        if self.bytes.capacity() > MAX_KEPT_BUFFER_BYTES {
            *self = Self::default();
        }
        self.bytes.clear();
        self.lines.clear();
        self.dropped_at_end = 0;
    }
}

/// The queue between the threads that log and the thread that writes.
#[derive(Debug)]
pub(super) struct LineQueue {
    state: Mutex<State>,
    /// How long lines are collected after a batch was written.
    interval: Duration,
    /// Wakes the writer.
    writer_needed: Condvar,
    /// Wakes the threads that wait for the writer in [`wait_until_written`](Self::wait_until_written).
    all_written: Condvar,
    lines_written: AtomicU64,
    lines_dropped_full: AtomicU64,
    lines_dropped_unwritable: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    queued: Batch,
    /// The size of the batch that the writer has taken and not finished.
    writing_bytes: usize,
    writer: WriterState,
    /// How many threads wait until all lines are written. While there are some, lines are not collected.
    flushing: usize,
}

/// What the writer does.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum WriterState {
    /// It writes, or has not started yet.
    #[default]
    Busy,
    /// It waits until the interval of the next batch has passed.
    Collecting,
    /// It has finished every line and waits for the next one.
    Idle,
}

impl State {
    /// Whether the queued lines must be written before their interval has passed.
    fn is_urgent(&self) -> bool {
        self.flushing > 0 || self.queued.size() >= FULL_BATCH_BYTES
    }
}

impl Default for LineQueue {
    fn default() -> Self {
        Self::with_interval(BATCH_INTERVAL)
    }
}

impl LineQueue {
    fn with_interval(interval: Duration) -> Self {
        Self {
            state: Mutex::default(),
            interval,
            writer_needed: Condvar::new(),
            all_written: Condvar::new(),
            lines_written: AtomicU64::new(0),
            lines_dropped_full: AtomicU64::new(0),
            lines_dropped_unwritable: AtomicU64::new(0),
        }
    }

    /// Queues a line, or drops it if the queue is full. Never waits until a line is written.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if state.queued.size() + state.writing_bytes + line.len() + LINE_OVERHEAD > MAX_BYTES {
            state.queued.dropped_at_end += 1;
            self.lines_dropped_full.fetch_add(1, Ordering::Relaxed);
        } else {
            state.queued.push(line);
        }
        let is_needed = match state.writer {
            WriterState::Busy => false,
            WriterState::Collecting => state.is_urgent(),
            WriterState::Idle => true,
        };
        if is_needed {
            // The writer is woken once, and not again by the next line.
            state.writer = WriterState::Busy;
            drop(state);
            self.writer_needed.notify_one();
        }
    }

    /// Waits for lines and replaces the content of `batch` with all of them. The first call returns the first line
    /// immediately; later calls collect lines for an interval first. With this call, the caller confirms that it
    /// has finished all lines of `batch`.
    pub(super) fn recv(&self, batch: &mut Batch) {
        let is_first = batch.is_empty();
        batch.clear();
        let mut state = self.state();
        state.writing_bytes = 0;
        if !is_first {
            state.writer = WriterState::Collecting;
            let is_waiting = |state: &mut State| !state.is_urgent();
            let waited = self.writer_needed.wait_timeout_while(state, self.interval, is_waiting);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        while state.queued.is_empty() {
            state.writer = WriterState::Idle;
            self.all_written.notify_all();
            state = self.writer_needed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writer = WriterState::Busy;
        std::mem::swap(&mut state.queued, batch);
        state.writing_bytes = batch.size();
    }

    /// Waits until the writer has finished every line, at most `timeout`.
    pub(super) fn wait_until_written(&self, timeout: Duration) {
        let mut state = self.state();
        state.flushing += 1;
        if state.writer == WriterState::Collecting {
            state.writer = WriterState::Busy;
            self.writer_needed.notify_one();
        }
        let is_busy = |state: &mut State| state.writer != WriterState::Idle;
        let waited = self.all_written.wait_timeout_while(state, timeout, is_busy);
        waited.unwrap_or_else(PoisonError::into_inner).0.flushing -= 1;
    }

    /// Counts lines that were written.
    pub(super) fn count_written(&self, lines: u64) {
        self.lines_written.fetch_add(lines, Ordering::Relaxed);
    }

    /// Counts lines that could not be written.
    pub(super) fn count_unwritable(&self, lines: u64) {
        self.lines_dropped_unwritable.fetch_add(lines, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> LogCounts {
        LogCounts {
            written: self.lines_written.load(Ordering::Relaxed),
            dropped_full: self.lines_dropped_full.load(Ordering::Relaxed),
            dropped_unwritable: self.lines_dropped_unwritable.load(Ordering::Relaxed),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// The lines that the next call returns: the number of lines dropped before each, and its text.
    fn recv(queue: &LineQueue) -> Vec<(u64, String)> {
        let mut batch = Batch::default();
        queue.recv(&mut batch);
        let mut rest = batch.bytes();
        let mut texts = Vec::new();
        for line in batch.lines() {
            let (text, after) = rest.split_at(line.length);
            texts.push((line.dropped, String::from_utf8_lossy(text).into_owned()));
            rest = after;
        }
        texts
    }

    #[test]
    fn a_batch_has_all_queued_lines_in_their_order() {
        let queue = LineQueue::default();
        queue.push(b"a");
        queue.push(b"b");
        assert_eq!(recv(&queue), [(0, "a".to_owned()), (0, "b".to_owned())]);
    }

    #[test]
    fn a_dropped_line_is_counted_where_it_is_missing_and_takes_no_memory() {
        let queue = LineQueue::default();
        let long = vec![b'x'; MAX_BYTES / 4];
        for _ in 0..10 {
            queue.push(&long);
        }
        assert!(queue.state().queued.size() <= MAX_BYTES);
        // Only 3 of the 10 lines fit: because of `LINE_OVERHEAD`, 4 lines need more than `MAX_BYTES`.
        assert_eq!(queue.counts().dropped_full, 7);
        let mut batch = Batch::default();
        queue.recv(&mut batch);
        assert_eq!((batch.lines().len(), batch.dropped_at_end()), (3, 7));
        // The three lines are not written yet, so they still take their place in the queue.
        queue.push(&long);
        assert_eq!(queue.counts().dropped_full, 8);
        queue.push(b"a short line");
        // The next call confirms that they are written.
        queue.recv(&mut batch);
        assert_eq!(batch.lines(), [QueuedLine { length: 12, dropped: 1 }]);
        queue.push(&long);
        assert_eq!(queue.counts().dropped_full, 8);
    }

    #[test]
    fn dropped_lines_are_reported_even_if_none_comes_after_them() {
        let queue = LineQueue::default();
        queue.push(&vec![b'x'; MAX_BYTES]);
        let mut batch = Batch::default();
        queue.recv(&mut batch);
        assert_eq!((batch.lines(), batch.dropped_at_end()), (&[][..], 1));
    }

    #[test]
    fn waiting_for_the_last_line_ends_at_the_timeout() {
        let queue = LineQueue::default();
        queue.push(b"not received yet");
        queue.wait_until_written(Duration::from_millis(1));
        assert_eq!(recv(&queue), [(0, "not received yet".to_owned())]);
    }

    /// A thread that takes batches from `queue` until it gets the line `end`. Returns the number of its batches.
    fn spawn_reader(queue: &Arc<LineQueue>) -> std::thread::JoinHandle<usize> {
        let queue = Arc::clone(queue);
        std::thread::spawn(move || {
            let mut batch = Batch::default();
            for count in 1.. {
                queue.recv(&mut batch);
                if batch.bytes().ends_with(b"end") {
                    return count;
                }
            }
            unreachable!()
        })
    }

    /// Longer than every test.
    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn many_lines_make_few_batches() {
        let queue = Arc::new(LineQueue::with_interval(HOUR));
        let reader = spawn_reader(&queue);
        for _ in 0..2000 {
            queue.push(b"a line\n");
            std::thread::yield_now();
        }
        queue.wait_until_written(HOUR);
        queue.push(b"end");
        // One for the first line, one at the flush, and one for the last line.
        assert!(reader.join().unwrap() <= 3);
    }

    #[test]
    fn a_full_batch_does_not_wait_for_the_interval() {
        let queue = Arc::new(LineQueue::with_interval(HOUR));
        let reader = spawn_reader(&queue);
        queue.push(b"first");
        queue.push(&vec![b'x'; FULL_BATCH_BYTES]);
        queue.wait_until_written(HOUR);
        queue.push(b"end");
        assert!(reader.join().unwrap() <= 3);
    }
}
