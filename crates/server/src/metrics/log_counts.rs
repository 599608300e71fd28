//! The counts of the process's log.

/// How many lines of the log were written, and how many were dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Lines that were written.
    pub written: u64,
    /// Lines that were dropped because the queue was full. The queue is full if standard error accepts lines too
    /// slowly, or not at all.
    pub dropped_full: u64,
    /// Lines that standard error did not accept, for example because of a full disk or a closed pipe.
    pub dropped_unwritable: u64,
}
