//! Lists by a scan: lists the keys of the artifacts that a query covers, and sends a HEAD request for each record.
//!
//! The number of keys that a scan may look at is limited. A scan keeps only one page of keys and one page of rows in
//! memory. This module must never return a page before it has looked at every key that the query covers.

use artifact_store_core::{Filter, ListQuery, Page, StoreError};
use artifact_store_object_support::PageCollector;
use aws_sdk_s3::types::Object;
use futures_util::stream::{self, StreamExt};

use crate::layout::KeyFilter;
use crate::lookup::KeyStatus;
use crate::state::StoreState;

/// The page of rows that `query` selects.
///
/// # Errors
/// `InvalidArgument` for an invalid cursor, or if the query exceeds the store's limit on listings; `Corrupt` for a
/// damaged artifact; `Unavailable`, `Backend`.
pub(crate) async fn list(state: &StoreState, query: &ListQuery) -> Result<Page, StoreError> {
    let mut rows = PageCollector::new(query)?;
    let key_filter = state.layout.key_filter(query.pattern());
    let concurrency = usize::try_from(state.config.list_concurrency).unwrap_or(1);
    let (mut scanned, mut token) = (0_u64, None);
    loop {
        state.ensure_open()?;
        let page = state.list_keys(&key_filter.prefix, token).await?;
        scanned = scanned.saturating_add(page.objects.len() as u64);
        if scanned > state.config.max_scan {
            return Err(scan_limit_exceeded(state));
        }
        let keys = page
            .objects
            .into_iter()
            .filter_map(|object| matching_key(state, &key_filter, query.filter(), object));
        let mut statuses = stream::iter(keys)
            .map(|key| async move { state.status_of_key(&key).await })
            .buffer_unordered(concurrency);
        while let Some(status) = statuses.next().await {
            // With any other status, the key is skipped: either the artifact was deleted after its key was listed, or
            // the object is not an artifact.
            if let KeyStatus::Artifact(existing) = status? {
                rows.push(existing.record);
            }
        }
        token = page.next;
        if token.is_none() {
            return Ok(rows.into_page());
        }
    }
}

/// The error for a listing that would read more records, or look at more keys, than the store allows.
pub(crate) fn scan_limit_exceeded(state: &StoreState) -> StoreError {
    StoreError::invalid(format!(
        "the listing covers more than {} artifacts whose records it would have to read, which is the limit of this store; \
         narrow the scope, or raise the option max_scan",
        state.config.max_scan
    ))
}

/// The key of `object`; `None` if the object cannot match the query.
fn matching_key(
    state: &StoreState,
    key_filter: &KeyFilter,
    filter: &Filter,
    object: Object,
) -> Option<String> {
    let key = object.key?;
    let components = state.layout.artifact_components(&key)?;
    (key_filter.matches(&components) && size_matches(object.size, filter)).then_some(key)
}

/// Whether an artifact whose object has this `size` matches the filter's limits on sizes. An unknown size matches.
pub(crate) fn size_matches(size: Option<i64>, filter: &Filter) -> bool {
    let size = size.and_then(|size| u64::try_from(size).ok());
    size.is_none_or(|size| {
        filter.min_bytes.is_none_or(|min| size >= min) && filter.max_bytes.is_none_or(|max| size <= max)
    })
}
