//! The checks that a result of a driver belongs to its request: [`check_record`], [`check_put`] and [`check_page`].
//!
//! This module must never call a driver.

use std::cmp::Ordering;

use crate::body::{BodyObserver, CompletedBody};
use crate::cursor::{Position, ScopeMark};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::id::{ArtifactId, Namespace};
use crate::list::{ListQuery, Page};
use crate::record::Record;
use crate::scope::Scope;
use crate::store::PutResult;
use crate::time::Timestamp;

/// Returns `Corrupt` if the record does not have the requested scope and id, or if its id does not match its namespace
/// and digest. If `id` is `None`, the request has no id to compare.
pub(super) fn check_record(
    record: &Record,
    scope: &Scope,
    id: Option<&ArtifactId>,
) -> Result<(), StoreError> {
    if record.scope != *scope {
        return Err(StoreError::corrupt("the store returned a record of another scope"));
    }
    if id.is_some_and(|id| record.id != *id) || !record.id.is_of(&record.options.namespace, &record.digest) {
        return Err(StoreError::corrupt("the store returned a record of another id"));
    }
    Ok(())
}

/// Returns `put`, or `Corrupt` if its record does not belong to the put: if it has another scope or namespace, or if it is
/// not the record of the bytes that the driver has read.
pub(super) fn check_put(
    put: PutResult,
    scope: &Scope,
    namespace: &Namespace,
    observer: &BodyObserver,
) -> Result<PutResult, StoreError> {
    check_record(&put.record, scope, None)?;
    if put.record.options.namespace != *namespace {
        return Err(StoreError::corrupt("the store returned a record of another namespace"));
    }
    // If the driver has not read the whole body, `completed` returns `None`, which differs from every record.
    let recorded = CompletedBody { digest: put.record.digest, size: put.record.size };
    if observer.completed() != Some(recorded) {
        return Err(StoreError::corrupt("the store returned a record of other bytes"));
    }
    // An older artifact may have no BLAKE3, and some drivers store none.
    if let (Some(recorded), Some(observed)) = (put.record.blake3, observer.blake3())
        && recorded != observed
    {
        return Err(StoreError::corrupt("the store returned a record with another BLAKE3"));
    }
    Ok(put)
}

/// Returns `Corrupt` if the page does not belong to `query`, whose fingerprint is `fingerprint`. Checks the number of
/// rows, their scopes, the filter, the order, the cursor and the total.
pub(super) fn check_page(page: &Page, query: &ListQuery, fingerprint: &Digest) -> Result<(), StoreError> {
    if page.rows.len() > query.limit() as usize {
        return Err(StoreError::corrupt("the store returned more rows than the limit"));
    }
    if !page.rows.iter().all(|row| query.matches(row)) {
        return Err(StoreError::corrupt("the store listed a row that the query does not cover"));
    }
    // The first row must come after the cursor's position. If this gate wraps another gate, only the inner gate can
    // decode the cursor. The inner gate has already checked the first row, so this gate starts without a position.
    let start = match query.cursor() {
        Some(cursor) if !cursor.is_signed() => Some(cursor.position(fingerprint)?),
        _ => None,
    };
    let starts_after = |start: &Position| {
        page.rows
            .first()
            .is_none_or(|first| compare(first, start.created_at, &start.id, || start.scope_mark).is_gt())
    };
    let is_in_order = page.rows.windows(2).all(|pair| {
        let [previous, row] = pair else { return true };
        compare(row, previous.created_at, &previous.id, || ScopeMark::of(&previous.scope)).is_gt()
    });
    if !start.is_none_or(starts_after) || !is_in_order {
        return Err(StoreError::corrupt("the store listed rows out of order"));
    }
    // A caller that follows the cursor of a page must advance, or it would never reach the end.
    if let Some(next) = &page.next {
        let Some(last) = page.rows.last() else {
            return Err(StoreError::corrupt("the store returned a cursor without rows"));
        };
        // A cursor of another query is a fault of the store here, not of the caller.
        if !next.is_signed() && next.position(fingerprint).ok() != Some(&Position::of(last)) {
            return Err(StoreError::corrupt("the store returned a cursor that is not at the last row"));
        }
    }
    if page.total.is_some() != query.counts_total() {
        return Err(StoreError::corrupt(
            "the store returned a total that was not requested, or none although it was requested",
        ));
    }
    Ok(())
}

/// Compares the position of `row` with another position. A scope mark is a hash, so marks are computed only if time and
/// id are equal.
fn compare(
    row: &Record,
    created_at: Timestamp,
    id: &ArtifactId,
    scope_mark: impl FnOnce() -> ScopeMark,
) -> Ordering {
    let newest_first = created_at.cmp(&row.created_at);
    newest_first.then_with(|| row.id.cmp(id)).then_with(|| ScopeMark::of(&row.scope).cmp(&scope_mark()))
}
