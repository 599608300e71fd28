//! A put stores all or nothing: whatever goes wrong on the way, nothing is visible, nothing is left, and the next put works.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use artifact_store_core::{
    ArtifactStore, Body, BoxError, Digest, ErrorKind, ListQuery, PutOptions, PutOutcome, Scope, ScopePattern,
};
use bytes::Bytes;
use futures_util::StreamExt;

use super::group;
use crate::check::{CheckResult, Failure, Lab, Outcome, ensure, ensure_eq, ensure_kind};
use crate::kit::{
    KIB, MIB, all_rows, bytes, drain, exactly, failing, flowing, home, id_of, pausing, put, soon, stalling,
};

group! { "atomicity":
    nothing_is_visible_before_the_end,
    a_body_over_its_limit_leaves_nothing,
    a_body_of_exactly_its_limit_is_stored,
    a_wrong_digest_leaves_nothing,
    a_failing_source_leaves_nothing,
    a_wrong_length_leaves_nothing,
    a_dropped_put_leaves_nothing,
    a_dropped_get_leaves_nothing,
    a_failed_put_leaves_the_standing_artifact,
    a_put_can_be_given_up_whatever_its_source_does,
    a_stream_is_let_go_as_it_flows,
}

/// The sizes at which puts are made to fail: within the first piece, and far into the stream.
const SIZES: [usize; 3] = [100, 300 * KIB, 3 * MIB];

/// After a failed put of `bytes`: no verb sees anything, no residue is left, and the same put works.
async fn leaves_nothing(
    lab: &Lab,
    store: &dyn ArtifactStore,
    scope: &Scope,
    bytes: &Bytes,
    what: &str,
) -> Result<(), Failure> {
    ensure!(store.stat(scope, &id_of(bytes)).await?.is_none(), "{what}: stat sees the artifact");
    ensure!(store.get(scope, &id_of(bytes), None).await?.is_none(), "{what}: get sees the artifact");
    let rows = all_rows(store, &ListQuery::new(ScopePattern::all_tenants()), 100).await?;
    ensure!(rows.is_empty(), "{what}: list shows {} rows", rows.len());
    lab.no_residue().await.map_err(|failure| Failure::new(format!("{what}: {failure}")))?;
    let again = put(store, scope, bytes).await?;
    ensure_eq!(again.outcome, PutOutcome::Created, "{what}: the next put of the same bytes");
    let get = store.get(scope, &id_of(bytes), None).await?;
    let get = get.ok_or_else(|| Failure::new(format!("{what}: the next put is not there")))?;
    ensure!(drain(get).await? == *bytes, "{what}: the next put has other bytes");
    store.delete(scope, &id_of(bytes)).await?;
    Ok(())
}

async fn nothing_is_visible_before_the_end(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    for (first, rest) in [(10, 10), (2 * MIB, 10), (10, MIB)] {
        let all = bytes(lab.seed, first + rest);
        let (body, reached, go) = pausing(&all.slice(..first), &all.slice(first..));
        let running = {
            let (store, scope) = (Arc::clone(&store), scope.clone());
            tokio::spawn(async move { store.put(&scope, body, PutOptions::default()).await })
        };
        soon("the middle of the body", reached).await??;
        ensure!(store.stat(&scope, &id_of(&all)).await?.is_none(), "stat sees half an artifact");
        ensure!(store.get(&scope, &id_of(&all), None).await?.is_none(), "get sees half an artifact");
        let rows = all_rows(&*store, &exactly(&scope), 10).await?;
        ensure!(rows.is_empty(), "list shows half an artifact");
        ensure!(go.send(()).is_ok(), "the store let go of the body in the middle");
        let put = soon("the put", running).await???;
        ensure_eq!(put.outcome, PutOutcome::Created, "the put that paused");
        store.delete(&scope, &put.record.id).await?;
    }
    Ok(Outcome::Passed)
}

async fn a_body_over_its_limit_leaves_nothing(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    for size in SIZES {
        let bytes = bytes(lab.seed, size);
        let limit = size as u64 - 1;
        let due = |kind| kind == ErrorKind::TooLarge { limit };
        let bodies = [
            ("at hand", Body::from_bytes(bytes.clone())),
            ("a stream", flowing(&bytes, 10 * KIB)),
            ("a stream of single bytes at its end", flowing(&bytes, size.div_ceil(40))),
            ("a stream that tells its length", flowing(&bytes, 10 * KIB).with_length(size as u64)),
        ];
        for (how, body) in bodies {
            let what = format!("{size} bytes, {how}, over a limit of {limit}");
            let put = store.put(&scope, body.with_limit(limit), PutOptions::default()).await;
            ensure_kind(put, due, &what)?;
            leaves_nothing(lab, &*store, &scope, &bytes, &what).await?;
        }
        // An endless stream must be cut off at the limit, not at its end.
        let endless = futures_util::stream::repeat_with(|| Ok::<_, BoxError>(Bytes::from_static(&[7; 4096])));
        let put = store.put(&scope, Body::from_stream(endless).with_limit(limit), PutOptions::default());
        ensure_kind(soon("the refusal of an endless body", put).await?, due, "an endless body")?;
    }
    Ok(Outcome::Passed)
}

async fn a_body_of_exactly_its_limit_is_stored(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    for (n, size) in SIZES.into_iter().enumerate() {
        for (how, seed) in [("at hand", 0), ("a stream", 100)] {
            let bytes = bytes(lab.seed + seed + n as u64, size);
            let body = if seed == 0 { Body::from_bytes(bytes.clone()) } else { flowing(&bytes, 10 * KIB) };
            let put = store.put(&scope, body.with_limit(size as u64), PutOptions::default()).await?;
            ensure_eq!(put.outcome, PutOutcome::Created, "{size} bytes, {how}, under a limit of as many");
        }
    }
    Ok(Outcome::Passed)
}

async fn a_wrong_digest_leaves_nothing(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    for size in SIZES {
        let bytes = bytes(lab.seed, size);
        let wrong = Digest::of(b"something else");
        let due = |kind| kind == ErrorKind::DigestMismatch { expected: wrong, actual: Digest::of(&bytes) };
        for (how, body) in
            [("at hand", Body::from_bytes(bytes.clone())), ("a stream", flowing(&bytes, 10 * KIB))]
        {
            let what = format!("{size} bytes, {how}, with a wrong digest");
            let put = store.put(&scope, body.with_digest(wrong), PutOptions::default()).await;
            ensure_kind(put, due, &what)?;
            leaves_nothing(lab, &*store, &scope, &bytes, &what).await?;
        }
    }
    Ok(Outcome::Passed)
}

async fn a_failing_source_leaves_nothing(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    for size in [0, 100, 300 * KIB, 3 * MIB] {
        let bytes = bytes(lab.seed, size);
        let what = format!("a source that fails after {size} bytes");
        let put = store.put(&scope, failing(&bytes), PutOptions::default()).await;
        ensure_kind(put, |kind| kind == ErrorKind::InvalidArgument, &what)?;
        leaves_nothing(lab, &*store, &scope, &bytes, &what).await?;
    }
    Ok(Outcome::Passed)
}

async fn a_wrong_length_leaves_nothing(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    for size in SIZES {
        let bytes = bytes(lab.seed, size);
        for announced in [size as u64 - 1, size as u64 + 1, 0, 1 << 40] {
            let what = format!("{size} bytes announced as {announced}");
            let body = flowing(&bytes, 10 * KIB).with_length(announced);
            let put = store.put(&scope, body, PutOptions::default()).await;
            // Where the store has a bound of its own, what is announced beyond it is too large before it is wrong.
            let bound = store.capabilities().artifact_bytes_limit();
            let due = |kind| match kind {
                ErrorKind::TooLarge { limit } => limit == bound && announced > bound,
                kind => kind == ErrorKind::InvalidArgument,
            };
            ensure_kind(put, due, &what)?;
            leaves_nothing(lab, &*store, &scope, &bytes, &what).await?;
        }
    }
    Ok(Outcome::Passed)
}

async fn a_dropped_put_leaves_nothing(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    for size in [0, 1, 100, 64 * KIB, 256 * KIB, 300 * KIB, 1024 * KIB, 3 * MIB] {
        let bytes = bytes(lab.seed, size);
        let (body, reached) = stalling(&bytes);
        let running = {
            let (store, scope) = (Arc::clone(&store), scope.clone());
            tokio::spawn(async move { store.put(&scope, body, PutOptions::default()).await })
        };
        soon("the stall", reached).await??;
        running.abort();
        ensure!(running.await.is_err_and(|error| error.is_cancelled()), "the put ended by itself");
        leaves_nothing(lab, &*store, &scope, &bytes, &format!("a put dropped after {size} bytes")).await?;
    }
    // Dropped after any number of polls: before it began, in its hops, or just after its commit. All or nothing.
    for polls in 0..40_usize {
        let bytes = bytes(lab.seed + 1 + polls as u64, if polls % 2 == 0 { 500 } else { 600 * KIB });
        let put = store.put(&scope, flowing(&bytes, 100 * KIB), PutOptions::default());
        let mut put = Box::pin(put);
        for _ in 0..polls {
            if poll_fn(|cx| Poll::Ready(put.as_mut().poll(cx).is_ready())).await {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(put);
        lab.no_residue()
            .await
            .map_err(|failure| Failure::new(format!("dropped after {polls} polls: {failure}")))?;
        if let Some(get) = store.get(&scope, &id_of(&bytes), None).await? {
            ensure!(drain(get).await? == bytes, "a put dropped after {polls} polls left other bytes");
        }
        let again = put_again(&*store, &scope, &bytes).await?;
        ensure!(again == bytes, "after a put dropped after {polls} polls, the next one has other bytes");
    }
    Ok(Outcome::Passed)
}

async fn put_again(store: &dyn ArtifactStore, scope: &Scope, bytes: &Bytes) -> Result<Bytes, Failure> {
    let put = put(store, scope, bytes).await?;
    let get = store.get(scope, &put.record.id, None).await?;
    Ok(drain(get.ok_or_else(|| Failure::new("the next put is not there"))?).await?)
}

async fn a_dropped_get_leaves_nothing(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    let bytes = bytes(lab.seed, 5 * MIB);
    let id = put(&*store, &scope, &bytes).await?.record.id;
    for pieces in 0..6 {
        let get = store.get(&scope, &id, None).await?;
        let mut stream = get.ok_or_else(|| Failure::new("the artifact is not there"))?.stream;
        for _ in 0..pieces {
            // A store may serve all in one piece; then there is less to drop.
            if stream.next().await.transpose()?.is_none() {
                break;
            }
        }
        drop(stream);
    }
    // Streams that are open but not read must not hold up anybody.
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(store.get(&scope, &id, None).await?);
    }
    let other = soon("a put beside 40 idle reads", put(&*store, &scope, &bytes.slice(1..))).await??;
    ensure!(
        soon("a delete beside 40 idle reads", store.delete(&scope, &other.record.id)).await??,
        "nothing to delete"
    );
    drop(idle);
    Ok(Outcome::Passed)
}

async fn a_failed_put_leaves_the_standing_artifact(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    for size in SIZES {
        let bytes = bytes(lab.seed, size);
        let standing = put(&*store, &scope, &bytes).await?.record;
        let limited = store.put(&scope, flowing(&bytes, KIB).with_limit(50), PutOptions::default()).await;
        ensure!(limited.is_err(), "a put over its limit succeeded, because the artifact stood already");
        let wrong = flowing(&bytes, 10 * KIB).with_digest(Digest::of(b"something else"));
        ensure!(
            store.put(&scope, wrong, PutOptions::default()).await.is_err(),
            "a wrong digest was accepted"
        );
        let get = store.get(&scope, &standing.id, None).await?;
        let get = get.ok_or_else(|| Failure::new("a failed put removed the standing artifact"))?;
        ensure_eq!(get.record, standing, "the standing record after a failed put");
        ensure!(drain(get).await? == bytes, "a failed put changed the standing bytes");
    }
    Ok(Outcome::Passed)
}

/// Sources that are always ready, with nothing or with bytes: the put must give way, or nobody could cancel it.
async fn a_put_can_be_given_up_whatever_its_source_does(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    for (what, piece) in [("nothing", Bytes::new()), ("bytes", Bytes::from_static(&[7; 64]))] {
        let endless = futures_util::stream::repeat_with(move || Ok::<_, BoxError>(piece.clone()));
        let running = {
            let (store, scope) = (Arc::clone(&store), scope.clone());
            tokio::spawn(async move {
                let put = store.put(&scope, Body::from_stream(endless), PutOptions::default());
                tokio::time::timeout(Duration::from_millis(100), put).await
            })
        };
        let given_up = soon(&format!("giving up an endless source of {what}"), running).await??;
        ensure!(given_up.is_err(), "a put of an endless source of {what} ended by itself");
        lab.no_residue().await?;
    }
    let rows = all_rows(&*store, &exactly(&scope), 10).await?;
    ensure!(rows.is_empty(), "a put that was given up is listed");
    Ok(Outcome::Passed)
}

/// A piece of a source that counts how many of it are alive.
struct Counted {
    bytes: Bytes,
    alive: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The source's buffers come free while the body flows: a store that gathers a whole body keeps them.
async fn a_stream_is_let_go_as_it_flows(lab: &Lab) -> CheckResult {
    const PIECES: usize = 256;
    const MOST_ALIVE: usize = 64;
    let store = lab.open().await?;
    let scope = home()?;
    let (alive, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let source = {
        let (alive, most, seed) = (Arc::clone(&alive), Arc::clone(&most), lab.seed);
        (0..PIECES as u64).map(move |n| {
            let now = alive.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            let owner = Counted { bytes: bytes(seed + n, 128 * KIB), alive: Arc::clone(&alive) };
            Ok::<_, BoxError>(Bytes::from_owner(owner))
        })
    };
    store.put(&scope, Body::from_stream(futures_util::stream::iter(source)), PutOptions::default()).await?;
    let most = most.load(Ordering::SeqCst);
    ensure!(most <= MOST_ALIVE, "{most} of {PIECES} pieces of 128 KiB were held at once");
    for _ in 0..100 {
        if alive.load(Ordering::SeqCst) == 0 {
            return Ok(Outcome::Passed);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(Failure::new(format!("{} pieces are still held after the put", alive.load(Ordering::SeqCst))))
}
