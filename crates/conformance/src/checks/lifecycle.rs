//! The lifecycle of a store: its health while it is open, and its close.

use std::time::Duration;

use artifact_store_core::{
    ErrorKind, Flag, HealthStatus, ListQuery, PresignIntent, PutOptions, ScopePattern, UploadIntent,
};

use super::check_group;
use crate::bodies::chunked_body;
use crate::check::{CheckContext, CheckResult, Failure, Outcome, ensure_eq, ensure_error_kind};
use crate::fixtures::{MIB, default_scope, id_of, put, random_bytes, scope_query, with_timeout};

check_group! { "lifecycle":
    an_open_store_is_healthy,
    after_close_every_verb_says_closed,
    close_is_idempotent,
    close_leaves_no_task_behind,
}

async fn an_open_store_is_healthy(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    ensure_eq!(store.health().await?.status, HealthStatus::Ready, "the health of an empty store");
    put(&*store, &default_scope()?, &random_bytes(ctx.seed, 10)).await?;
    ensure_eq!(store.health().await?.status, HealthStatus::Ready, "the health of a store in use");
    Ok(Outcome::Passed)
}

async fn after_close_every_verb_says_closed(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    let bytes = random_bytes(ctx.seed, 10);
    let id = put(&*store, &scope, &bytes).await?.record.id;
    store.close().await?;
    let closed = |kind| kind == ErrorKind::Closed;
    ensure_error_kind(put(&*store, &scope, &bytes).await, closed, "put after close")?;
    let large = chunked_body(&random_bytes(ctx.seed, 2 * MIB), 1000);
    ensure_error_kind(
        store.put(&scope, large, PutOptions::default()).await,
        closed,
        "a streamed put after close",
    )?;
    ensure_error_kind(store.get(&scope, &id, None).await, closed, "get after close")?;
    ensure_error_kind(store.stat(&scope, &id).await, closed, "stat after close")?;
    ensure_error_kind(store.delete(&scope, &id).await, closed, "delete after close")?;
    ensure_error_kind(store.list(&scope_query(&scope)).await, closed, "list after close")?;
    let all = ListQuery::new(ScopePattern::all_tenants()).with_total();
    ensure_error_kind(store.list(&all).await, closed, "a total after close")?;
    ensure_error_kind(store.health().await, closed, "health after close")?;
    let minute = Duration::from_mins(1);
    let upload = UploadIntent {
        digest: artifact_store_core::Digest::of(b"x"),
        size: 1,
        options: PutOptions::default(),
    };
    for intent in [PresignIntent::Get { id: id_of(b"x") }, PresignIntent::Put(upload)] {
        // A driver without the flag does not implement `presign`. The default implementation in the trait returns
        // `Unsupported`, even after close.
        let expected = |kind| kind == ErrorKind::Closed || kind == ErrorKind::Unsupported(intent.flag());
        ensure_error_kind(store.presign(&scope, &intent, minute).await, expected, "presign after close")?;
    }
    let expected = |kind| kind == ErrorKind::Closed || kind == ErrorKind::Unsupported(Flag::PresignPut);
    ensure_error_kind(store.commit_upload(&scope, &id).await, expected, "commit_upload after close")?;
    Ok(Outcome::Passed)
}

async fn close_is_idempotent(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    put(&*store, &default_scope()?, &random_bytes(ctx.seed, 10)).await?;
    for round in 1..=3 {
        with_timeout(&format!("close number {round}"), store.close()).await??;
    }
    // Two concurrent calls of `close` must both succeed.
    let second = ctx.open().await?;
    let (one, two) = tokio::join!(second.close(), second.close());
    one?;
    two?;
    Ok(Outcome::Passed)
}

async fn close_leaves_no_task_behind(ctx: &CheckContext) -> CheckResult {
    let metrics = tokio::runtime::Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    for _ in 0..3 {
        let store = ctx.open().await?;
        let scope = default_scope()?;
        let bytes = random_bytes(ctx.seed, 3 * MIB);
        let put = store.put(&scope, chunked_body(&bytes, 1000), PutOptions::default()).await?;
        // One read is dropped, and one read is still open when the store closes.
        drop(store.get(&scope, &put.record.id, None).await?);
        let open = store.get(&scope, &put.record.id, None).await?;
        store.close().await?;
        drop(open);
        drop(store);
    }
    // A task may take some time to end: wait at most 3 seconds.
    for _ in 0..300 {
        if metrics.num_alive_tasks() <= before {
            return Ok(Outcome::Passed);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(Failure::new(format!(
        "{} tasks are alive after their store was closed and dropped",
        metrics.num_alive_tasks() - before
    )))
}
