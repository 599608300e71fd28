//! The bus between processes: one task takes published events into the log, another reads what the log says.
//!
//! Both go on through every failure of the log: what was published waits, and reading goes on where it stopped. This module must
//! never know what an event tells.

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

use super::kept::Slot;
use super::{Event, Shared};

/// Events that wait for the log at most; what comes on top is lost, and every subscriber is told so.
const MOST_WAITING: usize = 8192;
/// Events that are appended at once.
const BATCH: usize = 256;
/// Events that are read at once.
const PAGE: u32 = 256;
/// How many of the log's newest entries a process begins with: what a log keeps at least. They are of all tenants, and how many
/// of each stay is the bus's to say.
const REPLAYED: u64 = 16_384;
/// How long a caller waits for its events to be in the log.
const PATIENCE: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The way to the other processes. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Across {
    outbox: Arc<Outbox>,
    tasks: [AbortHandle; 2],
}

#[derive(Debug)]
struct Outbox {
    log: Arc<dyn EventLog>,
    waiting: Mutex<Waiting>,
    more: Notify,
    /// How many events were taken into the log.
    appended: watch::Sender<u64>,
    /// The number in the log up to which ours go.
    ours: AtomicU64,
    /// The number up to which the log was read.
    read: watch::Sender<u64>,
    cannot_append: AtomicBool,
    cannot_read: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<NewEntry>,
    /// How many were ever put here.
    count: u64,
    overflown: bool,
}

/// An event as the log has it.
#[derive(Serialize, Deserialize)]
struct Written<D> {
    id: String,
    data: D,
}

impl Across {
    /// Reads the newest entries, and goes on from there.
    pub(super) async fn join(log: Arc<dyn EventLog>, shared: Arc<Shared>) -> Result<Self, StoreError> {
        let last = log.read(u64::MAX, 1).await?.last;
        let mut reader = Reader { position: last.saturating_sub(REPLAYED), shared, begun: false };
        while reader.read(&*log).await? {}
        let outbox = Arc::new(Outbox {
            log,
            waiting: Mutex::default(),
            more: Notify::new(),
            appended: watch::Sender::new(0),
            ours: AtomicU64::new(0),
            read: watch::Sender::new(reader.position),
            cannot_append: AtomicBool::new(false),
            cannot_read: AtomicBool::new(false),
        });
        let append = tokio::spawn(append(Arc::clone(&outbox))).abort_handle();
        let follow = tokio::spawn(follow(Arc::clone(&outbox), reader)).abort_handle();
        Ok(Self { outbox, tasks: [append, follow] })
    }

    pub(super) fn publish(&self, key: [u8; 16], event: &Event) {
        let written = Written { id: event.id.clone(), data: &event.data };
        // What the bus holds can be written.
        let Ok(json) = serde_json::to_vec(&written) else { return };
        let mut waiting = self.outbox.waiting();
        if waiting.entries.len() >= MOST_WAITING {
            waiting.overflown = true;
            return;
        }
        waiting.entries.push_back(NewEntry { key, bytes: json.into() });
        waiting.count += 1;
        drop(waiting);
        self.outbox.more.notify_one();
    }

    pub(super) async fn settled(&self) {
        let outbox = &self.outbox;
        let count = outbox.waiting().count;
        let (mut appended, mut read) = (outbox.appended.subscribe(), outbox.read.subscribe());
        let settled = async {
            let _ = appended.wait_for(|appended| *appended >= count).await;
            // Here, too: who subscribes after an answer does not hear what was before it.
            let _ = read.wait_for(|read| *read >= outbox.ours.load(Ordering::SeqCst)).await;
        };
        let _ = timeout(PATIENCE, settled).await;
    }

    pub(super) fn trouble(&self) -> Option<&'static str> {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if is(&self.outbox.cannot_append) {
            return Some("events wait: the event log cannot be written at present");
        }
        is(&self.outbox.cannot_read).then_some("events come late: the event log cannot be read at present")
    }

    pub(super) fn stop(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for Across {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Outbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries to append next, the same ones until they were taken.
    fn next(&self) -> Vec<NewEntry> {
        self.waiting().entries.iter().take(BATCH).cloned().collect()
    }

    fn taken(&self, count: usize) {
        let mut waiting = self.waiting();
        waiting.entries.drain(..count);
        if std::mem::take(&mut waiting.overflown) {
            // An entry without bytes says that events were lost. There is room: some have just gone.
            let halves = [RandomState::new().hash_one(waiting.count), RandomState::new().hash_one(count)];
            let key = (u128::from(halves[0]) << 64 | u128::from(halves[1])).to_be_bytes();
            waiting.entries.push_back(NewEntry { key, bytes: Bytes::new() });
            waiting.count += 1;
            tracing::error!(
                most = MOST_WAITING,
                "events were lost: the event log could not be written for too long"
            );
        }
        drop(waiting);
        self.appended.send_modify(|appended| *appended += count as u64);
    }
}

/// Takes what is published into the log, for ever.
async fn append(outbox: Arc<Outbox>) {
    let mut trouble = Trouble::new(&outbox.cannot_append, "the event log cannot be written; events wait");
    loop {
        let entries = outbox.next();
        if entries.is_empty() {
            outbox.more.notified().await;
            continue;
        }
        match outbox.log.append(&entries).await {
            Ok(last) => {
                trouble.over();
                outbox.ours.fetch_max(last, Ordering::SeqCst);
                outbox.taken(entries.len());
            }
            Err(error) => trouble.pause(&error).await,
        }
    }
}

/// Reads what the log says, for ever.
async fn follow(outbox: Arc<Outbox>, mut reader: Reader) {
    let mut trouble = Trouble::new(&outbox.cannot_read, "the event log cannot be read; trying again");
    loop {
        let before = reader.position;
        let more = reader.read(&*outbox.log).await;
        if reader.position < before {
            outbox.ours.store(reader.position, Ordering::SeqCst);
        }
        outbox.read.send_replace(reader.position);
        let read = match more {
            Ok(true) => Ok(()),
            Ok(false) => {
                trouble.over();
                outbox.log.news().await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = read {
            trouble.pause(&error).await;
        }
    }
}

/// Where this process has got to in the log.
struct Reader {
    position: u64,
    shared: Arc<Shared>,
    /// Whether something was read: what the log had dropped before is no loss to anybody.
    begun: bool,
}

impl Reader {
    /// Reads the next entries, and answers whether there may be more already. Cancel-safe.
    async fn read(&mut self, log: &dyn EventLog) -> Result<bool, StoreError> {
        let page = log.read(self.position, PAGE).await?;
        if page.last < self.position {
            // The storage was set back to an earlier copy: its numbers mean other events now.
            self.position = page.last;
            self.shared.push(Slot::Lost);
            return Ok(true);
        }
        let full = page.entries.len() == PAGE as usize;
        for LogEntry { sequence, bytes } in page.entries {
            if std::mem::replace(&mut self.begun, true) && sequence != self.position + 1 {
                self.shared.push(Slot::Lost);
            }
            self.position = sequence;
            self.shared.push(slot(&bytes));
        }
        self.begun = true;
        Ok(full)
    }
}

/// What an entry says. One that cannot be read is of a program that knows more.
fn slot(bytes: &[u8]) -> Slot {
    serde_json::from_slice(bytes).map_or(Slot::Lost, |Written { id, data }: Written<EventData>| {
        Slot::Event(Arc::new(Event { id, data }))
    })
}

/// A failure that lasts: told once, with growing pauses between the tries.
struct Trouble<'a> {
    flag: &'a AtomicBool,
    said: &'static str,
    pause: Duration,
}

impl<'a> Trouble<'a> {
    fn new(flag: &'a AtomicBool, said: &'static str) -> Self {
        Self { flag, said, pause: FIRST_PAUSE }
    }

    async fn pause(&mut self, error: &StoreError) {
        if !self.flag.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "{}", self.said);
        }
        // Half of it random, so that processes do not come back in step.
        let random = RandomState::new().hash_one(()) % 512;
        let half = self.pause / 2;
        sleep(half + half * u32::try_from(random).unwrap_or_default() / 512).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn over(&mut self) {
        self.pause = FIRST_PAUSE;
        if self.flag.swap(false, Ordering::Relaxed) {
            tracing::info!("the event log answers again");
        }
    }
}
