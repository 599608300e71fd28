//! What happens when files are altered, processes die, calls are dropped, and many do the same at once.
#![allow(clippy::unwrap_used)] // What helpers of tests meet fails the test.

mod harness;
mod kit;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{
    ArtifactStore, Body, BoxError, Bytes, Clock, ErrorKind, HealthStatus, ListQuery, PutOptions, PutOutcome,
    Scope, ScopePart, ScopePattern, StoreError, Timestamp,
};
use artifact_store_fs::{FsStore, SweepReport, SyncPolicy};
use futures_util::{StreamExt, future, stream};
use kit::{Home, MIB, assert_kind, bytes, drain, endless, id_of, put, scope, stalling};

const NONE: Vec<String> = Vec::new();

/// Every way to read the one artifact answers `Corrupt`; deleting it works.
async fn assert_corrupt(home: &Home, store: &dyn ArtifactStore, what: &[u8]) {
    let id = id_of(what);
    assert_kind(store.stat(&scope(), &id).await, ErrorKind::Corrupt, "");
    assert_kind(store.get(&scope(), &id, None).await, ErrorKind::Corrupt, "");
    let query = ListQuery::new(ScopePattern::exactly(&scope()));
    assert_kind(store.list(&query).await, ErrorKind::Corrupt, "artifacts/acme.");
    let again = store.put(&scope(), Body::from(what.to_vec()), PutOptions::default()).await;
    assert_kind(again, ErrorKind::Corrupt, "");
    assert_eq!(home.temp_files().len(), 0);
    assert!(store.delete(&scope(), &id).await.unwrap());
    put(store, what.to_vec()).await;
    assert!(store.delete(&scope(), &id).await.unwrap());
    assert_eq!(home.residue(), NONE);
}

fn alter(file: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

fn cut(file: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(file).unwrap().set_len(length).unwrap();
}

#[tokio::test]
async fn a_file_that_was_cut_anywhere_is_corrupt() {
    let home = Home::new();
    let store = home.open().await;
    let what = bytes(10_000);
    put(&store, what.clone()).await;
    let length = fs::metadata(home.file()).unwrap().len();
    store.delete(&scope(), &id_of(&what)).await.unwrap();
    for left in [0, 1, 47, 48, 5_000, 10_000, 10_001, length - 48, length - 8, length - 1] {
        put(&store, what.clone()).await;
        cut(&home.file(), left);
        assert_corrupt(&home, &store, &what).await;
    }
}

#[tokio::test]
async fn a_record_or_footer_that_was_altered_in_any_byte_is_corrupt() {
    let home = Home::new();
    let store = home.open_fast().await;
    let what = b"bytes";
    put(&store, &what[..]).await;
    let whole = fs::read(home.file()).unwrap();
    for at in what.len()..whole.len() {
        alter(&home.file(), at as u64);
        assert_kind(store.stat(&scope(), &id_of(what)).await, ErrorKind::Corrupt, "");
        fs::write(home.file(), &whole).unwrap();
    }
    assert!(store.stat(&scope(), &id_of(what)).await.unwrap().is_some());
    alter(&home.file(), what.len() as u64);
    assert_corrupt(&home, &store, what).await;
}

#[tokio::test]
async fn bytes_put_into_or_taken_out_of_the_middle_are_corrupt() {
    let home = Home::new();
    let store = home.open().await;
    for insert in [true, false] {
        put(&store, "some bytes").await;
        let mut file = fs::read(home.file()).unwrap();
        if insert {
            file.insert(4, b'!');
        } else {
            let _ = file.remove(4);
        }
        fs::write(home.file(), file).unwrap();
        assert_corrupt(&home, &store, b"some bytes").await;
    }
}

#[tokio::test]
async fn one_altered_byte_of_the_bytes_is_caught_behind_the_gate() {
    let home = Home::new();
    let store = home.open_gated().await;
    for size in [1, 3 * MIB] {
        let what = bytes(size);
        put(&store, what.clone()).await;
        alter(&home.file(), size as u64 / 2);
        let get = store.get(&scope(), &id_of(&what), None).await.unwrap().unwrap();
        assert_kind(drain(get).await, ErrorKind::Corrupt, "");
        store.delete(&scope(), &id_of(&what)).await.unwrap();
    }
}

#[tokio::test]
async fn a_file_cut_while_it_is_read_ends_the_stream_as_corrupt() {
    let home = Home::new();
    let store = home.open().await;
    let what = bytes(4 * MIB);
    put(&store, what.clone()).await;
    let mut stream = store.get(&scope(), &id_of(&what), None).await.unwrap().unwrap().stream;
    stream.next().await.unwrap().unwrap();
    cut(&home.file(), MIB as u64);
    let rest: Vec<Result<Bytes, StoreError>> = stream.collect().await;
    assert_eq!(rest.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_link_in_the_place_of_a_file_is_not_followed() {
    let home = Home::new();
    let store = home.open().await;
    put(&store, "bytes").await;
    let elsewhere = home.path().join("elsewhere");
    fs::rename(home.file(), &elsewhere).unwrap();
    let [tenant, user, session, task] = artifact_store_core::KeyToken::of_scope(&scope());
    let leaf = home.root().join(format!("artifacts/{tenant}/{user}/{session}/{task}"));
    let file = leaf.join(artifact_store_core::KeyToken::of_id(&id_of(b"bytes")).as_str());
    symlink(&elsewhere, &file).unwrap();
    assert_corrupt(&home, &store, b"bytes").await;
    assert!(elsewhere.exists(), "the delete took the link, not what it leads to");
}

#[tokio::test]
async fn a_directory_or_a_pipe_in_the_place_of_a_file_is_corrupt_and_hangs_nothing() {
    let home = Home::new();
    let store = home.open().await;
    put(&store, "bytes").await;
    let file = home.file();
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_kind(store.stat(&scope(), &id_of(b"bytes")).await, ErrorKind::Corrupt, "no regular file");
    assert_kind(store.delete(&scope(), &id_of(b"bytes")).await, ErrorKind::Corrupt, "replaced");
    fs::remove_dir(&file).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&file).status().unwrap();
    assert!(made.success());
    let stat = tokio::time::timeout(Duration::from_secs(10), store.stat(&scope(), &id_of(b"bytes"))).await;
    assert_kind(stat.unwrap(), ErrorKind::Corrupt, "no regular file");
}

#[tokio::test]
async fn a_link_in_the_place_of_a_scope_directory_is_not_followed() {
    let home = Home::new();
    put(&home.open().await, "bytes").await;
    let tenant = home.file().ancestors().nth(4).unwrap().to_owned();
    let elsewhere = home.path().join("elsewhere");
    fs::rename(&tenant, &elsewhere).unwrap();
    symlink(&elsewhere, &tenant).unwrap();

    let store = home.open().await;
    let id = id_of(b"bytes");
    assert_kind(store.stat(&scope(), &id).await, ErrorKind::Corrupt, "symbolic link");
    assert_kind(store.delete(&scope(), &id).await, ErrorKind::Corrupt, "symbolic link");
    let other = store.put(&scope(), Body::from("other"), PutOptions::default()).await;
    assert_kind(other, ErrorKind::Corrupt, "symbolic link");
    let all = ListQuery::new(ScopePattern::all_tenants());
    assert_kind(store.list(&all).await, ErrorKind::Corrupt, "symbolic link");
    assert_eq!(home.temp_files().len(), 0);
    assert_eq!(count(&elsewhere), 1, "nothing was put or deleted behind the link");
}

fn count(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| if entry.file_type().unwrap().is_dir() { count(&entry.path()) } else { 1 }).sum()
}

#[tokio::test]
async fn a_file_copied_to_another_scope_or_id_is_corrupt_there() {
    let home = Home::new();
    let store = home.open().await;
    put(&store, "bytes").await;
    let original = home.file();
    let other = Scope::new("other", "ada", "s-1").unwrap();
    store.put(&other, Body::from("bytes"), PutOptions::default()).await.unwrap();
    let copy = home.files().into_iter().find(|file| *file != original).unwrap();
    fs::copy(&original, &copy).unwrap();
    assert_kind(store.stat(&other, &id_of(b"bytes")).await, ErrorKind::Corrupt, "another scope");
    let query = ListQuery::new(ScopePattern::exactly(&other));
    assert_kind(store.list(&query).await, ErrorKind::Corrupt, "another scope");

    put(&store, "more").await;
    let more = home.files().into_iter().find(|f| *f != original && *f != copy).unwrap();
    fs::copy(&original, &more).unwrap();
    assert_kind(store.stat(&scope(), &id_of(b"more")).await, ErrorKind::Corrupt, "another id");
    let query = ListQuery::new(ScopePattern::exactly(&scope()));
    assert_kind(store.list(&query).await, ErrorKind::Corrupt, "another id");
}

#[tokio::test]
async fn foreign_names_in_the_tree_are_passed_over() {
    let home = Home::new();
    let store = home.open().await;
    put(&store, "bytes").await;
    for dir in home.file().ancestors().skip(1).take(5) {
        fs::write(dir.join(".DS_Store"), "not ours").unwrap();
    }
    let page = store.list(&ListQuery::new(ScopePattern::all_tenants()).with_total()).await.unwrap();
    assert_eq!((page.rows.len(), page.total), (1, Some(1)));
    assert_eq!(store.sweep().await.unwrap(), SweepReport::default());
    assert!(store.delete(&scope(), &id_of(b"bytes")).await.unwrap());
}

#[tokio::test]
async fn a_sweep_removes_orphans_and_leaves_live_puts_and_foreign_files() {
    let home = Home::new();
    let store = Arc::new(home.open().await);
    let putting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.put(&scope(), stalling(bytes(MIB)), PutOptions::default()).await }
    });
    while home.temp_files().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let live = home.temp_files();
    let orphan = home.root().join("tmp").join(format!("put-{:032x}", 42));
    let foreign = home.root().join("tmp/notes");
    let empty = home.file_parent_of_an_empty_scope();

    // Opening sweeps the temporary files, in this process as in any other.
    fs::write(&orphan, "orphan").unwrap();
    fs::write(&foreign, "foreign").unwrap();
    let other = home.open().await;
    assert!(!orphan.exists() && live[0].exists() && foreign.exists() && empty.exists());

    fs::write(&orphan, "orphan").unwrap();
    let report = other.sweep().await.unwrap();
    assert_eq!(report, SweepReport { files: 1, bytes: 6, live: 1, directories: 4 });
    assert!(!orphan.exists() && live[0].exists() && foreign.exists());
    assert_eq!(fs::read_dir(home.root().join("artifacts")).unwrap().count(), 0);

    fs::remove_file(foreign).unwrap();
    putting.abort();
    assert!(putting.await.unwrap_err().is_cancelled());
    assert_eq!(home.residue(), NONE);
}

impl Home {
    /// What a put leaves whose process died between making its directories and publishing.
    fn file_parent_of_an_empty_scope(&self) -> std::path::PathBuf {
        let [tenant, user, session, task] = artifact_store_core::KeyToken::of_scope(&scope());
        let dir = self.root().join(format!("artifacts/{tenant}/{user}/{session}/{task}"));
        fs::create_dir_all(&dir).unwrap();
        dir
    }
}

#[tokio::test]
async fn a_dropped_put_leaves_nothing() {
    let home = Home::new();
    let store = home.open().await;
    let scope = scope();
    for size in [1, 600 * 1024, 5 * MIB] {
        let put = store.put(&scope, stalling(bytes(size)), PutOptions::default());
        assert!(tokio::time::timeout(Duration::from_millis(100), put).await.is_err());
        assert_eq!(home.residue(), NONE, "{size}");
        assert!(home.files().is_empty());
    }
}

#[tokio::test]
async fn a_put_whose_body_fails_leaves_nothing() {
    let home = Home::new();
    let store = home.open().await;
    for size in [1, 600 * 1024, 5 * MIB] {
        let pieces = [Ok(bytes(size)), Err(BoxError::from("the source broke off"))];
        let put = store.put(&scope(), Body::from_stream(stream::iter(pieces)), PutOptions::default()).await;
        assert_kind(put, ErrorKind::InvalidArgument, "source failed");
        assert_eq!(home.residue(), NONE, "{size}");
        let short =
            Body::from_stream(stream::iter([Ok::<_, BoxError>(bytes(size))])).with_length(size as u64 + 1);
        let put = store.put(&scope(), short, PutOptions::default()).await;
        assert_kind(put, ErrorKind::InvalidArgument, "ended after");
        assert_eq!(home.residue(), NONE, "{size}");
    }
    assert!(home.files().is_empty());
}

#[tokio::test]
async fn a_failure_of_the_disk_in_mid_stream_reaches_the_caller_and_stops_the_source() {
    let home = Home::new();
    let store = home.open().await;
    // The root is gone, so the first batch cannot be written; the source would flow for ever.
    fs::remove_dir_all(home.root()).unwrap();
    let endless = endless();
    let scope = scope();
    let put =
        tokio::time::timeout(Duration::from_secs(10), store.put(&scope, endless, PutOptions::default()));
    assert_kind(put.await.unwrap(), ErrorKind::Unavailable, "temporary file");
}

#[tokio::test]
async fn a_flowing_read_ends_whole_after_a_delete_and_after_close() {
    let home = Home::new();
    let store = home.open().await;
    let what = bytes(4 * MIB);
    put(&store, what.clone()).await;
    let get = store.get(&scope(), &id_of(&what), None).await.unwrap().unwrap();
    assert!(store.delete(&scope(), &id_of(&what)).await.unwrap());
    store.close().await.unwrap();
    assert!(drain(get).await.unwrap() == what);
}

#[tokio::test]
async fn every_verb_of_a_closed_store_is_closed_and_closing_again_is_fine() {
    let home = Home::new();
    let store = home.open().await;
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
async fn a_put_that_flows_while_the_store_closes_ends_as_closed_and_leaves_nothing() {
    let home = Home::new();
    let store = Arc::new(home.open().await);
    let endless = endless();
    let putting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.put(&scope(), endless, PutOptions::default()).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    store.close().await.unwrap();
    assert_kind(putting.await.unwrap(), ErrorKind::Closed, "");
    assert_eq!(home.residue(), NONE);
}

#[tokio::test]
async fn slow_uploads_hold_up_neither_other_verbs_nor_close() {
    let home = Home::new();
    let store = Arc::new(home.open_fast().await);
    // More than jobs may run at once, and enough bytes each that a batch is written and waits for the next.
    let what = bytes(600 * 1024);
    let uploads: Vec<_> = (0..100)
        .map(|_| {
            let (store, body) = (Arc::clone(&store), stalling(what.clone()));
            tokio::spawn(async move { store.put(&scope(), body, PutOptions::default()).await })
        })
        .collect();
    while home.temp_files().len() < 100 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let patience = Duration::from_secs(10);
    tokio::time::timeout(patience, put(&*store, "meanwhile")).await.unwrap();
    tokio::time::timeout(patience, store.close()).await.unwrap().unwrap();
    for upload in uploads {
        upload.abort();
        assert!(upload.await.unwrap_err().is_cancelled());
    }
    assert_eq!(home.residue(), NONE);
}

#[tokio::test]
async fn a_listing_past_its_bound_is_refused_and_says_what_to_do() {
    let home = Home::new();
    let config = home.config().sync(SyncPolicy::Never).max_scan(3);
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

/// Four rows share each moment, so that ties are met too.
#[derive(Debug, Default)]
struct SlowClock(std::sync::atomic::AtomicI64);

impl Clock for SlowClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) / 4)
    }
}

#[tokio::test]
async fn a_listing_of_thousands_pages_through_each_row_once_newest_first() {
    let home = Home::new();
    let config = home.config().sync(SyncPolicy::Never).clock(Arc::new(SlowClock::default()));
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
            assert!(seen.insert((row.scope, row.id)), "a row came twice");
        }
        let Some(next) = page.next else { break };
        query = query.with_cursor(Some(next));
    }
    assert_eq!(seen, all);
}

#[tokio::test]
async fn health_tells_when_the_root_or_a_part_of_it_was_replaced() {
    let home = Home::new();
    let store = home.open().await;
    assert_eq!(store.health().await.unwrap().status, HealthStatus::Ready);

    let artifacts = home.root().join("artifacts");
    fs::rename(&artifacts, home.path().join("aside")).unwrap();
    assert_kind(store.health().await, ErrorKind::Unavailable, "the directory artifacts was replaced");
    fs::create_dir(&artifacts).unwrap();
    assert_kind(store.health().await, ErrorKind::Unavailable, "the directory artifacts was replaced");
    fs::remove_dir(&artifacts).unwrap();
    fs::rename(home.path().join("aside"), &artifacts).unwrap();
    assert_eq!(store.health().await.unwrap().status, HealthStatus::Ready);

    let aside = home.path().join("aside");
    fs::rename(home.root(), &aside).unwrap();
    assert_kind(store.health().await, ErrorKind::Unavailable, "the root was replaced");
    fs::create_dir(home.root()).unwrap();
    assert_kind(store.health().await, ErrorKind::Unavailable, "the root was replaced");
    fs::remove_dir(home.root()).unwrap();
    symlink(&aside, home.root()).unwrap();
    assert_kind(store.health().await, ErrorKind::Unavailable, "the root was replaced");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_sixteen_that_race_one_creates_and_its_options_stay() {
    let home = Home::new();
    let stores: Vec<_> = [home.open().await, home.open().await].into_iter().map(Arc::new).collect();
    for size in [10, 2 * MIB] {
        let what = bytes(size);
        let puts = (0..16).map(|n| {
            let (store, what) = (Arc::clone(&stores[n % 2]), what.clone());
            let options = PutOptions { filename: Some(format!("writer-{n}")), ..PutOptions::default() };
            tokio::spawn(async move { store.put(&scope(), Body::from(what), options).await.unwrap() })
        });
        let puts: Vec<_> = future::join_all(puts).await.into_iter().map(Result::unwrap).collect();
        let created: Vec<_> = puts.iter().filter(|put| put.outcome == PutOutcome::Created).collect();
        assert_eq!(created.len(), 1);
        assert!(puts.iter().all(|put| put.record == created[0].record));
        assert_eq!(stores[0].stat(&scope(), &id_of(&what)).await.unwrap().unwrap(), created[0].record);
    }
    assert_eq!(home.residue(), NONE);
    assert_eq!(home.files().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn puts_deletes_reads_and_sweeps_that_race_never_fail() {
    let home = Home::new();
    let stores: Vec<_> = [home.open_fast().await, home.open().await].into_iter().map(Arc::new).collect();
    let racers = (0..8_usize).map(|racer| {
        let store = Arc::clone(&stores[racer % 2]);
        tokio::spawn(async move {
            for round in 0..150 {
                let what =
                    if racer % 4 == 0 { format!("own {racer}") } else { format!("shared {}", round % 2) };
                let id = id_of(what.as_bytes());
                store.put(&scope(), Body::from(what.clone()), PutOptions::default()).await.unwrap();
                if let Some(get) = store.get(&scope(), &id, None).await.unwrap() {
                    assert_eq!(drain(get).await.unwrap(), what);
                }
                store.list(&ListQuery::new(ScopePattern::exactly(&scope()))).await.unwrap();
                let deleted = store.delete(&scope(), &id).await.unwrap();
                assert!(deleted || racer % 4 != 0, "nobody else deletes what is its own");
                if round % 16 == 0 {
                    store.sweep().await.unwrap();
                }
            }
        })
    });
    for racer in future::join_all(racers).await {
        racer.unwrap();
    }
    assert_eq!(home.residue(), NONE);
    assert!(home.files().is_empty());
}

/// Deeper than a JSON reader goes: the Gate refuses such metadata, a bare driver must not acknowledge it either.
#[tokio::test]
async fn what_would_not_read_back_is_not_acknowledged() {
    let home = Home::new();
    let store = home.open().await;
    let mut deep = serde_json::Value::Null;
    for _ in 0..200 {
        deep = serde_json::Value::Array(vec![deep]);
    }
    let mut options = PutOptions::default();
    options.metadata.insert("deep".into(), deep);
    let put = store.put(&scope(), Body::from("bytes"), options).await;
    assert_kind(put, ErrorKind::Backend, "read back");
    assert_eq!(home.residue(), NONE);
    assert!(store.stat(&scope(), &id_of(b"bytes")).await.unwrap().is_none());
}

#[tokio::test]
async fn an_id_that_stands_for_another_digest_is_a_conflict_and_stays() {
    let home = Home::new();
    let store = home.open().await;
    let record = put(&store, "bytes").await.record;
    // No two bodies with one id are known, so the record is rewritten as one of another digest would be.
    let mut file = fs::read(home.file()).unwrap();
    let json_at = "bytes".len();
    let footer_at = file.len() - 48;
    let digest = record.digest.to_hex();
    let other = format!("{}{}", &digest[..63], if digest.ends_with('0') { '1' } else { '0' });
    let json = String::from_utf8(file[json_at..footer_at].to_vec()).unwrap().replace(&digest, &other);
    let checked = [json.as_bytes(), &file[footer_at + 32..footer_at + 36]].concat();
    file[json_at..footer_at].copy_from_slice(json.as_bytes());
    file[footer_at..footer_at + 32].copy_from_slice(artifact_store_core::Digest::of(&checked).as_bytes());
    fs::write(home.file(), &file).unwrap();

    for body in
        [Body::from("bytes"), Body::from_stream(stream::iter([Ok::<_, BoxError>(Bytes::from("bytes"))]))]
    {
        assert_kind(store.put(&scope(), body, PutOptions::default()).await, ErrorKind::Conflict, &other);
    }
    assert_eq!(fs::read(home.file()).unwrap(), file);
    assert_eq!(home.residue(), NONE);
}
