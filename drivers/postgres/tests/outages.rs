//! The server is killed, restarted, or does not respond: each call ends with a typed error in time, no acknowledged
//! artifact is lost, no partial artifact exists, and the same store works again afterwards.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact_store_backends::{Postgres, Proxy, ProxyMode};
use artifact_store_core::{ArtifactStore, Body, ErrorKind, ListQuery, PutOptions, PutOutcome, ScopePattern};
use artifact_store_postgres::PostgresStore;
use common::{
    MIB, SECOND, TestDatabase, body_stream, bytes, error_kind, gated, paused_stream, put, read, scope,
};
use futures_util::StreamExt;

#[tokio::test(flavor = "multi_thread")]
async fn calls_succeed_after_the_server_was_killed_and_restarted() {
    let server = Postgres::dedicated().await.unwrap();
    let db = TestDatabase::new_on(&server);
    let store = gated(db.open().await);
    let small = put(&*store, &bytes(1, 1000)).await;
    let large =
        store.put(&scope(), body_stream(&bytes(2, 3 * MIB)), PutOptions::default()).await.unwrap().record;
    let calls: [&str; 6] = ["put", "stream", "get", "stat", "list", "delete"];
    for call in calls {
        // Several connections are idle in the pool when the server is killed.
        let reads = (0..4).map(|_| read(&*store, &small));
        for read in futures_util::future::join_all(reads).await {
            assert_eq!(read.unwrap(), Some(bytes(1, 1000)));
        }
        server.kill().await.unwrap();
        server.start().await.unwrap();
        match call {
            "put" => {
                let put = store.put(&scope(), Body::from_bytes(bytes(3, 10)), PutOptions::default()).await;
                assert_eq!(put.unwrap().outcome, PutOutcome::Created);
            }
            "stream" => {
                let put = store.put(&scope(), body_stream(&bytes(4, 2 * MIB)), PutOptions::default()).await;
                assert_eq!(put.unwrap().outcome, PutOutcome::Created);
            }
            "get" => assert_eq!(read(&*store, &large).await.unwrap(), Some(bytes(2, 3 * MIB))),
            "stat" => assert!(store.stat(&scope(), &large.id).await.unwrap().is_some()),
            "list" => {
                let query = ListQuery::new(ScopePattern::all_tenants());
                assert_eq!(store.list(&query).await.unwrap().rows.len(), 4);
            }
            _ => {
                // The lost connections were idle, so the first attempt had no effect and the retry deletes the
                // artifact.
                let deleted = store.delete(&scope(), &large.id).await;
                assert!(deleted.is_ok_and(|existed| existed));
            }
        }
    }
    assert!(store.stat(&scope(), &large.id).await.unwrap().is_none());
    assert_eq!(db.residue().await, Vec::<String>::new());
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_put_and_of_a_get_leaves_no_partial_artifact() {
    let server = Postgres::dedicated().await.unwrap();
    let db = TestDatabase::new_on(&server);
    let config = db.config().acquire_timeout(SECOND);
    let store = gated(PostgresStore::open(config).await.unwrap());
    let existing =
        store.put(&scope(), body_stream(&bytes(1, 8 * MIB)), PutOptions::default()).await.unwrap().record;

    let (body, paused, resume) = paused_stream(&bytes(2, 8 * MIB));
    let put_task = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.put(&scope(), body, PutOptions::default()).await }
    });
    paused.await.unwrap();
    let mut stream = store.get(&scope(), &existing.id, None).await.unwrap().unwrap().stream;
    stream.next().await.unwrap().unwrap();
    server.kill().await.unwrap();
    resume.send(()).unwrap();
    assert_eq!(error_kind(put_task.await.unwrap()), ErrorKind::Unavailable);
    let mut ended = None;
    while let Some(piece) = stream.next().await {
        ended = piece.err();
    }
    assert_eq!(ended.expect("the stream ended without an error").kind(), ErrorKind::Unavailable);
    let started = Instant::now();
    assert_eq!(error_kind(store.stat(&scope(), &existing.id).await), ErrorKind::Unavailable);
    assert_eq!(error_kind(store.health().await), ErrorKind::Unavailable);
    assert!(started.elapsed() < 4 * SECOND, "{:?}", started.elapsed());

    server.start().await.unwrap();
    assert_eq!(read(&*store, &existing).await.unwrap(), Some(bytes(1, 8 * MIB)));
    let rows = store.list(&ListQuery::new(ScopePattern::all_tenants())).await.unwrap().rows;
    assert_eq!(rows, vec![existing]);
    db.wait_until_clean().await;
    let again = store.put(&scope(), body_stream(&bytes(2, 8 * MIB)), PutOptions::default()).await.unwrap();
    assert_eq!(again.outcome, PutOutcome::Created);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_puts_survive_a_kill_during_many_puts() {
    let server = Postgres::dedicated().await.unwrap();
    let db = TestDatabase::new_on(&server);
    let store = Arc::new(PostgresStore::open(db.config().acquire_timeout(SECOND)).await.unwrap());
    let put_tasks: Vec<_> = (0..8)
        .map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for n in 0.. {
                    let bytes = bytes(task * 10_000 + n, 20_000);
                    match store.put(&scope(), Body::from_bytes(bytes.clone()), PutOptions::default()).await {
                        Ok(put) => acknowledged.push((put.record, bytes)),
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                            return acknowledged;
                        }
                    }
                }
                acknowledged
            })
        })
        .collect();
    while db.count("SELECT count(*) FROM artifact").await < 100 {}
    server.kill().await.unwrap();
    let mut acknowledged = Vec::new();
    for task in put_tasks {
        acknowledged.extend(task.await.unwrap());
    }
    server.start().await.unwrap();
    assert!(acknowledged.len() >= 92, "{}", acknowledged.len());
    for (record, bytes) in acknowledged {
        assert_eq!(read(&*store, &record).await.unwrap(), Some(bytes));
    }
    assert_eq!(db.residue().await, Vec::<String>::new());
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_half_way_leaves_no_partial_artifact_and_the_next_call_works() {
    let db = TestDatabase::new().await;
    let proxy = Proxy::start(db.address()).await.unwrap();
    let store = gated(PostgresStore::open(db.config_through(&proxy)).await.unwrap());
    let existing = put(&*store, &bytes(1, 4 * MIB)).await;
    for (n, size, is_streamed) in [(2, 900_000, false), (3, 5 * MIB, true)] {
        let bytes = bytes(n, size);
        let body = || if is_streamed { body_stream(&bytes) } else { Body::from_bytes(bytes.clone()) };
        proxy.set_mode(ProxyMode::CutAfterToServer(size as u64 / 2));
        let cut = store.put(&scope(), body(), PutOptions::default()).await;
        assert_eq!(error_kind(cut), ErrorKind::Unavailable, "{size}");
        proxy.set_mode(ProxyMode::Pass);
        assert_eq!(store.list(&ListQuery::new(ScopePattern::all_tenants())).await.unwrap().rows.len(), 1);
        db.wait_until_clean().await;
    }
    // A statement that fails on one connection is retried on another connection. If no connection can carry a whole
    // response, the read fails.
    proxy.set_mode(ProxyMode::CutAfterToClient(2_000_000));
    assert_eq!(read(&*store, &existing).await.unwrap(), Some(bytes(1, 4 * MIB)));
    proxy.reset_all();
    proxy.set_mode(ProxyMode::CutAfterToClient(500_000));
    assert_eq!(error_kind(read(&*store, &existing).await), ErrorKind::Unavailable);
    proxy.set_mode(ProxyMode::Pass);
    assert_eq!(read(&*store, &existing).await.unwrap(), Some(bytes(1, 4 * MIB)));
    proxy.reset_all();
    assert!(store.stat(&scope(), &existing.id).await.unwrap().is_some());
    proxy.reset_all();
    assert!(store.delete(&scope(), &existing.id).await.unwrap());
    db.wait_until_clean().await;
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_artifact_is_deleted_even_if_the_connection_breaks_first() {
    let db = TestDatabase::new().await;
    let proxy = Proxy::start(db.address()).await.unwrap();
    let store = gated(PostgresStore::open(db.config_through(&proxy)).await.unwrap());
    // The artifact is larger than what one statement deletes.
    let body = body_stream(&bytes(1, 65 * MIB));
    let large = store.put(&scope(), body, PutOptions::default()).await.unwrap().record;
    // The first statement fails and is retried. A retried statement deletes no large artifact either.
    proxy.reset_all();
    assert!(store.delete(&scope(), &large.id).await.unwrap());
    assert!(store.stat(&scope(), &large.id).await.unwrap().is_none());
    db.wait_until_clean().await;
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_whose_response_is_lost_still_returns_created() {
    let db = TestDatabase::new().await;
    let proxy = Proxy::start(db.address()).await.unwrap();
    let store = PostgresStore::open(db.config_through(&proxy)).await.unwrap();
    // The first put opens the connection and prepares the statement. The proxy cuts off the response to the second put
    // after 4n bytes.
    for n in 0..40_u64 {
        put(&store, &bytes(1000 + n, 50)).await;
        proxy.set_mode(ProxyMode::CutAfterToClient(n * 4));
        let passes = async {
            // The retry needs a working connection: bytes pass again after the row is inserted.
            tokio::time::sleep(Duration::from_millis(15)).await;
            proxy.set_mode(ProxyMode::Pass);
        };
        let (scope, body) = (scope(), Body::from_bytes(bytes(n, 50)));
        let (put, ()) = tokio::join!(store.put(&scope, body, PutOptions::default()), passes);
        assert_eq!(put.unwrap().outcome, PutOutcome::Created, "{n}");
    }
    assert_eq!(db.count("SELECT count(*) FROM artifact").await, 80);
    assert_eq!(db.residue().await, Vec::<String>::new());
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_respond_is_unavailable_within_the_timeout() {
    let db = TestDatabase::new().await;
    let proxy = Proxy::start(db.address()).await.unwrap();
    let store = gated(PostgresStore::open(db.config_through(&proxy)).await.unwrap());
    let existing = put(&*store, &bytes(1, 10)).await;
    // First with idle connections in the pool, then with new connections only.
    for _ in 0..2 {
        proxy.set_mode(ProxyMode::BlackHole);
        for call in ["get", "put", "stream", "list", "delete", "health"] {
            let started = Instant::now();
            let failed = match call {
                "get" => read(&*store, &existing).await.map(drop),
                "put" => {
                    store.put(&scope(), Body::from_bytes(bytes(2, 10)), PutOptions::default()).await.map(drop)
                }
                "stream" => store
                    .put(&scope(), body_stream(&bytes(2, 2 * MIB)), PutOptions::default())
                    .await
                    .map(drop),
                "list" => store.list(&ListQuery::new(ScopePattern::all_tenants())).await.map(drop),
                "delete" => store.delete(&scope(), &existing.id).await.map(drop),
                _ => store.health().await.map(drop),
            };
            assert_eq!(error_kind(failed), ErrorKind::Unavailable, "{call}");
            assert!(started.elapsed() < Duration::from_millis(2800), "{call}: {:?}", started.elapsed());
        }
        let opened = Instant::now();
        assert_eq!(error_kind(PostgresStore::open(db.config_through(&proxy)).await), ErrorKind::Unavailable);
        assert!(opened.elapsed() < 3 * SECOND);
        proxy.set_mode(ProxyMode::Pass);
        assert_eq!(read(&*store, &existing).await.unwrap(), Some(bytes(1, 10)));
    }
    db.wait_until_clean().await;
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_to_a_server_that_stops_responding_ends_in_time_and_is_rolled_back() {
    let db = TestDatabase::new().await;
    let proxy = Proxy::start(db.address()).await.unwrap();
    let store = gated(PostgresStore::open(db.config_through(&proxy)).await.unwrap());
    let (body, paused, resume) = paused_stream(&bytes(1, 8 * MIB));
    let put_task = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.put(&scope(), body, PutOptions::default()).await }
    });
    paused.await.unwrap();
    proxy.set_mode(ProxyMode::BlackHole);
    resume.send(()).unwrap();
    let started = Instant::now();
    assert_eq!(error_kind(put_task.await.unwrap()), ErrorKind::Unavailable);
    assert!(started.elapsed() < 3 * SECOND, "{:?}", started.elapsed());
    proxy.reset_all();
    proxy.set_mode(ProxyMode::Pass);
    db.wait_until_clean().await;
    let again = store.put(&scope(), body_stream(&bytes(1, 8 * MIB)), PutOptions::default()).await.unwrap();
    assert_eq!(again.outcome, PutOutcome::Created);
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_over_a_network_slower_than_the_timeout_are_unavailable_in_time() {
    let db = TestDatabase::new().await;
    let proxy = Proxy::start(db.address()).await.unwrap();
    let store = gated(PostgresStore::open(db.config_through(&proxy)).await.unwrap());
    let existing = put(&*store, &bytes(1, 2 * MIB)).await;
    for mode in [ProxyMode::Delay(3 * SECOND), ProxyMode::Throttle { bytes_per_second: 20_000 }] {
        proxy.set_mode(mode);
        let started = Instant::now();
        assert_eq!(error_kind(read(&*store, &existing).await), ErrorKind::Unavailable);
        assert!(started.elapsed() < 4 * SECOND, "{:?}", started.elapsed());
        let started = Instant::now();
        let failed = store.put(&scope(), Body::from_bytes(bytes(2, 900_000)), PutOptions::default()).await;
        assert_eq!(error_kind(failed), ErrorKind::Unavailable);
        assert!(started.elapsed() < 4 * SECOND, "{:?}", started.elapsed());
        proxy.set_mode(ProxyMode::Pass);
        proxy.reset_all();
        assert_eq!(read(&*store, &existing).await.unwrap(), Some(bytes(1, 2 * MIB)));
    }
    db.wait_until_clean().await;
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_waits_too_long_for_a_lock_is_unavailable_in_time() {
    let db = TestDatabase::new().await;
    let store = PostgresStore::open(db.config().statement_timeout(SECOND)).await.unwrap();
    let mut raw = db.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE artifact").execute(&mut raw).await.unwrap();
    let started = Instant::now();
    let failed = store.put(&scope(), Body::from_bytes(bytes(1, 10)), PutOptions::default()).await;
    assert_eq!(error_kind(failed), ErrorKind::Unavailable);
    assert!(started.elapsed() < 2 * SECOND, "{:?}", started.elapsed());
    sqlx::raw_sql("ROLLBACK").execute(&mut raw).await.unwrap();
    put(&store, &bytes(1, 10)).await;
    store.close().await.unwrap();
    db.drop_schema().await;
}
