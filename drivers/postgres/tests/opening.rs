//! Opening: concurrently, with invalid configurations and their messages, and the advertised capabilities.

mod common;

use std::sync::Arc;
use std::time::Instant;

use artifact_store_backends::Postgres;
use artifact_store_core::{
    ArtifactStore, Body, ErrorKind, Flag, HealthStatus, ListQuery, PutOptions, PutOutcome, ScopePattern,
};
use artifact_store_postgres::{PostgresConfig, PostgresStore, SynchronousCommit};
use common::{SECOND, TestDatabase, bytes, error_kind, error_message, put, read, scope};
use futures_util::future::join_all;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_stores_may_be_opened_on_a_new_schema_at_once() {
    let db = TestDatabase::new().await;
    let opened = join_all((0..20).map(|_| PostgresStore::open(db.config()))).await;
    for store in opened {
        let store = store.unwrap();
        assert_eq!(store.health().await.unwrap().status, HealthStatus::Ready);
        store.close().await.unwrap();
    }
    assert_eq!(db.count("SELECT count(*) FROM artifact_store_version").await, 1);
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_current_schema_is_opened_while_another_session_locks_its_tables() {
    let db = TestDatabase::new().await;
    db.open().await.close().await.unwrap();
    let mut raw = db.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE artifact, chunk, artifact_store_version IN SHARE ROW EXCLUSIVE MODE")
        .execute(&mut raw)
        .await
        .unwrap();
    db.open().await.close().await.unwrap();
    drop(raw);
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_racing_identical_puts_through_two_stores_creates_the_artifact() {
    let db = TestDatabase::new().await;
    let stores = [Arc::new(db.open().await), Arc::new(db.open().await)];
    for (n, size) in [(1, 1000), (2, 700_000), (3, 3_000_000)] {
        let bytes = bytes(n, size);
        let puts = join_all((0..16).map(|n| {
            let (store, bytes) = (Arc::clone(&stores[n % 2]), bytes.clone());
            let body = if n % 3 == 0 { common::body_stream(&bytes) } else { Body::from_bytes(bytes) };
            tokio::spawn(async move { store.put(&scope(), body, PutOptions::default()).await })
        }))
        .await;
        let puts: Vec<_> = puts.into_iter().map(|put| put.unwrap().unwrap()).collect();
        let created = puts.iter().filter(|put| put.outcome == PutOutcome::Created).count();
        assert_eq!(created, 1, "{size}");
        for store in &stores {
            assert_eq!(read(&**store, &puts[0].record).await.unwrap().as_ref(), Some(&bytes));
        }
    }
    assert_eq!(db.count("SELECT count(*) FROM artifact").await, 3);
    db.wait_until_clean().await;
    for store in stores {
        store.close().await.unwrap();
    }
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_another_application_or_a_newer_build_is_refused_and_not_changed() {
    let db = TestDatabase::new().await;
    db.execute(&format!("CREATE SCHEMA {0}; CREATE TABLE {0}.people (name text)", db.schema())).await;
    let (kind, message) = error_message(PostgresStore::open(db.config()).await);
    assert_eq!(kind, ErrorKind::InvalidArgument);
    assert!(message.contains("names a schema with tables of another application"), "{message}");
    assert_eq!(db.count("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()").await, 1);
    db.drop_schema().await;

    let db = TestDatabase::new().await;
    db.open().await.close().await.unwrap();
    db.execute("UPDATE artifact_store_version SET version = 99").await;
    let (kind, message) = error_message(PostgresStore::open(db.config()).await);
    assert_eq!(kind, ErrorKind::InvalidArgument);
    assert!(message.contains("99") && message.contains("newer build"), "{message}");
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_empty_schema_is_used() {
    let db = TestDatabase::new().await;
    db.execute(&format!("CREATE SCHEMA {}", db.schema())).await;
    let store = db.open().await;
    put(&store, &bytes(1, 10)).await;
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_of_a_failed_open_names_the_cause() {
    let db = TestDatabase::new().await;
    let role = format!("r{}", db.schema());
    db.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'weak'")).await;
    let url = db.url().to_owned();
    let database = url.rsplit('/').next().unwrap().to_owned();
    let user = url[url.find("//").unwrap() + 2..url.find('@').unwrap()].to_owned();
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for (url, expected, expected_word) in [
        (url.replace(&user, &format!("{role}:secret")), ErrorKind::Backend, "password"),
        (url.replace(&format!("/{database}"), "/nowhere"), ErrorKind::Backend, "CREATE DATABASE"),
        (url.replace(&user, &format!("{role}:weak")), ErrorKind::Backend, "CREATE SCHEMA"),
        (url.replace(&db.address().to_string(), &unused), ErrorKind::Unavailable, "start the server"),
        (format!("{url}?sslmode=require"), ErrorKind::Backend, "sslmode"),
        (format!("{url}?sslmode=perhaps"), ErrorKind::InvalidArgument, "form"),
        (format!("{url}?optoins=1"), ErrorKind::InvalidArgument, "sslrootcert"),
        (url.replace("postgres://", "mysql://"), ErrorKind::InvalidArgument, "postgres://"),
    ] {
        let started = Instant::now();
        let config = TestDatabase::config_for(&url).schema(db.schema()).acquire_timeout(SECOND);
        let (kind, message) = error_message(PostgresStore::open(config).await);
        assert_eq!(kind, expected, "{expected_word}: {message}");
        assert!(message.contains(expected_word), "{expected_word}: {message}");
        assert!(started.elapsed() < 2 * SECOND, "{expected_word}: {:?}", started.elapsed());
    }
    db.execute(&format!("DROP ROLE {role}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_encoding_is_refused() {
    let db = TestDatabase::new().await;
    let name = format!("latin{}", db.schema());
    db.execute(&format!("CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")).await;
    let database = db.url().rsplit('/').next().unwrap();
    let url = db.url().replace(&format!("/{database}"), &format!("/{name}"));
    let (kind, message) = error_message(PostgresStore::open(TestDatabase::config_for(&url)).await);
    db.execute(&format!("DROP DATABASE {name}")).await;
    assert_eq!(kind, ErrorKind::InvalidArgument);
    assert!(message.contains("UTF8"), "{message}");
}

#[test]
fn options_out_of_range_are_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = || PostgresConfig::new("postgres://nobody@127.0.0.1:1/none");
    for config in [
        config().max_connections(1),
        config().max_connections(1001),
        config().acquire_timeout(SECOND / 1000),
        config().statement_timeout(4000 * SECOND),
        config().schema(""),
        config().schema("1a"),
        config().schema("a\"b"),
        config().schema("pg_x"),
        config().schema("a".repeat(64)),
    ] {
        let text = format!("{config:?}");
        assert_eq!(
            error_kind(runtime.block_on(PostgresStore::open(config))),
            ErrorKind::InvalidArgument,
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn durable_is_advertised_only_if_the_server_is_durable() {
    let server = Postgres::dedicated().await.unwrap();
    let db = TestDatabase::new_on(&server);
    let is_durable = async |commit| {
        let store = PostgresStore::open(db.config().synchronous_commit(commit)).await.unwrap();
        put(&store, &bytes(1, 10)).await;
        let durable = store.capabilities().has(Flag::Durable);
        assert!(store.capabilities().has(Flag::Shared));
        // The server ends the session that opened the store a moment after it was closed.
        wait_for(
            &db,
            "SELECT count(*) FROM (SELECT count(*) AS sessions FROM pg_stat_activity
                 WHERE application_name = 'artifact-store') AS a WHERE sessions = 1",
        )
        .await;
        store.close().await.unwrap();
        durable
    };
    db.execute("ALTER SYSTEM SET fsync = on").await;
    db.execute("ALTER SYSTEM SET full_page_writes = on").await;
    db.execute("ALTER SYSTEM SET synchronous_commit = off").await;
    db.execute("SELECT pg_reload_conf()").await;
    wait_for(&db, "SELECT count(*) FROM pg_settings WHERE name = 'synchronous_commit' AND setting = 'off'")
        .await;
    assert!(
        is_durable(SynchronousCommit::On).await,
        "the store does not turn synchronous_commit on for its sessions"
    );
    assert!(!is_durable(SynchronousCommit::Off).await);
    for setting in ["fsync", "full_page_writes"] {
        db.execute(&format!("ALTER SYSTEM SET {setting} = off")).await;
        db.execute("SELECT pg_reload_conf()").await;
        let count_sql = |value| {
            format!("SELECT count(*) FROM pg_settings WHERE name = '{setting}' AND setting = '{value}'")
        };
        wait_for(&db, &count_sql("off")).await;
        assert!(!is_durable(SynchronousCommit::On).await, "{setting}");
        db.execute(&format!("ALTER SYSTEM SET {setting} = on")).await;
        db.execute("SELECT pg_reload_conf()").await;
        wait_for(&db, &count_sql("on")).await;
    }
}

/// Waits until the statement counts something.
async fn wait_for(db: &TestDatabase, sql: &str) {
    let started = Instant::now();
    while db.count(sql).await == 0 {
        assert!(started.elapsed() < 5 * SECOND, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_server_has_a_full_disk_is_degraded_until_a_put_succeeds() {
    let db = TestDatabase::new().await;
    let store = db.open().await;
    let record = put(&store, &bytes(1, 10)).await;
    // A trigger raises the server's SQLSTATE for a full disk. A real full disk would need a separate server.
    db.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$",
    )
    .await;
    for table in ["artifact", "chunk"] {
        let trigger =
            format!("CREATE TRIGGER full_disk BEFORE INSERT ON {table} EXECUTE FUNCTION full_disk()");
        db.execute(&trigger).await;
    }
    for body in [Body::from_bytes(bytes(2, 10)), common::body_stream(&bytes(3, 3 * common::MIB))] {
        let (kind, message) = error_message(store.put(&scope(), body, PutOptions::default()).await);
        assert_eq!(kind, ErrorKind::Unavailable);
        assert!(message.contains("no space left"), "{message}");
        let health = store.health().await.unwrap();
        assert_eq!((health.status, health.accepts_puts), (HealthStatus::Degraded, false));
        assert!(health.detail.unwrap().contains("disk was full"));
    }
    assert_eq!(read(&store, &record).await.unwrap(), Some(bytes(1, 10)));
    db.execute("DROP TRIGGER full_disk ON artifact").await;
    put(&store, &bytes(2, 10)).await;
    assert_eq!(store.health().await.unwrap().status, HealthStatus::Ready);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_server_becomes_read_only_is_degraded_and_serves_reads() {
    let server = Postgres::dedicated().await.unwrap();
    let db = TestDatabase::new_on(&server);
    let store = db.open().await;
    let record = put(&store, &bytes(1, 10)).await;
    db.execute("ALTER SYSTEM SET default_transaction_read_only = on").await;
    db.execute("SELECT pg_reload_conf()").await;
    let sql =
        "SELECT count(*) FROM pg_settings WHERE name = 'default_transaction_read_only' AND setting = 'on'";
    wait_for(&db, sql).await;
    let started = Instant::now();
    while store.health().await.unwrap().status == HealthStatus::Ready {
        assert!(started.elapsed() < 5 * SECOND);
    }
    let (kind, message) =
        error_message(store.put(&scope(), Body::from_bytes(bytes(2, 10)), PutOptions::default()).await);
    assert_eq!(kind, ErrorKind::Unavailable);
    assert!(message.contains("read-only"), "{message}");
    let large =
        store.put(&scope(), common::body_stream(&bytes(2, 3 * common::MIB)), PutOptions::default()).await;
    assert_eq!(error_message(large).0, ErrorKind::Unavailable);
    assert_eq!(error_message(store.delete(&scope(), &record.id).await).0, ErrorKind::Unavailable);
    assert_eq!(read(&store, &record).await.unwrap(), Some(bytes(1, 10)));
    assert_eq!(store.list(&ListQuery::new(ScopePattern::all_tenants())).await.unwrap().rows.len(), 1);
    // A new schema cannot be created now; an existing store can be opened.
    let (kind, message) = error_message(PostgresStore::open(db.config().schema("other")).await);
    assert_eq!(kind, ErrorKind::Unavailable);
    assert!(message.contains("read-only"), "{message}");
    let second = db.open().await;
    assert_eq!(second.health().await.unwrap().status, HealthStatus::Degraded);
    second.close().await.unwrap();
    store.close().await.unwrap();
}
