//! Lists by a scan: lists the keys of the records that a query covers, and reads each record.
//!
//! The number of keys that a scan may look at is limited. A scan keeps only some keys and one page of rows in memory.
//! This module must never return a page before it has looked at every key that the query covers.

use artifact_store_core::{ListQuery, Page, StoreError};
use artifact_store_object_support::PageCollector;
use futures_util::{StreamExt, TryStreamExt};

use crate::error::request_error;
use crate::record::StoredRecord;
use crate::state::StoreState;

/// The page of rows that `query` selects.
///
/// # Errors
/// `InvalidArgument` for an invalid cursor, or if the query exceeds the store's limit on listings; `Corrupt` for a
/// damaged artifact; `Unavailable`, `Backend`.
pub(crate) async fn list(state: &StoreState, query: &ListQuery) -> Result<Page, StoreError> {
    let mut rows = PageCollector::new(query)?;
    let filter = state.layout.key_filter(query.pattern());
    let concurrency = usize::try_from(state.config.list_concurrency).unwrap_or(1);
    let mut scanned = 0_u64;
    let keys = state.objects().list(Some(&filter.prefix)).map(|object| {
        state.ensure_open()?;
        let object = object.map_err(|error| request_error("listing keys", &error))?;
        scanned += 1;
        if scanned > state.config.max_scan {
            return Err(scan_limit_exceeded(state));
        }
        Ok(state.layout.matches(&filter, &object.location).then_some(object.location))
    });
    let mut records = keys
        .try_filter_map(|key| async move { Ok(key) })
        .map_ok(|key| async move { state.read_record(&key).await })
        .try_buffer_unordered(concurrency)
        .boxed();
    while let Some(stored) = records.next().await {
        // `None`: the artifact was deleted after its key was listed.
        if let Some(StoredRecord { record, .. }) = stored? {
            rows.push(record);
        }
    }
    drop(records);
    if scanned == 0 {
        // The bucket may be missing.
        state.check_store().await?;
    }
    Ok(rows.into_page())
}

/// The error for a listing that would look at more records than the store allows.
fn scan_limit_exceeded(state: &StoreState) -> StoreError {
    StoreError::invalid(format!(
        "the listing covers more than {} artifacts whose records it would have to read, which is the limit of this store; \
         narrow the scope, or raise the option max_scan",
        state.config.max_scan
    ))
}
