//! Measures one case on one store: [`measure`].
//!
//! The work is done in batches. What a batch needs (bodies, artifacts to delete) is made before its time begins, and what
//! it leaves is deleted after its time has ended. The first batch warms up and is not counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use crate::bodies::Bodies;
use crate::case::{Case, KIB, MIB, Rows, Work};
use crate::store::{Error, Kind, PAGE_ROWS, Store};

/// Batches grow until they take this long.
const BATCH_TIME: Duration = Duration::from_millis(25);
/// The bodies of one batch have at most this number of bytes together.
const BATCH_BYTES: u64 = 128 * MIB;
/// The largest number of operations of a batch.
const BATCH_OPERATIONS: usize = 1 << 16;
/// When puts have left this number of bytes, they are deleted.
const KEPT_BYTES: u64 = 1 << 30;
/// A case ends when it has taken this long with its preparation.
const MAX_TIME: Duration = Duration::from_mins(1);
/// Tasks that prepare.
const PREPARING_TASKS: usize = 16;

/// What was measured.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// The number of operations.
    pub operations: u64,
    /// The time that they took.
    pub elapsed: Duration,
    /// The CPU time that they took, in user and kernel mode, on all cores.
    pub cpu: Duration,
    /// How often a thread waited.
    pub switches: u64,
    /// The median time of one operation; measured only for servers.
    pub p50: Option<Duration>,
}

/// What one operation works on.
enum Item<K> {
    Body(String, Bytes),
    Key(K),
    Nothing,
}

/// Measures `case` for at least `target`.
///
/// # Errors
/// An error of the store, and a result that is not what the case expects: other sizes, or another number of rows.
pub async fn measure<S: Store>(store: &Arc<S>, case: &Case, target: Duration) -> Result<Sample, Error> {
    let started = Instant::now();
    let mut bodies = Bodies::new()?;
    let existing = match case.work {
        Work::Get | Work::Range | Work::Stat | Work::Presign | Work::Hash | Work::RoundTrip => {
            // Enough that not every read is of the same few bytes, and few enough to be warm.
            let count = (64 * MIB / case.size.max(1)).clamp(1, 256) as usize;
            put_many(store, &mut bodies, case.size, count).await?
        }
        Work::List(_) => {
            store.fill(case.rows).await?;
            Vec::new()
        }
        Work::Put | Work::PutHashed | Work::Delete | Work::WriteFile => Vec::new(),
    };
    let mut left: Vec<S::Key> = Vec::new();
    let mut total = Sample::default();
    let mut latencies: Vec<Duration> = Vec::new();
    let (mut operations, mut is_warm) = (case.tasks, false);
    while total.elapsed < target && (total.operations == 0 || started.elapsed() < MAX_TIME) {
        let items = make_items(store, case, &mut bodies, &existing, operations).await?;
        let (sample, times, keys) = run_batch(store, case, items).await?;
        if is_warm {
            total.operations += sample.operations;
            total.elapsed += sample.elapsed;
            total.cpu += sample.cpu;
            total.switches += sample.switches;
            latencies.extend(times);
        }
        is_warm = true;
        if sample.elapsed < BATCH_TIME {
            let most = if case.bytes() == 0 { BATCH_OPERATIONS as u64 } else { BATCH_BYTES / case.bytes() };
            operations = (operations * 2).min(most as usize).clamp(case.tasks, BATCH_OPERATIONS);
        }
        left.extend(keys);
        if left.len() as u64 * case.size.max(4 * KIB) > KEPT_BYTES {
            delete_many(store, case, std::mem::take(&mut left)).await?;
        }
    }
    // Small bodies are deleted with the directory of the program. Large ones would fill the disk or the memory.
    left.extend(existing);
    if case.size >= 32 * KIB {
        delete_many(store, case, left).await?;
    }
    latencies.sort_unstable();
    total.p50 = latencies.get(latencies.len() / 2).copied();
    Ok(total)
}

async fn make_items<S: Store>(
    store: &Arc<S>,
    case: &Case,
    bodies: &mut Bodies,
    existing: &[S::Key],
    count: usize,
) -> Result<Vec<Item<S::Key>>, Error> {
    Ok(match case.work {
        Work::Put | Work::PutHashed | Work::WriteFile => (0..count)
            .map(|_| {
                let (name, body) = bodies.next(case.size as usize);
                Item::Body(name, body)
            })
            .collect(),
        Work::Delete => {
            let keys = put_many(store, bodies, case.size, count).await?;
            keys.into_iter().map(Item::Key).collect()
        }
        Work::List(_) => (0..count).map(|_| Item::Nothing).collect(),
        _ => existing.iter().cycle().take(count).cloned().map(Item::Key).collect(),
    })
}

/// Divides `items` among the case's tasks and runs them.
async fn run_batch<S: Store>(
    store: &Arc<S>,
    case: &Case,
    items: Vec<Item<S::Key>>,
) -> Result<(Sample, Vec<Duration>, Vec<S::Key>), Error> {
    let operations = items.len() as u64;
    let mut shares: Vec<Vec<Item<S::Key>>> = (0..case.tasks).map(|_| Vec::new()).collect();
    for (index, item) in items.into_iter().enumerate() {
        shares[index % case.tasks].push(item);
    }
    let takes_times = store.server_cpu().is_some();
    let before = Cpu::now(&**store)?;
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for share in shares {
        let (store, case) = (Arc::clone(store), case.clone());
        tasks.spawn(async move {
            let (mut keys, mut times) = (Vec::new(), Vec::new());
            for item in share {
                let began = takes_times.then(Instant::now);
                keys.extend(operate(&*store, &case, item).await?);
                times.extend(began.map(|began| began.elapsed()));
            }
            Ok::<_, Error>((keys, times))
        });
    }
    let (mut keys, mut times) = (Vec::new(), Vec::new());
    while let Some(result) = tasks.join_next().await {
        let (more_keys, more_times) = result??;
        keys.extend(more_keys);
        times.extend(more_times);
    }
    let elapsed = start.elapsed();
    let after = Cpu::now(&**store)?;
    let cpu = after.time.saturating_sub(before.time);
    let switches = after.switches.saturating_sub(before.switches);
    Ok((Sample { operations, elapsed, cpu, switches, p50: None }, times, keys))
}

/// One operation. Returns the key of a body that was put.
async fn operate<S: Store>(store: &S, case: &Case, item: Item<S::Key>) -> Result<Option<S::Key>, Error> {
    match (case.work, item) {
        (work, Item::Body(name, body)) => {
            if work == Work::PutHashed && store.kind() != Kind::Ours {
                std::hint::black_box(Sha256::digest(&body));
            }
            return store.put(name, body).await.map(Some);
        }
        (Work::Range, Item::Key(key)) => {
            let start = case.size / 2;
            let read = store.get(&key, Some(start..start + case.bytes())).await?;
            expect("bytes of the range", read, case.bytes())?;
        }
        (Work::Stat, Item::Key(key)) => expect("bytes by stat", store.stat(&key).await?, case.size)?,
        (Work::Delete, Item::Key(key)) => store.delete(&key).await?,
        (Work::Presign, Item::Key(key)) => store.presign(&key).await?,
        (_, Item::Key(key)) => expect("bytes read", store.get(&key, None).await?, case.size)?,
        (Work::List(page), Item::Nothing) => {
            let rows = store.page(case.rows, page).await?;
            let is_plausible = match page {
                Rows::RareTag => rows as u64 == case.rows.div_ceil(crate::RARE_EVERY),
                _ => rows == PAGE_ROWS,
            };
            if !is_plausible {
                return Err(format!("a page has {rows} rows").into());
            }
        }
        (_, Item::Nothing) => {}
    }
    Ok(None)
}

fn expect(what: &str, found: u64, expected: u64) -> Result<(), Error> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found}, not {expected}").into()) }
}

async fn put_many<S: Store>(
    store: &Arc<S>,
    bodies: &mut Bodies,
    size: u64,
    count: usize,
) -> Result<Vec<S::Key>, Error> {
    let (mut keys, mut tasks) = (Vec::with_capacity(count), JoinSet::new());
    for _ in 0..count {
        if tasks.len() == PREPARING_TASKS
            && let Some(result) = tasks.join_next().await
        {
            keys.push(result??);
        }
        let ((name, body), store) = (bodies.next(size as usize), Arc::clone(store));
        tasks.spawn(async move { store.put(name, body).await });
    }
    while let Some(result) = tasks.join_next().await {
        keys.push(result??);
    }
    Ok(keys)
}

async fn delete_many<S: Store>(store: &Arc<S>, case: &Case, keys: Vec<S::Key>) -> Result<(), Error> {
    if !store.supports(&Case { work: Work::Delete, ..case.clone() }) {
        return Ok(());
    }
    let mut tasks = JoinSet::new();
    for key in keys {
        if tasks.len() == PREPARING_TASKS
            && let Some(result) = tasks.join_next().await
        {
            result??;
        }
        let store = Arc::clone(store);
        tasks.spawn(async move { store.delete(&key).await });
    }
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    Ok(())
}

/// The CPU time and the context switches so far.
struct Cpu {
    time: Duration,
    switches: u64,
}

impl Cpu {
    fn now<S: Store>(store: &S) -> Result<Self, Error> {
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let time = store.server_cpu().unwrap_or_else(|| cpu_time(&usage));
        Ok(Self { time, switches: usage.voluntary_context_switches().unsigned_abs() })
    }
}

fn cpu_time(usage: &Usage) -> Duration {
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(micros.unsigned_abs())
}
