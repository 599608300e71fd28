//! The statements of listings: the index, the conditions and the page. This is the only module that builds the text of a
//! query at runtime.
//!
//! The text is built only from literals of this module. Every value is bound, and a list of values is one parameter. So
//! the text does not depend on the values, and a prepared statement can be used again. The conditions must select
//! exactly the records that `ListQuery::matches` accepts. This module must never use a connection.

use artifact_store_core::{
    Filter, ListQuery, MediaRange, Position, Scope, ScopeMark, ScopePart, ScopePattern, TaskPattern,
    TenantPattern,
};
use rusqlite::types::Value;

use crate::row;

/// The text of a statement and its parameters.
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
}

impl Statement {
    fn new(sql: &'static str) -> Self {
        Self { sql: sql.to_owned(), values: Vec::new() }
    }

    /// Appends a literal.
    fn push(&mut self, sql: &'static str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// Appends a parameter.
    fn push_bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.sql.push('?');
        self.values.push(value.into());
        self
    }
}

/// Which rows a page statement returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageRows {
    /// The rows that match, and one row more than the limit. This row shows whether there is another page.
    Matching,
    /// At most this many rows, whether or not they match the filter. A column after [`columns!`](row::columns) is 1 if the
    /// row matches.
    Examined(u32),
}

/// The statement for one page: a walk over the index of the pattern.
pub(crate) fn page_statement(query: &ListQuery, position: Option<&Position>, rows: PageRows) -> Statement {
    let mut sql = Statement::new(concat!("SELECT ", row::columns!()));
    if let PageRows::Examined(_) = rows {
        sql.push(", TRUE");
        push_filters(&mut sql, query.filter());
    }
    sql.push(" FROM artifact AS a");
    push_conditions(&mut sql, &ListIndex::for_pattern(query.pattern()), query);
    if rows == PageRows::Matching {
        push_filters(&mut sql, query.filter());
    }
    push_position(&mut sql, query, position);
    sql.push(" ORDER BY a.rank, a.id, a.scope_mark LIMIT ").push_bind(match rows {
        PageRows::Matching => i64::from(query.limit()) + 1,
        PageRows::Examined(limit) => i64::from(limit),
    });
    sql
}

/// The statement for one page of the blobs in `candidates`, a JSON array. It sorts them.
pub(crate) fn candidates_statement(
    query: &ListQuery,
    position: Option<&Position>,
    candidates: String,
) -> Statement {
    let mut sql = Statement::new(concat!("SELECT ", row::columns!()));
    push_candidates(&mut sql, query, candidates);
    push_position(&mut sql, query, position);
    sql.push(" ORDER BY a.rank, a.id, a.scope_mark LIMIT ").push_bind(i64::from(query.limit()) + 1);
    sql
}

/// The statement for the number of blobs in `candidates` that match.
pub(crate) fn count_candidates_statement(query: &ListQuery, candidates: String) -> Statement {
    let mut sql = Statement::new("SELECT count(*)");
    push_candidates(&mut sql, query, candidates);
    push_created_before(&mut sql, query.filter());
    sql
}

/// Adds the blobs and all conditions except `created_before` and the position of the page.
fn push_candidates(sql: &mut Statement, query: &ListQuery, candidates: String) {
    // CROSS JOIN fixes the order of the loops: each candidate is looked up.
    sql.push(" FROM json_each(").push_bind(candidates);
    sql.push(") AS j CROSS JOIN artifact AS a ON a.blob = j.value");
    push_conditions(sql, &ListIndex::Candidates, query);
    push_filters(sql, query.filter());
}

/// Adds the conditions for the first row of the page.
fn push_position(sql: &mut Statement, query: &ListQuery, position: Option<&Position>) {
    let Some(Position { created_at, id, scope_mark }) = position else {
        // Only the first page needs this condition. The position of a later page already excludes newer rows. A second
        // condition on `rank` could make SQLite start its scan at `created_before` instead of at the position.
        push_created_before(sql, query.filter());
        return;
    };
    // The rank is the bitwise complement of the time.
    let rank = !created_at.as_micros();
    if let ListIndex::Scope(_) = ListIndex::for_pattern(query.pattern()) {
        // The scope mark is a hash of the scope, so it is the same in all rows of one scope.
        sql.push(" AND (a.rank, a.id) > (").push_bind(rank);
        sql.push(", ").push_bind(id.as_str().to_owned()).push(")");
    } else {
        sql.push(" AND (a.rank, a.id, a.scope_mark) > (").push_bind(rank);
        sql.push(", ").push_bind(id.as_str().to_owned());
        sql.push(", ").push_bind(scope_mark.as_bytes().to_vec()).push(")");
    }
}

/// The statement for the total count.
pub(crate) fn count_statement(query: &ListQuery) -> Statement {
    let mut sql = Statement::new("SELECT count(*) FROM artifact AS a");
    push_conditions(&mut sql, &ListIndex::for_pattern(query.pattern()), query);
    push_filters(&mut sql, query.filter());
    push_created_before(&mut sql, query.filter());
    sql
}

/// The statement for the total count without a filter. It adds up the counts of scopes, or of tenants.
pub(crate) fn unfiltered_count_statement(pattern: &ScopePattern) -> Statement {
    let ScopePattern { tenant, user, session, task } = pattern;
    let mut sql = Statement::new("SELECT coalesce(sum(a.artifacts), 0) FROM ");
    let has_scope_condition = user.is_some() || session.is_some() || *task != TaskPattern::Any;
    sql.push(if has_scope_condition {
        "scope_count AS a WHERE TRUE"
    } else {
        "tenant_count AS a WHERE TRUE"
    });
    push_parts(&mut sql, tenant, user.as_ref(), session.as_ref());
    match task {
        TaskPattern::Any => {}
        TaskPattern::NoTask => {
            sql.push(" AND a.task = ''");
        }
        TaskPattern::One(task) => {
            sql.push(" AND a.task = ").push_bind(task.as_str().to_owned());
        }
    }
    sql
}

/// Adds the condition `created_before`: the row was created at this time or earlier. A rank is the bitwise complement of
/// a time, so newer rows have smaller ranks.
fn push_created_before(sql: &mut Statement, filter: &Filter) {
    if let Some(created_before) = filter.created_before {
        sql.push(" AND a.rank >= ").push_bind(!created_before.as_micros());
    }
}

/// The index that a listing scans. It contains the rows in the order of listings.
enum ListIndex {
    /// The index of a single scope, with the mark of this scope.
    Scope(ScopeMark),
    Session,
    User,
    Tenant,
    AllTenants,
    /// No index: the rows were found already.
    Candidates,
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

/// Adds the index and the conditions of the pattern and of `created_after`.
fn push_conditions(sql: &mut Statement, index: &ListIndex, query: &ListQuery) {
    // The statement names the index, so that statistics cannot make SQLite choose another one. Each text contains the
    // first condition, so that all further conditions begin with `AND`.
    sql.push(match index {
        ListIndex::Scope(_) => " INDEXED BY artifact_by_scope WHERE a.scope_mark = ",
        ListIndex::Session => " INDEXED BY artifact_by_session WHERE TRUE",
        ListIndex::User => " INDEXED BY artifact_by_user WHERE TRUE",
        ListIndex::Tenant => " INDEXED BY artifact_by_tenant WHERE TRUE",
        ListIndex::AllTenants => " INDEXED BY artifact_by_rank WHERE TRUE",
        ListIndex::Candidates => " WHERE TRUE",
    });
    if let ListIndex::Scope(scope_mark) = index {
        // Completes the condition `a.scope_mark = `.
        sql.push_bind(scope_mark.as_bytes().to_vec());
    }
    let ScopePattern { tenant, user, session, task } = query.pattern();
    push_parts(sql, tenant, user.as_ref(), session.as_ref());
    match task {
        TaskPattern::Any => {}
        TaskPattern::NoTask => {
            sql.push(" AND a.task IS NULL");
        }
        TaskPattern::One(task) => {
            sql.push(" AND a.task = ").push_bind(task.as_str().to_owned());
        }
    }
    if let Some(created_after) = query.filter().created_after {
        sql.push(" AND a.rank <= ").push_bind(!created_after.as_micros());
    }
}

/// Adds the conditions on tenant, user and session.
fn push_parts(
    sql: &mut Statement,
    tenant: &TenantPattern,
    user: Option<&ScopePart>,
    session: Option<&ScopePart>,
) {
    if let TenantPattern::One(tenant) = tenant {
        sql.push(" AND a.tenant = ").push_bind(tenant.as_str().to_owned());
    }
    if let Some(user) = user {
        sql.push(" AND a.user = ").push_bind(user.as_str().to_owned());
    }
    if let Some(session) = session {
        sql.push(" AND a.session = ").push_bind(session.as_str().to_owned());
    }
}

/// SQL for the normalized media type of a row, as `MediaRange::normalize` returns it. The result is a `BLOB` instead of
/// text, because not every function of SQLite handles text with NUL characters.
macro_rules! normalized_media_type {
    () => {
        "CAST(' ' || replace(replace(replace(lower(a.media_type), ' ', ''), char(9), ''), '\"', '') || ';' AS BLOB)"
    };
}

/// The parts of each media range, as JSON: an array with one array of hexadecimal strings for each range.
fn media_types_json(media_types: &[MediaRange]) -> String {
    let lists: Vec<String> = media_types
        .iter()
        .map(|range| row::hex_json_array(range.parts().iter().map(String::as_bytes)))
        .collect();
    format!("[{}]", lists.join(","))
}

/// Adds the conditions of the filter except `created_after` and `created_before`.
fn push_filters(sql: &mut Statement, filter: &Filter) {
    let Filter { media_types, sources, min_bytes, max_bytes, created_after: _, created_before: _, tags } =
        filter;
    // Sizes in the table are less than `i64::MAX`, so a larger limit selects the same rows as `i64::MAX`.
    let clamp_to_i64 = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    if !media_types.is_empty() {
        // A row matches a media range `r` if its normalized media type contains every part `p` of the range.
        sql.push(" AND a.media_type IS NOT NULL AND EXISTS (SELECT 1 FROM json_each(")
            .push_bind(media_types_json(media_types))
            .push(concat!(
                ") AS r WHERE NOT EXISTS (SELECT 1 FROM json_each(r.value) AS p WHERE instr(",
                normalized_media_type!(),
                ", unhex(p.value)) = 0))"
            ));
    }
    if !sources.is_empty() {
        let list = row::hex_json_array(sources.iter().map(|source| source.as_str().as_bytes()));
        sql.push(" AND CAST(a.source AS BLOB) IN (SELECT unhex(value) FROM json_each(")
            .push_bind(list)
            .push("))");
    }
    if let Some(min_bytes) = min_bytes {
        sql.push(" AND a.size >= ").push_bind(clamp_to_i64(*min_bytes));
    }
    if let Some(max_bytes) = max_bytes {
        sql.push(" AND a.size <= ").push_bind(clamp_to_i64(*max_bytes));
    }
    if !tags.is_empty() {
        let list = row::hex_json_array(tags.iter().map(String::as_bytes));
        sql.push(" AND EXISTS (SELECT 1 FROM tag AS t WHERE t.blob = a.blob AND t.tag IN (SELECT unhex(value) FROM json_each(")
            .push_bind(list)
            .push(")))");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SqliteConfig;
    use crate::connect::ConnectOptions;
    use crate::schema;
    use artifact_store_core::{Clock, Digest, PutOptions, Record, SystemClock};
    use rusqlite::{Connection, params_from_iter};

    /// The steps of SQLite's query plan for `statement`. The first step reads the table `artifact`.
    fn query_plan(conn: &Connection, statement: &Statement) -> Vec<String> {
        let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {}", statement.sql)).unwrap();
        let steps = explain.query_map(params_from_iter(&statement.values), |row| row.get("detail")).unwrap();
        steps.map(Result::unwrap).collect()
    }

    #[test]
    fn every_page_scans_one_index_and_sorts_nothing() {
        let mut conn = ConnectOptions::writer(&SqliteConfig::memory(), None).connect().unwrap();
        schema::migrate(&mut conn).unwrap();
        let scope = Scope::new("acme", "ada", "s-1").unwrap().with_task("t").unwrap();
        let record = Record::new(scope.clone(), PutOptions::default(), Digest::of(b""), 0, SystemClock.now());
        let position = Position::of(&record);
        let filter = Filter {
            media_types: vec!["a/b".parse().unwrap(), "c/*; d=e".parse().unwrap()],
            sources: vec![artifact_store_core::Source::Tool],
            min_bytes: Some(1),
            max_bytes: Some(2),
            created_after: Some(SystemClock.now()),
            created_before: Some(SystemClock.now()),
            tags: vec!["a".into()],
        };
        let session = "artifact_by_session (tenant=? AND user=? AND session=?";
        for (pattern, expected_index, position_condition) in [
            (ScopePattern::exactly(&scope), "artifact_by_scope (scope_mark=?", "(rank,id)>(?,?)"),
            (ScopePattern::session_of(&scope), session, "(rank,id,scope_mark)>(?,?,?)"),
            (
                ScopePattern::tenant(scope.tenant().clone()).user(scope.user().clone()),
                "artifact_by_user (tenant=? AND user=?",
                "(rank,id,scope_mark)>(?,?,?)",
            ),
            (
                ScopePattern::tenant(scope.tenant().clone()),
                "artifact_by_tenant (tenant=?",
                "(rank,id,scope_mark)>(?,?,?)",
            ),
            (ScopePattern::all_tenants(), "artifact_by_rank", "(rank,id,scope_mark)>(?,?,?)"),
        ] {
            for filter in [Filter::default(), filter.clone()] {
                let filtered = filter != Filter::default();
                let query = ListQuery::new(pattern.clone()).with_filter(filter);
                for (position, rows) in [
                    (None, PageRows::Matching),
                    (Some(&position), PageRows::Matching),
                    (Some(&position), PageRows::Examined(10)),
                ] {
                    let steps = query_plan(&conn, &page_statement(&query, position, rows));
                    let plan = steps.join("\n");
                    assert!(steps[0].contains(expected_index), "{plan}");
                    let sorts_rows = plan.contains("TEMP B-TREE FOR ORDER BY");
                    assert!(!sorts_rows, "{plan}");
                    // A listing of all tenants scans a whole index. No listing may scan the table itself.
                    let scans_table = plan.contains("SCAN a") && !steps[0].contains("USING INDEX");
                    assert!(!scans_table, "{plan}");
                    if position.is_some() {
                        // Later times have smaller ranks. So the filter `created_after` sets the largest rank. A query
                        // plan of SQLite shows `<=` as `<`.
                        let max_rank_condition = if filtered { " AND rank<?" } else { "" };
                        let conditions = format!("{position_condition}{max_rank_condition}");
                        assert!(steps[0].contains(&conditions), "{plan}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_page_of_candidates_looks_up_each_of_them() {
        let mut conn = ConnectOptions::writer(&SqliteConfig::memory(), None).connect().unwrap();
        schema::migrate(&mut conn).unwrap();
        let query = ListQuery::new(ScopePattern::all_tenants());
        for statement in [
            candidates_statement(&query, None, "[1]".into()),
            count_candidates_statement(&query, "[1]".into()),
        ] {
            let plan = query_plan(&conn, &statement).join("\n");
            assert!(plan.contains("SEARCH a USING INTEGER PRIMARY KEY"), "{plan}");
        }
    }
}
