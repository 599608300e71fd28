//! Faults: altered files, processes that die, dropped calls and racing calls.
#![allow(clippy::unwrap_used)] // If a helper panics, its test fails.

mod common;
mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{
    ArtifactStore, Body, BoxError, ByteRange, Bytes, Clock, ErrorKind, HealthStatus, ListQuery, PutOptions,
    PutOutcome, Scope, ScopePart, ScopePattern, StoreError, Timestamp,
};
use artifact_store_fs::{FsStore, SweepReport, SyncPolicy};
use common::{
    MIB, TestDir, assert_kind, drain, endless_body, id_of, put, random_bytes, scope, stalling_body,
};
use futures_util::{StreamExt, future, stream};

const NO_RESIDUE: Vec<String> = Vec::new();

/// Asserts that every read of the only artifact returns `Corrupt`, and that deleting it works.
async fn assert_corrupt(test_dir: &TestDir, store: &dyn ArtifactStore, content: &[u8]) {
    let id = id_of(content);
    assert_kind(store.stat(&scope(), &id).await, ErrorKind::Corrupt, "");
    assert_kind(store.get(&scope(), &id, None).await, ErrorKind::Corrupt, "");
    let query = ListQuery::new(ScopePattern::exactly(&scope()));
    assert_kind(store.list(&query).await, ErrorKind::Corrupt, "artifacts/acme.");
    let again = store.put(&scope(), Body::from(content.to_vec()), PutOptions::default()).await;
    assert_kind(again, ErrorKind::Corrupt, "");
    assert_eq!(test_dir.temp_files().len(), 0);
    assert!(store.delete(&scope(), &id).await.unwrap());
    put(store, content.to_vec()).await;
    assert!(store.delete(&scope(), &id).await.unwrap());
    assert_eq!(test_dir.residue(), NO_RESIDUE);
}

fn flip_bit(file: &Path, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

fn truncate(file: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(file).unwrap().set_len(length).unwrap();
}

#[tokio::test]
async fn a_file_that_was_truncated_anywhere_is_corrupt() {
    let test_dir = TestDir::new();
    let store = test_dir.open().await;
    let content = random_bytes(10_000);
    put(&store, content.clone()).await;
    let length = fs::metadata(test_dir.file()).unwrap().len();
    store.delete(&scope(), &id_of(&content)).await.unwrap();
    for left in [0, 1, 47, 48, 5_000, 10_000, 10_001, length - 48, length - 8, length - 1] {
        put(&store, content.clone()).await;
        truncate(&test_dir.file(), left);
        assert_corrupt(&test_dir, &store, &content).await;
    }
}

#[tokio::test]
async fn a_record_or_footer_that_was_altered_in_any_byte_is_corrupt() {
    let test_dir = TestDir::new();
    let store = test_dir.open_unsynced().await;
    let content = b"bytes";
    put(&store, &content[..]).await;
    let whole = fs::read(test_dir.file()).unwrap();
    for at in content.len()..whole.len() {
        flip_bit(&test_dir.file(), at as u64);
        assert_kind(store.stat(&scope(), &id_of(content)).await, ErrorKind::Corrupt, "");
        fs::write(test_dir.file(), &whole).unwrap();
    }
    assert!(store.stat(&scope(), &id_of(content)).await.unwrap().is_some());
    flip_bit(&test_dir.file(), content.len() as u64);
    assert_corrupt(&test_dir, &store, content).await;
}

#[tokio::test]
async fn a_file_with_a_byte_inserted_or_removed_in_the_middle_is_corrupt() {
    let test_dir = TestDir::new();
    let store = test_dir.open().await;
    for insert in [true, false] {
        put(&store, "some bytes").await;
        let mut file = fs::read(test_dir.file()).unwrap();
        if insert {
            file.insert(4, b'!');
        } else {
            let _ = file.remove(4);
        }
        fs::write(test_dir.file(), file).unwrap();
        assert_corrupt(&test_dir, &store, b"some bytes").await;
    }
}

#[tokio::test]
async fn an_altered_byte_of_an_artifact_is_detected_behind_the_gate() {
    let test_dir = TestDir::new();
    let store = test_dir.open_gated().await;
    for size in [1, 3 * MIB] {
        let content = random_bytes(size);
        put(&store, content.clone()).await;
        flip_bit(&test_dir.file(), size as u64 / 2);
        let get = store.get(&scope(), &id_of(&content), None).await.unwrap().unwrap();
        assert_kind(drain(get).await, ErrorKind::Corrupt, "");
        store.delete(&scope(), &id_of(&content)).await.unwrap();
    }
}

#[tokio::test]
async fn an_altered_bit_of_bytes_or_tree_is_found_by_a_whole_read_and_by_a_read_of_its_range() {
    let test_dir = TestDir::new();
    let store = test_dir.open_gated().await;
    // A body without a tree, one of few blocks, one of a whole group, and one of several groups.
    for size in [10_000, 60_000, MIB, 9 * MIB] {
        let content = random_bytes(size);
        put(&store, content.clone()).await;
        let file_length = fs::metadata(test_dir.file()).unwrap().len();
        let length = size;
        let size = size as u64;
        for at in [0, size / 2, size - 1] {
            flip_bit(&test_dir.file(), at);
            for range in [None, Some(at..at + 1)] {
                let range = range.map(ByteRange::from);
                let get = store.get(&scope(), &id_of(&content), range).await.unwrap().unwrap();
                assert_kind(drain(get).await, ErrorKind::Corrupt, "the stored bytes have another");
            }
            // What does not contain the byte can still be read.
            let other = if at < size / 2 { length - 5..length } else { 0..5 };
            let other_range = ByteRange::from(other.start as u64..other.end as u64);
            let get = store.get(&scope(), &id_of(&content), Some(other_range)).await.unwrap().unwrap();
            if size > 10_000 {
                assert_eq!(drain(get).await.unwrap(), content[other]);
            }
            flip_bit(&test_dir.file(), at);
        }
        // The nodes are between the bytes and the record.
        let record_at = fs::read(test_dir.file()).unwrap()[usize::try_from(size).unwrap()..]
            .windows(7)
            .position(|part| part == b"{\"id\":\"")
            .unwrap() as u64
            + size;
        for at in [size, u64::midpoint(size, record_at), record_at - 1] {
            if record_at > size {
                flip_bit(&test_dir.file(), at);
                // `store` has the hashes that it has read before.
                let store = test_dir.open_gated().await;
                let get = store.get(&scope(), &id_of(&content), None).await.unwrap().unwrap();
                assert_kind(drain(get).await, ErrorKind::Corrupt, "hashes");
                flip_bit(&test_dir.file(), at);
            }
        }
        assert!(record_at < file_length);
        let get = store.get(&scope(), &id_of(&content), None).await.unwrap().unwrap();
        assert_eq!(drain(get).await.unwrap(), content);
        store.delete(&scope(), &id_of(&content)).await.unwrap();
    }
}

#[tokio::test]
async fn a_file_truncated_while_it_is_read_ends_the_stream_as_corrupt() {
    let test_dir = TestDir::new();
    let store = test_dir.open().await;
    let content = random_bytes(4 * MIB);
    put(&store, content.clone()).await;
    let mut stream = store.get(&scope(), &id_of(&content), None).await.unwrap().unwrap().stream;
    stream.next().await.unwrap().unwrap();
    truncate(&test_dir.file(), MIB as u64);
    let rest: Vec<Result<Bytes, StoreError>> = stream.collect().await;
    assert_eq!(rest.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_link_in_the_place_of_a_file_is_not_followed() {
    let test_dir = TestDir::new();
    let store = test_dir.open().await;
    put(&store, "bytes").await;
    let elsewhere = test_dir.path().join("elsewhere");
    fs::rename(test_dir.file(), &elsewhere).unwrap();
    let [tenant, user, session, task] = artifact_store_core::KeyToken::of_scope(&scope());
    let leaf = test_dir.root().join(format!("artifacts/{tenant}/{user}/{session}/{task}"));
    let file = leaf.join(artifact_store_core::KeyToken::of_id(&id_of(b"bytes")).as_str());
    symlink(&elsewhere, &file).unwrap();
    assert_corrupt(&test_dir, &store, b"bytes").await;
    assert!(elsewhere.exists(), "the delete must remove the link, not its target");
}

#[tokio::test]
async fn a_directory_or_a_pipe_in_the_place_of_a_file_is_corrupt_and_blocks_no_call() {
    let test_dir = TestDir::new();
    let store = test_dir.open().await;
    put(&store, "bytes").await;
    let file = test_dir.file();
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_kind(store.stat(&scope(), &id_of(b"bytes")).await, ErrorKind::Corrupt, "not a regular file");
    assert_kind(store.delete(&scope(), &id_of(b"bytes")).await, ErrorKind::Corrupt, "replaced");
    fs::remove_dir(&file).unwrap();
    let status = std::process::Command::new("mkfifo").arg(&file).status().unwrap();
    assert!(status.success());
    let stat = tokio::time::timeout(Duration::from_secs(10), store.stat(&scope(), &id_of(b"bytes"))).await;
    assert_kind(stat.unwrap(), ErrorKind::Corrupt, "not a regular file");
}

#[tokio::test]
async fn a_link_in_the_place_of_a_scope_directory_is_not_followed() {
    let test_dir = TestDir::new();
    put(&test_dir.open().await, "bytes").await;
    let tenant = test_dir.file().ancestors().nth(4).unwrap().to_owned();
    let elsewhere = test_dir.path().join("elsewhere");
    fs::rename(&tenant, &elsewhere).unwrap();
    symlink(&elsewhere, &tenant).unwrap();

    let store = test_dir.open().await;
    let id = id_of(b"bytes");
    assert_kind(store.stat(&scope(), &id).await, ErrorKind::Corrupt, "symbolic link");
    assert_kind(store.delete(&scope(), &id).await, ErrorKind::Corrupt, "symbolic link");
    let other = store.put(&scope(), Body::from("other"), PutOptions::default()).await;
    assert_kind(other, ErrorKind::Corrupt, "symbolic link");
    let all = ListQuery::new(ScopePattern::all_tenants());
    assert_kind(store.list(&all).await, ErrorKind::Corrupt, "symbolic link");
    assert_eq!(test_dir.temp_files().len(), 0);
    assert_eq!(count_files(&elsewhere), 1, "something was put or deleted behind the link");
}

fn count_files(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| if entry.file_type().unwrap().is_dir() { count_files(&entry.path()) } else { 1 })
        .sum()
}

#[tokio::test]
async fn a_file_copied_to_another_scope_or_id_is_corrupt_there() {
    let test_dir = TestDir::new();
    let store = test_dir.open().await;
    put(&store, "bytes").await;
    let original = test_dir.file();
    let other = Scope::new("other", "ada", "s-1").unwrap();
    store.put(&other, Body::from("bytes"), PutOptions::default()).await.unwrap();
    let copy = test_dir.files().into_iter().find(|file| *file != original).unwrap();
    fs::copy(&original, &copy).unwrap();
    assert_kind(store.stat(&other, &id_of(b"bytes")).await, ErrorKind::Corrupt, "another scope");
    let query = ListQuery::new(ScopePattern::exactly(&other));
    assert_kind(store.list(&query).await, ErrorKind::Corrupt, "another scope");

    put(&store, "more").await;
    let more = test_dir.files().into_iter().find(|f| *f != original && *f != copy).unwrap();
    fs::copy(&original, &more).unwrap();
    assert_kind(store.stat(&scope(), &id_of(b"more")).await, ErrorKind::Corrupt, "another id");
    let query = ListQuery::new(ScopePattern::exactly(&scope()));
    assert_kind(store.list(&query).await, ErrorKind::Corrupt, "another id");
}

#[tokio::test]
async fn foreign_names_in_the_tree_are_ignored() {
    let test_dir = TestDir::new();
    let store = test_dir.open().await;
    put(&store, "bytes").await;
    for dir in test_dir.file().ancestors().skip(1).take(5) {
        fs::write(dir.join(".DS_Store"), "not ours").unwrap();
    }
    let page = store.list(&ListQuery::new(ScopePattern::all_tenants()).with_total()).await.unwrap();
    assert_eq!((page.rows.len(), page.total), (1, Some(1)));
    assert_eq!(store.sweep().await.unwrap(), SweepReport::default());
    assert!(store.delete(&scope(), &id_of(b"bytes")).await.unwrap());
}

#[tokio::test]
async fn a_sweep_removes_orphans_and_leaves_live_puts_and_foreign_files() {
    let test_dir = TestDir::new();
    let store = Arc::new(test_dir.open().await);
    let put_task = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.put(&scope(), stalling_body(random_bytes(MIB)), PutOptions::default()).await }
    });
    while test_dir.temp_files().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let live = test_dir.temp_files();
    let orphan = test_dir.root().join("tmp").join(format!("put-{:032x}", 42));
    let foreign = test_dir.root().join("tmp/notes");
    let empty = test_dir.create_empty_leaf_dir();

    // Opening a store removes the orphan temporary files of every process.
    fs::write(&orphan, "orphan").unwrap();
    fs::write(&foreign, "foreign").unwrap();
    let other = test_dir.open().await;
    assert!(!orphan.exists() && live[0].exists() && foreign.exists() && empty.exists());

    fs::write(&orphan, "orphan").unwrap();
    let report = other.sweep().await.unwrap();
    assert_eq!(report, SweepReport { files: 1, bytes: 6, live: 1, directories: 4, busy: false });
    assert!(!orphan.exists() && live[0].exists() && foreign.exists());
    assert_eq!(fs::read_dir(test_dir.root().join("artifacts")).unwrap().count(), 0);

    fs::remove_file(foreign).unwrap();
    put_task.abort();
    assert!(put_task.await.unwrap_err().is_cancelled());
    assert_eq!(test_dir.residue_when_quiet().await, NO_RESIDUE);
}

impl TestDir {
    /// Creates what a put leaves if its process dies after it creates the directories and before it publishes.
    fn create_empty_leaf_dir(&self) -> std::path::PathBuf {
        let [tenant, user, session, task] = artifact_store_core::KeyToken::of_scope(&scope());
        let dir = self.root().join(format!("artifacts/{tenant}/{user}/{session}/{task}"));
        fs::create_dir_all(&dir).unwrap();
        dir
    }
}

#[tokio::test]
async fn a_dropped_put_leaves_nothing() {
    let test_dir = TestDir::new();
    let store = test_dir.open().await;
    let scope = scope();
    for size in [1, 600 * 1024, 5 * MIB] {
        let put = store.put(&scope, stalling_body(random_bytes(size)), PutOptions::default());
        assert!(tokio::time::timeout(Duration::from_millis(100), put).await.is_err());
        assert_eq!(test_dir.residue_when_quiet().await, NO_RESIDUE, "{size}");
        assert!(test_dir.files().is_empty());
    }
}

#[tokio::test]
async fn a_put_whose_body_fails_leaves_nothing() {
    let test_dir = TestDir::new();
    let store = test_dir.open().await;
    for size in [1, 600 * 1024, 5 * MIB] {
        let pieces = [Ok(random_bytes(size)), Err(BoxError::from("the source broke off"))];
        let put = store.put(&scope(), Body::from_stream(stream::iter(pieces)), PutOptions::default()).await;
        assert_kind(put, ErrorKind::InvalidArgument, "source failed");
        assert_eq!(test_dir.residue(), NO_RESIDUE, "{size}");
        let short = Body::from_stream(stream::iter([Ok::<_, BoxError>(random_bytes(size))]))
            .with_length(size as u64 + 1);
        let put = store.put(&scope(), short, PutOptions::default()).await;
        assert_kind(put, ErrorKind::InvalidArgument, "ended after");
        assert_eq!(test_dir.residue(), NO_RESIDUE, "{size}");
    }
    assert!(test_dir.files().is_empty());
}

#[tokio::test]
async fn a_failed_write_ends_the_put_of_a_stream_before_the_stream_ends() {
    let test_dir = TestDir::new();
    let store = test_dir.open().await;
    // The root does not exist any more, so the first batch cannot be written. The source never ends by itself.
    fs::remove_dir_all(test_dir.root()).unwrap();
    let endless = endless_body();
    let scope = scope();
    let put =
        tokio::time::timeout(Duration::from_secs(10), store.put(&scope, endless, PutOptions::default()));
    assert_kind(put.await.unwrap(), ErrorKind::Unavailable, "temporary file");
}

#[tokio::test]
async fn a_stream_that_was_opened_before_a_delete_and_close_is_whole() {
    let test_dir = TestDir::new();
    let store = test_dir.open().await;
    let content = random_bytes(4 * MIB);
    put(&store, content.clone()).await;
    let get = store.get(&scope(), &id_of(&content), None).await.unwrap().unwrap();
    assert!(store.delete(&scope(), &id_of(&content)).await.unwrap());
    store.close().await.unwrap();
    assert!(drain(get).await.unwrap() == content);
}

#[tokio::test]
async fn every_verb_of_a_closed_store_returns_closed_and_closing_again_succeeds() {
    let test_dir = TestDir::new();
    let store = test_dir.open().await;
    let (scope, id) = (scope(), id_of(b""));
    future::join(store.close(), store.close()).await.0.unwrap();
    store.close().await.unwrap();
    let query = ListQuery::new(ScopePattern::all_tenants());
    assert_kind(store.put(&scope, Body::from(""), PutOptions::default()).await, ErrorKind::Closed, "");
    assert_kind(store.get(&scope, &id, None).await, ErrorKind::Closed, "");
    assert_kind(store.stat(&scope, &id).await, ErrorKind::Closed, "");
    assert_kind(store.delete(&scope, &id).await, ErrorKind::Closed, "");
    assert_kind(store.list(&query).await, ErrorKind::Closed, "");
    assert_kind(store.health().await, ErrorKind::Closed, "");
    assert_kind(store.sweep().await, ErrorKind::Closed, "");
}

#[tokio::test]
async fn a_put_that_is_streamed_while_the_store_closes_ends_as_closed_and_leaves_nothing() {
    let test_dir = TestDir::new();
    let store = Arc::new(test_dir.open().await);
    let endless = endless_body();
    let put_task = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.put(&scope(), endless, PutOptions::default()).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    store.close().await.unwrap();
    assert_kind(put_task.await.unwrap(), ErrorKind::Closed, "");
    assert_eq!(test_dir.residue(), NO_RESIDUE);
}

#[tokio::test]
async fn slow_uploads_delay_neither_other_verbs_nor_close() {
    let test_dir = TestDir::new();
    let store = Arc::new(test_dir.open_unsynced().await);
    // There are more uploads than concurrent tasks. Each upload sends enough bytes for one batch and then stalls.
    let content = random_bytes(600 * 1024);
    let uploads: Vec<_> = (0..100)
        .map(|_| {
            let (store, body) = (Arc::clone(&store), stalling_body(content.clone()));
            tokio::spawn(async move { store.put(&scope(), body, PutOptions::default()).await })
        })
        .collect();
    while test_dir.temp_files().len() < 100 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let timeout = Duration::from_secs(10);
    tokio::time::timeout(timeout, put(&*store, "meanwhile")).await.unwrap();
    tokio::time::timeout(timeout, store.close()).await.unwrap().unwrap();
    for upload in uploads {
        upload.abort();
        assert!(upload.await.unwrap_err().is_cancelled());
    }
    assert_eq!(test_dir.residue_when_quiet().await, NO_RESIDUE);
}

#[tokio::test]
async fn a_listing_of_more_files_than_max_scan_is_refused_and_says_what_to_do() {
    let test_dir = TestDir::new();
    let config = test_dir.config().sync(SyncPolicy::Never).max_scan(3);
    let store = FsStore::open(config).await.unwrap();
    for n in 0..4 {
        let scope = Scope::new("acme", format!("user-{}", n % 2), "s-1").unwrap();
        store.put(&scope, Body::from(format!("{n}")), PutOptions::default()).await.unwrap();
    }
    let acme = ScopePattern::tenant(ScopePart::new("acme").unwrap());
    let refused = store.list(&ListQuery::new(acme.clone()).with_limit(1)).await;
    assert_kind(refused, ErrorKind::InvalidArgument, "narrow the scope, or raise the option max_scan");
    let one = acme.user(ScopePart::new("user-1").unwrap());
    assert_eq!(store.list(&ListQuery::new(one)).await.unwrap().rows.len(), 2);
}

/// Gives each timestamp to four rows, so that the listing has ties.
#[derive(Debug, Default)]
struct TieClock(std::sync::atomic::AtomicI64);

impl Clock for TieClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) / 4)
    }
}

#[tokio::test]
async fn pages_of_a_long_listing_contain_each_row_once_newest_first() {
    let test_dir = TestDir::new();
    let config = test_dir.config().sync(SyncPolicy::Never).clock(Arc::new(TieClock::default()));
    let store = Arc::new(FsStore::open(config).await.unwrap());
    let mut all = BTreeSet::new();
    for n in 0..3000 {
        let scope = Scope::new("acme", format!("user-{}", n % 7), format!("s-{}", n % 11)).unwrap();
        let put = store.put(&scope, Body::from(format!("{n}")), PutOptions::default()).await.unwrap();
        all.insert((put.record.scope, put.record.id));
    }
    let gate = artifact_store_core::Gate::new(store, artifact_store_core::GateOptions::default()).unwrap();
    let mut query =
        ListQuery::new(ScopePattern::tenant(ScopePart::new("acme").unwrap())).with_limit(170).with_total();
    let (mut seen, mut last) = (BTreeSet::new(), i64::MAX);
    loop {
        let page = gate.list(&query).await.unwrap();
        assert_eq!(page.total, Some(3000));
        for row in page.rows {
            assert!(row.created_at.as_micros() <= last);
            last = row.created_at.as_micros();
            assert!(seen.insert((row.scope, row.id)), "a row was listed twice");
        }
        let Some(next) = page.next else { break };
        query = query.with_cursor(Some(next));
    }
    assert_eq!(seen, all);
}

#[tokio::test]
async fn health_fails_if_the_root_or_a_directory_in_it_was_replaced() {
    let test_dir = TestDir::new();
    let store = test_dir.open().await;
    assert_eq!(store.health().await.unwrap().status, HealthStatus::Ready);

    let artifacts = test_dir.root().join("artifacts");
    fs::rename(&artifacts, test_dir.path().join("aside")).unwrap();
    assert_kind(store.health().await, ErrorKind::Unavailable, "the directory artifacts was replaced");
    fs::create_dir(&artifacts).unwrap();
    assert_kind(store.health().await, ErrorKind::Unavailable, "the directory artifacts was replaced");
    fs::remove_dir(&artifacts).unwrap();
    fs::rename(test_dir.path().join("aside"), &artifacts).unwrap();
    assert_eq!(store.health().await.unwrap().status, HealthStatus::Ready);

    let aside = test_dir.path().join("aside");
    fs::rename(test_dir.root(), &aside).unwrap();
    assert_kind(store.health().await, ErrorKind::Unavailable, "the root was replaced");
    fs::create_dir(test_dir.root()).unwrap();
    assert_kind(store.health().await, ErrorKind::Unavailable, "the root was replaced");
    fs::remove_dir(test_dir.root()).unwrap();
    symlink(&aside, test_dir.root()).unwrap();
    assert_kind(store.health().await, ErrorKind::Unavailable, "the root was replaced");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_sixteen_racing_puts_creates_the_artifact_and_its_options_stay() {
    let test_dir = TestDir::new();
    let stores: Vec<_> = [test_dir.open().await, test_dir.open().await].into_iter().map(Arc::new).collect();
    for size in [10, 2 * MIB] {
        let content = random_bytes(size);
        let puts = (0..16).map(|n| {
            let (store, content) = (Arc::clone(&stores[n % 2]), content.clone());
            let options = PutOptions { filename: Some(format!("writer-{n}")), ..PutOptions::default() };
            tokio::spawn(async move { store.put(&scope(), Body::from(content), options).await.unwrap() })
        });
        let puts: Vec<_> = future::join_all(puts).await.into_iter().map(Result::unwrap).collect();
        let created: Vec<_> = puts.iter().filter(|put| put.outcome == PutOutcome::Created).collect();
        assert_eq!(created.len(), 1);
        assert!(puts.iter().all(|put| put.record == created[0].record));
        assert_eq!(stores[0].stat(&scope(), &id_of(&content)).await.unwrap().unwrap(), created[0].record);
    }
    assert_eq!(test_dir.residue(), NO_RESIDUE);
    assert_eq!(test_dir.files().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn puts_deletes_reads_and_sweeps_that_race_never_fail() {
    let test_dir = TestDir::new();
    let stores: Vec<_> =
        [test_dir.open_unsynced().await, test_dir.open().await].into_iter().map(Arc::new).collect();
    let racers = (0..8_usize).map(|racer| {
        let store = Arc::clone(&stores[racer % 2]);
        tokio::spawn(async move {
            for round in 0..150 {
                let content =
                    if racer % 4 == 0 { format!("own {racer}") } else { format!("shared {}", round % 2) };
                let id = id_of(content.as_bytes());
                store.put(&scope(), Body::from(content.clone()), PutOptions::default()).await.unwrap();
                if let Some(get) = store.get(&scope(), &id, None).await.unwrap() {
                    assert_eq!(drain(get).await.unwrap(), content);
                }
                store.list(&ListQuery::new(ScopePattern::exactly(&scope()))).await.unwrap();
                let deleted = store.delete(&scope(), &id).await.unwrap();
                assert!(deleted || racer % 4 != 0, "no other task deletes this artifact");
                if round % 16 == 0 {
                    store.sweep().await.unwrap();
                }
            }
        })
    });
    for racer in future::join_all(racers).await {
        racer.unwrap();
    }
    assert_eq!(test_dir.residue(), NO_RESIDUE);
    assert!(test_dir.files().is_empty());
}

/// The metadata is nested too deeply for a JSON reader. The Gate refuses such metadata. A bare driver must not
/// acknowledge the put either.
#[tokio::test]
async fn a_record_that_would_not_read_back_equal_is_not_acknowledged() {
    let test_dir = TestDir::new();
    let store = test_dir.open().await;
    let mut deep = serde_json::Value::Null;
    for _ in 0..200 {
        deep = serde_json::Value::Array(vec![deep]);
    }
    let mut options = PutOptions::default();
    options.metadata.insert("deep".into(), deep);
    let put = store.put(&scope(), Body::from("bytes"), options).await;
    assert_kind(put, ErrorKind::Backend, "read back");
    assert_eq!(test_dir.residue(), NO_RESIDUE);
    assert!(store.stat(&scope(), &id_of(b"bytes")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_put_whose_id_belongs_to_another_digest_is_a_conflict_and_changes_nothing() {
    let test_dir = TestDir::new();
    let store = test_dir.open().await;
    let record = put(&store, "bytes").await.record;
    // No two bodies with the same id are known, so this rewrites the digest in the record.
    let mut file = fs::read(test_dir.file()).unwrap();
    let json_at = "bytes".len();
    let footer_at = file.len() - 48;
    let digest = record.digest.to_hex();
    let other = format!("{}{}", &digest[..63], if digest.ends_with('0') { '1' } else { '0' });
    let json = String::from_utf8(file[json_at..footer_at].to_vec()).unwrap().replace(&digest, &other);
    let checked = [json.as_bytes(), &file[footer_at + 32..footer_at + 36]].concat();
    file[json_at..footer_at].copy_from_slice(json.as_bytes());
    file[footer_at..footer_at + 32].copy_from_slice(artifact_store_core::Digest::of(&checked).as_bytes());
    fs::write(test_dir.file(), &file).unwrap();

    for body in
        [Body::from("bytes"), Body::from_stream(stream::iter([Ok::<_, BoxError>(Bytes::from("bytes"))]))]
    {
        assert_kind(store.put(&scope(), body, PutOptions::default()).await, ErrorKind::Conflict, &other);
    }
    assert_eq!(fs::read(test_dir.file()).unwrap(), file);
    assert_eq!(test_dir.residue(), NO_RESIDUE);
}
