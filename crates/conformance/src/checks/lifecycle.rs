//! A store's end, and its health before.

use std::time::Duration;

use artifact_store_core::{
    ErrorKind, Flag, HealthStatus, ListQuery, PresignIntent, PutOptions, ScopePattern, UploadIntent,
};

use super::group;
use crate::check::{CheckResult, Failure, Lab, Outcome, ensure_eq, ensure_kind};
use crate::kit::{MIB, bytes, exactly, flowing, home, id_of, put, soon};

group! { "lifecycle":
    an_open_store_is_healthy,
    after_close_every_verb_says_closed,
    close_is_idempotent,
    close_leaves_no_task_behind,
}

async fn an_open_store_is_healthy(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    ensure_eq!(store.health().await?.status, HealthStatus::Ready, "the health of an empty store");
    put(&*store, &home()?, &bytes(lab.seed, 10)).await?;
    ensure_eq!(store.health().await?.status, HealthStatus::Ready, "the health of a store in use");
    Ok(Outcome::Passed)
}

async fn after_close_every_verb_says_closed(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    let bytes = bytes(lab.seed, 10);
    let id = put(&*store, &scope, &bytes).await?.record.id;
    store.close().await?;
    let closed = |kind| kind == ErrorKind::Closed;
    ensure_kind(put(&*store, &scope, &bytes).await, closed, "put after close")?;
    let large = flowing(&crate::kit::bytes(lab.seed, 2 * MIB), 1000);
    ensure_kind(store.put(&scope, large, PutOptions::default()).await, closed, "a streamed put after close")?;
    ensure_kind(store.get(&scope, &id, None).await, closed, "get after close")?;
    ensure_kind(store.stat(&scope, &id).await, closed, "stat after close")?;
    ensure_kind(store.delete(&scope, &id).await, closed, "delete after close")?;
    ensure_kind(store.list(&exactly(&scope)).await, closed, "list after close")?;
    let all = ListQuery::new(ScopePattern::all_tenants()).with_total();
    ensure_kind(store.list(&all).await, closed, "a total after close")?;
    ensure_kind(store.health().await, closed, "health after close")?;
    let minute = Duration::from_mins(1);
    let upload = UploadIntent {
        digest: artifact_store_core::Digest::of(b"x"),
        size: 1,
        options: PutOptions::default(),
    };
    for intent in [PresignIntent::Get { id: id_of(b"x") }, PresignIntent::Put(upload)] {
        // Where the flag is not advertised, a bare driver's default body may answer first.
        let due = |kind| kind == ErrorKind::Closed || kind == ErrorKind::Unsupported(intent.flag());
        ensure_kind(store.presign(&scope, &intent, minute).await, due, "presign after close")?;
    }
    let due = |kind| kind == ErrorKind::Closed || kind == ErrorKind::Unsupported(Flag::PresignPut);
    ensure_kind(store.commit_upload(&scope, &id).await, due, "commit_upload after close")?;
    Ok(Outcome::Passed)
}

async fn close_is_idempotent(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    put(&*store, &home()?, &bytes(lab.seed, 10)).await?;
    for round in 1..=3 {
        soon(&format!("close number {round}"), store.close()).await??;
    }
    let second = lab.open().await?;
    let (one, two) = tokio::join!(second.close(), second.close());
    one?;
    two?;
    Ok(Outcome::Passed)
}

async fn close_leaves_no_task_behind(lab: &Lab) -> CheckResult {
    let metrics = tokio::runtime::Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    for _ in 0..3 {
        let store = lab.open().await?;
        let scope = home()?;
        let bytes = bytes(lab.seed, 3 * MIB);
        let put = store.put(&scope, flowing(&bytes, 1000), PutOptions::default()).await?;
        // A read that is given up in the middle, and one that is still open when the store closes.
        drop(store.get(&scope, &put.record.id, None).await?);
        let open = store.get(&scope, &put.record.id, None).await?;
        store.close().await?;
        drop(open);
        drop(store);
    }
    for _ in 0..300 {
        if metrics.num_alive_tasks() <= before {
            return Ok(Outcome::Passed);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(Failure::new(format!("{} tasks outlive their store", metrics.num_alive_tasks() - before)))
}
