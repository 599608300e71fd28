//! The event log: order, sequence numbers, notifications, and outages of the server.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact_store_backends::{Postgres, Proxy, ProxyMode};
use artifact_store_core::{Bytes, ErrorKind, EventLog, LogPage, NewEntry};
use artifact_store_postgres::PostgresEventLog;
use common::{SECOND, TestDatabase, error_kind};
use tokio::time::timeout;

async fn open(db: &TestDatabase) -> Arc<PostgresEventLog> {
    Arc::new(PostgresEventLog::open(db.config()).await.unwrap())
}

fn entry(number: u64) -> NewEntry {
    NewEntry { key: u128::from(number).to_be_bytes(), bytes: number.to_string().into() }
}

fn sequences_and_bytes(page: &LogPage) -> Vec<(u64, Bytes)> {
    page.entries.iter().map(|entry| (entry.sequence, entry.bytes.clone())).collect()
}

/// Waits until the log has entries after `after`, and reads them.
async fn read_when_notified(log: &PostgresEventLog, after: u64) -> LogPage {
    let entries = async {
        loop {
            let page = log.read(after, 100).await.unwrap();
            if !page.entries.is_empty() {
                return page;
            }
            log.wait_for_entries().await.unwrap();
        }
    };
    timeout(10 * SECOND, entries).await.expect("no new entries within 10 seconds")
}

#[tokio::test]
async fn entries_are_numbered_from_one_in_their_order() {
    let db = TestDatabase::new().await;
    let log = open(&db).await;
    assert_eq!(log.read(0, 10).await.unwrap(), LogPage { last: 0, entries: Vec::new() });
    assert_eq!(log.append(&[]).await.unwrap(), 0);
    log.append(&[entry(7), entry(5)]).await.unwrap();
    log.append(&[entry(6)]).await.unwrap();
    let page = log.read(0, 10).await.unwrap();
    assert_eq!(
        (page.last, sequences_and_bytes(&page)),
        (3, vec![(1, "7".into()), (2, "5".into()), (3, "6".into())])
    );
    let page = log.read(1, 1).await.unwrap();
    assert_eq!((page.last, sequences_and_bytes(&page)), (3, vec![(2, "5".into())]));
    assert_eq!(log.read(u64::MAX, 1).await.unwrap(), LogPage { last: 3, entries: Vec::new() });
    log.close().await;
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_appends_of_one_entry_all_succeed_and_store_it_once() {
    let db = TestDatabase::new().await;
    let logs = [open(&db).await, open(&db).await, open(&db).await, open(&db).await];
    for round in 1..=40 {
        let appends: Vec<_> = logs
            .iter()
            .map(|log| {
                let log = Arc::clone(log);
                tokio::spawn(async move { log.append(&[entry(2 * round), entry(2 * round + 1)]).await })
            })
            .collect();
        for append in appends {
            assert_eq!(append.await.unwrap().unwrap(), 2 * round);
        }
    }
    let page = logs[0].read(0, 1000).await.unwrap();
    assert_eq!((page.last, page.entries.len()), (80, 80));
    for log in logs {
        log.close().await;
    }
    db.drop_schema().await;
}

#[tokio::test]
async fn an_entry_that_is_appended_again_is_stored_once() {
    let db = TestDatabase::new().await;
    let log = open(&db).await;
    log.append(&[entry(1)]).await.unwrap();
    log.append(&[entry(1), entry(2)]).await.unwrap();
    log.append(&[entry(2), entry(1)]).await.unwrap();
    let page = log.read(0, 10).await.unwrap();
    assert_eq!((page.last, sequences_and_bytes(&page)), (2, vec![(1, "1".into()), (2, "2".into())]));
    // The same key twice in one call, once with other bytes.
    let other = NewEntry { bytes: "other".into(), ..entry(9) };
    assert_eq!(log.append(&[entry(9), entry(3), entry(2), other, entry(3), entry(4)]).await.unwrap(), 5);
    let page = log.read(2, 10).await.unwrap();
    assert_eq!(
        (page.last, sequences_and_bytes(&page)),
        (5, vec![(3, "9".into()), (4, "3".into()), (5, "4".into())])
    );
    log.close().await;
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_during_many_appends_misses_no_entry_and_sees_no_gap() {
    const WRITERS: u64 = 8;
    const EACH: u64 = 100;
    let db = TestDatabase::new().await;
    let log = open(&db).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let config = db.config();
            tokio::spawn(async move {
                let log = PostgresEventLog::open(config).await.unwrap();
                for number in 0..EACH {
                    log.append(&[entry(writer * EACH + number)]).await.unwrap();
                }
                log.close().await;
            })
        })
        .collect();
    let (mut position, mut read) = (0, Vec::new());
    while position < WRITERS * EACH {
        for (sequence, bytes) in sequences_and_bytes(&read_when_notified(&log, position).await) {
            position += 1;
            assert_eq!(sequence, position, "a number was skipped");
            read.push(std::str::from_utf8(&bytes).unwrap().parse::<u64>().unwrap());
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for writer in 0..WRITERS {
        let own: Vec<u64> = read.iter().copied().filter(|number| number / EACH == writer).collect();
        assert_eq!(
            own,
            (writer * EACH..(writer + 1) * EACH).collect::<Vec<_>>(),
            "the entries of writer {writer} are out of order"
        );
    }
    log.close().await;
    db.drop_schema().await;
}

#[tokio::test]
async fn an_append_of_another_process_is_notified_at_once() {
    let db = TestDatabase::new().await;
    let (reader, writer) = (open(&db).await, open(&db).await);
    // The first call starts to listen.
    reader.wait_for_entries().await.unwrap();
    for round in 0..5 {
        writer.append(&[entry(round)]).await.unwrap();
        let started = Instant::now();
        assert_eq!(read_when_notified(&reader, round).await.last, round + 1);
        assert!(started.elapsed() < 2 * SECOND, "no notification arrived, so the reader polled");
    }
    reader.close().await;
    writer.close().await;
    db.drop_schema().await;
}

#[tokio::test]
async fn old_entries_are_deleted_and_the_newest_16384_are_kept() {
    let db = TestDatabase::new().await;
    let log = open(&db).await;
    for batch in 0..18 {
        log.append(&(0..1000).map(|number| entry(batch * 1000 + number)).collect::<Vec<_>>()).await.unwrap();
    }
    let page = log.read(0, 1).await.unwrap();
    let first = page.entries[0].sequence;
    assert_eq!(page.last, 18_000);
    assert!(first > 1 && first <= 18_000 - 16_384 + 1, "{first}");
    log.close().await;
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_keeps_acknowledged_entries_and_notifies_again_after_its_start() {
    let server = Postgres::dedicated().await.unwrap();
    let db = TestDatabase::new_on(&server);
    let log = open(&db).await;
    log.wait_for_entries().await.unwrap();
    for round in 0..3 {
        log.append(&[entry(round)]).await.unwrap();
        server.kill().await.unwrap();
        assert_eq!(error_kind(log.append(&[entry(100 + round)]).await), ErrorKind::Unavailable);
        server.start().await.unwrap();
        let page = log.read(round, 10).await.unwrap();
        assert_eq!(sequences_and_bytes(&page), [(round + 1, round.to_string().into())]);
        // A broken connection is an error. The next call listens on a new connection.
        while let Err(error) = log.wait_for_entries().await {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
        }
    }
    log.close().await;
    assert_eq!(error_kind(log.append(&[entry(9)]).await), ErrorKind::Closed);
    assert_eq!(error_kind(log.read(0, 1).await), ErrorKind::Closed);
    assert_eq!(error_kind(log.wait_for_entries().await), ErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_whose_connection_is_silent_polls() {
    let db = TestDatabase::new().await;
    let proxy = Proxy::start(db.address()).await.unwrap();
    let disconnected = Arc::new(PostgresEventLog::open(db.config_through(&proxy)).await.unwrap());
    disconnected.wait_for_entries().await.unwrap();
    proxy.set_mode(ProxyMode::BlackHole);
    let waiting = tokio::spawn({
        let disconnected = Arc::clone(&disconnected);
        async move { disconnected.wait_for_entries().await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let log = open(&db).await;
    log.append(&[entry(1)]).await.unwrap();
    // The call returns after its poll interval, although no notification arrives.
    timeout(8 * SECOND, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(error_kind(disconnected.read(0, 1).await), ErrorKind::Unavailable);
    proxy.set_mode(ProxyMode::Pass);
    assert_eq!(read_when_notified(&disconnected, 0).await.last, 1);
    disconnected.close().await;
    log.close().await;
    db.drop_schema().await;
}

#[tokio::test]
async fn a_dropped_call_of_wait_for_entries_loses_no_notification() {
    let db = TestDatabase::new().await;
    let log = open(&db).await;
    log.wait_for_entries().await.unwrap();
    for round in 0..20 {
        let _ = timeout(Duration::from_millis(round % 3), log.wait_for_entries()).await;
        log.append(&[entry(round)]).await.unwrap();
        let started = Instant::now();
        assert_eq!(read_when_notified(&log, round).await.last, round + 1);
        assert!(started.elapsed() < 2 * SECOND);
    }
    log.close().await;
    db.drop_schema().await;
}
