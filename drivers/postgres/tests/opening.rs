//! Opening: many at once, what is refused and with which sentence, and what is promised.

mod support;

use std::sync::Arc;
use std::time::Instant;

use artifact_store_backends::Postgres;
use artifact_store_core::{
    ArtifactStore, Body, ErrorKind, Flag, HealthStatus, ListQuery, PutOptions, PutOutcome, ScopePattern,
};
use artifact_store_postgres::{PostgresConfig, PostgresStore, SynchronousCommit};
use futures_util::future::join_all;
use support::{Home, SECOND, bytes, kind, put, read, scope, sentence};

#[tokio::test(flavor = "multi_thread")]
async fn twenty_may_open_a_new_schema_at_once() {
    let home = Home::new().await;
    let opened = join_all((0..20).map(|_| PostgresStore::open(home.config()))).await;
    for store in opened {
        let store = store.unwrap();
        assert_eq!(store.health().await.unwrap().status, HealthStatus::Ready);
        store.close().await.unwrap();
    }
    assert_eq!(home.count("SELECT count(*) FROM artifact_store_version").await, 1);
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_current_schema_is_opened_beside_somebody_who_holds_its_tables() {
    let home = Home::new().await;
    home.open().await.close().await.unwrap();
    let mut raw = home.raw().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE artifact, chunk, artifact_store_version IN SHARE ROW EXCLUSIVE MODE")
        .execute(&mut raw)
        .await
        .unwrap();
    home.open().await.close().await.unwrap();
    drop(raw);
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_identical_puts_through_two_stores_one_creates() {
    let home = Home::new().await;
    let stores = [Arc::new(home.open().await), Arc::new(home.open().await)];
    for (n, size) in [(1, 1000), (2, 700_000), (3, 3_000_000)] {
        let bytes = bytes(n, size);
        let puts = join_all((0..16).map(|n| {
            let (store, bytes) = (Arc::clone(&stores[n % 2]), bytes.clone());
            let body = if n % 3 == 0 { support::flowing(&bytes) } else { Body::from_bytes(bytes) };
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
    assert_eq!(home.count("SELECT count(*) FROM artifact").await, 3);
    home.becomes_clean().await;
    for store in stores {
        store.close().await.unwrap();
    }
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_something_else_or_of_a_newer_build_is_refused_and_left_alone() {
    let home = Home::new().await;
    home.alter(&format!("CREATE SCHEMA {0}; CREATE TABLE {0}.people (name text)", home.schema())).await;
    let (kind, says) = sentence(PostgresStore::open(home.config()).await);
    assert_eq!(kind, ErrorKind::InvalidArgument);
    assert!(says.contains("'schema'"), "{says}");
    assert_eq!(home.count("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()").await, 1);
    home.end().await;

    let home = Home::new().await;
    home.open().await.close().await.unwrap();
    home.alter("UPDATE artifact_store_version SET version = 99").await;
    let (kind, says) = sentence(PostgresStore::open(home.config()).await);
    assert_eq!(kind, ErrorKind::InvalidArgument);
    assert!(says.contains("99") && says.contains("newer build"), "{says}");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_schema_that_was_made_for_the_store_is_used() {
    let home = Home::new().await;
    home.alter(&format!("CREATE SCHEMA {}", home.schema())).await;
    let store = home.open().await;
    put(&store, &bytes(1, 10)).await;
    store.close().await.unwrap();
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_store_from_opening_is_said_in_a_sentence() {
    let home = Home::new().await;
    let role = format!("r{}", home.schema());
    home.alter(&format!("CREATE ROLE {role} LOGIN PASSWORD 'weak'")).await;
    let url = home.url().to_owned();
    let database = url.rsplit('/').next().unwrap().to_owned();
    let user = url[url.find("//").unwrap() + 2..url.find('@').unwrap()].to_owned();
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for (url, due, word) in [
        (url.replace(&user, &format!("{role}:secret")), ErrorKind::Backend, "password"),
        (url.replace(&format!("/{database}"), "/nowhere"), ErrorKind::Backend, "CREATE DATABASE"),
        (url.replace(&user, &format!("{role}:weak")), ErrorKind::Backend, "CREATE SCHEMA"),
        (url.replace(&home.address().to_string(), &unused), ErrorKind::Unavailable, "start the server"),
        (format!("{url}?sslmode=require"), ErrorKind::Backend, "sslmode"),
        (format!("{url}?sslmode=perhaps"), ErrorKind::InvalidArgument, "form"),
        (format!("{url}?optoins=1"), ErrorKind::InvalidArgument, "sslrootcert"),
        (url.replace("postgres://", "mysql://"), ErrorKind::InvalidArgument, "postgres://"),
    ] {
        let begun = Instant::now();
        let config = Home::quick(&url).schema(home.schema()).acquire_timeout(SECOND);
        let (kind, says) = sentence(PostgresStore::open(config).await);
        assert_eq!(kind, due, "{word}: {says}");
        assert!(says.contains(word), "{word}: {says}");
        assert!(begun.elapsed() < 2 * SECOND, "{word}: {:?}", begun.elapsed());
    }
    home.alter(&format!("DROP ROLE {role}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_encoding_is_refused() {
    let home = Home::new().await;
    let name = format!("latin{}", home.schema());
    home.alter(&format!("CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")).await;
    let database = home.url().rsplit('/').next().unwrap();
    let url = home.url().replace(&format!("/{database}"), &format!("/{name}"));
    let (kind, says) = sentence(PostgresStore::open(Home::quick(&url)).await);
    home.alter(&format!("DROP DATABASE {name}")).await;
    assert_eq!(kind, ErrorKind::InvalidArgument);
    assert!(says.contains("UTF8"), "{says}");
}

#[test]
fn options_out_of_their_bounds_are_refused() {
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
        let said = format!("{config:?}");
        assert_eq!(kind(runtime.block_on(PostgresStore::open(config))), ErrorKind::InvalidArgument, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn durable_is_promised_only_where_the_server_keeps_it() {
    let server = Postgres::own().await.unwrap();
    let home = Home::on(&server);
    let durable = async |commit| {
        let store = PostgresStore::open(home.config().synchronous_commit(commit)).await.unwrap();
        put(&store, &bytes(1, 10)).await;
        let durable = store.capabilities().has(Flag::Durable);
        assert!(store.capabilities().has(Flag::Shared));
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'artifact-store'";
        assert_eq!(home.count(sql).await, 1);
        store.close().await.unwrap();
        durable
    };
    home.alter("ALTER SYSTEM SET fsync = on").await;
    home.alter("ALTER SYSTEM SET full_page_writes = on").await;
    home.alter("ALTER SYSTEM SET synchronous_commit = off").await;
    home.alter("SELECT pg_reload_conf()").await;
    settled(&home, "SELECT count(*) FROM pg_settings WHERE name = 'synchronous_commit' AND setting = 'off'")
        .await;
    assert!(durable(SynchronousCommit::On).await, "the store asks for what the server does not do by itself");
    assert!(!durable(SynchronousCommit::Off).await);
    for setting in ["fsync", "full_page_writes"] {
        home.alter(&format!("ALTER SYSTEM SET {setting} = off")).await;
        home.alter("SELECT pg_reload_conf()").await;
        let is = |value| {
            format!("SELECT count(*) FROM pg_settings WHERE name = '{setting}' AND setting = '{value}'")
        };
        settled(&home, &is("off")).await;
        assert!(!durable(SynchronousCommit::On).await, "{setting}");
        home.alter(&format!("ALTER SYSTEM SET {setting} = on")).await;
        home.alter("SELECT pg_reload_conf()").await;
        settled(&home, &is("on")).await;
    }
}

/// Waits until a new session finds the setting.
async fn settled(home: &Home, sql: &str) {
    let begun = Instant::now();
    while home.count(sql).await == 0 {
        assert!(begun.elapsed() < 5 * SECOND, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_disk_is_full_is_degraded_until_a_put_is_taken_again() {
    let home = Home::new().await;
    let store = home.open().await;
    let record = put(&store, &bytes(1, 10)).await;
    // The server's own refusal, by its code: a disk of its own to fill takes another server.
    home.alter(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$",
    )
    .await;
    home.alter("CREATE TRIGGER full_disk BEFORE INSERT ON chunk EXECUTE FUNCTION full_disk()").await;
    for body in [Body::from_bytes(bytes(2, 10)), support::flowing(&bytes(3, 3 * support::MIB))] {
        let (kind, says) = sentence(store.put(&scope(), body, PutOptions::default()).await);
        assert_eq!(kind, ErrorKind::Unavailable);
        assert!(says.contains("no space left"), "{says}");
        let health = store.health().await.unwrap();
        assert_eq!((health.status, health.takes_puts), (HealthStatus::Degraded, false));
        assert!(health.detail.unwrap().contains("disk was full"));
    }
    assert_eq!(read(&store, &record).await.unwrap(), Some(bytes(1, 10)));
    home.alter("DROP TRIGGER full_disk ON chunk").await;
    put(&store, &bytes(2, 10)).await;
    assert_eq!(store.health().await.unwrap().status, HealthStatus::Ready);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_turns_read_only_is_degraded_and_serves_reads() {
    let server = Postgres::own().await.unwrap();
    let home = Home::on(&server);
    let store = home.open().await;
    let record = put(&store, &bytes(1, 10)).await;
    home.alter("ALTER SYSTEM SET default_transaction_read_only = on").await;
    home.alter("SELECT pg_reload_conf()").await;
    let sql =
        "SELECT count(*) FROM pg_settings WHERE name = 'default_transaction_read_only' AND setting = 'on'";
    settled(&home, sql).await;
    let begun = Instant::now();
    while store.health().await.unwrap().status == HealthStatus::Ready {
        assert!(begun.elapsed() < 5 * SECOND);
    }
    let (kind, says) =
        sentence(store.put(&scope(), Body::from_bytes(bytes(2, 10)), PutOptions::default()).await);
    assert_eq!(kind, ErrorKind::Unavailable);
    assert!(says.contains("read-only"), "{says}");
    let large =
        store.put(&scope(), support::flowing(&bytes(2, 3 * support::MIB)), PutOptions::default()).await;
    assert_eq!(sentence(large).0, ErrorKind::Unavailable);
    assert_eq!(sentence(store.delete(&scope(), &record.id).await).0, ErrorKind::Unavailable);
    assert_eq!(read(&store, &record).await.unwrap(), Some(bytes(1, 10)));
    assert_eq!(store.list(&ListQuery::new(ScopePattern::all_tenants())).await.unwrap().rows.len(), 1);
    // A new schema cannot be made now; a store that stands can be opened.
    let (kind, says) = sentence(PostgresStore::open(home.config().schema("other")).await);
    assert_eq!(kind, ErrorKind::Unavailable);
    assert!(says.contains("read-only"), "{says}");
    let beside = home.open().await;
    assert_eq!(beside.health().await.unwrap().status, HealthStatus::Degraded);
    beside.close().await.unwrap();
    store.close().await.unwrap();
}
