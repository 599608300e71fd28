//! Opening: which files are opened or refused, and how several stores share a file.

mod common;

use std::time::{Duration, Instant};

use artifact_store_core::{ArtifactStore, ArtifactStoreExt, Body, ErrorKind, PutOptions, PutOutcome};
use artifact_store_sqlite::{SqliteConfig, SqliteStore};
use common::{MIB, TestDatabase, bytes, insert_orphans, kind, put, read, scope, streamed_body};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_a_database_is_corrupt() {
    let database = TestDatabase::new();
    std::fs::write(database.path(), bytes(1, 10_000)).unwrap();
    assert_eq!(kind(SqliteStore::open(database.config()).await), ErrorKind::Corrupt);
    assert!(
        !database.directory().join("artifacts.db-owners").exists(),
        "a file was created beside a refused database"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_database_is_corrupt_when_opened_or_read() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let record = put(&store, &bytes(1, 3 * MIB)).await;
    store.close().await.unwrap();
    let length = std::fs::metadata(database.path()).unwrap().len();
    std::fs::File::options().write(true).open(database.path()).unwrap().set_len(length / 2).unwrap();
    let read = match SqliteStore::open(database.config()).await {
        Ok(store) => read(&store, &record).await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert_eq!(kind(read), ErrorKind::Corrupt);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_application_is_refused_and_not_changed() {
    let database = TestDatabase::new();
    database.execute("CREATE TABLE theirs (x)");
    let before = std::fs::read(database.path()).unwrap();
    assert_eq!(kind(SqliteStore::open(database.config()).await), ErrorKind::InvalidArgument);
    assert_eq!(std::fs::read(database.path()).unwrap(), before);
    assert_eq!(std::fs::read_dir(database.directory()).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused_with_both_versions_named() {
    let database = TestDatabase::new();
    database.open().await.close().await.unwrap();
    database.execute("PRAGMA user_version = 7");
    let error = SqliteStore::open(database.config()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains('7') && error.to_string().contains('2'), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_directory_a_symlink_and_a_directory_are_refused() {
    let database = TestDatabase::new();
    let missing = SqliteConfig::file(database.directory().join("missing/artifacts.db"));
    assert_eq!(kind(SqliteStore::open(missing).await), ErrorKind::InvalidArgument);
    assert_eq!(kind(SqliteStore::open(SqliteConfig::file("")).await), ErrorKind::InvalidArgument);
    assert_eq!(
        kind(SqliteStore::open(SqliteConfig::file(database.directory())).await),
        ErrorKind::InvalidArgument
    );
    for target in ["real.db", "dangling.db"] {
        let link = database.directory().join(format!("link-to-{target}"));
        if target == "real.db" {
            std::fs::write(database.directory().join(target), "").unwrap();
        }
        std::os::unix::fs::symlink(target, &link).unwrap();
        assert_eq!(kind(SqliteStore::open(SqliteConfig::file(link)).await), ErrorKind::InvalidArgument);
        assert!(!database.directory().join("dangling.db").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_out_of_range_are_refused() {
    let database = TestDatabase::new();
    for config in [
        database.config().page_size(1000),
        database.config().page_size(131_072),
        database.config().read_connections(0),
        database.config().read_connections(65),
        database.config().busy_timeout(Duration::from_secs(601)),
    ] {
        assert_eq!(kind(SqliteStore::open(config).await), ErrorKind::InvalidArgument);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn file_names_that_look_like_uris_are_taken_literally() {
    let database = TestDatabase::new();
    for name in ["file:x?mode=memory", "a b#c%20.db", "ü.db"] {
        let path = database.directory().join(name);
        let store = SqliteStore::open(SqliteConfig::file(&path)).await.unwrap();
        put(&store, &bytes(1, 10)).await;
        store.close().await.unwrap();
        assert!(path.metadata().unwrap().len() > 0, "{name}");
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_can_access_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let database = TestDatabase::new();
    let store = database.open().await;
    put(&store, &bytes(1, 10)).await;
    let mut seen = 0;
    for entry in std::fs::read_dir(database.directory()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        seen += 1;
    }
    assert_eq!(seen, 4, "database, log, shared memory, owners");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_stores_may_create_a_new_file_at_once() {
    for _ in 0..10 {
        let database = TestDatabase::new();
        let opening: Vec<_> = (0..8)
            .map(|_| {
                let config = database.config().busy_timeout(Duration::from_secs(10));
                tokio::spawn(async move { SqliteStore::open(config).await })
            })
            .collect();
        let mut stores = Vec::new();
        for store in opening {
            stores.push(store.await.unwrap().unwrap());
        }
        let record = put(&stores[0], &bytes(1, 1000)).await;
        for store in &stores {
            assert_eq!(read(store, &record).await.unwrap().unwrap(), bytes(1, 1000));
            store.close().await.unwrap();
        }
        assert_eq!(database.count("SELECT count(*) FROM artifact"), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_on_one_file_create_each_artifact_once() {
    let database = TestDatabase::new();
    let config = |database: &TestDatabase| database.config().busy_timeout(Duration::from_secs(10));
    let stores = [
        SqliteStore::open(config(&database)).await.unwrap(),
        SqliteStore::open(config(&database)).await.unwrap(),
    ];
    let (mut created, scope) = (0, scope());
    for n in 0..20_u64 {
        let body = bytes(n, if n % 2 == 0 { 100 } else { 2 * MIB });
        let (one, two) = tokio::join!(
            stores[0].put(&scope, streamed_body(&body), PutOptions::default()),
            stores[1].put(&scope, Body::from_bytes(body.clone()), PutOptions::default()),
        );
        for put in [one.unwrap(), two.unwrap()] {
            created += u32::from(put.outcome == PutOutcome::Created);
        }
    }
    assert_eq!(created, 20);
    for store in &stores {
        store.close().await.unwrap();
    }
    assert_eq!(database.residue().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_database_is_unavailable_within_the_timeout_and_works_again_afterwards() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let before = put(&store, &bytes(1, 10)).await;
    let other = database.raw();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let started = Instant::now();
    let whole = store.put(&scope(), Body::from("more"), PutOptions::default()).await;
    assert_eq!(kind(whole), ErrorKind::Unavailable);
    assert!((300..3000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    let streamed = store.put(&scope(), streamed_body(&bytes(2, 2 * MIB)), PutOptions::default()).await;
    assert_eq!(kind(streamed), ErrorKind::Unavailable);
    assert_eq!(kind(SqliteStore::open(database.config()).await), ErrorKind::Unavailable);
    assert!(store.exists(&scope(), &before.id).await.unwrap(), "a read found no artifact");
    other.execute_batch("ROLLBACK").unwrap();
    put(&store, &bytes(3, 2 * MIB)).await;
    database.wait_until_clean().await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_of_a_killed_process_are_swept_at_open() {
    let database = TestDatabase::new();
    database.open().await.close().await.unwrap();
    insert_orphans(&database, 5, "CAST(strftime('%s', 'now') AS INTEGER) * 1000000");
    assert!(!database.residue().await.is_empty());
    let store = database.open().await;
    assert_eq!(database.residue().await, Vec::<String>::new());
    store.close().await.unwrap();
}

#[allow(clippy::unwrap_used)] // A helper of tests.
async fn sweep_counts(store: &SqliteStore) -> (u64, u64) {
    let report = store.sweep().await.unwrap();
    (report.swept, report.spared)
}

#[tokio::test(flavor = "multi_thread")]
async fn while_another_store_is_open_only_uploads_without_progress_for_an_hour_are_swept() {
    let database = TestDatabase::new();
    let one = database.open().await;
    let two = database.open().await;
    insert_orphans(&database, 5, "CAST(strftime('%s', 'now') AS INTEGER) * 1000000");
    assert_eq!(sweep_counts(&one).await, (0, 5));
    insert_orphans(&database, 3, "CAST(strftime('%s', 'now', '-2 hours') AS INTEGER) * 1000000");
    assert_eq!(sweep_counts(&one).await, (3, 5));
    two.close().await.unwrap();
    assert_eq!(sweep_counts(&one).await, (5, 0));
    assert_eq!(database.residue().await, Vec::<String>::new());
    // The owners lock is shared again, so another store can open.
    database.open().await.close().await.unwrap();
    one.close().await.unwrap();
    assert_eq!(kind(one.sweep().await), ErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_store_in_memory_has_a_database_of_its_own() {
    let one = SqliteStore::open(SqliteConfig::memory()).await.unwrap();
    let two = SqliteStore::open(SqliteConfig::memory()).await.unwrap();
    let record = put(&one, &bytes(1, 3 * MIB)).await;
    assert_eq!(read(&one, &record).await.unwrap().unwrap(), bytes(1, 3 * MIB));
    assert!(read(&two, &record).await.unwrap().is_none());
    one.close().await.unwrap();
    assert_eq!(kind(one.health().await), ErrorKind::Closed);
    two.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_fails_after_the_file_was_moved() {
    let database = TestDatabase::new();
    let store = database.open().await;
    assert_eq!(store.health().await.unwrap(), artifact_store_core::Health::ready());
    std::fs::rename(database.path(), database.directory().join("elsewhere.db")).unwrap();
    assert_eq!(kind(store.health().await), ErrorKind::Unavailable);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_dropped_without_closing_leaves_nothing() {
    let database = TestDatabase::new();
    let store = database.open().await;
    let record = put(&store, &bytes(1, 3 * MIB)).await;
    drop(store);
    let again = database.open().await;
    assert_eq!(read(&again, &record).await.unwrap().unwrap(), bytes(1, 3 * MIB));
    again.close().await.unwrap();
    assert_eq!(database.residue().await, Vec::<String>::new());
}
