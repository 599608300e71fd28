//! [`LineQueue`]: the lines that are not written yet. The size of the queue is limited: if nobody reads the log, lines
//! are dropped, and the memory does not fill up.
//!
//! A thread that logs must never wait for the writer. This module must never know where lines are written.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::LogCounts;

/// The largest size of the queue, in bytes.
pub(super) const MAX_BYTES: usize = 4 << 20;
/// An estimate of the memory that a line takes in addition to its bytes, in bytes.
const LINE_OVERHEAD: usize = 64;

/// A line, and the number of lines that were dropped before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct QueueItem {
    /// How many lines were dropped directly before this one, because the queue was full.
    pub(super) dropped: u64,
    /// `None` if no line has been queued after the dropped ones.
    pub(super) line: Option<Box<[u8]>>,
}

/// The queue between the threads that log and the thread that writes.
#[derive(Debug, Default)]
pub(super) struct LineQueue {
    state: Mutex<State>,
    /// Wakes the writer.
    not_empty: Condvar,
    /// Wakes the threads that wait for the writer in [`wait_until_written`](Self::wait_until_written).
    all_written: Condvar,
    lines_written: AtomicU64,
    lines_dropped_full: AtomicU64,
    lines_dropped_unwritable: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<QueueItem>,
    /// The size of `lines`, with [`LINE_OVERHEAD`] for each line.
    bytes: usize,
    /// How many lines were dropped since the last line was queued, and are not reported to the writer yet.
    dropped: u64,
    /// Whether the writer has finished every item and has not been woken since then.
    writer_is_idle: bool,
}

impl LineQueue {
    /// Queues a line, or drops it if the queue is full. Never waits until a line is written.
    pub(super) fn push(&self, line: &[u8]) {
        let size = line.len() + LINE_OVERHEAD;
        let mut state = self.state();
        if state.bytes + size > MAX_BYTES {
            state.dropped += 1;
            self.lines_dropped_full.fetch_add(1, Ordering::Relaxed);
            self.wake_writer(&mut state);
            return;
        }
        state.bytes += size;
        let dropped = std::mem::take(&mut state.dropped);
        state.lines.push_back(QueueItem { dropped, line: Some(line.into()) });
        self.wake_writer(&mut state);
    }

    /// Wakes the writer if it waits for an item.
    fn wake_writer(&self, state: &mut State) {
        if std::mem::take(&mut state.writer_is_idle) {
            self.not_empty.notify_one();
        }
    }

    /// Waits for the next item. With this call, the caller confirms that it has finished all previous items.
    pub(super) fn recv(&self) -> QueueItem {
        let mut state = self.state();
        loop {
            if let Some(item) = state.lines.pop_front() {
                state.writer_is_idle = false;
                state.bytes -= item.line.as_ref().map_or(0, |line| line.len() + LINE_OVERHEAD);
                return item;
            }
            if state.dropped > 0 {
                state.writer_is_idle = false;
                return QueueItem { dropped: std::mem::take(&mut state.dropped), line: None };
            }
            state.writer_is_idle = true;
            self.all_written.notify_all();
            state = self.not_empty.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until the writer has finished every line, at most `timeout`.
    pub(super) fn wait_until_written(&self, timeout: Duration) {
        let is_busy = |state: &mut State| !state.writer_is_idle;
        let _ = self.all_written.wait_timeout_while(self.state(), timeout, is_busy);
    }

    /// Counts a line that was written.
    pub(super) fn count_written(&self) {
        self.lines_written.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a line that could not be written.
    pub(super) fn count_unwritable(&self) {
        self.lines_dropped_unwritable.fetch_add(1, Ordering::Relaxed);
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
    use super::*;

    fn line(text: &str) -> Box<[u8]> {
        text.as_bytes().into()
    }

    #[test]
    fn lines_come_out_in_the_order_they_went_in() {
        let queue = LineQueue::default();
        queue.push(b"a");
        queue.push(b"b");
        assert_eq!(queue.recv(), QueueItem { dropped: 0, line: Some(line("a")) });
        assert_eq!(queue.recv(), QueueItem { dropped: 0, line: Some(line("b")) });
    }

    #[test]
    fn a_dropped_line_is_counted_where_it_is_missing_and_takes_no_memory() {
        let queue = LineQueue::default();
        let long = vec![b'x'; MAX_BYTES / 4];
        for _ in 0..10 {
            queue.push(&long);
        }
        assert!(queue.state().bytes <= MAX_BYTES);
        // Only 3 of the 10 lines fit: because of `LINE_OVERHEAD`, 4 lines need more than `MAX_BYTES`.
        assert_eq!(queue.counts().dropped_full, 7);
        // One line leaves the queue, so the next line fits.
        queue.recv();
        queue.push(b"after them");
        queue.recv();
        queue.recv();
        assert_eq!(queue.recv(), QueueItem { dropped: 7, line: Some(line("after them")) });
        assert_eq!(queue.state().bytes, 0);
    }

    #[test]
    fn dropped_lines_are_reported_even_if_none_comes_after_them() {
        let queue = LineQueue::default();
        queue.push(&vec![b'x'; MAX_BYTES]);
        assert_eq!(queue.recv(), QueueItem { dropped: 1, line: None });
    }

    #[test]
    fn waiting_for_the_last_line_ends_at_the_timeout() {
        let queue = LineQueue::default();
        queue.push(b"not received yet");
        queue.wait_until_written(Duration::from_millis(1));
        assert_eq!(queue.recv().line, Some(line("not received yet")));
    }
}
