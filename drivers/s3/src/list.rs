//! Lists artifacts: by the index if the store has one, otherwise by a scan.
//!
//! This module must never look at a key or a record itself.

mod index;
mod scan;

use artifact_store_core::{ListQuery, Page, StoreError};

use crate::state::StoreState;

/// The page of rows that `query` selects.
///
/// # Errors
/// `InvalidArgument` for the cursor, or if the query exceeds the store's limit on listings; `Corrupt` for a damaged
/// artifact; `Unavailable`, `Backend`.
pub(crate) async fn list(state: &StoreState, query: &ListQuery) -> Result<Page, StoreError> {
    // To count such matches, all records must be read. A scan reads them all, so it is used even with an index.
    let must_read_all_records = query.counts_total() && index::needs_records_to_count(query);
    if state.format.indexed && !must_read_all_records {
        index::list(state, query).await
    } else {
        scan::list(state, query).await
    }
}
