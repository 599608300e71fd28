//! [`EventLog`]: an ordered log of small entries that the processes on one storage share.
//!
//! The content of an entry is opaque here. This module must never know an event.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::StoreError;

/// An entry to append.
#[derive(Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// The unique key of the entry. An entry that is appended twice with the same key is stored once. Use 16 random
    /// bytes.
    pub key: [u8; 16],
    /// The content. Keep the content small, because readers hold a page of entries in memory.
    pub bytes: Bytes,
}

impl fmt::Debug for NewEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewEntry({} bytes)", self.bytes.len())
    }
}

/// An entry of the log.
#[derive(Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The entry's number. Numbers start at 1 and have no gaps.
    pub sequence: u64,
    /// The content.
    pub bytes: Bytes,
}

impl fmt::Debug for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogEntry({}: {} bytes)", self.sequence, self.bytes.len())
    }
}

/// A page of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// The number of the log's newest entry; 0 if nothing was ever appended.
    pub last: u64,
    /// The requested entries, oldest first. If the first entry of `read(after, …)` has a higher number than
    /// `after + 1`, the log has dropped the entries in between.
    pub entries: Vec<LogEntry>,
}

/// A log that all processes on one storage append to and read.
///
/// Entries are numbered in the order in which they become visible. So when a reader reads an entry, every entry with a
/// lower number is already visible. The log keeps at least the newest 16 384 entries, and may drop older entries.
#[async_trait]
pub trait EventLog: fmt::Debug + Send + Sync + 'static {
    /// Appends `entries` in order, all of them or none, and wakes every process that waits in
    /// [`wait_for_entries`](Self::wait_for_entries). Entries whose key is already in the log are skipped, so a call
    /// whose response was lost can be repeated. Returns the number of the log's newest entry after the append. A reader
    /// that has read up to this number has also read `entries`.
    ///
    /// # Errors
    /// `Unavailable`, `Closed`, `Backend`. The entries may have been appended nevertheless.
    async fn append(&self, entries: &[NewEntry]) -> Result<u64, StoreError>;

    /// Reads at most `limit` entries with numbers above `after`.
    ///
    /// # Errors
    /// `Unavailable`, `Closed`, `Corrupt`, `Backend`.
    async fn read(&self, after: u64, limit: u32) -> Result<LogPage, StoreError>;

    /// Waits until an entry is appended. Returns at once if an entry was appended after the previous call had returned,
    /// or if the driver may have missed an entry. Returns after a few seconds even if no entry was appended. So a
    /// return does not mean that there is a new entry. Only one task may wait at a time. Cancel-safe.
    ///
    /// # Errors
    /// `Unavailable`, `Closed`, `Backend`.
    async fn wait_for_entries(&self) -> Result<(), StoreError>;

    /// Closes every connection of the log. Later calls return `Closed`. A second `close` does nothing.
    async fn close(&self);
}
