//! Puts that are dropped between their steps. The check `a_dropped_put_leaves_nothing` uses them.
//!
//! A step is one poll of the put. A driver may have started work in the background, such as a blocking call. This work
//! cannot be stopped, so it may go on after the drop. A put can be dropped at three moments: before its commit begins,
//! while the commit runs, or when the commit has ended but the put was not polled again. After each drop, the whole
//! artifact must exist, or no part of it. Some storages are slow, so the number of drops is limited.

use std::task::Poll;
use std::time::Duration;

use artifact_store_core::{
    ArtifactStore, ArtifactStoreExt, ListQuery, PutOptions, PutOutcome, Record, Scope, ScopePattern,
};
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};

use crate::bodies::chunked_body;
use crate::check::{CheckContext, Failure, ensure, ensure_eq};
use crate::fixtures::{KIB, id_of, list_all_rows, put, random_bytes, with_timeout};
use crate::stepped::SteppedFuture;

/// The sizes of the bodies in bytes. In chunks of 100 KiB, they have 1 chunk and 6 chunks.
const SIZES: [usize; 2] = [500, 600 * KIB];
/// The early polls are those before the last [`LAST_POLLS`]. Puts are dropped after at most this many early polls, at
/// equal distances.
const MAX_EARLY_POLLS: usize = 6;
/// The number of polls at the end of a put that are all tried. One of them makes the commit, so more kinds of drops are
/// tried before and after each of them than after an early poll.
const LAST_POLLS: usize = 3;
/// Some puts are polled although nothing woke them, as `select!` does. For each of these numbers, one such put is
/// dropped after that number of polls.
const POLLS_WITHOUT_WAKE: [usize; 6] = [1, 2, 4, 8, 16, 40];
/// How many artifacts are read at once.
const READERS: usize = 8;

/// The moment of the drop, counted from the last poll of the put.
#[derive(Debug, Clone, Copy)]
enum DropMoment {
    /// At once: the background work of the last poll has hardly begun.
    AtOnce,
    /// A millisecond later: the background work of the last poll may be running.
    Later,
    /// When the put was woken, before its next poll: the background work of the last poll has ended.
    Woken,
}

/// How a put is polled and dropped.
#[derive(Debug, Clone, Copy)]
struct DropPlan {
    /// The number of polls before the drop.
    polls: usize,
    moment: DropMoment,
    /// Whether each poll waits until the put was woken. The first poll never waits.
    waits_for_wakes: bool,
    /// Whether the same bytes are put again at once after the drop, as a client does that retries.
    retries: bool,
}

/// A put that was dropped, or that ended before the planned drop.
struct DroppedPut {
    bytes: Bytes,
    /// The description of the put and its drop, for failures.
    what: String,
    /// Whether a put of these bytes has succeeded. If so, the artifact must exist.
    is_stored: bool,
}

/// The drops to try for a put that ends after `total_polls` polls.
fn plan_drops(total_polls: usize) -> Vec<DropPlan> {
    let plan = |polls, moment| DropPlan { polls, moment, waits_for_wakes: true, retries: false };
    let early_polls = total_polls.saturating_sub(LAST_POLLS);
    let step = early_polls.div_ceil(MAX_EARLY_POLLS).max(1);
    // Without any poll, the put is dropped before it begins.
    let mut plans = vec![plan(0, DropMoment::AtOnce)];
    for polls in (1..early_polls).step_by(step) {
        plans.extend([plan(polls, DropMoment::AtOnce), plan(polls, DropMoment::Woken)]);
    }
    for polls in early_polls.max(1)..=total_polls {
        plans.extend(
            [DropMoment::AtOnce, DropMoment::Later, DropMoment::Woken].map(|moment| plan(polls, moment)),
        );
        plans.extend(
            [DropMoment::AtOnce, DropMoment::Woken]
                .map(|moment| DropPlan { retries: true, ..plan(polls, moment) }),
        );
    }
    plans.extend(
        POLLS_WITHOUT_WAKE
            .map(|polls| DropPlan { waits_for_wakes: false, ..plan(polls, DropMoment::AtOnce) }),
    );
    plans
}

/// Starts a put of `bytes`, polls it and drops it, as `plan` says. `total_polls` is the number of polls that a put of
/// this size needs. This number is only used in the description of the put.
async fn drop_put(
    store: &dyn ArtifactStore,
    scope: &Scope,
    bytes: Bytes,
    plan: DropPlan,
    total_polls: usize,
) -> Result<DroppedPut, Failure> {
    let DropPlan { polls, moment, waits_for_wakes, retries } = plan;
    let moment_name = match moment {
        DropMoment::AtOnce => "at once",
        DropMoment::Later => "1 ms",
        DropMoment::Woken => "as it was woken",
    };
    let without_wake = if waits_for_wakes { "" } else { " without being woken" };
    let what = format!(
        "a put of {} bytes dropped {moment_name} after {polls} of about {total_polls} polls{without_wake}",
        bytes.len()
    );
    let body = chunked_body(&bytes, 100 * KIB);
    let mut stepped = SteppedFuture::new(store.put(scope, body, PutOptions::default()));
    // The result of the last poll. A put may end before it has been polled `polls` times.
    let mut result = Poll::Pending;
    for poll in 0..polls {
        match (poll, waits_for_wakes) {
            (0, _) => {}
            (_, true) => with_timeout("the next step of a put", stepped.woken()).await?,
            (_, false) => tokio::task::yield_now().await,
        }
        result = stepped.poll_once();
        if result.is_ready() {
            break;
        }
    }
    match (&result, moment) {
        // A put that has ended is not woken again.
        (Poll::Ready(_), _) | (_, DropMoment::AtOnce) => {}
        (_, DropMoment::Later) => tokio::time::sleep(Duration::from_millis(1)).await,
        (_, DropMoment::Woken) => with_timeout("the next step of a put", stepped.woken()).await?,
    }
    drop(stepped);
    let mut is_stored = false;
    if let Poll::Ready(put) = result {
        put.map_err(|error| Failure::new(format!("{what}: {error}")))?;
        is_stored = true;
    }
    if retries {
        put(store, scope, &bytes)
            .await
            .map_err(|error| Failure::new(format!("the same put again, at once after {what}: {error}")))?;
        is_stored = true;
    }
    Ok(DroppedPut { bytes, what, is_stored })
}

/// Puts `bytes` completely, and returns the number of polls that the put needed.
async fn count_polls(store: &dyn ArtifactStore, scope: &Scope, bytes: &Bytes) -> Result<usize, Failure> {
    let body = chunked_body(bytes, 100 * KIB);
    let mut stepped = SteppedFuture::new(store.put(scope, body, PutOptions::default()));
    let mut polls = 1;
    loop {
        if let Poll::Ready(put) = stepped.poll_once() {
            ensure_eq!(put?.outcome, PutOutcome::Created, "a put that is polled by hand");
            return Ok(polls);
        }
        with_timeout("the next step of a put", stepped.woken()).await?;
        polls += 1;
    }
}

/// Waits until the rows and the residue, which is what the backend stores beside them, stop changing, and returns the rows. They have stopped changing if four
/// consecutive rounds, at intervals of 30 ms, find the same rows and residue. Fails after about 6 s.
async fn wait_until_unchanged(ctx: &CheckContext, store: &dyn ArtifactStore) -> Result<Vec<Record>, Failure> {
    /// 200 rounds at intervals of 30 ms take about 6 s.
    const MAX_ROUNDS: usize = 200;
    const UNCHANGED_ROUNDS: usize = 4;
    let mut last = None;
    let mut unchanged = 0;
    for _ in 0..MAX_ROUNDS {
        let rows = list_all_rows(store, &ListQuery::new(ScopePattern::all_tenants()), 100).await?;
        let residue = ctx.backend().residue().await;
        let residue = residue.map_err(|error| Failure::new(format!("cannot read the residue: {error}")))?;
        let now = Some((rows, residue));
        unchanged = if last == now { unchanged + 1 } else { 1 };
        last = now;
        if unchanged == UNCHANGED_ROUNDS {
            break;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    ensure!(
        unchanged == UNCHANGED_ROUNDS,
        "the rows or the raw storage still change 6 s after puts were dropped"
    );
    Ok(last.map(|(rows, _)| rows).unwrap_or_default())
}

/// Ensures that the artifact of a dropped put exists as a whole or not at all. `rows` is a listing of the whole store.
/// If a put of the bytes has succeeded, the artifact must be listed. A listed artifact must be readable with its own
/// bytes.
async fn ensure_whole_or_absent(
    store: &dyn ArtifactStore,
    scope: &Scope,
    rows: &[Record],
    dropped: &DroppedPut,
) -> Result<(), Failure> {
    let (what, id) = (&dropped.what, id_of(&dropped.bytes));
    let is_listed = rows.iter().any(|row| row.id == id && row.scope == *scope);
    ensure!(is_listed || !dropped.is_stored, "{what}: the artifact was stored, but is not listed");
    let back = store.get_bytes(scope, &id, u64::MAX).await;
    let back = back.map_err(|error| {
        let listed = if is_listed { "listed" } else { "not listed" };
        Failure::new(format!("{what}: the artifact is {listed}, and reading it fails: {error}"))
    })?;
    // An artifact that is not listed may still exist, because its commit may have ended after the listing.
    ensure!(back.is_some() || !is_listed, "{what}: the artifact is listed, but get does not find it");
    ensure!(back.is_none_or(|back| back == dropped.bytes), "{what}: the artifact has other bytes");
    Ok(())
}

/// Puts the bytes of a dropped put again and reads them back. `rows` is a listing from before this put.
async fn ensure_next_put_works(
    store: &dyn ArtifactStore,
    scope: &Scope,
    rows: &[Record],
    dropped: &DroppedPut,
) -> Result<(), Failure> {
    let what = &dropped.what;
    let again = put(store, scope, &dropped.bytes).await;
    let again = again.map_err(|error| Failure::new(format!("the same put again, after {what}: {error}")))?;
    if rows.contains(&again.record) {
        ensure_eq!(again.outcome, PutOutcome::AlreadyExists, "the same put again, after {what}");
    }
    let back = store.get_bytes(scope, &again.record.id, u64::MAX).await?;
    ensure!(back.as_ref() == Some(&dropped.bytes), "after {what}, the next put has other bytes");
    Ok(())
}

/// Drops puts as [`plan_drops`] says. When the store has stopped changing, each artifact must exist as a whole or not
/// at all.
pub(super) async fn ensure_dropped_puts_are_atomic(
    ctx: &CheckContext,
    store: &dyn ArtifactStore,
    scope: &Scope,
) -> Result<(), Failure> {
    let mut all_dropped = Vec::new();
    for size in SIZES {
        // Each artifact has its own seed, so its bytes differ from all others. The two sizes begin at different seeds.
        // The range has no end, so `next` always returns a seed.
        let mut seeds = ctx.seed.wrapping_add(1 + size as u64)..;
        let mut next_bytes = || random_bytes(seeds.next().unwrap_or_default(), size);
        let polls = count_polls(store, scope, &next_bytes()).await?;
        let mut dropped = Vec::new();
        for plan in plan_drops(polls) {
            dropped.push(drop_put(store, scope, next_bytes(), plan, polls).await?);
        }
        let count = dropped.len();
        ctx.ensure_no_residue().await.map_err(|failure| {
            Failure::new(format!(
                "after {count} puts of {size} bytes were dropped at 0 to {polls} polls: {failure}"
            ))
        })?;
        let rows = wait_until_unchanged(ctx, store).await?;
        let rows = rows.as_slice();
        stream::iter(dropped.iter().map(Ok))
            .try_for_each_concurrent(READERS, |dropped| ensure_whole_or_absent(store, scope, rows, dropped))
            .await?;
        stream::iter(dropped.iter().map(Ok))
            .try_for_each_concurrent(READERS, |dropped| ensure_next_put_works(store, scope, rows, dropped))
            .await?;
        // `ensure_next_put_works` has put the bytes of every dropped put again.
        all_dropped.extend(dropped.into_iter().map(|dropped| DroppedPut { is_stored: true, ..dropped }));
    }
    // The cleanup of a dropped put may come late. It must not destroy the artifact of the next put. To see this, every
    // artifact is read again.
    let rows = list_all_rows(store, &ListQuery::new(ScopePattern::all_tenants()), 100).await?;
    let rows = rows.as_slice();
    stream::iter(all_dropped.iter().map(Ok))
        .try_for_each_concurrent(READERS, |dropped| ensure_whole_or_absent(store, scope, rows, dropped))
        .await
}
