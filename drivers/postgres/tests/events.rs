//! The log of events: its order, its numbers, its news, and what it does when the server goes away.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact_store_backends::{Mode, Postgres, Proxy};
use artifact_store_core::{ArtifactStore, Bytes, ErrorKind, EventLog, LogPage, NewEntry};
use artifact_store_postgres::PostgresEventLog;
use support::{Home, SECOND, kind};
use tokio::time::timeout;

async fn open(home: &Home) -> Arc<PostgresEventLog> {
    Arc::new(PostgresEventLog::open(home.config()).await.unwrap())
}

fn entry(number: u64) -> NewEntry {
    NewEntry { key: u128::from(number).to_be_bytes(), bytes: number.to_string().into() }
}

fn texts(page: &LogPage) -> Vec<(u64, Bytes)> {
    page.entries.iter().map(|entry| (entry.sequence, entry.bytes.clone())).collect()
}

/// Waits for news until the log says something after `after`.
async fn hear(log: &PostgresEventLog, after: u64) -> LogPage {
    let heard = async {
        loop {
            let page = log.read(after, 100).await.unwrap();
            if !page.entries.is_empty() {
                return page;
            }
            log.news().await.unwrap();
        }
    };
    timeout(10 * SECOND, heard).await.expect("what was appended is heard")
}

#[tokio::test]
async fn entries_are_numbered_from_one_in_their_order() {
    let home = Home::new().await;
    let log = open(&home).await;
    assert_eq!(log.read(0, 10).await.unwrap(), LogPage { last: 0, entries: Vec::new() });
    assert_eq!(log.append(&[]).await.unwrap(), 0);
    log.append(&[entry(7), entry(5)]).await.unwrap();
    log.append(&[entry(6)]).await.unwrap();
    let page = log.read(0, 10).await.unwrap();
    assert_eq!((page.last, texts(&page)), (3, vec![(1, "7".into()), (2, "5".into()), (3, "6".into())]));
    let page = log.read(1, 1).await.unwrap();
    assert_eq!((page.last, texts(&page)), (3, vec![(2, "5".into())]));
    assert_eq!(log.read(u64::MAX, 1).await.unwrap(), LogPage { last: 3, entries: Vec::new() });
    log.close().await;
    home.end().await;
}

#[tokio::test]
async fn an_entry_that_is_appended_again_stands_once() {
    let home = Home::new().await;
    let log = open(&home).await;
    log.append(&[entry(1)]).await.unwrap();
    log.append(&[entry(1), entry(2)]).await.unwrap();
    log.append(&[entry(2), entry(1)]).await.unwrap();
    let page = log.read(0, 10).await.unwrap();
    assert_eq!((page.last, texts(&page)), (2, vec![(1, "1".into()), (2, "2".into())]));
    log.close().await;
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_along_while_many_append_misses_none_and_sees_no_hole() {
    const WRITERS: u64 = 8;
    const EACH: u64 = 100;
    let home = Home::new().await;
    let log = open(&home).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let config = home.config();
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
        for (sequence, bytes) in texts(&hear(&log, position).await) {
            position += 1;
            assert_eq!(sequence, position, "no number is skipped");
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
            "each writer's order is kept"
        );
    }
    log.close().await;
    home.end().await;
}

#[tokio::test]
async fn news_of_another_process_comes_at_once() {
    let home = Home::new().await;
    let (reader, writer) = (open(&home).await, open(&home).await);
    // The first call begins to listen.
    reader.news().await.unwrap();
    for round in 0..5 {
        writer.append(&[entry(round)]).await.unwrap();
        let begun = Instant::now();
        assert_eq!(hear(&reader, round).await.last, round + 1);
        assert!(begun.elapsed() < 2 * SECOND, "it was notified, and did not have to look");
    }
    reader.close().await;
    writer.close().await;
    home.end().await;
}

#[tokio::test]
async fn old_entries_are_dropped_and_the_newest_sixteen_thousand_are_kept() {
    let home = Home::new().await;
    let log = open(&home).await;
    for batch in 0..18 {
        log.append(&(0..1000).map(|number| entry(batch * 1000 + number)).collect::<Vec<_>>()).await.unwrap();
    }
    let page = log.read(0, 1).await.unwrap();
    let first = page.entries[0].sequence;
    assert_eq!(page.last, 18_000);
    assert!(first > 1 && first <= 18_000 - 16_384 + 1, "{first}");
    log.close().await;
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_keeps_what_was_acknowledged_and_is_listened_to_again() {
    let server = Postgres::own().await.unwrap();
    let home = Home::on(&server);
    let log = open(&home).await;
    log.news().await.unwrap();
    for round in 0..3 {
        log.append(&[entry(round)]).await.unwrap();
        server.kill().await.unwrap();
        assert_eq!(kind(log.append(&[entry(100 + round)]).await), ErrorKind::Unavailable);
        server.start().await.unwrap();
        let page = log.read(round, 10).await.unwrap();
        assert_eq!(texts(&page), [(round + 1, round.to_string().into())]);
        // A connection that broke is no news, and the next one listens.
        while let Err(error) = log.news().await {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
        }
    }
    log.close().await;
    assert_eq!(kind(log.append(&[entry(9)]).await), ErrorKind::Closed);
    assert_eq!(kind(log.read(0, 1).await), ErrorKind::Closed);
    assert_eq!(kind(log.news().await), ErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_whose_connection_says_nothing_any_more_looks_by_itself() {
    let home = Home::new().await;
    let proxy = Proxy::before(home.address()).await.unwrap();
    let deaf = Arc::new(PostgresEventLog::open(home.config_through(&proxy)).await.unwrap());
    deaf.news().await.unwrap();
    proxy.set(Mode::BlackHole);
    let hearing = tokio::spawn({
        let deaf = Arc::clone(&deaf);
        async move { deaf.news().await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let log = open(&home).await;
    log.append(&[entry(1)]).await.unwrap();
    // It gives up waiting, whoever is silent.
    timeout(8 * SECOND, hearing).await.unwrap().unwrap().unwrap();
    assert_eq!(kind(deaf.read(0, 1).await), ErrorKind::Unavailable);
    proxy.set(Mode::Pass);
    assert_eq!(hear(&deaf, 0).await.last, 1);
    deaf.close().await;
    log.close().await;
    home.end().await;
}

#[tokio::test]
async fn a_call_that_is_dropped_while_it_waits_for_news_loses_none() {
    let home = Home::new().await;
    let log = open(&home).await;
    log.news().await.unwrap();
    for round in 0..20 {
        let _ = timeout(Duration::from_millis(round % 3), log.news()).await;
        log.append(&[entry(round)]).await.unwrap();
        let begun = Instant::now();
        assert_eq!(hear(&log, round).await.last, round + 1);
        assert!(begun.elapsed() < 2 * SECOND);
    }
    log.close().await;
    home.end().await;
}

#[tokio::test]
async fn a_store_of_the_version_before_gets_its_log_and_keeps_its_artifacts() {
    let home = Home::new().await;
    let store = support::gated(home.open().await);
    let record = support::put(&*store, &support::bytes(1, 100)).await;
    store.close().await.unwrap();
    home.alter("DROP TABLE event, event_count; UPDATE artifact_store_version SET version = 1").await;
    let log = open(&home).await;
    log.append(&[entry(1)]).await.unwrap();
    assert_eq!(log.read(0, 1).await.unwrap().last, 1);
    let store = support::gated(home.open().await);
    assert_eq!(support::read(&*store, &record).await.unwrap(), Some(support::bytes(1, 100)));
    store.close().await.unwrap();
    log.close().await;
    home.end().await;
}
