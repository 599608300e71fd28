//! Puts that are dropped in each of their steps, for the check that a dropped put leaves nothing.
//!
//! A step ends at an await. What a driver has started in the background may go on after the drop, because a blocking
//! call cannot be stopped. So a drop can hit a commit before it begins, while it runs, and after it has ended but
//! before the put is polled again. Each of these drops must leave the whole artifact or none. The number of drops is
//! limited, because some storages are slow.

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

/// A body in one chunk, and one that is streamed in several.
const SIZES: [usize; 2] = [500, 600 * KIB];
/// How many of the earlier polls are tried, spread evenly.
const SPREAD_POLLS: usize = 6;
/// How many of the last polls are tried at more moments, because the commit is among them.
const LAST_POLLS: usize = 3;
/// Some puts are polled without being woken, as in a `select`. They are dropped after these numbers of polls.
const POLLS_WITHOUT_WAKE: [usize; 6] = [1, 2, 4, 8, 16, 40];
/// How many artifacts are read at once.
const READERS: usize = 8;

/// When a put is dropped after its last poll.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// At once: the background work of the last poll has hardly begun.
    AtOnce,
    /// A millisecond later: the background work of the last poll may be running.
    Later,
    /// After the put was woken, and before its next poll: the background work of the last poll has ended.
    Woken,
}

/// How a put is polled and dropped.
#[derive(Debug, Clone, Copy)]
struct DropPlan {
    polls: usize,
    moment: Moment,
    /// Whether each poll waits for a wake.
    waits_for_wakes: bool,
    /// Whether the same bytes are put again at once, as by a client that tries again.
    retries: bool,
}

/// A put that was dropped, or that ended before the planned drop.
struct DroppedPut {
    bytes: Bytes,
    /// Describes what was done. Failure messages quote it.
    what: String,
    /// Whether a put of these bytes returned.
    is_stored: bool,
}

/// The drops to try for a put that ends after `total_polls` polls.
fn plan_drops(total_polls: usize) -> Vec<DropPlan> {
    let plan = |polls, moment| DropPlan { polls, moment, waits_for_wakes: true, retries: false };
    let early = total_polls.saturating_sub(LAST_POLLS);
    let step = early.div_ceil(SPREAD_POLLS).max(1);
    let mut plans = vec![plan(0, Moment::AtOnce)];
    for polls in (1..early).step_by(step) {
        plans.extend([plan(polls, Moment::AtOnce), plan(polls, Moment::Woken)]);
    }
    for polls in early.max(1)..=total_polls {
        plans.extend([Moment::AtOnce, Moment::Later, Moment::Woken].map(|moment| plan(polls, moment)));
        plans.extend(
            [Moment::AtOnce, Moment::Woken].map(|moment| DropPlan { retries: true, ..plan(polls, moment) }),
        );
    }
    plans.extend(
        POLLS_WITHOUT_WAKE.map(|polls| DropPlan { waits_for_wakes: false, ..plan(polls, Moment::AtOnce) }),
    );
    plans
}

/// Puts `bytes`, polls the put as planned and drops it.
async fn drop_put(
    store: &dyn ArtifactStore,
    scope: &Scope,
    bytes: Bytes,
    plan: DropPlan,
    total_polls: usize,
) -> Result<DroppedPut, Failure> {
    let DropPlan { polls, moment, waits_for_wakes, retries } = plan;
    let moment_name = match moment {
        Moment::AtOnce => "at once",
        Moment::Later => "1 ms",
        Moment::Woken => "as it was woken",
    };
    let without = if waits_for_wakes { "" } else { " without being woken" };
    let what = format!(
        "a put of {} bytes dropped {moment_name} after {polls} of about {total_polls} polls{without}",
        bytes.len()
    );
    let body = chunked_body(&bytes, 100 * KIB);
    let mut stepped = SteppedFuture::new(store.put(scope, body, PutOptions::default()));
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
        (Poll::Ready(_), _) | (_, Moment::AtOnce) => {}
        (_, Moment::Later) => tokio::time::sleep(Duration::from_millis(1)).await,
        (_, Moment::Woken) => with_timeout("the next step of a put", stepped.woken()).await?,
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

/// Counts the polls of a put that is not dropped.
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

/// Waits until neither the rows nor the residue change, and returns the rows.
async fn wait_until_quiet(ctx: &CheckContext, store: &dyn ArtifactStore) -> Result<Vec<Record>, Failure> {
    const LOOKS: usize = 200;
    const QUIET_LOOKS: usize = 4;
    let mut last = None;
    let mut unchanged = 0;
    for _ in 0..LOOKS {
        let rows = list_all_rows(store, &ListQuery::new(ScopePattern::all_tenants()), 100).await?;
        let residue = ctx.backend().residue().await;
        let residue = residue.map_err(|error| Failure::new(format!("cannot read the residue: {error}")))?;
        let now = Some((rows, residue));
        unchanged = if last == now { unchanged + 1 } else { 1 };
        last = now;
        if unchanged == QUIET_LOOKS {
            break;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    ensure!(unchanged == QUIET_LOOKS, "the rows or the raw storage still change 6 s after puts were dropped");
    Ok(last.map(|(rows, _)| rows).unwrap_or_default())
}

/// Reads the artifact of a dropped put. If a put returned, the artifact must be listed. A listed artifact must exist
/// with its own bytes.
async fn ensure_whole_or_nothing(
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
    // A commit that ended after the listing is not listed, but its artifact is whole.
    ensure!(back.is_some() || !is_listed, "{what}: the artifact is listed, but get does not find it");
    ensure!(back.is_none_or(|back| back == dropped.bytes), "{what}: the artifact has other bytes");
    Ok(())
}

/// Puts the bytes of a dropped put again and reads them back.
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

/// Drops puts in each of their steps. When the store is quiet, each must have left the whole artifact or none.
pub(super) async fn ensure_drops_leave_whole_or_nothing(
    ctx: &CheckContext,
    store: &dyn ArtifactStore,
    scope: &Scope,
) -> Result<(), Failure> {
    let mut all = Vec::new();
    for size in SIZES {
        // Each artifact has its own seed. The seeds of the two sizes do not overlap.
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
        let rows = wait_until_quiet(ctx, store).await?;
        let rows = rows.as_slice();
        stream::iter(dropped.iter().map(Ok))
            .try_for_each_concurrent(READERS, |dropped| ensure_whole_or_nothing(store, scope, rows, dropped))
            .await?;
        stream::iter(dropped.iter().map(Ok))
            .try_for_each_concurrent(READERS, |dropped| ensure_next_put_works(store, scope, rows, dropped))
            .await?;
        all.extend(dropped.into_iter().map(|dropped| DroppedPut { is_stored: true, ..dropped }));
    }
    // A late cleanup of a dropped put must not destroy the artifact of the next put.
    let rows = list_all_rows(store, &ListQuery::new(ScopePattern::all_tenants()), 100).await?;
    let rows = rows.as_slice();
    stream::iter(all.iter().map(Ok))
        .try_for_each_concurrent(READERS, |dropped| ensure_whole_or_nothing(store, scope, rows, dropped))
        .await
}
