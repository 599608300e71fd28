//! Replication between processes through an event log. One task appends the events that this process publishes. Another
//! task reads the events of all processes from the log and adds them to the bus.
//!
//! Both tasks retry after every failure of the log. While the log cannot be written, published events wait in memory.
//! After a failed read, the next read begins at the same entry. This module must never know what an event means.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use artifact_store_core::{Bytes, EventLog, LogEntry, NewEntry, StoreError};
use artifact_store_protocol::EventData;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::history::HistoryEntry;
use super::{Event, SharedBus};

/// The maximum number of events that wait for the log. Further events are lost, and every subscriber gets a gap.
const MAX_PENDING: usize = 8192;
/// The maximum number of events in one append.
const APPEND_BATCH: usize = 256;
/// The maximum number of events in one read.
const READ_PAGE: u32 = 256;
/// The number of newest log entries, of all tenants together, that a process reads at its start. Every log keeps at
/// least this many. The bus then keeps only as many of these events as its own limits allow.
const REPLAY_ENTRIES: u64 = 16_384;
/// How long [`LogReplicator::flush`] waits at most.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// The delay before the first retry.
const MIN_BACKOFF: Duration = Duration::from_millis(50);
/// The longest delay between two retries.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// Connects the bus to the event log. Dropping the `LogReplicator` stops both of its tasks.
#[derive(Debug)]
pub(super) struct LogReplicator {
    state: Arc<ReplicationState>,
    /// The task that appends, and the task that reads.
    tasks: [AbortHandle; 2],
}

/// What the two tasks and the bus share.
#[derive(Debug)]
struct ReplicationState {
    log: Arc<dyn EventLog>,
    pending: Mutex<PendingEntries>,
    /// Wakes the task that appends.
    entry_added: Notify,
    /// How many entries of this process were appended so far.
    appended_total: watch::Sender<u64>,
    /// The highest sequence number that an append of this process has returned.
    last_own_sequence: AtomicU64,
    /// The sequence number up to which this process has read the log.
    read_sequence: watch::Sender<u64>,
    /// Whether the last append has failed.
    append_failing: AtomicBool,
    /// Whether the last read has failed.
    read_failing: AtomicBool,
}

/// The entries that wait to be appended.
#[derive(Debug, Default)]
struct PendingEntries {
    entries: VecDeque<NewEntry>,
    /// How many entries were ever added to the queue, including those that are already in the log.
    queued_total: u64,
    /// Whether events were lost since the last successful append, because the queue was full.
    overflowed: bool,
}

/// An event as it is written to the log, in JSON. `D` is `&EventData` to write an event and `EventData` to read one.
#[derive(Serialize, Deserialize)]
struct LoggedEvent<D> {
    id: String,
    data: D,
}

impl LogReplicator {
    /// Reads the newest entries of the log into the bus, then starts both tasks.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(super) async fn start(log: Arc<dyn EventLog>, bus: Arc<SharedBus>) -> Result<Self, StoreError> {
        // No entry has a number above `u64::MAX`. So this read returns no entry, only the number of the newest entry.
        let last = log.read(u64::MAX, 1).await?.last;
        let mut reader = LogReader { position: last.saturating_sub(REPLAY_ENTRIES), bus, has_read: false };
        while reader.read_page(&*log).await? {}
        let state = Arc::new(ReplicationState {
            log,
            pending: Mutex::default(),
            entry_added: Notify::new(),
            appended_total: watch::Sender::new(0),
            last_own_sequence: AtomicU64::new(0),
            read_sequence: watch::Sender::new(reader.position),
            append_failing: AtomicBool::new(false),
            read_failing: AtomicBool::new(false),
        });
        let append_task = tokio::spawn(run_appender(Arc::clone(&state))).abort_handle();
        let read_task = tokio::spawn(run_reader(Arc::clone(&state), reader)).abort_handle();
        Ok(Self { state, tasks: [append_task, read_task] })
    }

    /// Queues an event for the log, with `key` as the unique key of its log entry. The call never waits.
    pub(super) fn publish(&self, key: [u8; 16], event: &Event) {
        let logged = LoggedEvent { id: event.id.clone(), data: &event.data };
        // Serializing an event cannot fail.
        let Ok(json) = serde_json::to_vec(&logged) else { return };
        let mut pending = self.state.pending();
        if pending.entries.len() >= MAX_PENDING {
            pending.overflowed = true;
            return;
        }
        pending.entries.push_back(NewEntry { key, bytes: json.into() });
        pending.queued_total += 1;
        drop(pending);
        self.state.entry_added.notify_one();
    }

    /// Waits until the events queued so far are in the log and were read back from the log. The wait is at most
    /// [`FLUSH_TIMEOUT`].
    pub(super) async fn flush(&self) {
        let state = &self.state;
        let queued_total = state.pending().queued_total;
        let mut appended_total = state.appended_total.subscribe();
        let mut read_sequence = state.read_sequence.subscribe();
        let flushed = async {
            // `wait_for` fails only if the sender is dropped, and `state` owns both senders.
            let _ = appended_total.wait_for(|total| *total >= queued_total).await;
            // The events must also be read back before the client gets its response. Otherwise a subscriber that
            // connects after the response would receive these events as new ones.
            let _ =
                read_sequence.wait_for(|read| *read >= state.last_own_sequence.load(Ordering::SeqCst)).await;
        };
        // After the timeout, the events are still appended and read in the background.
        let _ = timeout(FLUSH_TIMEOUT, flushed).await;
    }

    /// Why replication is degraded at present; `None` if replication works.
    pub(super) fn degraded_reason(&self) -> Option<&'static str> {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if is_set(&self.state.append_failing) {
            return Some("events wait: the event log cannot be written at present");
        }
        if is_set(&self.state.read_failing) {
            return Some("events come late: the event log cannot be read at present");
        }
        None
    }

    /// Stops both tasks.
    pub(super) fn stop(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for LogReplicator {
    fn drop(&mut self) {
        self.stop();
    }
}

impl ReplicationState {
    fn pending(&self) -> MutexGuard<'_, PendingEntries> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries to append next. They stay queued until [`mark_appended`](Self::mark_appended).
    fn next_batch(&self) -> Vec<NewEntry> {
        self.pending().entries.iter().take(APPEND_BATCH).cloned().collect()
    }

    /// Removes the first `count` pending entries, because they are in the log now. If events were lost, queues an entry
    /// that marks the loss, and logs an error.
    fn mark_appended(&self, count: usize) {
        let mut pending = self.pending();
        pending.entries.drain(..count);
        if std::mem::take(&mut pending.overflowed) {
            // An entry without bytes marks lost events. The queue has room for it, because `count` entries were just
            // removed.
            let key = random_key();
            pending.entries.push_back(NewEntry { key, bytes: Bytes::new() });
            pending.queued_total += 1;
            tracing::error!(
                most = MAX_PENDING,
                "events were lost: the event log could not be written for too long"
            );
        }
        drop(pending);
        self.appended_total.send_modify(|total| *total += count as u64);
    }
}

/// A random key for a log entry. Each new `RandomState` has different hash keys.
fn random_key() -> [u8; 16] {
    let random_half = || u128::from(RandomState::new().hash_one(()));
    (random_half() << 64 | random_half()).to_be_bytes()
}

/// Appends the pending entries to the log until the task is aborted.
async fn run_appender(state: Arc<ReplicationState>) {
    let mut backoff =
        FailureBackoff::new(&state.append_failing, "the event log cannot be written; events wait");
    loop {
        let entries = state.next_batch();
        if entries.is_empty() {
            state.entry_added.notified().await;
            continue;
        }
        match state.log.append(&entries).await {
            Ok(last) => {
                backoff.reset();
                state.last_own_sequence.fetch_max(last, Ordering::SeqCst);
                state.mark_appended(entries.len());
            }
            Err(error) => backoff.wait(&error).await,
        }
    }
}

/// Reads new entries from the log until the task is aborted.
async fn run_reader(state: Arc<ReplicationState>, mut reader: LogReader) {
    let mut backoff = FailureBackoff::new(&state.read_failing, "the event log cannot be read; trying again");
    loop {
        let position_before = reader.position;
        let has_more = reader.read_page(&*state.log).await;
        if reader.position < position_before {
            // The log was restored from an older copy and continues at a lower number. `flush` must not wait for the
            // higher number of an earlier append.
            state.last_own_sequence.store(reader.position, Ordering::SeqCst);
        }
        state.read_sequence.send_replace(reader.position);
        let result = match has_more {
            Ok(true) => Ok(()),
            Ok(false) => {
                backoff.reset();
                state.log.wait_for_entries().await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            backoff.wait(&error).await;
        }
    }
}

/// Reads the log page by page into the bus.
struct LogReader {
    /// The sequence number of the last entry that was read.
    position: u64,
    bus: Arc<SharedBus>,
    /// Whether the first entry, or an empty first page, was read. Numbers that are missing before the first entry are
    /// not a loss: their entries are older than all entries that this process reads.
    has_read: bool,
}

impl LogReader {
    /// Reads the next page into the bus. Returns true if the log may have further entries, and false if everything was
    /// read. Cancel-safe.
    async fn read_page(&mut self, log: &dyn EventLog) -> Result<bool, StoreError> {
        let page = log.read(self.position, READ_PAGE).await?;
        if page.last < self.position {
            // The storage was restored from an older copy. The log will give the numbers after `page.last` to new
            // events, so reading continues there.
            self.position = page.last;
            self.bus.push(HistoryEntry::Lost);
            return Ok(true);
        }
        let is_full = page.entries.len() == READ_PAGE as usize;
        for LogEntry { sequence, bytes } in page.entries {
            // If numbers are missing, the log has dropped entries that this process has not read.
            if self.has_read && sequence != self.position + 1 {
                self.bus.push(HistoryEntry::Lost);
            }
            self.has_read = true;
            self.position = sequence;
            self.bus.push(parse_entry(&bytes));
        }
        // The page may be empty. Even then, the next entry must have the next number.
        self.has_read = true;
        Ok(is_full)
    }
}

/// Parses a log entry. An entry that cannot be parsed counts as a loss. Such an entry is empty (it marks lost events),
/// or another version of this program wrote it.
fn parse_entry(bytes: &[u8]) -> HistoryEntry {
    match serde_json::from_slice::<LoggedEvent<EventData>>(bytes) {
        Ok(LoggedEvent { id, data }) => HistoryEntry::Event(Arc::new(Event { id, data })),
        Err(_) => HistoryEntry::Lost,
    }
}

/// The backoff of a task while the log fails. Only the first of consecutive failures is logged. The delay doubles with
/// each retry, up to [`MAX_BACKOFF`].
struct FailureBackoff<'a> {
    /// Whether the last attempt has failed.
    is_failing: &'a AtomicBool,
    /// The log message for the first failure.
    message: &'static str,
    /// The upper limit of the random delay before the next retry.
    delay: Duration,
}

impl<'a> FailureBackoff<'a> {
    fn new(is_failing: &'a AtomicBool, message: &'static str) -> Self {
        Self { is_failing, message, delay: MIN_BACKOFF }
    }

    /// Notes a failure, logs it if it is the first one, and sleeps before the next retry.
    async fn wait(&mut self, error: &StoreError) {
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "{}", self.message);
        }
        // Half of the delay is random, so that processes do not retry at the same moment. The random part is a multiple
        // of 1/512 of this half.
        let half = self.delay / 2;
        let random_512ths = u32::try_from(RandomState::new().hash_one(()) % 512).unwrap_or_default();
        sleep(half + half * random_512ths / 512).await;
        self.delay = (self.delay * 2).min(MAX_BACKOFF);
    }

    /// Notes a success, and logs it if the previous attempt has failed.
    fn reset(&mut self) {
        self.delay = MIN_BACKOFF;
        if self.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the event log answers again");
        }
    }
}
