//! Jobs that share a transaction do not affect each other.

mod common;

use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, Body, Clock, ErrorKind, HealthStatus, PutOptions, PutOutcome, Source, Timestamp,
};
use artifact_store_sqlite::SqliteStore;
use common::{MIB, TestDatabase, bytes, kind, scope, streamed_body};
use futures_util::future::join_all;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_breaks_the_transaction_fails_alone() {
    let database = TestDatabase::new();
    let store = Arc::new(database.open().await);
    database.execute(
        "CREATE TRIGGER breaks BEFORE INSERT ON artifact WHEN NEW.source = 'tool'
         BEGIN SELECT RAISE(ABORT, 'on purpose'); END",
    );
    let puts = (0..200_u32).map(|n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let source = if n % 7 == 0 { Source::Tool } else { Source::System };
            let options = PutOptions { source, ..PutOptions::default() };
            (n, store.put(&scope(), Body::from(format!("{n}")), options).await)
        })
    });
    for put in join_all(puts).await {
        match put.unwrap() {
            (n, Err(error)) => assert!(n % 7 == 0 && error.kind() == ErrorKind::Backend, "{n}: {error}"),
            (n, Ok(put)) => assert!(n % 7 != 0 && put.outcome == PutOutcome::Created),
        }
    }
    store.close().await.unwrap();
    assert_eq!(database.residue().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_fails_at_its_first_chunk_fails_no_other_upload() {
    let database = TestDatabase::new();
    let store = Arc::new(database.open().await);
    database.execute(
        "CREATE TRIGGER breaks BEFORE INSERT ON chunk WHEN substr(NEW.data, 1, 1) = x'ff'
         BEGIN SELECT RAISE(ABORT, 'on purpose'); END",
    );
    let puts = (0..60_u64).map(|n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let breaks = n % 2 == 0;
            let mut body = bytes(n, 2 * MIB).to_vec();
            for byte in body.iter_mut().step_by(256 * 1024) {
                *byte = if breaks { 0xff } else { 0 };
            }
            (breaks, store.put(&scope(), streamed_body(&body.into()), PutOptions::default()).await)
        })
    });
    for put in join_all(puts).await {
        let (breaks, put) = put.unwrap();
        assert_eq!(put.is_err(), breaks, "{put:?}");
    }
    store.close().await.unwrap();
    assert_eq!(database.residue().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_of_an_existing_artifact_writes_nothing() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let log = database.directory().join("artifacts.db-wal");
    let first = store.put(&scope(), Body::from("small"), PutOptions::default()).await.unwrap();
    assert_eq!(first.outcome, PutOutcome::Created);
    let before = std::fs::read(&log).unwrap();
    let second = store.put(&scope(), Body::from("small"), PutOptions::default()).await.unwrap();
    assert_eq!(second.outcome, PutOutcome::AlreadyExists);
    assert_eq!(std::fs::read(&log).unwrap(), before);
    store.close().await.unwrap();
}

#[derive(Debug)]
struct PanickingClock;

#[allow(clippy::panic)] // All of it is test code.
impl Clock for PanickingClock {
    fn now(&self) -> Timestamp {
        panic!("on purpose")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_panics_fails_every_job_and_degrades_the_health() {
    let database = TestDatabase::new();
    let store = Arc::new(SqliteStore::open(database.config().clock(Arc::new(PanickingClock))).await.unwrap());
    let puts = (0..400_u64).map(|n| {
        let store = Arc::clone(&store);
        let body = if n % 2 == 0 { Body::from(format!("{n}")) } else { streamed_body(&bytes(n, 600_000)) };
        tokio::spawn(async move { store.put(&scope(), body, PutOptions::default()).await })
    });
    for put in join_all(puts).await {
        assert_eq!(kind(put.unwrap()), ErrorKind::Backend, "the store was not closed");
    }
    assert_eq!(store.health().await.unwrap().status, HealthStatus::Degraded);
    assert_eq!(kind(store.close().await), ErrorKind::Backend);
    assert_eq!(kind(store.put(&scope(), Body::from("x"), PutOptions::default()).await), ErrorKind::Closed);
    drop(store);
    database.open().await.close().await.unwrap();
    assert_eq!(database.residue().await, Vec::<String>::new());
}
