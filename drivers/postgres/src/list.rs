//! Listings: builds the SQL of a page from index, conditions and position.
//!
//! Only this module composes SQL for artifacts at run time. The SQL text is composed only of literals and parameter
//! numbers. Every value is bound, and a list of values is one parameter. So the text does not depend on the values, and
//! a prepared statement can be used again. A listing must select exactly the records that `ListQuery::matches` accepts.

use artifact_store_core::{
    Filter, ListQuery, MediaRange, Page, Position, Record, Scope, ScopeMark, ScopePattern, StoreError,
    TaskPattern, TenantPattern,
};
use sqlx::AssertSqlSafe;

use crate::pool::{Pool, Statement};
use crate::{counts, row};

/// Returns a page of `query`, with the total if the query asks for it.
pub(crate) async fn list(pool: &Pool, query: &ListQuery) -> Result<Page, StoreError> {
    let position = query.position()?;
    let limit = query.limit() as usize;
    let fetched = filter_index::page(pool, query, position).await?;
    let has_next_page = fetched.len() > limit;
    let rows: Vec<Record> = fetched
        .iter()
        .take(limit)
        .map(|row| row::decode(row).map(|existing| existing.record))
        .collect::<Result<_, _>>()?;
    let total = if !query.counts_total() {
        None
    } else if let Some(key) = counts::counter_key(query) {
        Some(counts::total(pool, &key).await?)
    } else {
        Some(count(pool, query).await?)
    };
    Ok(Page::new(query, rows, total, has_next_page))
}

/// Returns the number of records that match `query`, on all pages.
async fn count(pool: &Pool, query: &ListQuery) -> Result<u64, StoreError> {
    let sql = count_query(query);
    let rows = pool.fetch_all(|| sql.statement()).await?.rows;
    let Some(row) = rows.first() else { return Ok(0) };
    Ok(row::get::<i64>(row, "count")?.cast_unsigned())
}

/// A value to bind.
enum BindValue {
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    TextArray(Vec<String>),
    BytesArray(Vec<Vec<u8>>),
    IntArray(Vec<i32>),
}

/// Builds the text of a statement and collects its values. [`statement`](Self::statement) may be called several times,
/// because a statement may be retried.
struct SqlBuilder {
    text: String,
    /// The values of the parameters `$1`, `$2` and so on.
    values: Vec<BindValue>,
}

impl SqlBuilder {
    fn new(text: &'static str) -> Self {
        Self { text: text.to_owned(), values: Vec::new() }
    }

    fn push(&mut self, literal: &'static str) -> &mut Self {
        self.text.push_str(literal);
        self
    }

    /// Appends the next parameter, and binds `value` to it.
    fn bind(&mut self, value: BindValue) -> &mut Self {
        self.values.push(value);
        self.text.push('$');
        self.text.push_str(&self.values.len().to_string());
        self
    }

    fn bind_int(&mut self, number: i64) -> &mut Self {
        self.bind(BindValue::Int(number))
    }

    fn bind_text(&mut self, text: &str) -> &mut Self {
        self.bind(BindValue::Text(text.to_owned()))
    }

    fn statement(&self) -> Statement<'_> {
        let statement = sqlx::query(AssertSqlSafe(self.text.clone()));
        self.values.iter().fold(statement, |statement, value| match value {
            BindValue::Int(number) => statement.bind(number),
            BindValue::Text(text) => statement.bind(text),
            BindValue::Bytes(bytes) => statement.bind(bytes),
            BindValue::TextArray(texts) => statement.bind(texts),
            BindValue::BytesArray(list) => statement.bind(list),
            BindValue::IntArray(numbers) => statement.bind(numbers),
        })
    }
}

/// Builds the statement for one page. The page begins after `position`, or at the first row if `position` is `None`.
/// The statement fetches one row more than the limit. This row shows whether there is a next page.
fn page_query(query: &ListQuery, position: Option<&Position>) -> SqlBuilder {
    let index = ListIndex::for_pattern(query.pattern());
    let mut sql = SqlBuilder::new(concat!("SELECT ", row::columns!(), " FROM artifact AS a"));
    push_scope(&mut sql, &index, query.pattern());
    push_created(&mut sql, query.filter());
    push_filters(&mut sql, query.filter());
    push_position(&mut sql, &index, position);
    push_order(&mut sql, &index);
    sql.bind_int(i64::from(query.limit()) + 1);
    sql
}

/// Adds the condition that a row is after `position`.
fn push_position(sql: &mut SqlBuilder, index: &ListIndex, position: Option<&Position>) {
    let Some(Position { created_at, id, scope_mark }) = position else { return };
    // The rank is the negated time.
    let rank = -created_at.as_micros();
    if let ListIndex::Scope(_) = index {
        // The scope mark is the same in all rows of one scope, so it is not compared.
        sql.push(" AND (a.rank, a.id) > (").bind_int(rank).push(", ").bind_text(id.as_str()).push(")");
    } else {
        sql.push(" AND (a.rank, a.id, a.scope_mark) > (").bind_int(rank).push(", ").bind_text(id.as_str());
        sql.push(", ").bind(BindValue::Bytes(scope_mark.as_bytes().to_vec())).push(")");
    }
}

/// Adds the order of listings, and the keyword before the limit.
fn push_order(sql: &mut SqlBuilder, index: &ListIndex) {
    // The index for one scope ends with the id, so the scope mark is omitted from the order.
    sql.push(match index {
        ListIndex::Scope(_) => " ORDER BY a.rank, a.id LIMIT ",
        _ => " ORDER BY a.rank, a.id, a.scope_mark LIMIT ",
    });
}

/// Builds the statement that counts all rows of a listing.
fn count_query(query: &ListQuery) -> SqlBuilder {
    let mut sql = SqlBuilder::new("SELECT count(*) AS count FROM artifact AS a");
    push_scope(&mut sql, &ListIndex::for_pattern(query.pattern()), query.pattern());
    push_created(&mut sql, query.filter());
    push_filters(&mut sql, query.filter());
    sql
}

/// The index that a listing scans. It contains the rows in the order of listings.
enum ListIndex {
    /// The index for one scope. The pattern determines the whole scope, including the task.
    Scope(ScopeMark),
    Session,
    User,
    Tenant,
    AllTenants,
}

impl ListIndex {
    /// The index in which a scan for `pattern` reads the fewest rows that do not match.
    fn for_pattern(pattern: &ScopePattern) -> Self {
        let ScopePattern { tenant, user, session, task } = pattern;
        match (tenant, user, session) {
            (TenantPattern::One(tenant), Some(user), Some(session)) => {
                // A scope includes its task. So a pattern that matches any task matches many scopes of one session.
                let task = match task {
                    TaskPattern::Any => return Self::Session,
                    TaskPattern::NoTask => None,
                    TaskPattern::One(task) => Some(task.clone()),
                };
                let scope = Scope::from_parts(tenant.clone(), user.clone(), session.clone(), task);
                Self::Scope(ScopeMark::of(&scope))
            }
            (TenantPattern::One(_), Some(_), None) => Self::User,
            // There is no index by tenant and session without a user.
            (TenantPattern::One(_), None, _) => Self::Tenant,
            (TenantPattern::AllTenants, ..) => Self::AllTenants,
        }
    }
}

/// Adds the `WHERE` clause with the conditions on the scope.
fn push_scope(sql: &mut SqlBuilder, index: &ListIndex, pattern: &ScopePattern) {
    sql.push(" WHERE TRUE");
    if let ListIndex::Scope(scope_mark) = index {
        // The scope mark is the only condition on the scope. With further conditions, the server might choose another
        // index. `row::decode` checks that the scope of each row matches its scope mark.
        sql.push(" AND a.scope_mark = ").bind(BindValue::Bytes(scope_mark.as_bytes().to_vec()));
        return;
    }
    let ScopePattern { tenant, user, session, task } = pattern;
    if let TenantPattern::One(tenant) = tenant {
        sql.push(" AND a.tenant = ").bind_text(tenant.as_str());
    }
    if let Some(user) = user {
        sql.push(" AND a.user_ = ").bind_text(user.as_str());
    }
    if let Some(session) = session {
        sql.push(" AND a.session = ").bind_text(session.as_str());
    }
    match task {
        TaskPattern::Any => {}
        TaskPattern::NoTask => {
            sql.push(" AND a.task IS NULL");
        }
        TaskPattern::One(task) => {
            sql.push(" AND a.task = ").bind_text(task.as_str());
        }
    }
}

/// Adds the conditions of `filter` on the time. The indexes in the order of listings know them.
fn push_created(sql: &mut SqlBuilder, filter: &Filter) {
    // The rank is the negated time, so an earlier time has a larger rank.
    if let Some(created_after) = filter.created_after {
        sql.push(" AND a.rank <= ").bind_int(-created_after.as_micros());
    }
    if let Some(created_before) = filter.created_before {
        sql.push(" AND a.rank >= ").bind_int(-created_before.as_micros());
    }
}

/// Adds the other conditions of `filter`.
fn push_filters(sql: &mut SqlBuilder, filter: &Filter) {
    let Filter { media_types, sources, min_bytes, max_bytes, created_after: _, created_before: _, tags } =
        filter;
    // No stored size is larger than `i64::MAX`, so a larger limit in the filter has the same effect as `i64::MAX`.
    let clamp_to_i64 = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let bytes_array =
        |texts: &[String]| BindValue::BytesArray(texts.iter().map(|text| text.as_bytes().to_vec()).collect());
    if !media_types.is_empty() {
        push_media_types(sql, media_types);
    }
    if !sources.is_empty() {
        let words = sources.iter().map(|source| source.as_str().to_owned()).collect();
        sql.push(" AND a.source = ANY (").bind(BindValue::TextArray(words)).push(")");
    }
    if let Some(min_bytes) = min_bytes {
        sql.push(" AND a.size >= ").bind_int(clamp_to_i64(*min_bytes));
    }
    if let Some(max_bytes) = max_bytes {
        sql.push(" AND a.size <= ").bind_int(clamp_to_i64(*max_bytes));
    }
    if !tags.is_empty() {
        sql.push(" AND a.tags && ").bind(bytes_array(tags));
    }
}

/// The SQL expression for the media type of a row, normalized like `MediaRange::normalize`. The bytes of the media type
/// become a text with the encoding `escape`, because a text of PostgreSQL cannot contain a zero byte.
macro_rules! comparable_media_type {
    () => {
        r#"(' ' || translate(lower(encode(a.media_type, 'escape') COLLATE "C"), E' \t"', '') || ';')"#
    };
}

/// Adds the media type condition. All ranges without media type parameters are bound as one array. Each range with media
/// type parameters is bound as an array of its own.
fn push_media_types(sql: &mut SqlBuilder, ranges: &[MediaRange]) {
    // The first part of a range is the media type itself. Each further part is a media type parameter. If every range
    // has media type parameters, the array of the other ranges is empty, and its `LIKE ANY` is false.
    let (without_parameters, with_parameters): (Vec<_>, Vec<_>) =
        ranges.iter().partition(|range| range.parts().len() == 1);
    sql.push(concat!(" AND (", comparable_media_type!(), " LIKE ANY ("))
        .bind(BindValue::TextArray(without_parameters.into_iter().flat_map(like_patterns).collect()))
        .push(")");
    for range in with_parameters {
        sql.push(concat!(" OR ", comparable_media_type!(), " LIKE ALL ("))
            .bind(BindValue::TextArray(like_patterns(range)))
            .push(")");
    }
    sql.push(")");
}

/// The parts of a range as `LIKE` patterns.
fn like_patterns(range: &MediaRange) -> Vec<String> {
    range.parts().iter().map(|part| like_pattern(part)).collect()
}

/// A `LIKE` pattern for texts that contain `part`. If `part` starts with a space, the pattern is for texts that start
/// with `part`: a normalized media type has its only space at the start.
fn like_pattern(part: &str) -> String {
    let mut pattern = String::from(if part.starts_with(' ') { "" } else { "%" });
    for byte in part.bytes() {
        match byte {
            // The encoding `escape` writes a backslash as two backslashes. In the pattern, each of the two needs one
            // more backslash.
            b'\\' => pattern.push_str(r"\\\\"),
            b'%' | b'_' => pattern.extend(['\\', char::from(byte)]),
            // The encoding `escape` writes such a byte as a backslash and three octal digits.
            0 | 0x80.. => {
                let octal_digit = |shift: u8| char::from(b'0' + (byte >> shift & 7));
                pattern.extend(['\\', '\\', octal_digit(6), octal_digit(3), octal_digit(0)]);
            }
            byte => pattern.push(char::from(byte)),
        }
    }
    pattern.push('%');
    pattern
}

mod filter_index;
#[cfg(test)]
mod query_plans;
