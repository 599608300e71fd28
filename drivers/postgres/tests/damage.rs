//! What was altered behind the store's back is `Corrupt`, never served; what was deleted in order is not.

mod support;

use artifact_store_core::{
    ArtifactStore, Body, ByteRange, ErrorKind, ListQuery, PutOptions, Record, ScopePattern, StoreError,
};
use futures_util::StreamExt;
use support::{Home, MIB, bytes, flowing, gated, kind, put, read, scope};

const ZEROS: &str = "UPDATE chunk SET data = decode(repeat('00', octet_length(data)), 'hex')";

#[allow(clippy::unwrap_used)] // All of it is test code.
/// How a whole read and a stat end after `alteration` of an artifact of `size` bytes.
async fn after(
    home: &Home,
    alteration: &str,
    size: usize,
) -> (Result<(), StoreError>, Result<(), StoreError>) {
    let store = gated(home.open().await);
    let options = PutOptions {
        media_type: Some("text/plain".into()),
        tags: vec!["a".into()],
        filename: Some("a.txt".into()),
        ..PutOptions::default()
    };
    let record = store.put(&scope(), Body::from_bytes(bytes(1, size)), options).await.unwrap().record;
    assert!(home.alter(alteration).await > 0, "{alteration}");
    let read = read(&*store, &record).await.map(drop);
    let stat = store.stat(&scope(), &record.id).await.map(drop);
    home.alter("DELETE FROM artifact").await;
    home.alter("DELETE FROM chunk").await;
    store.close().await.unwrap();
    (read, stat)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_cut_or_missing_chunk_is_corrupt() {
    let home = Home::new().await;
    for (size, alteration) in [
        (1000, ZEROS.to_owned()),
        (3 * MIB, format!("{ZEROS} WHERE place = 11")),
        (1000, "DELETE FROM chunk".to_owned()),
        (1000, "UPDATE chunk SET data = substring(data FROM 2)".to_owned()),
        (1000, r"UPDATE chunk SET data = data || '\x00'".to_owned()),
        (3 * MIB, "DELETE FROM chunk WHERE place = 11".to_owned()),
        (3 * MIB, "DELETE FROM chunk WHERE place = 1".to_owned()),
        (3 * MIB, "UPDATE chunk SET place = 100 WHERE place = 5".to_owned()),
        (3 * MIB, "UPDATE chunk SET data = substring(data FROM 2) WHERE place = 3".to_owned()),
    ] {
        let (read, stat) = after(&home, &alteration, size).await;
        assert_eq!(kind(read), ErrorKind::Corrupt, "{alteration}");
        assert!(stat.is_ok(), "{alteration}");
    }
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_row_is_corrupt_whichever_column_it_is() {
    let home = Home::new().await;
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
        let (read, stat) = after(&home, &format!("UPDATE artifact SET {change}"), 1000).await;
        assert_eq!(kind(read), ErrorKind::Corrupt, "{change}");
        assert_eq!(kind(stat), ErrorKind::Corrupt, "{change}");
    }
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_row_is_corrupt_in_a_listing_for_the_next_put_and_for_a_delete() {
    let home = Home::new().await;
    let store = home.open().await;
    let record = put(&store, &bytes(1, 100)).await;
    home.alter("UPDATE artifact SET tenant = 'other'").await;
    let query = ListQuery::new(ScopePattern::all_tenants());
    assert_eq!(kind(store.list(&query).await), ErrorKind::Corrupt);
    let again = store.put(&scope(), Body::from_bytes(bytes(1, 100)), PutOptions::default()).await;
    assert_eq!(kind(again), ErrorKind::Corrupt);
    assert_eq!(kind(store.delete(&scope(), &record.id).await), ErrorKind::Corrupt);
    store.close().await.unwrap();
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_moved_under_another_scope_is_not_served_there() {
    let home = Home::new().await;
    let store = home.open().await;
    let record = put(&store, &bytes(1, 100)).await;
    let other = artifact_store_core::Scope::new("other", "ada", "s-1").unwrap();
    let mark = artifact_store_core::ScopeMark::of(&other);
    let mark = u128::from_be_bytes(*mark.as_bytes());
    home.alter(&format!(r"UPDATE artifact SET scope_mark = '\x{mark:032x}', tenant = 'other'")).await;
    assert_eq!(kind(store.get(&other, &record.id, None).await), ErrorKind::Corrupt);
    assert_eq!(kind(store.stat(&other, &record.id).await), ErrorKind::Corrupt);
    store.close().await.unwrap();
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_table_is_a_sentence_and_a_new_open_begins_anew() {
    let home = Home::new().await;
    let store = home.open().await;
    let record = put(&store, &bytes(1, 100)).await;
    home.alter(&format!("SET client_min_messages = warning; DROP SCHEMA {} CASCADE", home.schema())).await;
    for failed in [
        read(&store, &record).await.map(drop),
        store.put(&scope(), Body::from_bytes(bytes(2, 100)), PutOptions::default()).await.map(drop),
        store.put(&scope(), flowing(&bytes(2, 2 * MIB)), PutOptions::default()).await.map(drop),
        store.delete(&scope(), &record.id).await.map(drop),
        store.list(&ListQuery::new(ScopePattern::all_tenants())).await.map(drop),
        store.health().await.map(drop),
    ] {
        let (kind, says) = support::sentence(failed);
        assert_eq!(kind, ErrorKind::Backend);
        assert!(says.contains("table"), "{says}");
    }
    home.open().await.close().await.unwrap();
    put(&store, &bytes(3, 100)).await;
    store.close().await.unwrap();
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_on_while_the_artifact_is_deleted_never_ends_short() {
    let home = Home::new().await;
    let store = home.open().await;
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
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_large_artifact_leaves_nothing() {
    let home = Home::new().await;
    let store = home.open().await;
    let record = put(&store, &bytes(1, 10 * MIB)).await;
    // As if it were larger than one statement deletes.
    for size in ["200000000", "10485760"] {
        home.alter(&format!("UPDATE artifact SET size = {size}")).await;
        if size == "10485760" {
            put(&store, &bytes(1, 10 * MIB)).await;
        }
        assert!(store.delete(&scope(), &record.id).await.unwrap());
        assert!(!store.delete(&scope(), &record.id).await.unwrap());
        assert_eq!(home.count("SELECT count(*) FROM chunk").await, 0);
        assert_eq!(home.residue().await, Vec::<String>::new());
    }
    store.close().await.unwrap();
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_removes_chunks_without_a_record_and_nothing_else() {
    let home = Home::new().await;
    let store = home.open().await;
    let mut standing: Vec<Record> = Vec::new();
    for n in 0..5 {
        standing.push(put(&store, &bytes(n, 2 * MIB)).await);
    }
    assert_eq!(store.sweep().await.unwrap(), 0);
    home.alter("INSERT INTO chunk SELECT 1000000 + n / 3, n % 3, '' FROM generate_series(0, 29) AS n").await;
    assert!(!home.residue().await.is_empty());
    assert_eq!(store.sweep().await.unwrap(), 10);
    assert_eq!(home.residue().await, Vec::<String>::new());
    for record in standing {
        assert!(read(&store, &record).await.unwrap().is_some());
    }
    store.close().await.unwrap();
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_beside_puts_takes_nothing_of_theirs() {
    let home = Home::new().await;
    let store = std::sync::Arc::new(home.open().await);
    let putting = tokio::spawn({
        let store = std::sync::Arc::clone(&store);
        async move {
            for n in 0..40 {
                let body =
                    if n % 2 == 0 { Body::from_bytes(bytes(n, 1000)) } else { flowing(&bytes(n, 2 * MIB)) };
                store.put(&scope(), body, PutOptions::default()).await.unwrap();
            }
        }
    });
    while !putting.is_finished() {
        assert_eq!(store.sweep().await.unwrap(), 0);
    }
    putting.await.unwrap();
    assert_eq!(home.residue().await, Vec::<String>::new());
    store.close().await.unwrap();
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_cut_from_the_right_chunks() {
    let home = Home::new().await;
    let store = gated(home.open().await);
    let all = bytes(1, 3 * MIB + 77);
    let record = store.put(&scope(), flowing(&all), PutOptions::default()).await.unwrap().record;
    let chunk = 256 * 1024_u64;
    let end = all.len() as u64;
    for (start, end) in [
        (0, 1),
        (chunk - 1, chunk),
        (chunk - 1, chunk + 1),
        (chunk, 2 * chunk),
        (5, 3 * chunk + 5),
        (chunk + 1, 9 * chunk),
        (end - 1, end),
        (end - 78, end),
        (end, end),
    ] {
        let range = ByteRange::from(start..end);
        let get = store.get(&scope(), &record.id, Some(range)).await.unwrap().unwrap();
        let got = get.stream.collect_bytes(u64::MAX).await.unwrap();
        assert_eq!(got, all.slice(usize::try_from(start).unwrap()..usize::try_from(end).unwrap()));
    }
    store.close().await.unwrap();
    home.end().await;
}
