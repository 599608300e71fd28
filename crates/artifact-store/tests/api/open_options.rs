//! What a program chooses when it opens a store, apart from the configuration.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::sync::Arc;
use std::time::Duration;

use artifact_store::prelude::*;
use artifact_store::testing::ManualClock;
use artifact_store::{CursorKey, GateOptions, OpenOptions, Registry, Timestamp, VerifyReads};

fn scope() -> Scope {
    Scope::new("acme", "ada", "session-1").unwrap()
}

#[tokio::test]
async fn the_clock_of_the_program_dates_the_records_of_every_local_driver() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().display();
    let start: Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
    for url in ["inmem:".to_owned(), format!("fs:{folder}/fs"), format!("sqlite:{folder}/a.db")] {
        let clock = Arc::new(ManualClock::new(start));
        let store = OpenOptions::new().clock(clock.clone()).open(&url.parse().unwrap()).await.unwrap();
        let first = store.put_text(&scope(), "first", PutOptions::default()).await.unwrap().record;
        clock.advance(Duration::from_mins(1));
        let second = store.put_text(&scope(), "second", PutOptions::default()).await.unwrap().record;
        assert_eq!((first.created_at, second.created_at), (start, "2026-01-02T12:01:00Z".parse().unwrap()));
        let query = ListQuery::new(ScopePattern::exactly(&scope()));
        assert_eq!(store.list(&query).await.unwrap().rows, [second, first], "{url}");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn the_smaller_of_the_limits_of_the_program_and_the_configuration_holds() {
    for (program, url, limit) in [
        (10, "inmem:", 10),
        (10, "inmem:?max_artifact_bytes=20", 10),
        (30, "inmem:?max_artifact_bytes=20", 20),
    ] {
        let options = OpenOptions::new().gate(GateOptions::default().with_max_artifact_bytes(program));
        let store = options.open(&url.parse().unwrap()).await.unwrap();
        assert_eq!(store.capabilities().artifact_bytes_limit(), limit, "{url}");
    }
}

#[tokio::test]
async fn cursors_are_valid_between_stores_with_one_key() {
    let secret = b"a secret of the program";
    let key = || GateOptions::default().with_cursor_key(CursorKey::from_secret(secret).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let config: Config =
        format!("sqlite:{}/a.db?cursor_secret=another+secret+text", folder.path().display()).parse().unwrap();
    let query = ListQuery::new(ScopePattern::exactly(&scope())).with_limit(1);
    let mut cursor = None;
    for options in [OpenOptions::new().gate(key()), OpenOptions::new().gate(key())] {
        let store = options.open(&config).await.unwrap();
        for text in ["a", "b"] {
            store.put_text(&scope(), text, PutOptions::default()).await.unwrap();
        }
        let page = store.list(&query.clone().with_cursor(cursor.take())).await.unwrap();
        assert_eq!(page.rows.len(), 1);
        cursor = page.next;
        store.close().await.unwrap();
    }
    assert_eq!(cursor, None, "the second page was the last one");
    let store = OpenOptions::new().gate(key()).open(&config).await.unwrap();
    let of_the_program = store.list(&query).await.unwrap().next;
    store.close().await.unwrap();
    let store = artifact_store::open(&config).await.unwrap();
    let error = store.list(&query.clone().with_cursor(of_the_program)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "the configuration has another key");
    store.close().await.unwrap();
}

/// Alters the only artifact of the fs store at `root`.
fn alter(root: &std::path::Path) {
    let mut folders = vec![root.join("artifacts")];
    let mut altered = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut bytes = std::fs::read(&path).unwrap();
            if let Some(at) = bytes.windows(6).position(|window| window == b"intact") {
                bytes[at] = b'I';
                std::fs::write(&path, bytes).unwrap();
                altered += 1;
            }
        }
    }
    assert_eq!(altered, 1);
}

#[tokio::test]
async fn the_program_decides_whether_reads_are_verified() {
    for (program, configured, is_verified) in [
        (Some(VerifyReads::Never), "always", false),
        (Some(VerifyReads::Always), "never", true),
        (None, "never", false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store");
        let config: Config = format!("fs:{}?verify_reads={configured}", root.display()).parse().unwrap();
        let options = match program {
            Some(verify) => OpenOptions::new().gate(GateOptions::default().with_verify_reads(verify)),
            None => OpenOptions::new(),
        };
        let store = options.open(&config).await.unwrap();
        let id = store.put_text(&scope(), "intact", PutOptions::default()).await.unwrap().record.id;
        alter(&root);
        let read = store.get_text(&scope(), &id, 100).await.map_err(|error| error.kind());
        let expected = if is_verified { Err(ErrorKind::Corrupt) } else { Ok(Some("Intact".to_owned())) };
        assert_eq!(read, expected, "{program:?} {configured}");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_store_that_may_not_be_created_must_exist() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let config: Config = format!("sqlite:{}", path.display()).parse().unwrap();
    for options in [OpenOptions::new().create(false), OpenOptions::new().read_only(true)] {
        let error = options.open(&config).await.unwrap_err();
        assert!(error.to_string().contains("there is no sqlite store at"), "{error}");
        assert!(!path.exists());
    }
    let store = OpenOptions::new().open(&config).await.unwrap();
    let id = store.put_text(&scope(), "hello", PutOptions::default()).await.unwrap().record.id;
    store.close().await.unwrap();
    let store = OpenOptions::new().read_only(true).open(&config).await.unwrap();
    assert!(store.exists(&scope(), &id).await.unwrap());
    store.put_text(&scope(), "more", PutOptions::default()).await.unwrap_err();
    store.close().await.unwrap();
}

#[tokio::test]
async fn only_the_drivers_of_the_registry_are_opened() {
    let error =
        OpenOptions::new().registry(Registry::new()).open(&"inmem:".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no driver 'inmem'; none are known");
}
