//! Lists artifacts: by the index if the store has one, otherwise by a scan.
//!
//! This module must never look at a key or a record. The modules `index` and `scan` do this.

mod index;
mod scan;

use artifact_store_core::{ListQuery, Page, StoreError};

use crate::state::StoreState;

/// The page of rows that `query` selects.
///
/// # Errors
/// `InvalidArgument` for an invalid cursor, or if the query exceeds the store's limit on listings; `Corrupt` for a
/// damaged artifact; `Unavailable`, `Backend`.
pub(crate) async fn list(state: &StoreState, query: &ListQuery) -> Result<Page, StoreError> {
    // The matches of some queries can be counted only by reading all records. A scan reads all records, so it is used
    // for these queries even if the store has an index.
    let must_read_all_records = query.counts_total() && index::needs_records_to_count(query);
    if state.format.indexed && !must_read_all_records {
        index::list(state, query).await
    } else {
        scan::list(state, query).await
    }
}
