//! The filter index, for filters that match few records: a GIN index of tenant, tags, source, media type and size.
//!
//! A listing is usually a walk over an index in the order of listings, which ends when the page is full. If a filter
//! matches few records, the walk would visit all records of the scopes. So [`page`] first walks over some records only.
//! If few of them match, it reads all records that the filter index finds, and sorts them. This module decides only how
//! records are found: every statement has all conditions of the listing.

use artifact_store_core::{Filter, ListQuery, Position, StoreError, TenantPattern};
use sqlx::postgres::PgRow;

use super::{
    BindValue, ListIndex, SqlBuilder, page_query, push_created, push_filters, push_order, push_position,
    push_scope,
};
use crate::pool::Pool;
use crate::row;

/// The number of records that the first statement visits. The statement takes about as long as that of a full page.
const WINDOW_ROWS: i64 = 1000;
/// If at least this many records of the window match, a walk fills the page soon.
const MIN_MATCHES: usize = 10;
/// If the filter index finds more records than this, the walk is cheaper than the sort.
const MAX_CANDIDATES: i64 = 10_000;
/// A size has the key floor(8 * ln(size + 1)) in the filter index, so sizes of one key differ by at most 14 %.
const SIZE_KEYS_PER_E: f64 = 8.0;
/// The largest key of a size.
const MAX_SIZE_KEY: i32 = 8 * 44;

/// The SQL expression for the type and subtype of a row's media type, normalized as in `comparable_media_type`.
macro_rules! media_essence {
    () => {
        r#"split_part(translate(lower(encode(a.media_type, 'escape') COLLATE "C"), E' \t"', ''), ';', 1)"#
    };
}

/// Fetches the rows of a page, and one row more if there is a next page.
pub(super) async fn page(
    pool: &Pool,
    query: &ListQuery,
    position: Option<&Position>,
) -> Result<Vec<PgRow>, StoreError> {
    let walk = page_query(query, position);
    let Some(candidates) = candidate_query(query, position) else {
        return Ok(pool.fetch_all(|| walk.statement()).await?.rows);
    };
    let window = window_query(query, position);
    let rows = pool.fetch_all(|| window.statement()).await?.rows;
    if rows.len() > query.limit() as usize {
        return Ok(rows);
    }
    if rows.len() < MIN_MATCHES {
        let rows = pool.fetch_all(|| candidates.statement()).await?.rows;
        let number = rows.first().map_or(Ok(0), |row| row::get::<i64>(row, "number"))?;
        if number <= MAX_CANDIDATES {
            // If no record matches, the only row has no record.
            return Ok(rows
                .into_iter()
                .filter(|row| row::get::<Option<i64>>(row, "put").is_ok_and(|put| put.is_some()))
                .collect());
        }
    }
    Ok(pool.fetch_all(|| walk.statement()).await?.rows)
}

/// The statement for the matching records among the next [`WINDOW_ROWS`] records in the scopes.
pub(super) fn window_query(query: &ListQuery, position: Option<&Position>) -> SqlBuilder {
    let index = ListIndex::for_pattern(query.pattern());
    let mut sql = SqlBuilder::new(concat!(
        "SELECT ",
        row::columns!(),
        " FROM (SELECT ",
        row::columns!(),
        " FROM artifact AS a"
    ));
    push_scope(&mut sql, &index, query.pattern());
    push_created(&mut sql, query.filter());
    push_position(&mut sql, &index, position);
    push_order(&mut sql, &index);
    sql.bind_int(WINDOW_ROWS).push(") AS a WHERE TRUE");
    push_filters(&mut sql, query.filter());
    push_order(&mut sql, &index);
    sql.bind_int(i64::from(query.limit()) + 1);
    sql
}

/// The statement for the page among the records that the filter index finds. Each row contains their number. `None` if
/// the index does not know the fields of the filter.
pub(super) fn candidate_query(query: &ListQuery, position: Option<&Position>) -> Option<SqlBuilder> {
    let index = ListIndex::for_pattern(query.pattern());
    let mut sql = SqlBuilder::new(concat!(
        "WITH candidate AS MATERIALIZED (SELECT ",
        row::columns!(),
        " FROM artifact AS a WHERE TRUE"
    ));
    if !push_index_conditions(&mut sql, query) {
        return None;
    }
    sql.push(" LIMIT ").bind_int(MAX_CANDIDATES + 1);
    sql.push(
        ") SELECT c.number, a.* FROM (SELECT count(*) AS number FROM candidate) AS c
         LEFT JOIN (SELECT * FROM candidate AS a",
    );
    push_scope(&mut sql, &index, query.pattern());
    push_created(&mut sql, query.filter());
    push_filters(&mut sql, query.filter());
    push_position(&mut sql, &index, position);
    push_order(&mut sql, &index);
    sql.bind_int(i64::from(query.limit()) + 1);
    sql.push(") AS a ON TRUE ORDER BY a.rank, a.id, a.scope_mark");
    Some(sql)
}

/// Adds the conditions that the filter index knows. Returns whether there are any. They may also match other records.
fn push_index_conditions(sql: &mut SqlBuilder, query: &ListQuery) -> bool {
    let Filter { media_types, sources, min_bytes, max_bytes, tags, .. } = query.filter();
    let mut has_condition = false;
    if !tags.is_empty() {
        let tags = tags.iter().map(|tag| tag.as_bytes().to_vec()).collect();
        sql.push(" AND a.tags && ").bind(BindValue::BytesArray(tags));
        has_condition = true;
    }
    if !sources.is_empty() {
        let sources = sources.iter().map(|source| source.as_str().to_owned()).collect();
        sql.push(" AND ARRAY[a.source] && ").bind(BindValue::TextArray(sources));
        has_condition = true;
    }
    let media_keys: Option<Vec<String>> =
        media_types.iter().map(|range| media_key(range.parts().first()?)).collect();
    if let Some(keys) = media_keys
        && !keys.is_empty()
    {
        sql.push(concat!(
            " AND ARRAY[",
            media_essence!(),
            ", split_part(",
            media_essence!(),
            ", '/', 1) || '/*'] && "
        ))
        .bind(BindValue::TextArray(keys));
        has_condition = true;
    }
    if min_bytes.is_some() || max_bytes.is_some() {
        // One key more on each side, because the server may round in another way.
        let first = size_key(min_bytes.unwrap_or(0)).saturating_sub(1);
        let last = max_bytes.map_or(MAX_SIZE_KEY, size_key).saturating_add(1);
        sql.push(" AND ARRAY[floor(8 * ln(greatest(a.size, 0)::float8 + 1))::integer] && ")
            .bind(BindValue::IntArray((first..=last).collect()));
        has_condition = true;
    }
    if has_condition && let TenantPattern::One(tenant) = &query.pattern().tenant {
        sql.push(" AND ARRAY[a.tenant] && ").bind(BindValue::TextArray(vec![tenant.as_str().to_owned()]));
    }
    has_condition
}

/// The key of a range of media types in the filter index: `text/plain` or `text/*`. `type_part` is the first part of the
/// range. `None` if the index has no such key.
fn media_key(type_part: &str) -> Option<String> {
    let key = type_part.strip_prefix(' ')?;
    // In the index, other characters are escaped.
    if !key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return None;
    }
    match key.strip_suffix(';') {
        Some(essence) => Some(essence.to_owned()),
        None => key.ends_with('/').then(|| format!("{key}*")),
    }
}

/// The key of a size in bytes.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn size_key(bytes: u64) -> i32 {
    // The logarithm is at most 45.
    ((SIZE_KEYS_PER_E * (bytes as f64 + 1.0).ln()).floor() as i32).min(MAX_SIZE_KEY)
}
