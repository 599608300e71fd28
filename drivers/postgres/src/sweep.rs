//! Sweeping: deletes or counts chunks that belong to no record.
//!
//! This module must never open a connection.

use artifact_store_core::{StoreError, SweepMode, SweepSummary};

use crate::pool::{Pool, PooledConnection};
use crate::{counts, row};

/// Deletes or counts the blobs whose chunks belong to no record.
///
/// Record and chunks are inserted and deleted in one transaction. So orphans exist only after manual changes of the
/// tables, or after a partly restored backup. A sweep is safe during a concurrent put. Each statement of the sweep has
/// one snapshot: it sees the record and the chunks of the put together, or it sees nothing of the put. If a sweep is
/// interrupted, the next sweep deletes the rest.
///
/// A sweep holds a session-level advisory lock, so only one sweep of a schema runs at a time. The server releases this
/// lock when the connection closes. If another sweep holds the lock, the summary has `busy` set.
pub(crate) async fn sweep(pool: &Pool, mode: SweepMode) -> Result<SweepSummary, StoreError> {
    const LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('artifact-store sweep ' || current_schema(), 0)) AS held";
    const UNLOCK: &str =
        "SELECT pg_advisory_unlock(hashtextextended('artifact-store sweep ' || current_schema(), 0))";
    // The connection must not return to the pool while it may hold the lock, even if this future is dropped.
    let mut conn = pool.acquire().await?.close_on_drop();
    let rows = conn.fetch_all(sqlx::query(LOCK)).await?;
    let got_lock = rows.first().map_or(Ok(false), |row| row::get(row, "held"))?;
    if !got_lock {
        conn.release();
        return Ok(SweepSummary::busy());
    }
    let swept = match sweep_chunk_ranges(&mut conn, mode).await {
        Ok(summary) if mode.deletes() => counts::clean_up(&mut conn).await.map(|()| summary),
        swept => swept,
    };
    // If the unlock fails, dropping `conn` closes the connection, and the server releases the lock.
    if conn.fetch_all(sqlx::query(UNLOCK)).await.is_ok() {
        conn.release();
    }
    swept
}

/// Deletes or counts the orphans range by range, in the order of blob numbers and places. Each range contains 512
/// chunks, so that no statement takes long, however large a blob is.
async fn sweep_chunk_ranges(
    conn: &mut PooledConnection<'_>,
    mode: SweepMode,
) -> Result<SweepSummary, StoreError> {
    const NEXT_RANGE: &str = "SELECT blob, place FROM (
             SELECT blob, place FROM chunk WHERE (blob, place) > ($1, $2) ORDER BY blob, place LIMIT 512) AS span
         ORDER BY blob DESC, place DESC LIMIT 1";
    const DELETE_ORPHANS: &str = "WITH gone AS (
             DELETE FROM chunk AS c WHERE (c.blob, c.place) > ($1, $2) AND (c.blob, c.place) <= ($3, $4)
                 AND NOT EXISTS (SELECT 1 FROM artifact AS a WHERE a.blob = c.blob) RETURNING c.blob, octet_length(c.data) AS size)
         SELECT count(DISTINCT blob) AS count, coalesce(sum(size), 0)::bigint AS bytes, min(blob) AS first, max(blob) AS last FROM gone";
    const COUNT_ORPHANS: &str =
        "SELECT count(DISTINCT c.blob) AS count, coalesce(sum(octet_length(c.data)), 0)::bigint AS bytes,
             min(c.blob) AS first, max(c.blob) AS last
         FROM chunk AS c WHERE (c.blob, c.place) > ($1, $2) AND (c.blob, c.place) <= ($3, $4)
             AND NOT EXISTS (SELECT 1 FROM artifact AS a WHERE a.blob = c.blob)";
    let sweep_range = if mode.deletes() { DELETE_ORPHANS } else { COUNT_ORPHANS };
    // All chunks up to this blob number and place are done.
    let mut done = (i64::MIN, i32::MIN);
    // The last blob that was counted. The next range may begin with further chunks of this blob.
    let mut last_counted = None;
    let (mut orphans, mut bytes) = (0, 0);
    loop {
        let range = conn.fetch_all(sqlx::query(NEXT_RANGE).bind(done.0).bind(done.1)).await?;
        let Some(row) = range.first() else {
            return Ok(SweepSummary::new(orphans).with_bytes(bytes));
        };
        let end = (row::get::<i64>(row, "blob")?, row::get::<i32>(row, "place")?);
        let statement = sqlx::query(sweep_range).bind(done.0).bind(done.1).bind(end.0).bind(end.1);
        let found = conn.fetch_all(statement).await?;
        if let Some(row) = found.first() {
            orphans += row::get::<i64>(row, "count")?.cast_unsigned();
            bytes += row::get::<i64>(row, "bytes")?.cast_unsigned();
            let first = row::get::<Option<i64>>(row, "first")?;
            if first.is_some() && first == last_counted {
                orphans -= 1;
            }
            last_counted = row::get::<Option<i64>>(row, "last")?.or(last_counted);
        }
        done = end;
    }
}
