//! Listings: how the rows of a page are found, and counted.
//!
//! A page is a walk over one index, in the order of the listing. If few records match the filter, such a walk would be
//! long. Then another index finds the matching records, and they are sorted. This module must never write.

use artifact_store_core::{Filter, ListQuery, Page, Record, StoreError, TenantPattern};
use rusqlite::{Connection, params_from_iter};

use crate::candidates;
use crate::error::DbError;
use crate::read::Reader;
use crate::row;
use crate::statement::{self, PageRows, Statement};

/// A filtered page first examines this many rows for each row of its limit. If they do not fill the page, the filter may
/// match few records.
const EXAMINED_PER_ROW: u32 = 2;

/// The rows of a page, and whether there is another page.
struct PageRecords {
    records: Vec<Record>,
    has_next_page: bool,
}

/// Returns one page of `query`, and the total count if the query asks for it. The statements run on the blocking pool.
pub(crate) async fn list(reader: &Reader, query: &ListQuery) -> Result<Page, StoreError> {
    // A cursor of another query is refused before a connection is used.
    query.position()?;
    let query = query.clone();
    reader.pool.spawn(&reader.handle, move |conn| read_page(conn, &query)).await
}

fn read_page(conn: &Connection, query: &ListQuery) -> Result<Page, DbError> {
    // All statements read the same state of the database.
    let transaction = conn.unchecked_transaction()?;
    let filter = query.filter();
    let mut page = None;
    let mut candidates = None;
    // The indexes of filters begin with the tenant. A listing of all tenants walks.
    if let TenantPattern::One(tenant) = &query.pattern().tenant
        && candidates::has_indexed_condition(filter)
    {
        page = examine_first_rows(conn, query)?;
        if page.is_none() || query.counts_total() {
            candidates = candidates::find(conn, tenant, filter)?.map(json_array);
        }
    }
    let PageRecords { records, has_next_page } = match (page, &candidates) {
        (Some(page), _) => page,
        (None, Some(candidates)) => read_rows(
            conn,
            query,
            statement::candidates_statement(query, query.position()?, candidates.clone()),
        )?,
        (None, None) => {
            read_rows(conn, query, statement::page_statement(query, query.position()?, PageRows::Matching))?
        }
    };
    let total = if query.counts_total() {
        let Statement { sql, values } = match candidates {
            _ if *filter == Filter::default() => statement::unfiltered_count_statement(query.pattern()),
            Some(candidates) => statement::count_candidates_statement(query, candidates),
            None => statement::count_statement(query),
        };
        let mut statement = conn.prepare_cached(&sql)?;
        let count: i64 = statement.query_row(params_from_iter(values), |row| row.get(0))?;
        Some(count.cast_unsigned())
    } else {
        None
    };
    transaction.commit()?;
    Ok(Page::new(query, records, total, has_next_page))
}

/// Reads a page with a statement that returns only matching rows.
fn read_rows(conn: &Connection, query: &ListQuery, statement: Statement) -> Result<PageRecords, DbError> {
    let limit = query.limit() as usize;
    let mut records = Vec::with_capacity(limit);
    let mut statement_rows = conn.prepare_cached(&statement.sql)?;
    let mut rows = statement_rows.query(params_from_iter(statement.values))?;
    while let Some(row) = rows.next()? {
        if records.len() == limit {
            return Ok(PageRecords { records, has_next_page: true });
        }
        records.push(row::decode(row)?.1);
    }
    Ok(PageRecords { records, has_next_page: false })
}

/// Reads a page from the first rows of the walk. Returns `None` if they do not fill the page and there are more rows.
fn examine_first_rows(conn: &Connection, query: &ListQuery) -> Result<Option<PageRecords>, DbError> {
    let limit = query.limit() as usize;
    let examined = (query.limit() + 1) * EXAMINED_PER_ROW;
    let page = statement::page_statement(query, query.position()?, PageRows::Examined(examined));
    let mut records = Vec::with_capacity(limit);
    let mut count = 0;
    let mut statement = conn.prepare_cached(&page.sql)?;
    let mut rows = statement.query(params_from_iter(page.values))?;
    while let Some(row) = rows.next()? {
        count += 1;
        if row.get::<_, bool>(row::COLUMNS)? {
            if records.len() == limit {
                return Ok(Some(PageRecords { records, has_next_page: true }));
            }
            records.push(row::decode(row)?.1);
        }
    }
    // Fewer rows than the limit of the statement: these were all rows.
    Ok((count < examined).then_some(PageRecords { records, has_next_page: false }))
}

/// Encodes blob numbers as one parameter of a statement.
fn json_array(blobs: Vec<i64>) -> String {
    let numbers: Vec<String> = blobs.into_iter().map(|blob| blob.to_string()).collect();
    format!("[{}]", numbers.join(","))
}
