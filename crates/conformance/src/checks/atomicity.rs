//! A put is atomic. If it fails or is dropped, no artifact is visible, no residue is left, and the next put works.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use artifact_store_core::{
    ArtifactStore, Body, BoxError, Digest, ErrorKind, ListQuery, PutOptions, PutOutcome, PutResult, Scope,
    ScopePattern, StoreError,
};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::check_group;
use super::dropped_puts::ensure_dropped_puts_are_atomic;
use crate::bodies::{chunked_body, failing_body, paused_body, read_to_end, stalled_body};
use crate::check::{CheckContext, CheckResult, Failure, Outcome, ensure, ensure_eq, ensure_error_kind};
use crate::fixtures::{
    KIB, MIB, default_scope, id_of, list_all_rows, put, random_bytes, scope_query, with_timeout,
};

check_group! { "atomicity":
    nothing_is_visible_before_the_end,
    a_body_over_its_limit_leaves_nothing,
    a_body_of_exactly_its_limit_is_stored,
    a_wrong_digest_leaves_nothing,
    a_failing_source_leaves_nothing,
    a_wrong_length_leaves_nothing,
    a_dropped_put_leaves_nothing,
    a_dropped_get_leaves_nothing,
    a_failed_put_leaves_the_existing_artifact,
    a_put_can_be_cancelled_whatever_its_source_does,
    a_stream_is_freed_as_it_is_read,
}

/// The sizes of the bodies in bytes. As streams with chunks of 10 KiB, they have 1 chunk, 30 chunks and 308 chunks.
const SIZES: [usize; 3] = [100, 300 * KIB, 3 * MIB];

/// After a failed put of `bytes`, ensures that `stat`, `get` and `list` do not see the artifact and that no residue is
/// left. Then puts the same bytes again, which must succeed, and deletes the artifact. `what` describes the failed put.
async fn ensure_nothing_is_left(
    ctx: &CheckContext,
    store: &dyn ArtifactStore,
    scope: &Scope,
    bytes: &Bytes,
    what: &str,
) -> Result<(), Failure> {
    ensure!(store.stat(scope, &id_of(bytes)).await?.is_none(), "{what}: stat sees the artifact");
    ensure!(store.get(scope, &id_of(bytes), None).await?.is_none(), "{what}: get sees the artifact");
    let rows = list_all_rows(store, &ListQuery::new(ScopePattern::all_tenants()), 100).await?;
    ensure!(rows.is_empty(), "{what}: list shows {} rows", rows.len());
    ctx.ensure_no_residue().await.map_err(|failure| Failure::new(format!("{what}: {failure}")))?;
    let again = put(store, scope, bytes).await?;
    ensure_eq!(again.outcome, PutOutcome::Created, "{what}: the next put of the same bytes");
    let get = store.get(scope, &id_of(bytes), None).await?;
    let get =
        get.ok_or_else(|| Failure::new(format!("{what}: the artifact of the next put does not exist")))?;
    ensure!(read_to_end(get).await? == *bytes, "{what}: the artifact of the next put has other bytes");
    store.delete(scope, &id_of(bytes)).await?;
    Ok(())
}

/// Waits until the put in `task` has read its body up to a certain chunk. The body then sends the message `reached`.
/// `what` describes this event. If the put ends earlier, fails with the result of the put.
async fn wait_until_read(
    what: &str,
    reached: oneshot::Receiver<()>,
    task: &mut JoinHandle<Result<PutResult, StoreError>>,
) -> Result<(), Failure> {
    if with_timeout(what, reached).await?.is_ok() {
        return Ok(());
    }
    // The put has dropped the body, and with the body the sender of the message. So the put must end soon.
    Err(match with_timeout("the end of a put that dropped its body", task).await?? {
        Ok(_) => Failure::new(format!("{what} did not happen, but the put succeeded")),
        Err(error) => Failure::new(format!("{what} did not happen, because the put failed: {error}")),
    })
}

async fn nothing_is_visible_before_the_end(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    // The number of bytes before the pause, and after it.
    for (first, rest) in [(10, 10), (2 * MIB, 10), (10, MIB)] {
        let all = random_bytes(ctx.seed, first + rest);
        let (body, reached, resume) = paused_body(&all.slice(..first), &all.slice(first..));
        let mut task = {
            let (store, scope) = (Arc::clone(&store), scope.clone());
            tokio::spawn(async move { store.put(&scope, body, PutOptions::default()).await })
        };
        wait_until_read("reading to the middle of the body", reached, &mut task).await?;
        ensure!(store.stat(&scope, &id_of(&all)).await?.is_none(), "stat sees half an artifact");
        ensure!(store.get(&scope, &id_of(&all), None).await?.is_none(), "get sees half an artifact");
        let rows = list_all_rows(&*store, &scope_query(&scope), 10).await?;
        ensure!(rows.is_empty(), "list shows half an artifact");
        ensure!(resume.send(()).is_ok(), "the store dropped the body before its end");
        // Each `?` is for one error: the timeout, a panic of the task, and the failure of the put.
        let put = with_timeout("the put", task).await???;
        ensure_eq!(put.outcome, PutOutcome::Created, "the put that paused");
        store.delete(&scope, &put.record.id).await?;
    }
    Ok(Outcome::Passed)
}

async fn a_body_over_its_limit_leaves_nothing(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    for size in SIZES {
        let bytes = random_bytes(ctx.seed, size);
        let limit = size as u64 - 1;
        let expected = |kind| kind == ErrorKind::TooLarge { limit };
        let bodies = [
            ("in memory", Body::from_bytes(bytes.clone())),
            ("a stream", chunked_body(&bytes, 10 * KIB)),
            // For the smallest size, this is the only stream with more than one chunk.
            ("a stream of at most 40 chunks", chunked_body(&bytes, size.div_ceil(40))),
            ("a stream with a length", chunked_body(&bytes, 10 * KIB).with_length(size as u64)),
        ];
        for (how, body) in bodies {
            let what = format!("{size} bytes, {how}, over a limit of {limit}");
            let put = store.put(&scope, body.with_limit(limit), PutOptions::default()).await;
            ensure_error_kind(put, expected, &what)?;
            ensure_nothing_is_left(ctx, &*store, &scope, &bytes, &what).await?;
        }
        // A stream that never ends: only the limit can stop the put.
        let endless = futures_util::stream::repeat_with(|| Ok::<_, BoxError>(Bytes::from_static(&[7; 4096])));
        let put = store.put(&scope, Body::from_stream(endless).with_limit(limit), PutOptions::default());
        ensure_error_kind(
            with_timeout("the refusal of an endless body", put).await?,
            expected,
            "an endless body",
        )?;
    }
    Ok(Outcome::Passed)
}

async fn a_body_of_exactly_its_limit_is_stored(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    for (n, size) in SIZES.into_iter().enumerate() {
        // Each body has its own seed. Otherwise a put would find the artifact of another put.
        for (how, is_stream, seed_offset) in [("in memory", false, 0), ("a stream", true, 100)] {
            let bytes = random_bytes(ctx.seed + seed_offset + n as u64, size);
            let body =
                if is_stream { chunked_body(&bytes, 10 * KIB) } else { Body::from_bytes(bytes.clone()) };
            let put = store.put(&scope, body.with_limit(size as u64), PutOptions::default()).await?;
            ensure_eq!(
                put.outcome,
                PutOutcome::Created,
                "{size} bytes, {how}, with a limit of the same size"
            );
        }
    }
    Ok(Outcome::Passed)
}

async fn a_wrong_digest_leaves_nothing(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    for size in SIZES {
        let bytes = random_bytes(ctx.seed, size);
        let wrong = Digest::of(b"something else");
        let expected =
            |kind| kind == ErrorKind::DigestMismatch { expected: wrong, actual: Digest::of(&bytes) };
        for (how, body) in
            [("in memory", Body::from_bytes(bytes.clone())), ("a stream", chunked_body(&bytes, 10 * KIB))]
        {
            let what = format!("{size} bytes, {how}, with a wrong digest");
            let put = store.put(&scope, body.with_digest(wrong), PutOptions::default()).await;
            ensure_error_kind(put, expected, &what)?;
            ensure_nothing_is_left(ctx, &*store, &scope, &bytes, &what).await?;
        }
    }
    Ok(Outcome::Passed)
}

async fn a_failing_source_leaves_nothing(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    for size in [0, 100, 300 * KIB, 3 * MIB] {
        let bytes = random_bytes(ctx.seed, size);
        let what = format!("a source that fails after {size} bytes");
        let put = store.put(&scope, failing_body(&bytes), PutOptions::default()).await;
        ensure_error_kind(put, |kind| kind == ErrorKind::InvalidArgument, &what)?;
        ensure_nothing_is_left(ctx, &*store, &scope, &bytes, &what).await?;
    }
    Ok(Outcome::Passed)
}

async fn a_wrong_length_leaves_nothing(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    for size in SIZES {
        let bytes = random_bytes(ctx.seed, size);
        for announced in [size as u64 - 1, size as u64 + 1, 0, 1 << 40] {
            let what = format!("{size} bytes announced as {announced}");
            let body = chunked_body(&bytes, 10 * KIB).with_length(announced);
            let put = store.put(&scope, body, PutOptions::default()).await;
            // A store with its own limit may refuse an announced length above this limit as too large.
            let store_limit = store.capabilities().artifact_bytes_limit();
            let expected = |kind| match kind {
                ErrorKind::TooLarge { limit } => limit == store_limit && announced > store_limit,
                kind => kind == ErrorKind::InvalidArgument,
            };
            ensure_error_kind(put, expected, &what)?;
            ensure_nothing_is_left(ctx, &*store, &scope, &bytes, &what).await?;
        }
    }
    Ok(Outcome::Passed)
}

async fn a_dropped_put_leaves_nothing(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    for size in [0, 1, 100, 64 * KIB, 256 * KIB, 300 * KIB, 1024 * KIB, 3 * MIB] {
        let bytes = random_bytes(ctx.seed, size);
        let (body, reached) = stalled_body(&bytes);
        let mut task = {
            let (store, scope) = (Arc::clone(&store), scope.clone());
            tokio::spawn(async move { store.put(&scope, body, PutOptions::default()).await })
        };
        wait_until_read("reading to the stall", reached, &mut task).await?;
        task.abort();
        ensure!(
            task.await.is_err_and(|error| error.is_cancelled()),
            "the put ended although its source never ends"
        );
        ensure_nothing_is_left(ctx, &*store, &scope, &bytes, &format!("a put dropped after {size} bytes"))
            .await?;
    }
    ensure_dropped_puts_are_atomic(ctx, &*store, &scope).await?;
    Ok(Outcome::Passed)
}

async fn a_dropped_get_leaves_nothing(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    let bytes = random_bytes(ctx.seed, 5 * MIB);
    let id = put(&*store, &scope, &bytes).await?.record.id;
    // Drops a stream after 0 to 5 chunks.
    for chunk_count in 0..6 {
        let get = store.get(&scope, &id, None).await?;
        let mut stream = get.ok_or_else(|| Failure::new("the artifact does not exist"))?.stream;
        for _ in 0..chunk_count {
            // A store may serve the artifact in fewer chunks.
            if stream.next().await.transpose()?.is_none() {
                break;
            }
        }
        drop(stream);
    }
    // Streams that are open but not read must not block other calls.
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(store.get(&scope, &id, None).await?);
    }
    let other = with_timeout("a put beside 40 idle reads", put(&*store, &scope, &bytes.slice(1..))).await??;
    ensure!(
        with_timeout("a delete beside 40 idle reads", store.delete(&scope, &other.record.id)).await??,
        "the delete returns false, but the artifact existed"
    );
    drop(idle);
    Ok(Outcome::Passed)
}

async fn a_failed_put_leaves_the_existing_artifact(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    for size in SIZES {
        let bytes = random_bytes(ctx.seed, size);
        let existing = put(&*store, &scope, &bytes).await?.record;
        let limited =
            store.put(&scope, chunked_body(&bytes, KIB).with_limit(50), PutOptions::default()).await;
        ensure!(limited.is_err(), "a put over its limit succeeded, because the artifact was already stored");
        let wrong = chunked_body(&bytes, 10 * KIB).with_digest(Digest::of(b"something else"));
        ensure!(
            store.put(&scope, wrong, PutOptions::default()).await.is_err(),
            "a wrong digest was accepted"
        );
        let get = store.get(&scope, &existing.id, None).await?;
        let get = get.ok_or_else(|| Failure::new("a failed put deleted the existing artifact"))?;
        ensure_eq!(get.record, existing, "the existing record after a failed put");
        ensure!(read_to_end(get).await? == bytes, "a failed put changed the existing bytes");
    }
    Ok(Outcome::Passed)
}

/// The source is always ready and never ends, so the put never has to wait for it. The put must yield to the runtime
/// nevertheless. Otherwise no timeout can cancel the put.
async fn a_put_can_be_cancelled_whatever_its_source_does(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    for (what, chunk) in [("empty chunks", Bytes::new()), ("bytes", Bytes::from_static(&[7; 64]))] {
        let endless = futures_util::stream::repeat_with(move || Ok::<_, BoxError>(chunk.clone()));
        let task = {
            let (store, scope) = (Arc::clone(&store), scope.clone());
            tokio::spawn(async move {
                let put = store.put(&scope, Body::from_stream(endless), PutOptions::default());
                tokio::time::timeout(Duration::from_millis(100), put).await
            })
        };
        let cancelled =
            with_timeout(&format!("cancelling a put of an endless source of {what}"), task).await??;
        match cancelled {
            // The timeout of 100 ms has dropped the put, as it must.
            Err(_elapsed) => {}
            Ok(Ok(_)) => return Err(Failure::new(format!("a put of an endless source of {what} succeeded"))),
            Ok(Err(error)) => {
                return Err(Failure::new(format!("a put of an endless source of {what} failed: {error}")));
            }
        }
        ctx.ensure_no_residue().await?;
    }
    let rows = list_all_rows(&*store, &scope_query(&scope), 10).await?;
    ensure!(rows.is_empty(), "a cancelled put is listed");
    Ok(Outcome::Passed)
}

/// The bytes of a chunk. `alive` is the number of chunks that are not dropped yet, including this chunk.
struct CountedChunk {
    bytes: Bytes,
    alive: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for CountedChunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for CountedChunk {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A store must drop chunks while it reads the body. A store that buffers the whole body keeps all chunks alive at the
/// same time.
async fn a_stream_is_freed_as_it_is_read(ctx: &CheckContext) -> CheckResult {
    const CHUNKS: usize = 256;
    /// 64 chunks of 128 KiB are 8 MiB, a quarter of the body. A store may buffer this much.
    const MAX_ALIVE: usize = 64;
    let store = ctx.open().await?;
    let scope = default_scope()?;
    let (alive, max_alive) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let source = {
        let (alive, max_alive, seed) = (Arc::clone(&alive), Arc::clone(&max_alive), ctx.seed);
        (0..CHUNKS as u64).map(move |n| {
            let alive_now = alive.fetch_add(1, Ordering::SeqCst) + 1;
            max_alive.fetch_max(alive_now, Ordering::SeqCst);
            let owner = CountedChunk { bytes: random_bytes(seed + n, 128 * KIB), alive: Arc::clone(&alive) };
            Ok::<_, BoxError>(Bytes::from_owner(owner))
        })
    };
    store.put(&scope, Body::from_stream(futures_util::stream::iter(source)), PutOptions::default()).await?;
    let max_alive = max_alive.load(Ordering::SeqCst);
    ensure!(max_alive <= MAX_ALIVE, "{max_alive} of {CHUNKS} chunks of 128 KiB were alive at once");
    // A driver may drop the last chunks in the background. Wait for this, at most 1 second.
    for _ in 0..100 {
        if alive.load(Ordering::SeqCst) == 0 {
            return Ok(Outcome::Passed);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(Failure::new(format!("{} chunks are still alive after the put", alive.load(Ordering::SeqCst))))
}
