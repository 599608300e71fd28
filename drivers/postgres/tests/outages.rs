//! The server goes away, comes back, or says nothing: each call ends with a typed error in time, nothing acknowledged is
//! lost, nothing is half there, and the same store works again afterwards.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact_store_backends::{Mode, Postgres, Proxy};
use artifact_store_core::{ArtifactStore, Body, ErrorKind, ListQuery, PutOptions, PutOutcome, ScopePattern};
use artifact_store_postgres::PostgresStore;
use futures_util::StreamExt;
use support::{Home, MIB, SECOND, bytes, flowing, gated, halting, kind, put, read, scope};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_and_started_again_is_used_as_if_nothing_had_been() {
    let server = Postgres::own().await.unwrap();
    let home = Home::on(&server);
    let store = gated(home.open().await);
    let small = put(&*store, &bytes(1, 1000)).await;
    let large = store.put(&scope(), flowing(&bytes(2, 3 * MIB)), PutOptions::default()).await.unwrap().record;
    let calls: [&str; 6] = ["put", "stream", "get", "stat", "list", "delete"];
    for call in calls {
        // Several connections rest in the pool when the server goes.
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
                let put = store.put(&scope(), flowing(&bytes(4, 2 * MIB)), PutOptions::default()).await;
                assert_eq!(put.unwrap().outcome, PutOutcome::Created);
            }
            "get" => assert_eq!(read(&*store, &large).await.unwrap(), Some(bytes(2, 3 * MIB))),
            "stat" => assert!(store.stat(&scope(), &large.id).await.unwrap().is_some()),
            "list" => {
                let query = ListQuery::new(ScopePattern::all_tenants());
                assert_eq!(store.list(&query).await.unwrap().rows.len(), 4);
            }
            _ => {
                // The answer may not be known where the connection was gone; what was asked for is done.
                let deleted = store.delete(&scope(), &large.id).await;
                assert!(deleted.is_ok_and(|gone| gone));
            }
        }
    }
    assert!(store.stat(&scope(), &large.id).await.unwrap().is_none());
    assert_eq!(home.residue().await, Vec::<String>::new());
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_put_and_of_a_get_leaves_no_half() {
    let server = Postgres::own().await.unwrap();
    let home = Home::on(&server);
    let config = home.config().acquire_timeout(SECOND);
    let store = gated(PostgresStore::open(config).await.unwrap());
    let standing =
        store.put(&scope(), flowing(&bytes(1, 8 * MIB)), PutOptions::default()).await.unwrap().record;

    let (body, halts, go) = halting(&bytes(2, 8 * MIB));
    let putting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.put(&scope(), body, PutOptions::default()).await }
    });
    halts.await.unwrap();
    let mut stream = store.get(&scope(), &standing.id, None).await.unwrap().unwrap().stream;
    stream.next().await.unwrap().unwrap();
    server.kill().await.unwrap();
    go.send(()).unwrap();
    assert_eq!(kind(putting.await.unwrap()), ErrorKind::Unavailable);
    let mut ended = None;
    while let Some(piece) = stream.next().await {
        ended = piece.err();
    }
    assert_eq!(ended.expect("it cannot be whole").kind(), ErrorKind::Unavailable);
    let begun = Instant::now();
    assert_eq!(kind(store.stat(&scope(), &standing.id).await), ErrorKind::Unavailable);
    assert_eq!(kind(store.health().await), ErrorKind::Unavailable);
    assert!(begun.elapsed() < 4 * SECOND, "{:?}", begun.elapsed());

    server.start().await.unwrap();
    assert_eq!(read(&*store, &standing).await.unwrap(), Some(bytes(1, 8 * MIB)));
    let rows = store.list(&ListQuery::new(ScopePattern::all_tenants())).await.unwrap().rows;
    assert_eq!(rows, vec![standing]);
    home.becomes_clean().await;
    let again = store.put(&scope(), flowing(&bytes(2, 8 * MIB)), PutOptions::default()).await.unwrap();
    assert_eq!(again.outcome, PutOutcome::Created);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_puts_survive_a_kill_amid_many() {
    let server = Postgres::own().await.unwrap();
    let home = Home::on(&server);
    let store = Arc::new(PostgresStore::open(home.config().acquire_timeout(SECOND)).await.unwrap());
    let putting: Vec<_> = (0..8)
        .map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut kept = Vec::new();
                for n in 0.. {
                    let bytes = bytes(task * 10_000 + n, 20_000);
                    match store.put(&scope(), Body::from_bytes(bytes.clone()), PutOptions::default()).await {
                        Ok(put) => kept.push((put.record, bytes)),
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                            return kept;
                        }
                    }
                }
                kept
            })
        })
        .collect();
    while home.count("SELECT count(*) FROM artifact").await < 100 {}
    server.kill().await.unwrap();
    let mut kept = Vec::new();
    for task in putting {
        kept.extend(task.await.unwrap());
    }
    server.start().await.unwrap();
    assert!(kept.len() >= 92, "{}", kept.len());
    for (record, bytes) in kept {
        assert_eq!(read(&*store, &record).await.unwrap(), Some(bytes));
    }
    assert_eq!(home.residue().await, Vec::<String>::new());
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_half_way_leaves_no_half_and_the_next_call_works() {
    let home = Home::new().await;
    let proxy = Proxy::before(home.address()).await.unwrap();
    let store = gated(PostgresStore::open(home.config_through(&proxy)).await.unwrap());
    let standing = put(&*store, &bytes(1, 4 * MIB)).await;
    for (n, size, flows) in [(2, 900_000, false), (3, 5 * MIB, true)] {
        let bytes = bytes(n, size);
        let body = || if flows { flowing(&bytes) } else { Body::from_bytes(bytes.clone()) };
        proxy.set(Mode::CutAfterToServer(size as u64 / 2));
        let cut = store.put(&scope(), body(), PutOptions::default()).await;
        assert_eq!(kind(cut), ErrorKind::Unavailable, "{size}");
        proxy.set(Mode::Pass);
        assert_eq!(store.list(&ListQuery::new(ScopePattern::all_tenants())).await.unwrap().rows.len(), 1);
        home.becomes_clean().await;
    }
    // What one connection does not carry through, the next one does; where none carries a whole answer, that is the end.
    proxy.set(Mode::CutAfterToClient(2_000_000));
    assert_eq!(read(&*store, &standing).await.unwrap(), Some(bytes(1, 4 * MIB)));
    proxy.cut_all();
    proxy.set(Mode::CutAfterToClient(500_000));
    assert_eq!(kind(read(&*store, &standing).await), ErrorKind::Unavailable);
    proxy.set(Mode::Pass);
    assert_eq!(read(&*store, &standing).await.unwrap(), Some(bytes(1, 4 * MIB)));
    proxy.cut_all();
    assert!(store.stat(&scope(), &standing.id).await.unwrap().is_some());
    proxy.cut_all();
    assert!(store.delete(&scope(), &standing.id).await.unwrap());
    home.becomes_clean().await;
    store.close().await.unwrap();
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_whose_answer_is_lost_still_says_that_it_created() {
    let home = Home::new().await;
    let proxy = Proxy::before(home.address()).await.unwrap();
    let store = PostgresStore::open(home.config_through(&proxy)).await.unwrap();
    // The first put opens the connection and prepares the statement; the second's answer is cut off at every byte.
    for n in 0..40_u64 {
        put(&store, &bytes(1000 + n, 50)).await;
        proxy.set(Mode::CutAfterToClient(n * 4));
        let passes = async {
            // The repetition needs the way free again: as soon as the row stands, it is.
            tokio::time::sleep(Duration::from_millis(15)).await;
            proxy.set(Mode::Pass);
        };
        let (scope, body) = (scope(), Body::from_bytes(bytes(n, 50)));
        let (put, ()) = tokio::join!(store.put(&scope, body, PutOptions::default()), passes);
        assert_eq!(put.unwrap().outcome, PutOutcome::Created, "{n}");
    }
    assert_eq!(home.count("SELECT count(*) FROM artifact").await, 80);
    assert_eq!(home.residue().await, Vec::<String>::new());
    store.close().await.unwrap();
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_unavailable_within_the_time_out() {
    let home = Home::new().await;
    let proxy = Proxy::before(home.address()).await.unwrap();
    let store = gated(PostgresStore::open(home.config_through(&proxy)).await.unwrap());
    let standing = put(&*store, &bytes(1, 10)).await;
    // Once with connections that rest, once where each is new.
    for _ in 0..2 {
        proxy.set(Mode::BlackHole);
        for call in ["get", "put", "stream", "list", "delete", "health"] {
            let begun = Instant::now();
            let failed = match call {
                "get" => read(&*store, &standing).await.map(drop),
                "put" => {
                    store.put(&scope(), Body::from_bytes(bytes(2, 10)), PutOptions::default()).await.map(drop)
                }
                "stream" => {
                    store.put(&scope(), flowing(&bytes(2, 2 * MIB)), PutOptions::default()).await.map(drop)
                }
                "list" => store.list(&ListQuery::new(ScopePattern::all_tenants())).await.map(drop),
                "delete" => store.delete(&scope(), &standing.id).await.map(drop),
                _ => store.health().await.map(drop),
            };
            assert_eq!(kind(failed), ErrorKind::Unavailable, "{call}");
            assert!(begun.elapsed() < Duration::from_millis(2800), "{call}: {:?}", begun.elapsed());
        }
        let opened = Instant::now();
        assert_eq!(kind(PostgresStore::open(home.config_through(&proxy)).await), ErrorKind::Unavailable);
        assert!(opened.elapsed() < 3 * SECOND);
        proxy.set(Mode::Pass);
        assert_eq!(read(&*store, &standing).await.unwrap(), Some(bytes(1, 10)));
    }
    home.becomes_clean().await;
    store.close().await.unwrap();
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_falls_into_a_black_hole_ends_in_time_and_is_rolled_back() {
    let home = Home::new().await;
    let proxy = Proxy::before(home.address()).await.unwrap();
    let store = gated(PostgresStore::open(home.config_through(&proxy)).await.unwrap());
    let (body, halts, go) = halting(&bytes(1, 8 * MIB));
    let putting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.put(&scope(), body, PutOptions::default()).await }
    });
    halts.await.unwrap();
    proxy.set(Mode::BlackHole);
    go.send(()).unwrap();
    let begun = Instant::now();
    assert_eq!(kind(putting.await.unwrap()), ErrorKind::Unavailable);
    assert!(begun.elapsed() < 3 * SECOND, "{:?}", begun.elapsed());
    proxy.cut_all();
    proxy.set(Mode::Pass);
    home.becomes_clean().await;
    let again = store.put(&scope(), flowing(&bytes(1, 8 * MIB)), PutOptions::default()).await.unwrap();
    assert_eq!(again.outcome, PutOutcome::Created);
    store.close().await.unwrap();
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_slower_than_the_time_out_is_unavailable_in_time() {
    let home = Home::new().await;
    let proxy = Proxy::before(home.address()).await.unwrap();
    let store = gated(PostgresStore::open(home.config_through(&proxy)).await.unwrap());
    let standing = put(&*store, &bytes(1, 2 * MIB)).await;
    for mode in [Mode::Delay(3 * SECOND), Mode::Throttle { bytes_per_second: 20_000 }] {
        proxy.set(mode);
        let begun = Instant::now();
        assert_eq!(kind(read(&*store, &standing).await), ErrorKind::Unavailable);
        assert!(begun.elapsed() < 4 * SECOND, "{:?}", begun.elapsed());
        let begun = Instant::now();
        let failed = store.put(&scope(), Body::from_bytes(bytes(2, 900_000)), PutOptions::default()).await;
        assert_eq!(kind(failed), ErrorKind::Unavailable);
        assert!(begun.elapsed() < 4 * SECOND, "{:?}", begun.elapsed());
        proxy.set(Mode::Pass);
        proxy.cut_all();
        assert_eq!(read(&*store, &standing).await.unwrap(), Some(bytes(1, 2 * MIB)));
    }
    home.becomes_clean().await;
    store.close().await.unwrap();
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_waits_too_long_for_a_lock_is_unavailable_in_time() {
    let home = Home::new().await;
    let store = PostgresStore::open(home.config().statement_timeout(SECOND)).await.unwrap();
    let mut raw = home.raw().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE artifact").execute(&mut raw).await.unwrap();
    let begun = Instant::now();
    let failed = store.put(&scope(), Body::from_bytes(bytes(1, 10)), PutOptions::default()).await;
    assert_eq!(kind(failed), ErrorKind::Unavailable);
    assert!(begun.elapsed() < 2 * SECOND, "{:?}", begun.elapsed());
    sqlx::raw_sql("ROLLBACK").execute(&mut raw).await.unwrap();
    put(&store, &bytes(1, 10)).await;
    store.close().await.unwrap();
    home.end().await;
}
