//! Reading one artifact: its record, its first bytes in the same statement, and the result of a get.
//!
//! A connection is held only during a statement, even if the consumer of the bytes is slow. This module must never
//! write.

use std::sync::Arc;

use artifact_store_core::{
    ArtifactId, ByteRange, ByteStream, GetResult, RangeRead, Record, Scope, ScopeMark, StoreError,
};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::runtime::Handle;

use crate::chunks::{Blob, chunk_missing_error, chunk_stream};
use crate::pool::Pool;
use crate::row::{self, ExistingRow};
use crate::tree::NodeQueue;

/// Finds the row of an artifact, without its bytes. Returns `None` if the artifact does not exist.
pub(crate) async fn find_row(
    pool: &Pool,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<Option<ExistingRow>, StoreError> {
    const SQL: &str =
        concat!("SELECT ", row::columns!(), " FROM artifact AS a WHERE a.scope_mark = $1 AND a.id = $2");
    let scope_mark = ScopeMark::of(scope);
    let result =
        pool.fetch_all(|| sqlx::query(SQL).bind(&scope_mark.as_bytes()[..]).bind(id.as_str())).await?;
    result.rows.first().map(|row| row::decode_for(row, scope, id)).transpose()
}

/// The record of an artifact, the first bytes of a range, and what is needed to read the other bytes.
struct FirstRead {
    record: Record,
    /// `None` if all bytes are in the row.
    blob: Option<Blob>,
    /// The offset of `bytes` in the artifact.
    start: u64,
    /// The bytes from `start` to the end of the range or of the chunk. Empty if they are missing, or if all bytes of a
    /// blob are requested.
    bytes: Bytes,
    /// The hashes in the row, and those of the group that contains `start`.
    nodes: NodeQueue,
}

/// Returns the result of a get: the record, and the bytes of `range` as a stream. `None` as the range means all bytes.
///
/// One statement reads the record, the first bytes of the range and their hashes, so all are from the same snapshot. If
/// the range ends in a later chunk, or if all bytes of a blob are requested, further statements read the other chunks
/// while the stream is polled.
pub(crate) async fn get(
    pool: &Arc<Pool>,
    handle: &Handle,
    scope: &Scope,
    id: &ArtifactId,
    range: Option<ByteRange>,
) -> Result<Option<GetResult>, StoreError> {
    let Some(first) = read_first(pool, scope, id, range).await? else { return Ok(None) };
    let reads_all = range.is_none();
    let FirstRead { record, blob, start, bytes, nodes } = first;
    let range = range.map_or(0..record.size, |range| range.resolve(record.size));
    let read = RangeRead::new(&record, range.clone());
    let needed = read.data();
    let data = if needed.is_empty() {
        ByteStream::from_bytes(Bytes::new())
    } else if let (Some(blob), true) = (blob, reads_all) {
        chunk_stream(Arc::clone(pool), handle.clone(), blob, Bytes::new(), needed, nodes.clone())
    } else {
        let end = start + bytes.len() as u64;
        // The bytes end with the chunk, or after the range. Without chunks they end with the artifact.
        let chunk_bytes = blob.as_ref().map_or(u64::MAX, |blob| blob.chunk_bytes);
        let chunk_end = (start / chunk_bytes + 1).saturating_mul(chunk_bytes).min(record.size);
        let is_whole = end == chunk_end || (needed.end <= end && end < chunk_end);
        let offset = |position: u64| usize::try_from(position.saturating_sub(start)).unwrap_or(usize::MAX);
        let part = offset(needed.start)..offset(needed.end.min(end));
        if !is_whole || start > needed.start || part.start >= part.end {
            return Err(chunk_missing_error());
        }
        let first = bytes.slice(part);
        match blob {
            Some(blob) if end < needed.end => {
                chunk_stream(Arc::clone(pool), handle.clone(), blob, first, end..needed.end, nodes.clone())
            }
            _ if end < needed.end => return Err(chunk_missing_error()),
            _ => pieces(first),
        }
    };
    let stream = read.into_stream(data, nodes.into_stream());
    Ok(Some(GetResult { record, range, stream }))
}

/// The bytes as a stream of pieces that a consumer can hash one after the other.
fn pieces(mut bytes: Bytes) -> ByteStream {
    use artifact_store_core::MAX_PIECE_BYTES;
    if bytes.len() <= MAX_PIECE_BYTES {
        return ByteStream::from_bytes(bytes);
    }
    ByteStream::new(
        stream::iter(std::iter::from_fn(move || {
            (!bytes.is_empty()).then(|| Ok(bytes.split_to(bytes.len().min(MAX_PIECE_BYTES))))
        }))
        .fuse(),
    )
}

/// Reads the record and the first bytes. Returns `None` if the artifact does not exist.
///
/// If all bytes are requested, a short statement reads the row alone, which contains the bytes of a small artifact. For
/// a range, the statement computes which bytes are read, because the size is not known before. It reads whole blocks of the
/// BLAKE3 tree: `unit` is the largest size that a block of this artifact may have. The bytes end with the range or with
/// the chunk that contains its first byte. A chunk that is needed as a whole is not copied by `substring`.
async fn read_first(
    pool: &Pool,
    scope: &Scope,
    id: &ArtifactId,
    range: Option<ByteRange>,
) -> Result<Option<FirstRead>, StoreError> {
    const ALL: &str = concat!(
        "SELECT ",
        row::columns!(),
        ", a.chunk_bytes, a.group_bytes, a.nodes AS row_nodes, NULL::bytea AS group_nodes, 0::bigint AS first,
         a.data AS bytes FROM artifact AS a WHERE a.scope_mark = $1 AND a.id = $2"
    );
    const RANGE: &str = concat!(
        "SELECT ",
        row::columns!(),
        ", a.chunk_bytes, a.group_bytes, a.nodes AS row_nodes, g.data AS group_nodes, s.first,
         CASE WHEN s.first = p.place::bigint * a.chunk_bytes
                  AND s.last >= least(a.size, (p.place::bigint + 1) * a.chunk_bytes) THEN coalesce(a.data, c.data)
              ELSE substring(coalesce(a.data, c.data) FROM (s.first - p.place::bigint * a.chunk_bytes)::integer + 1
                             FOR greatest(0, least(s.last - s.first, a.chunk_bytes))::integer) END AS bytes
         FROM artifact AS a
         CROSS JOIN LATERAL (SELECT
             least(a.chunk_bytes, CASE WHEN a.size > 536870912 THEN 1048576 ELSE 16384 END) AS unit,
             CASE WHEN $5::bigint IS NULL THEN least($3::bigint, a.size) ELSE greatest(a.size - $5::bigint, 0) END AS first,
             least($4::bigint, a.size) AS last) AS r
         CROSS JOIN LATERAL (SELECT r.first - r.first % r.unit AS first,
             least(a.size, (r.last + r.unit - 1) / r.unit * r.unit) AS last) AS s
         CROSS JOIN LATERAL (SELECT (s.first / a.chunk_bytes)::integer AS place) AS p
         LEFT JOIN chunk AS c ON c.blob = a.blob AND c.place = p.place
         LEFT JOIN chunk AS g ON g.blob = a.blob AND g.place = (-1 - s.first / a.group_bytes)::integer
         WHERE a.scope_mark = $1 AND a.id = $2"
    );
    let scope_mark = ScopeMark::of(scope);
    let clamp = |offset: u64| i64::try_from(offset).unwrap_or(i64::MAX);
    let (start, end, suffix) = match range {
        None => (0, i64::MAX, None),
        Some(ByteRange::Bounded { start, end }) => (clamp(start), clamp(end), None),
        Some(ByteRange::From(start)) => (clamp(start), i64::MAX, None),
        Some(ByteRange::Suffix(length)) => (0, i64::MAX, Some(clamp(length))),
    };
    let is_large = end.saturating_sub(start) > MAX_SMALL_BYTES;
    let statement = || {
        let sql = if range.is_none() { ALL } else { RANGE };
        let statement = sqlx::query(sql).bind(&scope_mark.as_bytes()[..]).bind(id.as_str());
        if range.is_none() { statement } else { statement.bind(start).bind(end).bind(suffix) }
    };
    let result =
        if is_large { pool.fetch_all_large(statement).await? } else { pool.fetch_all(statement).await? };
    let Some(row) = result.rows.first() else { return Ok(None) };
    let ExistingRow { blob, record, .. } = row::decode_for(row, scope, id)?;
    let blob = match blob {
        Some(number) => Some(Blob {
            number,
            size: record.size,
            chunk_bytes: positive(row::get::<i32>(row, "chunk_bytes")?.into())?,
            group_bytes: row::get::<Option<i64>>(row, "group_bytes")?.map(positive).transpose()?,
        }),
        None => None,
    };
    let nodes = NodeQueue::default();
    for column in ["row_nodes", "group_nodes"] {
        if let Some(hashes) = row::get_bytes(row, column)? {
            nodes.push(hashes);
        }
    }
    let start = u64::try_from(row::get::<i64>(row, "first")?).unwrap_or(u64::MAX);
    let bytes = row::get_bytes(row, "bytes")?.unwrap_or_default();
    Ok(Some(FirstRead { record, blob, start, bytes, nodes }))
}

/// If more bytes than this may be read, the buffers of the connection become large.
const MAX_SMALL_BYTES: i64 = 128 * 1024;

/// A number of bytes in a row.
fn positive(bytes: i64) -> Result<u64, StoreError> {
    match u64::try_from(bytes) {
        Ok(bytes) if bytes > 0 => Ok(bytes),
        _ => Err(StoreError::corrupt("a row of the database has an impossible size of a chunk or group")),
    }
}
