//! Totals of listings without a filter: the counters of each scope, session, user, tenant and of all tenants.
//!
//! A trigger appends a row to `artifact_delta` for each artifact that is inserted or deleted, so concurrent puts never
//! wait for each other. A total is the counter in `artifact_count` plus the changes that were appended since. From time
//! to time [`fold`] moves the changes into the counters. This module must never read an artifact.

use artifact_store_core::{Filter, ListQuery, ScopePattern, StoreError, TaskPattern, TenantPattern};

use crate::pool::{Pool, PooledConnection};
use crate::row;

/// A total that finds more changes than this has them folded.
const MAX_CHANGES: i64 = 1024;
/// One fold moves at most this many changes. The statement contains the number.
const CHANGES_PER_FOLD: i64 = 4096;
/// One of this many puts folds the changes.
const PUTS_PER_FOLD: i64 = 512;

/// The key of the counter of all artifacts that `query` matches. `None` if there is no such counter.
pub(crate) fn counter_key(query: &ListQuery) -> Option<Vec<String>> {
    if *query.filter() != Filter::default() {
        return None;
    }
    let ScopePattern { tenant, user, session, task } = query.pattern();
    let mut key = Vec::with_capacity(4);
    let mut is_complete = true;
    if let TenantPattern::One(tenant) = tenant {
        key.push(tenant.as_str().to_owned());
    } else {
        is_complete = false;
    }
    // Each part needs all parts before it.
    for part in [user, session] {
        match part {
            Some(part) if is_complete => key.push(part.as_str().to_owned()),
            Some(_) => return None,
            None => is_complete = false,
        }
    }
    match task {
        TaskPattern::Any => {}
        _ if !is_complete => return None,
        TaskPattern::NoTask => key.push("-".to_owned()),
        TaskPattern::One(task) => key.push(format!("t{}", task.as_str())),
    }
    Some(key)
}

/// Returns the number of artifacts with this counter's key, as one snapshot has it.
pub(crate) async fn total(pool: &Pool, key: &[String]) -> Result<u64, StoreError> {
    const SQL: &str = "SELECT changes.number, changes.change
             + coalesce((SELECT total FROM artifact_count WHERE scope_key = $1), 0) AS total
         FROM (SELECT count(*) AS number,
                   coalesce(sum(change) FILTER (WHERE scope_key[1:$2] = $1), 0)::bigint AS change
               FROM artifact_delta) AS changes";
    let levels = i32::try_from(key.len()).unwrap_or(i32::MAX);
    let result = pool.fetch_all(|| sqlx::query(SQL).bind(key).bind(levels)).await?;
    let Some(row) = result.rows.first() else { return Ok(0) };
    if row::get::<i64>(row, "number")? > MAX_CHANGES {
        // The total is known already, so a failed fold is no error of this call. A later call tries again.
        let _ = fold(pool).await;
    }
    u64::try_from(row::get::<i64>(row, "total")?)
        .map_err(|_| StoreError::corrupt("a counter of the database is negative"))
}

/// Folds the changes after some puts. `put_number` is the random number of a put.
pub(crate) async fn fold_after_put(pool: &Pool, put_number: i64) {
    if put_number % PUTS_PER_FOLD == 0 {
        // The artifact is stored already. If this fails, a later call tries again.
        let _ = fold(pool).await;
    }
}

/// Moves changes into the counters. The statement contains [`CHANGES_PER_FOLD`]. Each change counts for its scope,
/// session, user and tenant, and for all tenants. If another session does this at the same time, nothing is moved.
const FOLD: &str = "WITH lock AS MATERIALIZED (
         SELECT pg_try_advisory_xact_lock(hashtextextended('artifact-store counters ' || current_schema(), 0)) AS held),
     moved AS (DELETE FROM artifact_delta
         WHERE (SELECT held FROM lock) AND ctid = ANY (ARRAY(SELECT ctid FROM artifact_delta LIMIT 4096))
         RETURNING scope_key, change),
     sums AS (SELECT scope_key[1:level] AS scope_key, sum(change) AS change
         FROM moved, generate_series(0, 4) AS level GROUP BY 1),
     added AS (INSERT INTO artifact_count AS counter (scope_key, total) SELECT scope_key, change FROM sums
         ON CONFLICT (scope_key) DO UPDATE SET total = counter.total + excluded.total)
     SELECT count(*) AS number FROM moved";

/// Moves all changes into the counters. If the future is dropped, the rest is moved later.
async fn fold(pool: &Pool) -> Result<(), StoreError> {
    loop {
        let result = pool.fetch_all(|| sqlx::query(FOLD)).await?;
        let moved = result.rows.first().map_or(Ok(0), |row| row::get::<i64>(row, "number"))?;
        if moved < CHANGES_PER_FOLD {
            return Ok(());
        }
    }
}

/// For the sweep: moves all changes into the counters, and deletes the counters of scopes without artifacts.
pub(crate) async fn clean_up(conn: &mut PooledConnection<'_>) -> Result<(), StoreError> {
    // The lock of `FOLD`, because two statements that change the same counters in another order could deadlock.
    const DELETE_UNUSED: &str = "WITH lock AS MATERIALIZED (
             SELECT pg_try_advisory_xact_lock(hashtextextended('artifact-store counters ' || current_schema(), 0)) AS held)
         DELETE FROM artifact_count WHERE total = 0 AND (SELECT held FROM lock)";
    loop {
        let rows = conn.fetch_all(sqlx::query(FOLD)).await?;
        let moved = rows.first().map_or(Ok(0), |row| row::get::<i64>(row, "number"))?;
        if moved < CHANGES_PER_FOLD {
            break;
        }
    }
    conn.fetch_all(sqlx::query(DELETE_UNUSED)).await?;
    Ok(())
}
