//! Concurrent calls: a race has one winner, and no call sees a partial artifact.

use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, ArtifactStoreExt, Body, ErrorKind, Flag, PutOptions, PutOutcome, ScopePattern,
};
use futures_util::future::join_all;
use tokio::sync::Barrier;

use super::check_group;
use crate::bodies::chunked_body;
use crate::check::{CheckContext, CheckResult, Failure, Outcome, ensure, ensure_eq};
use crate::fixtures::{
    KIB, MIB, Rng, default_scope, id_of, list_all_rows, options_named, put, random_bytes, scope, scope_query,
};

check_group! { "concurrency":
    sixteen_racing_puts_make_one_artifact,
    many_tasks_mix_all_verbs,
    a_put_racing_a_delete_ends_whole,
    a_get_racing_a_delete_ends_whole_or_fails,
    a_put_is_seen_at_once_by_another_handle,
}

async fn sixteen_racing_puts_make_one_artifact(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    for (round, size) in [10, 10, 64 * KIB, 300 * KIB, 2 * MIB].into_iter().enumerate() {
        let bytes = random_bytes(ctx.seed + round as u64, size);
        let barrier = Arc::new(Barrier::new(16));
        let racers = (0..16).map(|n| {
            let (store, scope, bytes, barrier) =
                (Arc::clone(&store), scope.clone(), bytes.clone(), Arc::clone(&barrier));
            tokio::spawn(async move {
                // One half of the puts has its body in memory, and the other half has a stream.
                let body = if n % 2 == 0 { Body::from_bytes(bytes) } else { chunked_body(&bytes, 50 * KIB) };
                barrier.wait().await;
                store.put(&scope, body, options_named(&format!("racer {n}"))).await
            })
        });
        let mut puts = Vec::new();
        for racer in join_all(racers).await {
            puts.push(racer??);
        }
        let created: Vec<_> = puts.iter().filter(|put| put.outcome == PutOutcome::Created).collect();
        ensure_eq!(created.len(), 1, "the number of racing puts of {size} bytes that created");
        ensure!(
            puts.iter().all(|put| put.record == created[0].record),
            "a put that lost the race returned another record than the winner"
        );
        let stat = store.stat(&scope, &id_of(&bytes)).await?;
        ensure_eq!(stat.as_ref(), Some(&created[0].record), "the record after the race");
        let back = store.get_bytes(&scope, &id_of(&bytes), u64::MAX).await?;
        ensure!(back.as_ref() == Some(&bytes), "the artifact has other bytes after the race");
        let rows = list_all_rows(&*store, &scope_query(&scope), 10).await?;
        ensure_eq!(rows.len(), round + 1, "rows after {} races", round + 1);
    }
    Ok(Outcome::Passed)
}

/// Runs 128 tasks with 12 operations each, on 10 artifacts in 2 scopes. Checks the id and the scope
/// that a put from memory returns, the bytes of a get, the size of a stat, and the scope of a listed row. At the end,
/// `get` and `list` must agree.
async fn many_tasks_mix_all_verbs(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let seed = ctx.seed;
    let tasks = (0..128_u64).map(|task| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { run_mixed_operations(&*store, seed, task).await })
    });
    for task in join_all(tasks).await {
        task??;
    }
    // All tasks have ended and nothing changes any more, so `get` and `list` must agree.
    for user in ["ada", "bob"] {
        let scope = scope("acme", user, "s-1")?;
        let rows = list_all_rows(&*store, &scope_query(&scope), 7).await?;
        for n in 0..ARTIFACTS {
            let bytes = artifact_bytes(seed, n);
            let listed = rows.iter().any(|row| row.id == id_of(&bytes));
            let back = store.get_bytes(&scope, &id_of(&bytes), u64::MAX).await?;
            ensure_eq!(
                back.is_some(),
                listed,
                "whether get finds artifact {n} of {user} (expected: whether list shows it)"
            );
            ensure!(back.is_none_or(|back| back == bytes), "artifact {n} of {user} has other bytes");
        }
    }
    Ok(Outcome::Passed)
}

/// The number of artifacts that the tasks share.
const ARTIFACTS: usize = 10;

/// The bytes of artifact `n`. The length is one of five lengths plus `n`, so that each of the 10 artifacts has its own
/// length.
fn artifact_bytes(seed: u64, n: usize) -> bytes::Bytes {
    random_bytes(seed + n as u64, [0, 100, 20 * KIB, 300 * KIB, 700 * KIB][n % 5] + n)
}

/// Runs 12 random operations of the task with the number `task`. The same `seed` and `task` give the same operations.
async fn run_mixed_operations(store: &dyn ArtifactStore, seed: u64, task: u64) -> Result<(), Failure> {
    let mut random = Rng::new(seed ^ (task << 32));
    for _ in 0..12 {
        let scope = scope("acme", ["ada", "bob"][random.below(2)], "s-1")?;
        let bytes = artifact_bytes(seed, random.below(ARTIFACTS));
        let id = id_of(&bytes);
        match random.below(7) {
            // A put from memory is twice as frequent as each other operation.
            0 | 1 => {
                let put = put(store, &scope, &bytes).await?;
                ensure_eq!(
                    (&put.record.id, &put.record.scope),
                    (&id, &scope),
                    "id and scope of the record that a put returns"
                );
            }
            2 => {
                store.put(&scope, chunked_body(&bytes, 100 * KIB), PutOptions::default()).await?;
            }
            3 => {
                let Some(get) = store.get(&scope, &id, None).await? else { continue };
                match get.stream.collect_bytes(u64::MAX).await {
                    Ok(back) => ensure!(back == bytes, "a get beside other tasks has other bytes"),
                    // Another task deleted the artifact during the read.
                    Err(error) => ensure_eq!(error.kind(), ErrorKind::Unavailable, "a get beside deletes"),
                }
            }
            4 => {
                if let Some(record) = store.stat(&scope, &id).await? {
                    ensure_eq!(record.size, bytes.len() as u64, "the size that stat returns");
                }
            }
            5 => {
                store.delete(&scope, &id).await?;
            }
            _ => {
                for row in list_all_rows(store, &scope_query(&scope), 4).await? {
                    ensure_eq!(row.scope, scope, "the scope of a row beside other tasks");
                }
            }
        }
    }
    Ok(())
}

async fn a_put_racing_a_delete_ends_whole(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    // The three sizes take turns for 30 rounds. All rounds of one size use the same bytes.
    for (round, size) in [10, 300 * KIB, 3 * MIB].into_iter().cycle().take(30).enumerate() {
        let bytes = random_bytes(ctx.seed + (round % 3) as u64, size);
        let id = id_of(&bytes);
        // In every second round, the artifact already exists before the race.
        if round % 2 == 0 {
            put(&*store, &scope, &bytes).await?;
        }
        let (put, deleted) = tokio::join!(put(&*store, &scope, &bytes), store.delete(&scope, &id));
        put?;
        let deleted = deleted?;
        match store.get_bytes(&scope, &id, u64::MAX).await? {
            Some(back) => ensure!(back == bytes, "after a put beside a delete, the artifact has other bytes"),
            None => {
                // Only the delete can have removed the artifact, so it must have returned true.
                ensure!(
                    deleted,
                    "after a put beside a delete, the artifact is missing, but delete returned false"
                );
            }
        }
        store.delete(&scope, &id).await?;
        let rows = list_all_rows(&*store, &scope_query(&scope), 10).await?;
        ensure!(rows.is_empty(), "a row is left after the last delete");
    }
    Ok(Outcome::Passed)
}

async fn a_get_racing_a_delete_ends_whole_or_fails(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    for round in 0..10_u64 {
        let bytes = random_bytes(ctx.seed + round, 4 * MIB);
        let id = put(&*store, &scope, &bytes).await?.record.id;
        let get = store.get(&scope, &id, None).await?;
        let get = get.ok_or_else(|| Failure::new("the artifact does not exist"))?;
        let (read, deleted) = tokio::join!(get.stream.collect_bytes(u64::MAX), store.delete(&scope, &id));
        ensure!(deleted?, "delete returned false, but the artifact existed");
        match read {
            Ok(back) => ensure!(back == bytes, "a read beside a delete ended with {} bytes", back.len()),
            Err(error) => ensure_eq!(error.kind(), ErrorKind::Unavailable, "a read beside a delete failed"),
        }
    }
    Ok(Outcome::Passed)
}

/// If the store is shared, the other handle is a second store on the same backend, as in another process. If the store
/// is not shared, both handles are the same store.
async fn a_put_is_seen_at_once_by_another_handle(ctx: &CheckContext) -> CheckResult {
    let one = ctx.open().await?;
    let two = if one.capabilities().has(Flag::Shared) { ctx.open().await? } else { Arc::clone(&one) };
    let scope = default_scope()?;
    for round in 0..30_u64 {
        let (writer, reader) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let bytes = random_bytes(ctx.seed + round, if round % 3 == 0 { 600 * KIB } else { 64 });
        let put = put(&**writer, &scope, &bytes).await?;
        let seen = reader.stat(&scope, &put.record.id).await?;
        ensure_eq!(seen.as_ref(), Some(&put.record), "what the other handle's stat sees after the put");
        let back = reader.get_bytes(&scope, &put.record.id, u64::MAX).await?;
        ensure!(back.as_ref() == Some(&bytes), "the other handle reads other bytes");
        let rows = list_all_rows(&**reader, &scope_query(&scope), 100).await?;
        ensure!(rows.contains(&put.record), "the other handle does not list the put");
        ensure!(
            writer.delete(&scope, &put.record.id).await?,
            "delete returned false, but the artifact existed"
        );
        ensure!(
            reader.stat(&scope, &put.record.id).await?.is_none(),
            "the other handle sees a deleted artifact"
        );
        let remaining =
            list_all_rows(&**reader, &artifact_store_core::ListQuery::new(ScopePattern::all_tenants()), 100)
                .await?;
        ensure!(remaining.is_empty(), "the other handle lists a deleted artifact");
    }
    Ok(Outcome::Passed)
}
