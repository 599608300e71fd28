//! Data that was altered without the driver is `Corrupt` and never served. Artifacts that were deleted through the
//! driver are not `Corrupt`.

mod common;

use artifact_store_core::{
    ArtifactStore, Body, ByteRange, ErrorKind, ListQuery, PutOptions, ScopePattern, StoreError,
};
use common::{MIB, TestDatabase, bytes, gated, kind, put, read, scope, streamed_body};
use futures_util::StreamExt;

/// Puts an artifact of `size` bytes, runs the SQL `alteration`, and returns the results of a read and of a stat.
async fn read_and_stat_after(
    alteration: &'static str,
    size: usize,
) -> (Result<(), StoreError>, Result<(), StoreError>) {
    let database = TestDatabase::new();
    let store = gated(database.open().await);
    let record = put(&*store, &bytes(1, size)).await;
    assert!(database.execute(alteration) > 0);
    let read = read(&*store, &record).await.map(|_| ());
    let stat = store.stat(&scope(), &record.id).await.map(|_| ());
    (read.and(store.close().await), stat)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_chunk_is_corrupt_through_the_gate() {
    for (size, alteration) in [
        (1000, "UPDATE chunk SET data = zeroblob(length(data))"),
        (3 * MIB, "UPDATE chunk SET data = zeroblob(length(data)) WHERE key & 4194303 = 11"),
    ] {
        let (read, stat) = read_and_stat_after(alteration, size).await;
        assert_eq!(kind(read), ErrorKind::Corrupt);
        assert!(stat.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_shortened_chunk_is_corrupt() {
    for (size, alteration) in [
        (1000, "DELETE FROM chunk"),
        (1000, "UPDATE chunk SET data = zeroblob(999)"),
        (3 * MIB, "DELETE FROM chunk WHERE key & 4194303 = 11"),
        (3 * MIB, "UPDATE chunk SET data = zeroblob(262143) WHERE key & 4194303 = 3"),
    ] {
        let (read, stat) = read_and_stat_after(alteration, size).await;
        assert_eq!(kind(read), ErrorKind::Corrupt, "{alteration}");
        assert!(stat.is_ok());
    }
}

/// Reads each of these ranges behind the Gate after the SQL `alteration`. Returns the kinds of the errors.
#[allow(clippy::unwrap_used)] // All of it is test code.
async fn read_ranges_after(alteration: &str, size: usize, ranges: &[ByteRange]) -> Vec<Option<ErrorKind>> {
    let database = TestDatabase::new();
    let store = gated(database.open().await);
    let record = put(&*store, &bytes(1, size)).await;
    assert!(database.execute(alteration) > 0);
    let mut kinds = Vec::new();
    for range in ranges {
        let read = match store.get(&scope(), &record.id, Some(*range)).await {
            Ok(get) => get.unwrap().stream.collect_bytes(u64::MAX).await.map(|_| ()),
            Err(error) => Err(error),
        };
        kinds.push(read.err().map(|error| error.kind()));
    }
    store.close().await.unwrap();
    kinds
}

/// SQL for the column with the byte at `offset` (counted from 1) replaced.
fn with_altered_byte(column: &str, offset: usize) -> String {
    let other = format!("CASE substr({column}, {offset}, 1) WHEN x'00' THEN x'01' ELSE x'00' END");
    format!("CAST(substr({column}, 1, {offset} - 1) || {other} || substr({column}, {offset} + 1) AS BLOB)")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_byte_is_found_in_every_range_whose_blocks_have_it() {
    let corrupt = Some(ErrorKind::Corrupt);
    for size in [1000, 40_000, 300_000, 3 * MIB] {
        // The byte at the offset 700 is in the first block.
        let alteration =
            format!("UPDATE chunk SET data = {} WHERE key & 4194303 = 0", with_altered_byte("data", 701));
        let ranges = [ByteRange::from(0..10), ByteRange::from(699..702), ByteRange::from(0..size as u64)];
        assert_eq!(read_ranges_after(&alteration, size, &ranges).await, [corrupt; 3], "{size}");
        if size > 16 * 1024 {
            let last = ByteRange::from(size as u64 - 10..size as u64);
            assert_eq!(read_ranges_after(&alteration, size, &[last]).await, [None], "{size}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_shortened_or_missing_tree_is_corrupt() {
    let corrupt = Some(ErrorKind::Corrupt);
    for size in [40_000, 3 * MIB, 20 * MIB] {
        let ranges = [ByteRange::from(0..10), ByteRange::from(0..size as u64)];
        for alteration in [
            format!("UPDATE tree SET nodes = {}", with_altered_byte("nodes", 7)),
            "UPDATE tree SET nodes = substr(nodes, 1, length(nodes) - 1)".into(),
            "DELETE FROM tree".into(),
        ] {
            assert_eq!(
                read_ranges_after(&alteration, size, &ranges).await,
                [corrupt; 2],
                "{size} {alteration}"
            );
        }
    }
    // The nodes of 20 MiB have three pieces. Only a range of the last blocks needs the last piece.
    let ranges = [ByteRange::from(0..10), ByteRange::from(20 * MIB as u64 - 10..20 * MIB as u64)];
    let alteration = "DELETE FROM tree WHERE key & 4194303 = 2";
    assert_eq!(read_ranges_after(alteration, 20 * MIB, &ranges).await, [None, corrupt]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_with_any_altered_column_is_corrupt() {
    for alteration in [
        "UPDATE artifact SET record = replace(record, 'user_upload', 'tool')",
        "UPDATE artifact SET record = 'x'",
        "UPDATE artifact SET record_digest = zeroblob(32)",
        "UPDATE artifact SET digest = zeroblob(32)",
        "UPDATE artifact SET size = size + 1",
        "UPDATE artifact SET created_at = created_at + 1",
        "UPDATE artifact SET tenant = 'other'",
        "UPDATE artifact SET user = 'other'",
        "UPDATE artifact SET session = 'other'",
        "UPDATE artifact SET task = ''",
    ] {
        let (read, stat) = read_and_stat_after(alteration, 1000).await;
        assert_eq!(kind(read), ErrorKind::Corrupt, "{alteration}");
        assert_eq!(kind(stat), ErrorKind::Corrupt, "{alteration}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_and_a_put_that_meet_an_altered_row_are_corrupt() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let record = put(&store, &bytes(1, 100)).await;
    database.execute("UPDATE artifact SET digest = zeroblob(32)");
    let query = ListQuery::new(ScopePattern::exactly(&scope()));
    assert_eq!(kind(store.list(&query).await), ErrorKind::Corrupt);
    let again = store.put(&scope(), Body::from_bytes(bytes(1, 100)), PutOptions::default()).await;
    assert_eq!(kind(again), ErrorKind::Corrupt);
    assert!(store.delete(&scope(), &record.id).await.unwrap(), "a corrupt artifact can still be deleted");
    put(&store, &bytes(1, 100)).await;
    store.close().await.unwrap();
    assert_eq!(database.residue().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_artifact_is_deleted_fails_or_is_whole() {
    let database = TestDatabase::new();
    for pieces_read in [0, 1, 5, 12] {
        let store = database.open().await;
        let record = put(&store, &bytes(1, 4 * MIB)).await;
        let mut stream = store.get(&scope(), &record.id, None).await.unwrap().unwrap().stream;
        let mut length = 0;
        for _ in 0..pieces_read {
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
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_large_artifact_leaves_nothing() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let record = put(&store, &bytes(1, 30 * MIB)).await;
    assert!(store.delete(&scope(), &record.id).await.unwrap());
    assert!(!store.delete(&scope(), &record.id).await.unwrap());
    assert_eq!(database.count("SELECT count(*) FROM chunk"), 0);
    assert_eq!(database.residue().await, Vec::<String>::new());
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_upload_leaves_nothing() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let scope = scope();
    for first in [0, 10, MIB, 5 * MIB] {
        let head = bytes(first as u64, first);
        let stalls = futures_util::stream::iter(
            head.chunks(200_000)
                .map(bytes::Bytes::copy_from_slice)
                .map(Ok::<_, StoreError>)
                .collect::<Vec<_>>(),
        )
        .chain(futures_util::stream::pending());
        let putting = store.put(&scope, Body::from_stream(stalls), PutOptions::default());
        assert!(tokio::time::timeout(std::time::Duration::from_millis(150), putting).await.is_err());
        database.wait_until_clean().await;
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_during_an_upload_leaves_nothing() {
    let database = TestDatabase::new();
    let store = std::sync::Arc::new(database.open().await);
    let head = bytes(1, 2 * MIB);
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let stalls = futures_util::stream::iter(
        head.chunks(200_000).map(bytes::Bytes::copy_from_slice).map(Ok::<_, StoreError>).collect::<Vec<_>>(),
    )
    .chain(futures_util::stream::once(async move {
        let _ = released.await;
        Ok(bytes(2, 2 * MIB))
    }));
    let putting = tokio::spawn({
        let store = std::sync::Arc::clone(&store);
        async move { store.put(&scope(), Body::from_stream(stalls), PutOptions::default()).await }
    });
    while database.count("SELECT count(*) FROM pending") == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    store.close().await.unwrap();
    assert_eq!(database.residue().await, Vec::<String>::new());
    // This fails if the put has already ended and dropped its body.
    let _ = release.send(());
    assert_eq!(kind(putting.await.unwrap()), ErrorKind::Closed);
    assert_eq!(database.residue().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_swept_fails_and_is_never_committed() {
    let database = TestDatabase::new();
    let store = std::sync::Arc::new(database.open().await);
    let head = bytes(1, 2 * MIB);
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let stalls = futures_util::stream::once(async move { Ok::<_, StoreError>(head) }).chain(
        futures_util::stream::once(async move {
            let _ = released.await;
            Ok(bytes(2, 100))
        }),
    );
    let putting = tokio::spawn({
        let store = std::sync::Arc::clone(&store);
        async move { store.put(&scope(), Body::from_stream(stalls), PutOptions::default()).await }
    });
    while database.count("SELECT count(*) FROM pending") == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    database.execute("UPDATE pending SET renewed_at = 0");
    release.send(()).unwrap();
    assert_eq!(kind(putting.await.unwrap()), ErrorKind::Unavailable);
    assert_eq!(database.residue().await, Vec::<String>::new());
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_has_the_right_bytes_of_the_right_chunks() {
    let database = TestDatabase::new();
    let store = gated(database.open().await);
    let all = bytes(1, 3 * MIB + 77);
    let record = store.put(&scope(), streamed_body(&all), PutOptions::default()).await.unwrap().record;
    let chunk = 256 * 1024_u64;
    for (start, end) in
        [(0, 1), (chunk - 1, chunk), (chunk - 1, chunk + 1), (chunk, 2 * chunk), (5, 3 * chunk + 5)]
    {
        let range = ByteRange::from(start..end);
        let get = store.get(&scope(), &record.id, Some(range)).await.unwrap().unwrap();
        let got = get.stream.collect_bytes(u64::MAX).await.unwrap();
        assert_eq!(got, all.slice(usize::try_from(start).unwrap()..usize::try_from(end).unwrap()));
    }
    store.close().await.unwrap();
}
