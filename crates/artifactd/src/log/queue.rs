//! The lines that wait to be written: [`Queue`], bounded, so that a log that nobody takes costs lines and no memory.
//!
//! It must never wait on behalf of whoever logs, and never know where lines go.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::LogCounts;

/// How much memory lines may wait in, in bytes.
pub(super) const MAX_BYTES: usize = 4 << 20;
/// What a line costs beside its bytes.
const LINE_OVERHEAD: usize = 64;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// How many lines found no room just before this one.
    pub(super) dropped: u64,
    /// The line; none where those that found no room are the last so far.
    pub(super) line: Option<Box<[u8]>>,
}

/// Lines on their way from whoever logs to whoever writes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    written: Condvar,
    lines_written: AtomicU64,
    lines_full: AtomicU64,
    lines_unwritable: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Next>,
    bytes: usize,
    /// How many lines found no room since the last one that did.
    dropped: u64,
    /// Whoever writes has written everything and was not woken since.
    idle: bool,
}

impl Queue {
    /// Takes a line, where there is room for it.
    pub(super) fn push(&self, line: &[u8]) {
        let cost = line.len() + LINE_OVERHEAD;
        let mut state = self.state();
        if state.bytes + cost > MAX_BYTES {
            state.dropped += 1;
            self.lines_full.fetch_add(1, Ordering::Relaxed);
            self.wake(&mut state);
            return;
        }
        state.bytes += cost;
        let dropped = std::mem::take(&mut state.dropped);
        state.lines.push_back(Next { dropped, line: Some(line.into()) });
        self.wake(&mut state);
    }

    fn wake(&self, state: &mut State) {
        if std::mem::take(&mut state.idle) {
            self.filled.notify_one();
        }
    }

    /// Waits for what comes next. What came before counts as dealt with from here on.
    pub(super) fn next(&self) -> Next {
        let mut state = self.state();
        loop {
            if let Some(next) = state.lines.pop_front() {
                state.idle = false;
                state.bytes -= next.line.as_ref().map_or(0, |line| line.len() + LINE_OVERHEAD);
                return next;
            }
            if state.dropped > 0 {
                state.idle = false;
                return Next { dropped: std::mem::take(&mut state.dropped), line: None };
            }
            state.idle = true;
            self.written.notify_all();
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until whoever writes has dealt with every line, `bound` at most.
    pub(super) fn wait_until_written(&self, bound: Duration) {
        let busy = |state: &mut State| !state.idle;
        let _ = self.written.wait_timeout_while(self.state(), bound, busy);
    }

    /// A line was written.
    pub(super) fn count_written(&self) {
        self.lines_written.fetch_add(1, Ordering::Relaxed);
    }

    /// A line could not be written.
    pub(super) fn count_unwritable(&self) {
        self.lines_unwritable.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> LogCounts {
        LogCounts {
            written: self.lines_written.load(Ordering::Relaxed),
            dropped_full: self.lines_full.load(Ordering::Relaxed),
            dropped_unwritable: self.lines_unwritable.load(Ordering::Relaxed),
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
        let queue = Queue::default();
        queue.push(b"a");
        queue.push(b"b");
        assert_eq!(queue.next(), Next { dropped: 0, line: Some(line("a")) });
        assert_eq!(queue.next(), Next { dropped: 0, line: Some(line("b")) });
    }

    #[test]
    fn what_finds_no_room_is_counted_where_it_is_missing_and_takes_no_memory() {
        let queue = Queue::default();
        let long = vec![b'x'; MAX_BYTES / 4];
        for _ in 0..10 {
            queue.push(&long);
        }
        assert!(queue.state().bytes <= MAX_BYTES);
        assert_eq!(queue.counts().dropped_full, 7);
        queue.next();
        queue.push(b"after them");
        queue.next();
        queue.next();
        assert_eq!(queue.next(), Next { dropped: 7, line: Some(line("after them")) });
        assert_eq!(queue.state().bytes, 0);
    }

    #[test]
    fn lines_that_found_no_room_are_told_of_though_none_comes_after_them() {
        let queue = Queue::default();
        queue.push(&vec![b'x'; MAX_BYTES]);
        assert_eq!(queue.next(), Next { dropped: 1, line: None });
    }

    #[test]
    fn who_waits_for_the_last_line_does_not_wait_for_ever() {
        let queue = Queue::default();
        queue.push(b"nobody takes it");
        queue.wait_until_written(Duration::from_millis(1));
        assert_eq!(queue.next().line, Some(line("nobody takes it")));
    }
}
