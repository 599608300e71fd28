//! Streamed puts and the connections that they hold: limited, rolled back, and never blocking a read.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact_store_core::{
    ArtifactStore, Body, Bytes, Digest, ErrorKind, PutOptions, PutOutcome, StoreError,
};
use artifact_store_postgres::PostgresStore;
use common::{
    MIB, SECOND, TestDatabase, body_stream, bytes, error_kind, error_message, paused_stream, put, read, scope,
};
use futures_util::StreamExt;
use futures_util::future::join_all;

#[tokio::test(flavor = "multi_thread")]
async fn slow_uploads_leave_connections_for_reads_and_further_uploads_fail_with_the_reason() {
    let db = TestDatabase::new().await;
    let config = db.config().max_connections(4).upload_wait(SECOND / 4);
    let store = Arc::new(PostgresStore::open(config).await.unwrap());
    let existing = put(&*store, &bytes(1, 3 * MIB)).await;
    let mut uploads = Vec::new();
    for n in 0..3 {
        let (body, paused, resume) = paused_stream(&bytes(10 + n, 4 * MIB));
        let store = Arc::clone(&store);
        let put_task = tokio::spawn(async move { store.put(&scope(), body, PutOptions::default()).await });
        paused.await.unwrap();
        uploads.push((put_task, resume));
    }
    let started = Instant::now();
    let (kind, message) =
        error_message(store.put(&scope(), body_stream(&bytes(20, 4 * MIB)), PutOptions::default()).await);
    assert_eq!(kind, ErrorKind::Unavailable);
    assert!(message.contains("max_connections"), "{message}");
    assert!(started.elapsed() < SECOND);
    for read in join_all((0..8).map(|_| read(&*store, &existing))).await {
        assert_eq!(read.unwrap(), Some(bytes(1, 3 * MIB)));
    }
    put(&*store, &bytes(2, 1000)).await;
    for (put_task, resume) in uploads {
        resume.send(()).unwrap();
        assert_eq!(put_task.await.unwrap().unwrap().outcome, PutOutcome::Created);
    }
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_waits_for_a_permit_longer_than_a_call_waits_for_a_connection() {
    let db = TestDatabase::new().await;
    let config = db.config().max_connections(2).acquire_timeout(SECOND / 4).upload_wait(60 * SECOND);
    let store = Arc::new(PostgresStore::open(config).await.unwrap());
    let (body, paused, resume) = paused_stream(&bytes(10, 4 * MIB));
    let first = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.put(&scope(), body, PutOptions::default()).await })
    };
    paused.await.unwrap();
    let second = {
        let store = Arc::clone(&store);
        let body = body_stream(&bytes(20, 4 * MIB));
        tokio::spawn(async move { store.put(&scope(), body, PutOptions::default()).await })
    };
    tokio::time::sleep(SECOND).await;
    assert!(!second.is_finished());
    resume.send(()).unwrap();
    for put_task in [first, second] {
        let put = put_task.await.unwrap().unwrap();
        assert_eq!(put.outcome, PutOutcome::Created);
        assert!(read(&*store, &put.record).await.unwrap().is_some());
    }
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_ends_the_wait_of_an_upload() {
    let db = TestDatabase::new().await;
    let config = db.config().max_connections(2).upload_wait(60 * SECOND);
    let store = Arc::new(PostgresStore::open(config).await.unwrap());
    let (body, paused, _resume) = paused_stream(&bytes(10, 4 * MIB));
    let first = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.put(&scope(), body, PutOptions::default()).await })
    };
    paused.await.unwrap();
    let second = {
        let store = Arc::clone(&store);
        let body = body_stream(&bytes(20, 4 * MIB));
        tokio::spawn(async move { store.put(&scope(), body, PutOptions::default()).await })
    };
    tokio::time::sleep(SECOND / 4).await;
    store.close().await.unwrap();
    for put_task in [first, second] {
        assert_eq!(error_kind(put_task.await.unwrap()), ErrorKind::Closed);
    }
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_finds_every_connection_in_use_fails_with_the_reason_in_time() {
    let db = TestDatabase::new().await;
    let config = db.config().max_connections(2).acquire_timeout(SECOND / 4);
    let store = Arc::new(PostgresStore::open(config).await.unwrap());
    let record = put(&*store, &bytes(1, 10)).await;
    let mut raw = db.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE artifact").execute(&mut raw).await.unwrap();
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let (store, record) = (Arc::clone(&store), record.clone());
            tokio::spawn(async move { read(&*store, &record).await })
        })
        .collect();
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'artifact'::regclass";
    while db.count(waits).await < 2 {}
    let started = Instant::now();
    let (kind, message) = error_message(store.stat(&scope(), &record.id).await);
    assert_eq!(kind, ErrorKind::Unavailable);
    assert!(message.contains("all 2 connections are in use"), "{message}");
    assert!(started.elapsed() < SECOND, "{:?}", started.elapsed());
    sqlx::raw_sql("ROLLBACK").execute(&mut raw).await.unwrap();
    for waiting in waiting {
        assert!(waiting.await.unwrap().unwrap().is_some());
    }
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_upload_leaves_nothing_and_its_connection_is_not_used_again() {
    let db = TestDatabase::new().await;
    let store = PostgresStore::open(db.config().max_connections(2)).await.unwrap();
    let scope = scope();
    for first in [0, 10, MIB, 2 * MIB, 5 * MIB] {
        let head = bytes(first as u64, first);
        let stalls = futures_util::stream::iter(
            head.chunks(200_000).map(Bytes::copy_from_slice).map(Ok::<_, StoreError>).collect::<Vec<_>>(),
        )
        .chain(futures_util::stream::pending());
        let put_task = store.put(&scope, Body::from_stream(stalls), PutOptions::default());
        assert!(tokio::time::timeout(Duration::from_millis(100), put_task).await.is_err());
        db.wait_until_clean().await;
        assert_eq!(db.count("SELECT count(*) FROM chunk").await, 0);
    }
    // Each future is dropped a little later than the previous future, to cover many moments of a put.
    for micros in (0..12_000).step_by(300) {
        let put_task = store.put(&scope, body_stream(&bytes(micros, 2 * MIB)), PutOptions::default());
        let _ = tokio::time::timeout(Duration::from_micros(micros), put_task).await;
        let small = Body::from_bytes(bytes(micros + 1, 10));
        let _ = tokio::time::timeout(
            Duration::from_micros(micros / 8),
            store.put(&scope, small, PutOptions::default()),
        )
        .await;
    }
    put(&store, &bytes(3, 10)).await;
    db.wait_until_clean().await;
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_during_an_upload_does_not_wait_for_its_caller() {
    let db = TestDatabase::new().await;
    let store = Arc::new(db.open().await);
    let (body, paused, resume) = paused_stream(&bytes(1, 4 * MIB));
    let put_task = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.put(&scope(), body, PutOptions::default()).await }
    });
    paused.await.unwrap();
    let started = Instant::now();
    store.close().await.unwrap();
    assert!(started.elapsed() < SECOND, "{:?}", started.elapsed());
    assert_eq!(error_kind(put_task.await.unwrap()), ErrorKind::Closed);
    drop(resume);
    db.wait_until_clean().await;
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_as_announced_is_rolled_back() {
    let db = TestDatabase::new().await;
    let store = db.open().await;
    for size in [100, 3 * MIB] {
        let all = bytes(1, size);
        let broken = body_stream(&all).with_digest(Digest::of(b"other"));
        let shorter = body_stream(&all).with_length(size as u64 + 1);
        let longer = body_stream(&all).with_length(size as u64 - 1);
        let pieces = futures_util::stream::iter([Ok(all.clone()), Err(std::io::Error::other("gone"))]);
        let failing = Body::from_stream(pieces);
        for body in [broken, shorter, longer, failing] {
            let failed = error_kind(store.put(&scope(), body, PutOptions::default()).await);
            assert!(
                matches!(failed, ErrorKind::InvalidArgument | ErrorKind::DigestMismatch { .. }),
                "{failed:?}"
            );
            db.wait_until_clean().await;
        }
    }
    assert_eq!(db.count("SELECT count(*) FROM artifact").await, 0);
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_already_exists_is_read_and_checked_but_not_written() {
    let db = TestDatabase::new().await;
    let store = db.open().await;
    let all = bytes(1, 6 * MIB);
    put(&store, &all).await;
    let numbers = "SELECT last_value FROM blob_number";
    let before = db.count(numbers).await;
    let digest = Digest::of(&all);
    let again =
        store.put(&scope(), body_stream(&all).with_digest(digest), PutOptions::default()).await.unwrap();
    assert_eq!(again.outcome, PutOutcome::AlreadyExists);
    let lying =
        store.put(&scope(), body_stream(&bytes(2, 6 * MIB)).with_digest(digest), PutOptions::default()).await;
    assert!(matches!(error_kind(lying), ErrorKind::DigestMismatch { .. }));
    assert_eq!(db.count(numbers).await, before);
    store.close().await.unwrap();
    db.drop_schema().await;
}
