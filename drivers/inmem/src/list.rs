//! Listings: the rows of a page, and the total if the query asks for it.
//!
//! This module must never hold a lock of the index itself.

use std::sync::Arc;

use artifact_store_core::{ListQuery, Page, Position, Record, StoreError};

use crate::blocking::run_blocking;
use crate::layout::ArtifactIndex;

/// A listing that may scan more rows than this runs on the blocking pool.
const INLINE_SCAN_ROWS: usize = 4096;

struct ListedRows {
    records: Vec<Record>,
    total: Option<u64>,
    more: bool,
}

pub(crate) async fn list(index: &Arc<ArtifactIndex>, query: &ListQuery) -> Result<Page, StoreError> {
    let after = query.position()?;
    let rows = if index.row_count(query.pattern()) <= INLINE_SCAN_ROWS {
        list_rows(index, query, after)?
    } else {
        let (index, query, after) = (Arc::clone(index), query.clone(), after.cloned());
        run_blocking(move || list_rows(&index, &query, after.as_ref())).await?
    };
    Ok(Page::new(query, rows.records, rows.total, rows.more))
}

fn list_rows(
    index: &ArtifactIndex,
    query: &ListQuery,
    after: Option<&Position>,
) -> Result<ListedRows, StoreError> {
    // One row more than the page has shows whether another page follows.
    let capacity = query.limit() as usize + 1;
    let mut records = Vec::new();
    index.scan(query, after.cloned(), |record| {
        records.push(record.clone());
        records.len() < capacity
    })?;
    let more = records.len() == capacity;
    records.truncate(capacity - 1);
    let mut total = None;
    if query.counts_total() {
        let mut count = 0;
        index.scan(query, None, |_| {
            count += 1;
            true
        })?;
        total = Some(count);
    }
    Ok(ListedRows { records, total, more })
}
