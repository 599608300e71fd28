//! A database of schema version 1 is migrated, and its artifacts are read as before.

mod common;

use artifact_store_core::{
    ArtifactStore, Body, ByteRange, Bytes, Clock, Digest, Driver, ErrorKind, Filter, ListQuery, Options,
    PutOptions, PutOutcome, Record, ScopeMark, ScopePattern, SystemClock,
};
use artifact_store_sqlite::{SqliteDriver, SqliteStore};
use common::{MIB, TestDatabase, bytes, gated, kind, read, scope};
use rusqlite::params;

/// The schema of version 1, as it was released.
const SCHEMA_1: &str = "
PRAGMA journal_mode = WAL;
CREATE TABLE counter (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    next_blob INTEGER NOT NULL
) STRICT;
INSERT INTO counter VALUES (1, 1);
CREATE TABLE artifact (
    blob INTEGER PRIMARY KEY,
    scope_mark BLOB NOT NULL,
    tenant TEXT NOT NULL,
    user TEXT NOT NULL,
    session TEXT NOT NULL,
    task TEXT,
    id TEXT NOT NULL,
    digest BLOB NOT NULL,
    size INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    rank INTEGER NOT NULL GENERATED ALWAYS AS (~created_at) VIRTUAL,
    media_type BLOB,
    source TEXT NOT NULL,
    record TEXT NOT NULL,
    record_digest BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX artifact_key ON artifact (scope_mark, id);
CREATE INDEX artifact_by_scope ON artifact (scope_mark, rank, id);
CREATE INDEX artifact_by_session ON artifact (tenant, user, session, rank, id, scope_mark);
CREATE INDEX artifact_by_user ON artifact (tenant, user, rank, id, scope_mark);
CREATE INDEX artifact_by_tenant ON artifact (tenant, rank, id, scope_mark);
CREATE INDEX artifact_by_rank ON artifact (rank, id, scope_mark);
CREATE TABLE tag (
    blob INTEGER NOT NULL,
    tag BLOB NOT NULL,
    PRIMARY KEY (blob, tag)
) STRICT, WITHOUT ROWID;
CREATE TABLE chunk (
    key INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;
CREATE TABLE pending (
    blob INTEGER PRIMARY KEY,
    owner BLOB NOT NULL,
    renewed_at INTEGER NOT NULL
) STRICT;
PRAGMA application_id = 1634890867;
PRAGMA user_version = 1;
";

/// Creates a database of version 1 with artifacts of 0, 1 000, 40 000 and 3 MiB bytes, and returns them.
#[allow(clippy::unwrap_used)] // All of it is test code.
fn create_version_1(database: &TestDatabase) -> Vec<(Record, Bytes)> {
    let conn = database.raw();
    conn.execute_batch(SCHEMA_1).unwrap();
    let mut artifacts = Vec::new();
    for (blob, size) in (1..).zip([0, 1000, 40_000, 3 * MIB]) {
        let bytes = bytes(size as u64, size);
        let options = PutOptions::new().with_tag("old").with_media_type("text/plain");
        let record = Record::new(scope(), options, Digest::of(&bytes), bytes.len() as u64, SystemClock.now());
        let json = serde_json::to_string(&record).unwrap();
        conn.execute(
            "INSERT INTO artifact (blob, scope_mark, tenant, user, session, task, id, digest, size, created_at,
                 media_type, source, record, record_digest)
             VALUES (?, ?, 'acme', 'ada', 's-1', NULL, ?, ?, ?, ?, CAST('text/plain' AS BLOB), 'user_upload', ?, ?)",
            params![
                blob,
                &ScopeMark::of(&scope()).as_bytes()[..],
                record.id.as_str(),
                &record.digest.as_bytes()[..],
                record.size.cast_signed(),
                record.created_at.as_micros(),
                json,
                &Digest::of(json.as_bytes()).as_bytes()[..],
            ],
        )
        .unwrap();
        conn.execute("INSERT INTO tag VALUES (?, CAST('old' AS BLOB))", [blob]).unwrap();
        for (index, chunk) in (0..).zip(bytes.chunks(256 * 1024)) {
            conn.execute("INSERT INTO chunk VALUES (?, ?)", params![blob << 22 | index, chunk]).unwrap();
        }
        conn.execute("UPDATE counter SET next_blob = ?", [blob + 1]).unwrap();
        artifacts.push((record, bytes));
    }
    artifacts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_version_1_is_migrated_and_its_artifacts_are_read() {
    let database = TestDatabase::new();
    let artifacts = create_version_1(&database);
    let store = gated(database.open().await);
    assert_eq!(database.count("SELECT user_version FROM pragma_user_version"), 2);
    assert_eq!(database.residue().await, Vec::<String>::new());
    for (record, bytes) in &artifacts {
        assert_eq!(store.stat(&scope(), &record.id).await.unwrap().unwrap(), *record);
        assert_eq!(read(&*store, record).await.unwrap().unwrap(), *bytes);
        let half = bytes.len() / 2;
        let range = ByteRange::from(half as u64..);
        let get = store.get(&scope(), &record.id, Some(range)).await.unwrap().unwrap();
        assert_eq!(get.stream.collect_bytes(u64::MAX).await.unwrap(), bytes.slice(half..));
        let again =
            store.put(&scope(), Body::from_bytes(bytes.clone()), PutOptions::default()).await.unwrap();
        assert_eq!((again.outcome, &again.record), (PutOutcome::AlreadyExists, record));
    }
    let tagged = ListQuery::new(ScopePattern::tenant(scope().tenant().clone()))
        .with_filter(Filter::new().with_tag("old"));
    for query in [ListQuery::new(ScopePattern::exactly(&scope())).with_total(), tagged.with_total()] {
        let page = store.list(&query).await.unwrap();
        assert_eq!((page.rows.len(), page.total), (4, Some(4)));
    }
    for (record, _) in &artifacts {
        assert!(store.delete(&scope(), &record.id).await.unwrap());
    }
    store.close().await.unwrap();
    assert_eq!(database.residue().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_artifact_of_version_1_is_corrupt_in_a_whole_read() {
    let database = TestDatabase::new();
    let artifacts = create_version_1(&database);
    let store = gated(database.open().await);
    database.execute("UPDATE chunk SET data = zeroblob(length(data))");
    for (record, _) in artifacts.iter().skip(1) {
        assert_eq!(kind(read(&*store, record).await), ErrorKind::Corrupt);
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_version_1_is_not_migrated_while_another_process_has_it_open() {
    let database = TestDatabase::new();
    let artifacts = create_version_1(&database);
    // An older build holds the shared lock on this file.
    let owners = std::fs::File::create(database.directory().join("artifacts.db-owners")).unwrap();
    owners.lock_shared().unwrap();
    let error = SqliteStore::open(database.config()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("close it there"), "{error}");
    assert_eq!(database.count("SELECT user_version FROM pragma_user_version"), 1);
    drop(owners);
    let store = database.open().await;
    assert_eq!(read(&store, &artifacts[1].0).await.unwrap().unwrap(), artifacts[1].1);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn several_stores_may_open_a_database_of_version_1_at_once() {
    let database = TestDatabase::new();
    create_version_1(&database);
    let opening = (0..8).map(|_| {
        let config = database.config().busy_timeout(std::time::Duration::from_secs(30));
        tokio::spawn(async move { SqliteStore::open(config).await })
    });
    for store in opening.collect::<Vec<_>>() {
        store.await.unwrap().unwrap().close().await.unwrap();
    }
    assert_eq!(database.residue().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_version_1_for_reading_names_both_versions() {
    let database = TestDatabase::new();
    create_version_1(&database);
    let path = ("path".to_owned(), database.path().to_str().unwrap().into());
    let options = Options::parse("sqlite", SqliteDriver.info().options, [path]).unwrap();
    let error = SqliteDriver
        .open_read_only(&options, std::sync::Arc::new(SystemClock))
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("version 1") && error.to_string().contains("version 2"), "{error}");
}
