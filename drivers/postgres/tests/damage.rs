//! Data that was altered outside of the store is `Corrupt` and never served. Artifacts that were deleted through the
//! store are not `Corrupt`.

mod common;

use artifact_store_core::{
    ArtifactStore, Body, ByteRange, ErrorKind, ListQuery, PutOptions, Record, ScopePattern, StoreError,
    SweepMode,
};
use common::{MIB, TestDatabase, body_stream, bytes, error_kind, gated, put, read, scope};
use futures_util::StreamExt;

/// Overwrites chunks with zeros.
const ZEROS: &str = "UPDATE chunk SET data = decode(repeat('00', octet_length(data)), 'hex')";

#[allow(clippy::unwrap_used)] // All of it is test code.
/// Puts an artifact of `size` bytes and executes the SQL `alteration`. Returns the results of a full read and of a
/// stat.
async fn outcome_after(
    db: &TestDatabase,
    alteration: &str,
    size: usize,
) -> (Result<(), StoreError>, Result<(), StoreError>) {
    let store = gated(db.open().await);
    let options = PutOptions {
        media_type: Some("text/plain".into()),
        tags: vec!["a".into()],
        filename: Some("a.txt".into()),
        ..PutOptions::default()
    };
    let record = store.put(&scope(), Body::from_bytes(bytes(1, size)), options).await.unwrap().record;
    assert!(db.execute(alteration).await > 0, "{alteration}");
    let read = read(&*store, &record).await.map(drop);
    let stat = store.stat(&scope(), &record.id).await.map(drop);
    db.execute("DELETE FROM artifact").await;
    db.execute("DELETE FROM chunk").await;
    store.close().await.unwrap();
    (read, stat)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_shortened_or_missing_chunk_is_corrupt() {
    let db = TestDatabase::new().await;
    for (size, alteration) in [
        (1000, ZEROS.replace("chunk", "artifact")),
        (3 * MIB, format!("{ZEROS} WHERE place = 2")),
        (1000, "UPDATE artifact SET data = NULL".to_owned()),
        (1000, "UPDATE artifact SET data = substring(data FROM 2)".to_owned()),
        (1000, r"UPDATE artifact SET data = data || '\x00'".to_owned()),
        (3 * MIB, "DELETE FROM chunk WHERE place = 2".to_owned()),
        (3 * MIB, "DELETE FROM chunk WHERE place = 0".to_owned()),
        (3 * MIB, "UPDATE chunk SET place = 100 WHERE place = 1".to_owned()),
        (3 * MIB, "UPDATE chunk SET data = substring(data FROM 2) WHERE place = 1".to_owned()),
        (3 * MIB, r"UPDATE chunk SET data = data || '\x00' WHERE place = 2".to_owned()),
        (3 * MIB, "UPDATE artifact SET chunk_bytes = 262144".to_owned()),
        (3 * MIB, "UPDATE artifact SET group_bytes = 2 * group_bytes".to_owned()),
        (3 * MIB, "DELETE FROM chunk WHERE place = -2".to_owned()),
    ] {
        let (read, stat) = outcome_after(&db, &alteration, size).await;
        assert_eq!(error_kind(read), ErrorKind::Corrupt, "{alteration}");
        assert!(stat.is_ok(), "{alteration}");
    }
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_with_any_altered_column_is_corrupt() {
    let db = TestDatabase::new().await;
    for change in [
        "record = replace(record, 'user_upload', 'tool')",
        "record = replace(record, 'a.txt', 'b.txt')",
        "record = 'x'",
        "record = ''",
        r"record_digest = '\x00'",
        r"digest = '\x00'",
        "size = size + 1",
        "size = -1",
        "rank = rank + 1",
        "tenant = 'other'",
        "user_ = 'other'",
        "session = 'other'",
        "task = ''",
        "source = 'tool'",
        "media_type = NULL",
        "tags = '{}'",
    ] {
        let (read, stat) = outcome_after(&db, &format!("UPDATE artifact SET {change}"), 1000).await;
        assert_eq!(error_kind(read), ErrorKind::Corrupt, "{change}");
        assert_eq!(error_kind(stat), ErrorKind::Corrupt, "{change}");
    }
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_a_put_and_a_delete_that_meet_an_altered_row_are_corrupt() {
    let db = TestDatabase::new().await;
    let store = db.open().await;
    let record = put(&store, &bytes(1, 100)).await;
    db.execute("UPDATE artifact SET tenant = 'other'").await;
    let query = ListQuery::new(ScopePattern::all_tenants());
    assert_eq!(error_kind(store.list(&query).await), ErrorKind::Corrupt);
    let again = store.put(&scope(), Body::from_bytes(bytes(1, 100)), PutOptions::default()).await;
    assert_eq!(error_kind(again), ErrorKind::Corrupt);
    assert_eq!(error_kind(store.delete(&scope(), &record.id).await), ErrorKind::Corrupt);
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_moved_to_another_scope_is_not_served_there() {
    let db = TestDatabase::new().await;
    let store = db.open().await;
    let record = put(&store, &bytes(1, 100)).await;
    let other = artifact_store_core::Scope::new("other", "ada", "s-1").unwrap();
    let scope_mark = artifact_store_core::ScopeMark::of(&other);
    let scope_mark = u128::from_be_bytes(*scope_mark.as_bytes());
    db.execute(&format!(r"UPDATE artifact SET scope_mark = '\x{scope_mark:032x}', tenant = 'other'")).await;
    assert_eq!(error_kind(store.get(&other, &record.id, None).await), ErrorKind::Corrupt);
    assert_eq!(error_kind(store.stat(&other, &record.id).await), ErrorKind::Corrupt);
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_schema_is_an_error_with_a_message_and_the_next_open_creates_it_empty() {
    let db = TestDatabase::new().await;
    let store = db.open().await;
    let record = put(&store, &bytes(1, 100)).await;
    db.execute(&format!("SET client_min_messages = warning; DROP SCHEMA {} CASCADE", db.schema())).await;
    for failed in [
        read(&store, &record).await.map(drop),
        store.put(&scope(), Body::from_bytes(bytes(2, 100)), PutOptions::default()).await.map(drop),
        store.put(&scope(), body_stream(&bytes(2, 2 * MIB)), PutOptions::default()).await.map(drop),
        store.delete(&scope(), &record.id).await.map(drop),
        store.list(&ListQuery::new(ScopePattern::all_tenants())).await.map(drop),
        store.health().await.map(drop),
    ] {
        let (kind, message) = common::error_message(failed);
        assert_eq!(kind, ErrorKind::Backend);
        assert!(message.contains("table"), "{message}");
    }
    db.open().await.close().await.unwrap();
    put(&store, &bytes(3, 100)).await;
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_artifact_is_deleted_fails_or_is_whole() {
    let db = TestDatabase::new().await;
    let store = db.open().await;
    for taken in [0, 1, 5, 12] {
        let record = put(&store, &bytes(1, 4 * MIB)).await;
        let mut stream = store.get(&scope(), &record.id, None).await.unwrap().unwrap().stream;
        let mut length = 0;
        for _ in 0..taken {
            length += stream.next().await.unwrap().unwrap().len();
        }
        assert!(store.delete(&scope(), &record.id).await.unwrap());
        let mut failed = None;
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => length += piece.len(),
                Err(error) => failed = Some(error.kind()),
            }
        }
        match failed {
            None => assert_eq!(length, 4 * MIB),
            Some(kind) => assert_eq!(kind, ErrorKind::Unavailable),
        }
    }
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_large_artifact_leaves_nothing() {
    let db = TestDatabase::new().await;
    let store = db.open().await;
    let record = put(&store, &bytes(1, 10 * MIB)).await;
    // First with a recorded size that is larger than what one statement deletes, then with the real size.
    for size in ["200000000", "10485760"] {
        db.execute(&format!("UPDATE artifact SET size = {size}")).await;
        if size == "10485760" {
            put(&store, &bytes(1, 10 * MIB)).await;
        }
        assert!(store.delete(&scope(), &record.id).await.unwrap());
        assert!(!store.delete(&scope(), &record.id).await.unwrap());
        assert_eq!(db.count("SELECT count(*) FROM chunk").await, 0);
        assert_eq!(db.residue().await, Vec::<String>::new());
    }
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_removes_chunks_without_a_record_and_nothing_else() {
    let db = TestDatabase::new().await;
    let store = db.open().await;
    let mut existing: Vec<Record> = Vec::new();
    for n in 0..5 {
        existing.push(put(&store, &bytes(n, 2 * MIB)).await);
    }
    assert_eq!(store.sweep(SweepMode::Delete).await.unwrap().leftovers, 0);
    db.execute("INSERT INTO chunk SELECT 1000000 + n / 3, n % 3, '' FROM generate_series(0, 29) AS n").await;
    assert!(!db.residue().await.is_empty());
    let found = store.sweep(SweepMode::DryRun).await.unwrap();
    assert!(!db.residue().await.is_empty());
    assert_eq!((found.leftovers, found.bytes, found.busy), (10, Some(0), false));
    assert_eq!(store.sweep(SweepMode::Delete).await.unwrap(), found);
    assert_eq!(db.residue().await, Vec::<String>::new());
    for record in existing {
        assert!(read(&store, &record).await.unwrap().is_some());
    }
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sweep_of_the_same_schema_reports_that_one_is_running() {
    let db = TestDatabase::new().await;
    let store = db.open().await;
    db.execute("INSERT INTO chunk VALUES (1000000, 0, 'left')").await;
    let mut sweeper = db.connect().await;
    let lock =
        format!("SELECT pg_advisory_lock(hashtextextended('artifact-store sweep {}', 0))", db.schema());
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut sweeper).await.unwrap();
    for mode in [SweepMode::DryRun, SweepMode::Delete] {
        assert!(store.sweep(mode).await.unwrap().busy);
    }
    sqlx::Connection::close(sweeper).await.unwrap();
    let mut swept = store.sweep(SweepMode::Delete).await.unwrap();
    // The server releases the lock a moment after the connection was closed.
    while swept.busy {
        swept = store.sweep(SweepMode::Delete).await.unwrap();
    }
    assert_eq!((swept.leftovers, swept.bytes), (1, Some(4)));
    // That sweep has released the lock.
    assert!(!store.sweep(SweepMode::Delete).await.unwrap().busy);
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_during_puts_deletes_none_of_their_chunks() {
    let db = TestDatabase::new().await;
    let store = std::sync::Arc::new(db.open().await);
    let put_task = tokio::spawn({
        let store = std::sync::Arc::clone(&store);
        async move {
            for n in 0..40 {
                let body = if n % 2 == 0 {
                    Body::from_bytes(bytes(n, 1000))
                } else {
                    body_stream(&bytes(n, 2 * MIB))
                };
                store.put(&scope(), body, PutOptions::default()).await.unwrap();
            }
        }
    });
    while !put_task.is_finished() {
        assert_eq!(store.sweep(SweepMode::Delete).await.unwrap().leftovers, 0);
    }
    put_task.await.unwrap();
    assert_eq!(db.residue().await, Vec::<String>::new());
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_has_the_right_bytes_of_the_right_chunks() {
    let db = TestDatabase::new().await;
    let store = gated(db.open().await);
    let all = bytes(1, 3 * MIB + 77);
    let record = store.put(&scope(), body_stream(&all), PutOptions::default()).await.unwrap().record;
    let chunk = MIB as u64;
    let end = all.len() as u64;
    for (start, end) in [
        (0, 1),
        (chunk - 1, chunk),
        (chunk - 1, chunk + 1),
        (chunk, 2 * chunk),
        (5, 3 * chunk + 5),
        (chunk + 1, 9 * chunk),
        (2 * chunk + 20_000, 2 * chunk + 20_001),
        (0, end),
        (end - 1, end),
        (end - 78, end),
        (end, end),
    ] {
        let range = ByteRange::from(start..end);
        let get = store.get(&scope(), &record.id, Some(range)).await.unwrap().unwrap();
        let got = get.stream.collect_bytes(u64::MAX).await.unwrap();
        let end = usize::try_from(end).unwrap().min(all.len());
        assert_eq!(got, all.slice(usize::try_from(start).unwrap()..end));
    }
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_found_by_a_whole_read_and_by_a_range() {
    let db = TestDatabase::new().await;
    let store = gated(db.open().await);
    let flip = |table: &str, column: &str, byte: usize, condition: &str| {
        format!(
            "UPDATE {table} SET {column} = set_byte({column}, {byte}, get_byte({column}, {byte}) # 1) {condition}"
        )
    };
    for (size, alteration, range) in [
        // A body that is compared as a whole, one of one group, and one of four groups.
        (1000, flip("artifact", "data", 500, ""), 10..20),
        (MIB, flip("artifact", "data", 700_000, ""), 700_100..700_101),
        (MIB, flip("artifact", "nodes", 32 * 5 + 1, ""), 10..20),
        (3 * MIB + 77, flip("chunk", "data", 700_000, "WHERE place = 1"), MIB + 700_100..MIB + 700_101),
        (3 * MIB + 77, flip("chunk", "data", 76, "WHERE place = 3"), 3 * MIB..3 * MIB + 1),
        (3 * MIB + 77, flip("artifact", "nodes", 32 + 1, ""), 10..20),
        (3 * MIB + 77, flip("chunk", "data", 3, "WHERE place = -2"), MIB + 900_000..MIB + 900_001),
        (3 * MIB + 77, flip("chunk", "data", 3, "WHERE place = -3"), MIB..2 * MIB + 1),
    ] {
        let record = put(&*store, &bytes(1, size)).await;
        let whole_range = ByteRange::from(0..size as u64);
        let range = ByteRange::from(range.start as u64..range.end as u64);
        for range in [None, Some(whole_range), Some(range)] {
            let read = async || match store.get(&scope(), &record.id, range).await {
                Ok(get) => get.unwrap().stream.collect_bytes(u64::MAX).await,
                Err(error) => Err(error),
            };
            read().await.unwrap();
            assert_eq!(db.execute(&alteration).await, 1, "{alteration}");
            assert_eq!(error_kind(read().await), ErrorKind::Corrupt, "{alteration} {range:?}");
            // The same bit again.
            db.execute(&alteration).await;
        }
        assert!(store.delete(&scope(), &record.id).await.unwrap());
        assert_eq!(db.residue().await, Vec::<String>::new());
    }
    store.close().await.unwrap();
    db.drop_schema().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_counts_an_orphan_once_that_takes_several_statements() {
    let db = TestDatabase::new().await;
    let store = db.open().await;
    db.execute("INSERT INTO chunk SELECT 1000000, n, 'ab' FROM generate_series(-40, 1999) AS n").await;
    db.execute("INSERT INTO chunk VALUES (1000001, 0, 'c')").await;
    for mode in [SweepMode::DryRun, SweepMode::Delete] {
        let swept = store.sweep(mode).await.unwrap();
        assert_eq!((swept.leftovers, swept.bytes), (2, Some(4081)));
    }
    assert_eq!(db.count("SELECT count(*) FROM chunk").await, 0);
    store.close().await.unwrap();
    db.drop_schema().await;
}
