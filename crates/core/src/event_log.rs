//! What processes on one storage tell each other: [`EventLog`], an ordered log of small entries.
//!
//! What stands in an entry is its writer's business. This module must never know an event.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::StoreError;

/// An entry that is to be appended.
#[derive(Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// Names the entry, for ever: appended twice under one key, it stands once. Take 16 random bytes.
    pub key: [u8; 16],
    /// What it says. Keep it small: a page of entries is held in memory.
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
    /// Its number. Numbers start at 1 and have no holes.
    pub sequence: u64,
    /// What it says.
    pub bytes: Bytes,
}

impl fmt::Debug for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogEntry({}: {} bytes)", self.sequence, self.bytes.len())
    }
}

/// A part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// The number of the log's newest entry; 0 where nothing was ever appended.
    pub last: u64,
    /// The entries asked for, oldest first. Where the first one's number is not the one asked for, those between were dropped.
    pub entries: Vec<LogEntry>,
}

/// A log that every process on one storage appends to and reads.
///
/// Entries are numbered in the order in which they become visible: whoever has read up to a number has missed nothing before
/// it. The log keeps the newest entries, at least 16 384, and drops older ones.
#[async_trait]
pub trait EventLog: fmt::Debug + Send + Sync + 'static {
    /// Appends `entries` in their order, all of them or none, and wakes who waits for [`news`](Self::news) in any process.
    /// Entries whose key stands in the log already are left out, so that a call whose answer was lost can be repeated.
    /// Answers with the number of the log's newest entry: whoever has read up to there has read these.
    ///
    /// # Errors
    /// `Unavailable`, `Closed`, `Backend`: the entries may have been appended all the same.
    async fn append(&self, entries: &[NewEntry]) -> Result<u64, StoreError>;

    /// Reads at most `limit` entries with numbers above `after`.
    ///
    /// # Errors
    /// `Unavailable`, `Closed`, `Corrupt`, `Backend`.
    async fn read(&self, after: u64, limit: u32) -> Result<LogPage, StoreError>;

    /// Waits until there may be entries that were not there when the last call returned, for some seconds at most. What is
    /// appended between two calls ends the second one at once. To be awaited by one task at a time. Cancel-safe.
    ///
    /// # Errors
    /// `Unavailable`, `Closed`, `Backend`.
    async fn news(&self) -> Result<(), StoreError>;

    /// Lets go of every connection; later calls say `Closed`. May be called twice.
    async fn close(&self);
}
