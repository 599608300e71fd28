//! Streams and the connections that they hold: bounded, rolled back, and never in the way of a read.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact_store_core::{
    ArtifactStore, Body, Bytes, Digest, ErrorKind, PutOptions, PutOutcome, StoreError,
};
use artifact_store_postgres::PostgresStore;
use futures_util::StreamExt;
use futures_util::future::join_all;
use support::{Home, MIB, SECOND, bytes, flowing, halting, kind, put, read, scope, sentence};

#[tokio::test(flavor = "multi_thread")]
async fn slow_uploads_leave_connections_for_reads_and_more_of_them_are_told_why() {
    let home = Home::new().await;
    let config = home.config().max_connections(4).upload_wait(SECOND / 4);
    let store = Arc::new(PostgresStore::open(config).await.unwrap());
    let standing = put(&*store, &bytes(1, 3 * MIB)).await;
    let mut uploads = Vec::new();
    for n in 0..3 {
        let (body, halts, go) = halting(&bytes(10 + n, 4 * MIB));
        let store = Arc::clone(&store);
        let putting = tokio::spawn(async move { store.put(&scope(), body, PutOptions::default()).await });
        halts.await.unwrap();
        uploads.push((putting, go));
    }
    let begun = Instant::now();
    let (kind, says) =
        sentence(store.put(&scope(), flowing(&bytes(20, 4 * MIB)), PutOptions::default()).await);
    assert_eq!(kind, ErrorKind::Unavailable);
    assert!(says.contains("max_connections"), "{says}");
    assert!(begun.elapsed() < SECOND);
    for read in join_all((0..8).map(|_| read(&*store, &standing))).await {
        assert_eq!(read.unwrap(), Some(bytes(1, 3 * MIB)));
    }
    put(&*store, &bytes(2, 1000)).await;
    for (putting, go) in uploads {
        go.send(()).unwrap();
        assert_eq!(putting.await.unwrap().unwrap().outcome, PutOutcome::Created);
    }
    store.close().await.unwrap();
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_waits_for_its_turn_for_longer_than_a_call_waits_for_a_connection() {
    let home = Home::new().await;
    let config = home.config().max_connections(2).acquire_timeout(SECOND / 4).upload_wait(60 * SECOND);
    let store = Arc::new(PostgresStore::open(config).await.unwrap());
    let (body, halts, go) = halting(&bytes(10, 4 * MIB));
    let first = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.put(&scope(), body, PutOptions::default()).await })
    };
    halts.await.unwrap();
    let second = {
        let store = Arc::clone(&store);
        let body = flowing(&bytes(20, 4 * MIB));
        tokio::spawn(async move { store.put(&scope(), body, PutOptions::default()).await })
    };
    tokio::time::sleep(SECOND).await;
    assert!(!second.is_finished());
    go.send(()).unwrap();
    for putting in [first, second] {
        let put = putting.await.unwrap().unwrap();
        assert_eq!(put.outcome, PutOutcome::Created);
        assert!(read(&*store, &put.record).await.unwrap().is_some());
    }
    store.close().await.unwrap();
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_ends_the_wait_of_an_upload() {
    let home = Home::new().await;
    let config = home.config().max_connections(2).upload_wait(60 * SECOND);
    let store = Arc::new(PostgresStore::open(config).await.unwrap());
    let (body, halts, _go) = halting(&bytes(10, 4 * MIB));
    let first = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.put(&scope(), body, PutOptions::default()).await })
    };
    halts.await.unwrap();
    let second = {
        let store = Arc::clone(&store);
        let body = flowing(&bytes(20, 4 * MIB));
        tokio::spawn(async move { store.put(&scope(), body, PutOptions::default()).await })
    };
    tokio::time::sleep(SECOND / 4).await;
    store.close().await.unwrap();
    for putting in [first, second] {
        assert_eq!(kind(putting.await.unwrap()), ErrorKind::Closed);
    }
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_finds_every_connection_in_use_says_so_in_time() {
    let home = Home::new().await;
    let config = home.config().max_connections(2).acquire_timeout(SECOND / 4);
    let store = Arc::new(PostgresStore::open(config).await.unwrap());
    let record = put(&*store, &bytes(1, 10)).await;
    let mut raw = home.raw().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE artifact").execute(&mut raw).await.unwrap();
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let (store, record) = (Arc::clone(&store), record.clone());
            tokio::spawn(async move { read(&*store, &record).await })
        })
        .collect();
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'artifact'::regclass";
    while home.count(waits).await < 2 {}
    let begun = Instant::now();
    let (kind, says) = sentence(store.stat(&scope(), &record.id).await);
    assert_eq!(kind, ErrorKind::Unavailable);
    assert!(says.contains("all 2 connections are in use"), "{says}");
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    sqlx::raw_sql("ROLLBACK").execute(&mut raw).await.unwrap();
    for waiting in waiting {
        assert!(waiting.await.unwrap().unwrap().is_some());
    }
    store.close().await.unwrap();
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_upload_leaves_nothing_and_its_connection_is_not_used_again() {
    let home = Home::new().await;
    let store = PostgresStore::open(home.config().max_connections(2)).await.unwrap();
    let scope = scope();
    for first in [0, 10, MIB, 2 * MIB, 5 * MIB] {
        let head = bytes(first as u64, first);
        let stalls = futures_util::stream::iter(
            head.chunks(200_000).map(Bytes::copy_from_slice).map(Ok::<_, StoreError>).collect::<Vec<_>>(),
        )
        .chain(futures_util::stream::pending());
        let putting = store.put(&scope, Body::from_stream(stalls), PutOptions::default());
        assert!(tokio::time::timeout(Duration::from_millis(100), putting).await.is_err());
        home.becomes_clean().await;
        assert_eq!(home.count("SELECT count(*) FROM chunk").await, 0);
    }
    // At any moment at all: each future is dropped a little later than the one before.
    for micros in (0..12_000).step_by(300) {
        let putting = store.put(&scope, flowing(&bytes(micros, 2 * MIB)), PutOptions::default());
        let _ = tokio::time::timeout(Duration::from_micros(micros), putting).await;
        let small = Body::from_bytes(bytes(micros + 1, 10));
        let _ = tokio::time::timeout(
            Duration::from_micros(micros / 8),
            store.put(&scope, small, PutOptions::default()),
        )
        .await;
    }
    put(&store, &bytes(3, 10)).await;
    home.becomes_clean().await;
    store.close().await.unwrap();
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_amid_an_upload_does_not_wait_for_its_caller() {
    let home = Home::new().await;
    let store = Arc::new(home.open().await);
    let (body, halts, go) = halting(&bytes(1, 4 * MIB));
    let putting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.put(&scope(), body, PutOptions::default()).await }
    });
    halts.await.unwrap();
    let begun = Instant::now();
    store.close().await.unwrap();
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    assert_eq!(kind(putting.await.unwrap()), ErrorKind::Closed);
    drop(go);
    home.becomes_clean().await;
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_as_announced_is_rolled_back() {
    let home = Home::new().await;
    let store = home.open().await;
    for size in [100, 3 * MIB] {
        let all = bytes(1, size);
        let broken = flowing(&all).with_digest(Digest::of(b"other"));
        let shorter = flowing(&all).with_length(size as u64 + 1);
        let longer = flowing(&all).with_length(size as u64 - 1);
        let pieces = futures_util::stream::iter([Ok(all.clone()), Err(std::io::Error::other("gone"))]);
        let failing = Body::from_stream(pieces);
        for body in [broken, shorter, longer, failing] {
            let failed = kind(store.put(&scope(), body, PutOptions::default()).await);
            assert!(
                matches!(failed, ErrorKind::InvalidArgument | ErrorKind::DigestMismatch { .. }),
                "{failed:?}"
            );
            home.becomes_clean().await;
        }
    }
    assert_eq!(home.count("SELECT count(*) FROM artifact").await, 0);
    store.close().await.unwrap();
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stands_already_is_read_and_checked_but_not_written() {
    let home = Home::new().await;
    let store = home.open().await;
    let all = bytes(1, 6 * MIB);
    put(&store, &all).await;
    let numbers = "SELECT last_value FROM blob_number";
    let before = home.count(numbers).await;
    let digest = Digest::of(&all);
    let again = store.put(&scope(), flowing(&all).with_digest(digest), PutOptions::default()).await.unwrap();
    assert_eq!(again.outcome, PutOutcome::StoodAlready);
    let lying =
        store.put(&scope(), flowing(&bytes(2, 6 * MIB)).with_digest(digest), PutOptions::default()).await;
    assert!(matches!(kind(lying), ErrorKind::DigestMismatch { .. }));
    assert_eq!(home.count(numbers).await, before);
    store.close().await.unwrap();
    home.end().await;
}
