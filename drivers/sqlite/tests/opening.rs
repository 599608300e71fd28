//! What a store opens, what it refuses, and how two of them share a file.

mod support;

use std::time::{Duration, Instant};

use artifact_store_core::{ArtifactStore, ArtifactStoreExt, Body, ErrorKind, PutOptions, PutOutcome};
use artifact_store_sqlite::{SqliteConfig, SqliteStore, SweepReport};
use support::{Home, MIB, bytes, flowing, kind, orphans, put, read, scope};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_garbage_is_corrupt() {
    let home = Home::new();
    std::fs::write(home.path(), bytes(1, 10_000)).unwrap();
    assert_eq!(kind(SqliteStore::open(home.config()).await), ErrorKind::Corrupt);
    assert!(!home.directory().join("artifacts.db-owners").exists(), "a refused file must stay alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_database_is_corrupt_when_opened_or_read() {
    let home = Home::new();
    let store = home.open().await;
    let record = put(&store, &bytes(1, 3 * MIB)).await;
    store.close().await.unwrap();
    let length = std::fs::metadata(home.path()).unwrap().len();
    std::fs::File::options().write(true).open(home.path()).unwrap().set_len(length / 2).unwrap();
    let read = match SqliteStore::open(home.config()).await {
        Ok(store) => read(&store, &record).await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert_eq!(kind(read), ErrorKind::Corrupt);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_application_is_refused_and_left_as_it_was() {
    let home = Home::new();
    home.alter("CREATE TABLE theirs (x)").await;
    let before = std::fs::read(home.path()).unwrap();
    assert_eq!(kind(SqliteStore::open(home.config()).await), ErrorKind::InvalidArgument);
    assert_eq!(std::fs::read(home.path()).unwrap(), before);
    assert_eq!(std::fs::read_dir(home.directory()).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused_with_both_versions_named() {
    let home = Home::new();
    home.open().await.close().await.unwrap();
    home.alter("PRAGMA user_version = 7").await;
    let error = SqliteStore::open(home.config()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains('7') && error.to_string().contains('1'), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_directory_a_symlink_and_a_directory_are_refused() {
    let home = Home::new();
    let missing = SqliteConfig::file(home.directory().join("missing/artifacts.db"));
    assert_eq!(kind(SqliteStore::open(missing).await), ErrorKind::InvalidArgument);
    assert_eq!(kind(SqliteStore::open(SqliteConfig::file("")).await), ErrorKind::InvalidArgument);
    assert_eq!(
        kind(SqliteStore::open(SqliteConfig::file(home.directory())).await),
        ErrorKind::InvalidArgument
    );
    for target in ["real.db", "dangling.db"] {
        let link = home.directory().join(format!("link-to-{target}"));
        if target == "real.db" {
            std::fs::write(home.directory().join(target), "").unwrap();
        }
        std::os::unix::fs::symlink(target, &link).unwrap();
        assert_eq!(kind(SqliteStore::open(SqliteConfig::file(link)).await), ErrorKind::InvalidArgument);
        assert!(!home.directory().join("dangling.db").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_out_of_bounds_are_refused() {
    let home = Home::new();
    for config in [
        home.config().page_size(1000),
        home.config().page_size(131_072),
        home.config().read_connections(0),
        home.config().read_connections(65),
        home.config().busy_timeout(Duration::from_secs(601)),
    ] {
        assert_eq!(kind(SqliteStore::open(config).await), ErrorKind::InvalidArgument);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_look_like_uris_are_names() {
    let home = Home::new();
    for name in ["file:x?mode=memory", "a b#c%20.db", "ü.db"] {
        let path = home.directory().join(name);
        let store = SqliteStore::open(SqliteConfig::file(&path)).await.unwrap();
        put(&store, &bytes(1, 10)).await;
        store.close().await.unwrap();
        assert!(path.metadata().unwrap().len() > 0, "{name}");
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn every_file_belongs_to_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let store = home.open().await;
    put(&store, &bytes(1, 10)).await;
    let mut seen = 0;
    for entry in std::fs::read_dir(home.directory()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        seen += 1;
    }
    assert_eq!(seen, 4, "database, log, shared memory, owners");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_stores_may_make_a_new_file_at_once() {
    for _ in 0..10 {
        let home = Home::new();
        let opening: Vec<_> = (0..8)
            .map(|_| {
                let config = home.config().busy_timeout(Duration::from_secs(10));
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
        assert_eq!(home.count("SELECT count(*) FROM artifact").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_on_one_file_create_each_artifact_once() {
    let home = Home::new();
    let wide = |home: &Home| home.config().busy_timeout(Duration::from_secs(10));
    let stores =
        [SqliteStore::open(wide(&home)).await.unwrap(), SqliteStore::open(wide(&home)).await.unwrap()];
    let (mut created, scope) = (0, scope());
    for n in 0..20_u64 {
        let body = bytes(n, if n % 2 == 0 { 100 } else { 2 * MIB });
        let (one, two) = tokio::join!(
            stores[0].put(&scope, flowing(&body), PutOptions::default()),
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
    assert_eq!(home.residue().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_database_is_unavailable_within_the_timeout_and_works_again_after() {
    let home = Home::new();
    let store = home.open().await;
    let before = put(&store, &bytes(1, 10)).await;
    let mut other = home.raw().await;
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    let begun = Instant::now();
    let whole = store.put(&scope(), Body::from("more"), PutOptions::default()).await;
    assert_eq!(kind(whole), ErrorKind::Unavailable);
    assert!((300..3000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    let streamed = store.put(&scope(), flowing(&bytes(2, 2 * MIB)), PutOptions::default()).await;
    assert_eq!(kind(streamed), ErrorKind::Unavailable);
    assert_eq!(kind(SqliteStore::open(home.config()).await), ErrorKind::Unavailable);
    assert!(store.exists(&scope(), &before.id).await.unwrap(), "reads go on");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    put(&store, &bytes(3, 2 * MIB)).await;
    home.becomes_clean().await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_left_is_swept_at_open() {
    let home = Home::new();
    home.open().await.close().await.unwrap();
    orphans(&home, 5, "CAST(strftime('%s', 'now') AS INTEGER) * 1000000").await;
    assert!(!home.residue().await.is_empty());
    let store = home.open().await;
    assert_eq!(home.residue().await, Vec::<String>::new());
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_others_are_open_only_what_stood_still_is_swept() {
    let home = Home::new();
    let one = home.open().await;
    let two = home.open().await;
    orphans(&home, 5, "CAST(strftime('%s', 'now') AS INTEGER) * 1000000").await;
    assert_eq!(one.sweep().await.unwrap(), SweepReport { swept: 0, spared: 5 });
    orphans(&home, 3, "CAST(strftime('%s', 'now', '-2 hours') AS INTEGER) * 1000000").await;
    assert_eq!(one.sweep().await.unwrap(), SweepReport { swept: 3, spared: 5 });
    two.close().await.unwrap();
    assert_eq!(one.sweep().await.unwrap(), SweepReport { swept: 5, spared: 0 });
    assert_eq!(home.residue().await, Vec::<String>::new());
    // The lock is shared again.
    home.open().await.close().await.unwrap();
    one.close().await.unwrap();
    assert_eq!(kind(one.sweep().await), ErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_each_stores_own_and_ends_with_it() {
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
async fn health_tells_when_the_file_was_taken_away() {
    let home = Home::new();
    let store = home.open().await;
    assert_eq!(store.health().await.unwrap(), artifact_store_core::Health::ready());
    std::fs::rename(home.path(), home.directory().join("elsewhere.db")).unwrap();
    assert_eq!(kind(store.health().await), ErrorKind::Unavailable);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_dropped_without_closing_clears_away_behind_itself() {
    let home = Home::new();
    let store = home.open().await;
    let record = put(&store, &bytes(1, 3 * MIB)).await;
    drop(store);
    let again = home.open().await;
    assert_eq!(read(&again, &record).await.unwrap().unwrap(), bytes(1, 3 * MIB));
    again.close().await.unwrap();
    assert_eq!(home.residue().await, Vec::<String>::new());
}
