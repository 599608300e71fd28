//! Tests of the query plans: a real server explains each page, with the session settings of the store.

use artifact_store_backends::Postgres;
use artifact_store_core::{Clock, Digest, PutOptions, Source, SystemClock, Timestamp};
use sqlx::{ConnectOptions, PgConnection, Row};

use super::*;
use crate::config::PostgresConfig;
use crate::connect;

/// Inserts 5000 rows. Their scopes, times and tasks repeat, so that each value of an indexed column has several rows.
const ROWS: &str = "INSERT INTO artifact (blob, put, rank, size, scope_mark, id, tenant, user_, session, task, source,
        media_type, tags, digest, record_digest, record)
    SELECT n, n, -n / 7, n % 1000, decode(md5((n % 40)::text), 'hex'), 'id_' || n, 'tenant' || n % 3, 'user' || n % 10,
        'session' || n % 20, nullif('task' || n % 2, 'task0'), 'tool', 'a', ARRAY['a'::bytea], '', '', ''
    FROM generate_series(1, 5000) AS n";

/// The query plan of `sql`, as the text that `EXPLAIN` returns.
async fn explain(conn: &mut PgConnection, sql: &SqlBuilder) -> String {
    let explained = SqlBuilder { text: format!("EXPLAIN {}", sql.text), values: Vec::new() };
    let statement = sql.values.iter().fold(explained.statement(), |statement, value| match value {
        BindValue::Int(number) => statement.bind(number),
        BindValue::Text(text) => statement.bind(text),
        BindValue::Bytes(bytes) => statement.bind(bytes),
        BindValue::TextArray(texts) => statement.bind(texts),
        BindValue::BytesArray(list) => statement.bind(list),
        BindValue::IntArray(numbers) => statement.bind(numbers),
    });
    let rows = statement.persistent(false).fetch_all(conn).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn every_page_scans_one_index_and_sorts_nothing() {
    let server = Postgres::shared().await.unwrap();
    let schema = format!("plans{}", SystemClock.now().as_micros());
    let config = PostgresConfig::new(server.url()).schema(&schema);
    let options = connect::prepare(&config, connect::SchemaUpgrade::Allowed).await.unwrap().options;
    let mut conn = options.connect().await.unwrap();
    sqlx::raw_sql(ROWS).execute(&mut conn).await.unwrap();
    let scope = Scope::new("tenant1", "user1", "session1").unwrap().with_task("task1").unwrap();
    let record = Record::new(scope.clone(), PutOptions::default(), Digest::of(b""), 0, SystemClock.now());
    let position = Position::of(&record);
    let every_filter = Filter {
        media_types: vec!["a/b".parse().unwrap(), "c/*; d=e".parse().unwrap()],
        sources: vec![Source::Tool],
        min_bytes: Some(1),
        max_bytes: Some(2),
        created_after: Some(Timestamp::from_micros(0)),
        created_before: Some(SystemClock.now()),
        tags: vec!["a".into()],
    };
    let tenant = ScopePattern::tenant(scope.tenant().clone());
    // The plans are checked without statistics, with statistics, and without knowledge of the bound values.
    for setup_sql in ["", "ANALYZE artifact", "SET plan_cache_mode = force_generic_plan"] {
        sqlx::raw_sql(setup_sql).execute(&mut conn).await.unwrap();
        for (pattern, index, index_condition) in [
            (ScopePattern::exactly(&scope), "artifact_by_scope", "ROW(rank, id) >"),
            (ScopePattern::session_of(&scope), "artifact_by_session", "ROW(rank, id, scope_mark) >"),
            (tenant.clone().user(scope.user().clone()), "artifact_by_user", "ROW(rank, id, scope_mark) >"),
            (tenant.clone(), "artifact_by_tenant", "ROW(rank, id, scope_mark) >"),
            (
                tenant.clone().session(scope.session().clone()),
                "artifact_by_tenant",
                "ROW(rank, id, scope_mark) >",
            ),
            // The rank is the negated time, so the order of this index is the order of listings.
            (ScopePattern::all_tenants(), "artifact_by_rank", "ROW(rank, id, scope_mark) >"),
        ] {
            for filter in [Filter::default(), every_filter.clone()] {
                let query = ListQuery::new(pattern.clone()).with_filter(filter);
                for position in [None, Some(&position)] {
                    if let Some(candidates) = filter_index::candidate_query(&query, position) {
                        let plan = explain(&mut conn, &candidates).await;
                        assert!(
                            plan.contains("Bitmap Index Scan on artifact_by_filter"),
                            "{setup_sql}\n{plan}"
                        );
                        let window = explain(&mut conn, &filter_index::window_query(&query, position)).await;
                        assert!(window.contains("Index Scan using artifact_by_"), "{setup_sql}\n{window}");
                        assert!(!window.contains("Sort"), "{setup_sql}\n{window}");
                    }
                    let plan = explain(&mut conn, &page_query(&query, position)).await;
                    assert!(plan.contains("Index Scan using artifact_by_"), "{setup_sql}\n{plan}");
                    // Without statistics the server may choose another index with the same first columns.
                    assert!(
                        setup_sql.is_empty() || plan.contains(&format!("using {index} ")),
                        "{setup_sql}\n{plan}"
                    );
                    assert!(!plan.contains("Sort"), "{setup_sql}\n{plan}");
                    assert_eq!(plan.matches("Scan").count(), 1, "{setup_sql}\n{plan}");
                    if position.is_some() && !setup_sql.is_empty() {
                        let condition_line = plan
                            .lines()
                            .find(|line| line.contains("Index Cond"))
                            .expect("the plan has no index condition");
                        assert!(condition_line.contains(index_condition), "{setup_sql}\n{plan}");
                    }
                }
            }
        }
    }
    let drop = format!("SET client_min_messages = error; DROP SCHEMA {schema} CASCADE");
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut conn).await.unwrap();
}
