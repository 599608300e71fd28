//! Lists records in the order of [`Position`](artifact_store_core::Position): a scan of the table of listings.

use std::sync::Arc;

use artifact_store_core::{ListQuery, Page, StoreError};
use redb::ReadTransaction;

use crate::database::SharedDatabase;
use crate::error::map_redb_error;
use crate::schema::{self, LISTING, RECORDS};

/// Lists one page of `query`.
pub(crate) async fn list(database: &Arc<SharedDatabase>, query: &ListQuery) -> Result<Page, StoreError> {
    let query = query.clone();
    database.read(move |transaction| list_page(transaction, &query)).await
}

fn list_page(transaction: &ReadTransaction, query: &ListQuery) -> Result<Page, StoreError> {
    let prefix = schema::pattern_prefix(query.pattern());
    // The key of the last row of the page before.
    let after = query.position()?.map(|position| [prefix.clone(), position.sort_key()].concat());
    // A total counts the rows of all pages.
    let start = after.as_ref().filter(|_| !query.counts_total()).unwrap_or(&prefix);
    let listing = transaction.open_table(LISTING).map_err(map_redb_error)?;
    let records = transaction.open_table(RECORDS).map_err(map_redb_error)?;
    let limit = query.limit() as usize;
    let (mut rows, mut total, mut has_more) = (Vec::new(), 0, false);
    for entry in listing.range(start.as_slice()..).map_err(map_redb_error)? {
        let (key, blob) = entry.map_err(map_redb_error)?;
        if !key.value().starts_with(&prefix) {
            break;
        }
        let record = schema::load_record(&records, blob.value())?;
        // The prefix is not the whole pattern: a user may be missing before a session.
        if !query.matches(&record) {
            continue;
        }
        total += 1;
        if after.as_deref().is_some_and(|after| key.value() <= after) {
            continue;
        }
        if rows.len() < limit {
            rows.push(record);
            continue;
        }
        has_more = true;
        if !query.counts_total() {
            break;
        }
    }
    Ok(Page::new(query, rows, query.counts_total().then_some(total), has_more))
}
