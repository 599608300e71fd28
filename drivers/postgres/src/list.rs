//! Listings: builds the SQL of a page from index, conditions and position. No other module builds statements for
//! artifacts at run time.
//!
//! SQL is composed of literals in this module only. Every value is bound, and a list of values is one parameter, so
//! that there are few distinct statements and all stay prepared. This module must never give a query another meaning:
//! it must select the same records as `ListQuery::matches`.

use artifact_store_core::{
    Filter, ListQuery, MediaRange, Page, Position, Record, Scope, ScopeMark, ScopePattern, StoreError,
    TaskPattern, TenantPattern,
};
use sqlx::AssertSqlSafe;

use crate::pool::{Pool, Statement};
use crate::row;

/// Returns a page of `query`, with the total if the query asks for it.
pub(crate) async fn list(pool: &Pool, query: &ListQuery) -> Result<Page, StoreError> {
    let position = query.position()?;
    let limit = query.limit() as usize;
    let page = page_query(query, position);
    let fetched = pool.fetch_all(|| page.statement()).await?.rows;
    let more = fetched.len() > limit;
    let rows: Vec<Record> = fetched
        .iter()
        .take(limit)
        .map(|row| row::decode(row).map(|existing| existing.record))
        .collect::<Result<_, _>>()?;
    let total = if query.counts_total() {
        let count = count_query(query);
        let counted = pool.fetch_all(|| count.statement()).await?.rows;
        let counted = counted.first().map(|row| row::get::<i64>(row, "count")).transpose()?;
        Some(counted.unwrap_or_default().cast_unsigned())
    } else {
        None
    };
    Ok(Page::new(query, rows, total, more))
}

/// A value to bind.
enum BindValue {
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    TextArray(Vec<String>),
    BytesArray(Vec<Vec<u8>>),
}

/// Builds a statement, which can be sent more than once.
struct SqlBuilder {
    text: String,
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

    fn bind(&mut self, value: BindValue) -> &mut Self {
        self.values.push(value);
        self.text.push('$');
        self.text.push_str(&self.values.len().to_string());
        self
    }

    fn int(&mut self, number: i64) -> &mut Self {
        self.bind(BindValue::Int(number))
    }

    fn text(&mut self, text: &str) -> &mut Self {
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
        })
    }
}

/// Builds the statement for one page. It fetches one row more than the limit. This row shows whether there is a next
/// page.
fn page_query(query: &ListQuery, position: Option<&Position>) -> SqlBuilder {
    let index = ListIndex::of(query.pattern());
    let mut sql = SqlBuilder::new(concat!("SELECT ", row::columns!(), " FROM artifact AS a"));
    push_scope_conditions(&mut sql, &index, query);
    if let Some(Position { created_at, id, scope_mark }) = position {
        let rank = -created_at.as_micros();
        if let ListIndex::Scope(_) = index {
            // The scope mark is a hash of the scope, so it is the same in all rows of one scope.
            sql.push(" AND (a.rank, a.id) > (").int(rank).push(", ").text(id.as_str()).push(")");
        } else {
            sql.push(" AND (a.rank, a.id, a.scope_mark) > (").int(rank).push(", ").text(id.as_str());
            sql.push(", ").bind(BindValue::Bytes(scope_mark.as_bytes().to_vec())).push(")");
        }
    }
    // The index for one scope ends with the id, so the scope mark is omitted from the order.
    sql.push(match index {
        ListIndex::Scope(_) => " ORDER BY a.rank, a.id LIMIT ",
        _ => " ORDER BY a.rank, a.id, a.scope_mark LIMIT ",
    });
    sql.int(i64::from(query.limit()) + 1);
    sql
}

fn count_query(query: &ListQuery) -> SqlBuilder {
    let mut sql = SqlBuilder::new("SELECT count(*) AS count FROM artifact AS a");
    push_scope_conditions(&mut sql, &ListIndex::of(query.pattern()), query);
    sql
}

/// The index that a listing scans: the narrowest index that contains all rows of the listing in the order of the
/// listing.
enum ListIndex {
    Scope(ScopeMark),
    Session,
    User,
    Tenant,
    AllTenants,
}

impl ListIndex {
    fn of(pattern: &ScopePattern) -> Self {
        let ScopePattern { tenant, user, session, task } = pattern;
        match (tenant, user, session) {
            (TenantPattern::One(tenant), Some(user), Some(session)) => {
                let task = match task {
                    TaskPattern::Any => return Self::Session,
                    TaskPattern::NoTask => None,
                    TaskPattern::One(task) => Some(task.clone()),
                };
                let scope = Scope::from_parts(tenant.clone(), user.clone(), session.clone(), task);
                Self::Scope(ScopeMark::of(&scope))
            }
            (TenantPattern::One(_), Some(_), None) => Self::User,
            (TenantPattern::One(_), None, _) => Self::Tenant,
            (TenantPattern::AllTenants, ..) => Self::AllTenants,
        }
    }
}

fn push_scope_conditions(sql: &mut SqlBuilder, index: &ListIndex, query: &ListQuery) {
    sql.push(" WHERE TRUE");
    if let ListIndex::Scope(scope_mark) = index {
        // The scope mark is the only condition on the scope. With further conditions the server might choose another
        // index. `decode` checks the scope of each row against its scope mark.
        sql.push(" AND a.scope_mark = ").bind(BindValue::Bytes(scope_mark.as_bytes().to_vec()));
        push_filters(sql, query.filter());
        return;
    }
    let ScopePattern { tenant, user, session, task } = query.pattern();
    if let TenantPattern::One(tenant) = tenant {
        sql.push(" AND a.tenant = ").text(tenant.as_str());
    }
    if let Some(user) = user {
        sql.push(" AND a.user_ = ").text(user.as_str());
    }
    if let Some(session) = session {
        sql.push(" AND a.session = ").text(session.as_str());
    }
    match task {
        TaskPattern::Any => {}
        TaskPattern::NoTask => {
            sql.push(" AND a.task IS NULL");
        }
        TaskPattern::One(task) => {
            sql.push(" AND a.task = ").text(task.as_str());
        }
    }
    push_filters(sql, query.filter());
}

fn push_filters(sql: &mut SqlBuilder, filter: &Filter) {
    let Filter { media_types, sources, min_bytes, max_bytes, created_after, created_before, tags } = filter;
    // Stored sizes are at most `i64::MAX`, so a larger limit is equivalent to `i64::MAX`.
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
        sql.push(" AND a.size >= ").int(clamp_to_i64(*min_bytes));
    }
    if let Some(max_bytes) = max_bytes {
        sql.push(" AND a.size <= ").int(clamp_to_i64(*max_bytes));
    }
    // The rank is the negated time, so an earlier time has a larger rank.
    if let Some(created_after) = created_after {
        sql.push(" AND a.rank <= ").int(-created_after.as_micros());
    }
    if let Some(created_before) = created_before {
        sql.push(" AND a.rank >= ").int(-created_before.as_micros());
    }
    if !tags.is_empty() {
        sql.push(" AND a.tags && ").bind(bytes_array(tags));
    }
}

/// The media type of a row, normalized like `MediaRange::normalize`. The bytes of the media type are encoded with
/// `escape`, because a text of PostgreSQL cannot contain a zero byte.
macro_rules! comparable_media_type {
    () => {
        r#"(' ' || translate(lower(encode(a.media_type, 'escape') COLLATE "C"), E' \t"', '') || ';')"#
    };
}

/// Adds the media type condition. All ranges without media type parameters share one bound parameter. Each range with
/// media type parameters has a bound parameter of its own.
fn push_media_types(sql: &mut SqlBuilder, ranges: &[MediaRange]) {
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

/// A `LIKE` pattern for texts that contain `part`. If `part` starts with a space, the text must start with `part`.
fn like_pattern(part: &str) -> String {
    let mut pattern = String::from(if part.starts_with(' ') { "" } else { "%" });
    for byte in part.bytes() {
        match byte {
            // The encoding `escape` doubles a backslash, and `LIKE` needs an escape for each of the two.
            b'\\' => pattern.push_str(r"\\\\"),
            b'%' | b'_' => pattern.extend(['\\', char::from(byte)]),
            0 | 0x80.. => {
                let digit = |bits: u8| char::from(b'0' + (byte >> bits & 7));
                pattern.extend(['\\', '\\', digit(6), digit(3), digit(0)]);
            }
            byte => pattern.push(char::from(byte)),
        }
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod query_plans;
