//! Lists artifacts: by the index if the store has one, otherwise by a scan.
//!
//! This module must never look at a key or a record itself.

mod index;
mod scan;

use artifact_store_core::{ListQuery, Page, StoreError};

use crate::state::StoreState;

/// The page of `query`.
///
/// # Errors
/// `InvalidArgument` for the cursor, or if the query exceeds the store's limit on listings; `Corrupt` for a damaged
/// artifact; `Unavailable`, `Backend`.
pub(crate) async fn list(state: &StoreState, query: &ListQuery) -> Result<Page, StoreError> {
    // If the total is asked for and only the records show which artifacts match, a scan is used even with an index.
    if state.format.indexed && !(query.counts_total() && index::needs_records_to_count(query)) {
        index::list(state, query).await
    } else {
        scan::list(state, query).await
    }
}
