//! Listings: the rows of a page, and the total if the query asks for it.
//!
//! This module must never lock the index. The methods of [`ArtifactIndex`] take the locks.

use std::sync::Arc;

use artifact_store_core::{ListQuery, Page, Position, Record, StoreError};

use crate::blocking::run_blocking;
use crate::layout::ArtifactIndex;

/// A listing that may scan more rows than this runs on the blocking pool. On the async thread, such a scan would delay
/// other tasks.
const INLINE_SCAN_ROWS: usize = 4096;

/// The result of [`list_rows`].
struct ListedRows {
    /// The records of the page.
    records: Vec<Record>,
    /// The number of all records that match the query. `None` if the query does not ask for this number.
    total: Option<u64>,
    /// Whether another page follows.
    more: bool,
}

/// Returns one page of `query`, and the total if the query asks for it.
pub(crate) async fn list(index: &Arc<ArtifactIndex>, query: &ListQuery) -> Result<Page, StoreError> {
    let after = query.position()?;
    let rows = if index.max_scan_rows(query.pattern()) <= INLINE_SCAN_ROWS {
        list_rows(index, query, after)?
    } else {
        let (index, query, after) = (Arc::clone(index), query.clone(), after.cloned());
        run_blocking(move || list_rows(&index, &query, after.as_ref())).await?
    };
    Ok(Page::new(query, rows.records, rows.total, rows.more))
}

/// Reads the rows of one page. The page begins after the position `after`, or with the first row if `after` is `None`.
fn list_rows(
    index: &ArtifactIndex,
    query: &ListQuery,
    after: Option<&Position>,
) -> Result<ListedRows, StoreError> {
    let limit = query.limit() as usize;
    let mut records = Vec::new();
    // The scan reads up to one row more than fits on the page. This row shows whether another page follows.
    index.scan(query, after.cloned(), |record| {
        records.push(record.clone());
        // `false` stops the scan.
        records.len() <= limit
    })?;
    let more = records.len() > limit;
    records.truncate(limit);
    let mut total = None;
    if query.counts_total() {
        let mut count = 0;
        let from_the_start = None;
        index.scan(query, from_the_start, |_| {
            count += 1;
            // `true` continues the scan.
            true
        })?;
        total = Some(count);
    }
    Ok(ListedRows { records, total, more })
}
