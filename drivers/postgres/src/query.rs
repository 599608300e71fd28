//! A listing as SQL: which index, which conditions, which page. The one place where statements are put together.
//!
//! What is put together are literals of this module only; every value is bound, and a list of values is one parameter.
//! So there are few statements, and all stay prepared. This module must never decide what a query means: it says the
//! same as `ListQuery::matches`.

use artifact_store_core::{
    Filter, ListQuery, MediaRange, Page, Position, Record, Scope, ScopeMark, ScopePattern, StoreError,
    TaskPattern, TenantPattern,
};
use sqlx::AssertSqlSafe;

use crate::pool::{Pool, Statement};
use crate::row;

/// Rows of `query`, and how many there are in all where it asks.
pub(crate) async fn list(pool: &Pool, query: &ListQuery) -> Result<Page, StoreError> {
    let position = query.position()?;
    let limit = query.limit() as usize;
    let page = page(query, position);
    let found = pool.ask(|| page.statement()).await?.rows;
    let more = found.len() > limit;
    let rows: Vec<Record> = found
        .iter()
        .take(limit)
        .map(|row| row::read(row).map(|standing| standing.record))
        .collect::<Result<_, _>>()?;
    let total = if query.counts_total() {
        let count = count(query);
        let counted = pool.ask(|| count.statement()).await?.rows;
        let counted = counted.first().map(|row| row::get::<i64>(row, "count")).transpose()?;
        Some(counted.unwrap_or_default().cast_unsigned())
    } else {
        None
    };
    Ok(Page::new(query, rows, total, more))
}

/// A value that is bound.
enum Value {
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
    Texts(Vec<String>),
    Byteses(Vec<Vec<u8>>),
}

/// A statement that is being put together, and can be sent more than once.
struct Sql {
    text: String,
    values: Vec<Value>,
}

impl Sql {
    fn new(text: &'static str) -> Self {
        Self { text: text.to_owned(), values: Vec::new() }
    }

    fn push(&mut self, literal: &'static str) -> &mut Self {
        self.text.push_str(literal);
        self
    }

    fn bind(&mut self, value: Value) -> &mut Self {
        self.values.push(value);
        self.text.push('$');
        self.text.push_str(&self.values.len().to_string());
        self
    }

    fn number(&mut self, number: i64) -> &mut Self {
        self.bind(Value::Number(number))
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bind(Value::Text(text.to_owned()))
    }

    fn statement(&self) -> Statement<'_> {
        let statement = sqlx::query(AssertSqlSafe(self.text.clone()));
        self.values.iter().fold(statement, |statement, value| match value {
            Value::Number(number) => statement.bind(number),
            Value::Text(text) => statement.bind(text),
            Value::Bytes(bytes) => statement.bind(bytes),
            Value::Texts(texts) => statement.bind(texts),
            Value::Byteses(list) => statement.bind(list),
        })
    }
}

/// One page: a row more than asked for tells whether there is another.
fn page(query: &ListQuery, position: Option<&Position>) -> Sql {
    let shape = Shape::of(query.pattern());
    let mut sql = Sql::new(concat!("SELECT ", row::columns!(), " FROM artifact AS a"));
    conditions(&mut sql, &shape, query);
    if let Some(Position { created_at, id, scope_mark }) = position {
        let rank = -created_at.as_micros();
        if let Shape::Scope(_) = shape {
            // Within one scope the mark is the same everywhere.
            sql.push(" AND (a.rank, a.id) > (").number(rank).push(", ").text(id.as_str()).push(")");
        } else {
            sql.push(" AND (a.rank, a.id, a.scope_mark) > (").number(rank).push(", ").text(id.as_str());
            sql.push(", ").bind(Value::Bytes(scope_mark.as_bytes().to_vec())).push(")");
        }
    }
    // Within one scope, the index that has its rows in order ends with the id.
    sql.push(match shape {
        Shape::Scope(_) => " ORDER BY a.rank, a.id LIMIT ",
        _ => " ORDER BY a.rank, a.id, a.scope_mark LIMIT ",
    });
    sql.number(i64::from(query.limit()) + 1);
    sql
}

fn count(query: &ListQuery) -> Sql {
    let mut sql = Sql::new("SELECT count(*) AS count FROM artifact AS a");
    conditions(&mut sql, &Shape::of(query.pattern()), query);
    sql
}

/// Which index a listing walks: the narrowest that has its rows together and in order.
enum Shape {
    Scope(ScopeMark),
    Session,
    User,
    Tenant,
    AllTenants,
}

impl Shape {
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

fn conditions(sql: &mut Sql, shape: &Shape, query: &ListQuery) {
    sql.push(" WHERE TRUE");
    if let Shape::Scope(mark) = shape {
        // Nothing else, or the server may walk another index. Each row that is read is held against its mark.
        sql.push(" AND a.scope_mark = ").bind(Value::Bytes(mark.as_bytes().to_vec()));
        filters(sql, query.filter());
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
    filters(sql, query.filter());
}

fn filters(sql: &mut Sql, filter: &Filter) {
    let Filter { media_types, sources, min_bytes, max_bytes, created_after, created_before, tags } = filter;
    // No stored size is beyond what the column can hold.
    let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let list = |texts: &[String]| Value::Byteses(texts.iter().map(|text| text.as_bytes().to_vec()).collect());
    if !media_types.is_empty() {
        media_type_is(sql, media_types);
    }
    if !sources.is_empty() {
        let words = sources.iter().map(|source| source.word().to_owned()).collect();
        sql.push(" AND a.source = ANY (").bind(Value::Texts(words)).push(")");
    }
    if let Some(min_bytes) = min_bytes {
        sql.push(" AND a.size >= ").number(size(*min_bytes));
    }
    if let Some(max_bytes) = max_bytes {
        sql.push(" AND a.size <= ").number(size(*max_bytes));
    }
    // The rank is the time turned round, so earlier is larger.
    if let Some(created_after) = created_after {
        sql.push(" AND a.rank <= ").number(-created_after.as_micros());
    }
    if let Some(created_before) = created_before {
        sql.push(" AND a.rank >= ").number(-created_before.as_micros());
    }
    if !tags.is_empty() {
        sql.push(" AND a.tags && ").bind(list(tags));
    }
}

/// `MediaRange::comparable` of a row, in what `escape` makes of its bytes: texts hold no zero character.
macro_rules! comparable {
    () => {
        r#"(' ' || translate(lower(encode(a.media_type, 'escape') COLLATE "C"), E' \t"', '') || ';')"#
    };
}

/// One parameter holds every range that is one pattern; each range with parameters of its own takes another one.
fn media_type_is(sql: &mut Sql, ranges: &[MediaRange]) {
    let (plain, narrow): (Vec<_>, Vec<_>) = ranges.iter().partition(|range| range.parts().len() == 1);
    sql.push(concat!(" AND (", comparable!(), " LIKE ANY ("))
        .bind(Value::Texts(plain.into_iter().flat_map(patterns).collect()))
        .push(")");
    for range in narrow {
        sql.push(concat!(" OR ", comparable!(), " LIKE ALL (")).bind(Value::Texts(patterns(range))).push(")");
    }
    sql.push(")");
}

/// The parts of a range as patterns of `LIKE`.
fn patterns(range: &MediaRange) -> Vec<String> {
    range.parts().iter().map(|part| pattern(part)).collect()
}

/// A text that contains `part`, or begins with it where it begins with a space.
fn pattern(part: &str) -> String {
    let mut pattern = String::from(if part.starts_with(' ') { "" } else { "%" });
    for byte in part.bytes() {
        match byte {
            // `escape` doubles it, and `LIKE` takes each for an escape itself.
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
mod plans;
