//! Artifacts from files, into files, and as readers of tokio.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use artifact_store::prelude::*;
use artifact_store::testing::{Rule, TestStore};
use artifact_store::{ByteStream, GetResult, Verb};
use tokio::io::{AsyncBufReadExt, AsyncReadExt};
use tokio_util::io::StreamReader;

const MIB: usize = 1024 * 1024;

struct Fixture {
    store: Arc<TestStore>,
    scope: Scope,
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self {
            store: Arc::new(TestStore::inmem().unwrap()),
            scope: Scope::new("acme", "ada", "session-1").unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    async fn put(&self, bytes: impl Into<Vec<u8>>) -> ArtifactId {
        let put = self.store.put_bytes(&self.scope, bytes.into(), PutOptions::default()).await;
        put.unwrap().record.id
    }

    async fn get(&self, id: &ArtifactId) -> GetResult {
        self.store.get(&self.scope, id, None).await.unwrap().unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// Bytes that do not repeat, so that no two pieces are equal.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|index| index.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()
}

fn store_error(error: &io::Error) -> &StoreError {
    error.get_ref().unwrap().downcast_ref().unwrap()
}

#[tokio::test]
async fn the_stream_of_a_get_is_a_reader_of_tokio_util_as_it_is() {
    let fixture = Fixture::new();
    let id = fixture.put("hello").await;
    let mut text = String::new();
    StreamReader::new(fixture.get(&id).await.stream).read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello");
}

#[tokio::test]
async fn a_reader_gives_all_bytes_and_lines() {
    let fixture = Fixture::new();
    let content = bytes(3 * MIB + 1);
    let id = fixture.put(content.clone()).await;
    let mut all = Vec::new();
    fixture.get(&id).await.stream.into_reader().read_to_end(&mut all).await.unwrap();
    assert!(all == content);

    let id = fixture.put("one\ntwo").await;
    let mut lines = fixture.get(&id).await.stream.into_reader().lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("one"));
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("two"));
    assert_eq!(lines.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn a_reader_ends_with_the_error_of_the_store() {
    let fixture = Fixture::new();
    let id = fixture.put("hello").await;
    fixture.store.add_rule(Rule::cut_stream(3, || StoreError::corrupt("altered")));
    let mut text = Vec::new();
    let error = fixture.get(&id).await.stream.into_reader().read_to_end(&mut text).await.unwrap_err();
    assert_eq!((&*text, error.kind()), (&b"hel"[..], io::ErrorKind::InvalidData));
    assert_eq!(store_error(&error).kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_file_is_put_and_saved_with_the_same_bytes() {
    let fixture = Fixture::new();
    let (from, to) = (fixture.folder.path().join("from"), fixture.folder.path().join("to"));
    for length in [0, 1, 256 * 1024, 3 * MIB + 1] {
        let content = bytes(length);
        fs::write(&from, &content).unwrap();
        let body = Body::from_path(&from).await.unwrap();
        assert_eq!(body.length(), Some(length as u64));
        let put = fixture.store.put(&fixture.scope, body, PutOptions::default()).await.unwrap();
        assert_eq!((put.record.size, put.outcome), (length as u64, PutOutcome::Created));
        let saved = fixture.get(&put.record.id).await.save_to(&to).await.unwrap();
        assert_eq!(saved, length as u64);
        assert!(fs::read(&to).unwrap() == content, "{length} bytes");
    }
    let mut names = fixture.names();
    names.sort();
    assert_eq!(names, ["from", "to"], "no temporary file is left");
}

#[cfg(unix)]
#[tokio::test]
async fn a_saved_file_has_the_permissions_of_a_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new();
    let id = fixture.put("hello").await;
    let (new, saved) = (fixture.folder.path().join("new"), fixture.folder.path().join("saved"));
    fs::write(&new, "hello").unwrap();
    fixture.get(&id).await.save_to(&saved).await.unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(saved), mode(new));
}

#[tokio::test]
async fn a_failed_save_leaves_the_old_file_and_nothing_else() {
    let fixture = Fixture::new();
    let path = fixture.folder.path().join("report");
    fs::write(&path, "old").unwrap();
    let id = fixture.put(bytes(MIB)).await;
    fixture.store.add_rule(Rule::cut_stream(600_000, || StoreError::unavailable("gone")));
    let error = fixture.get(&id).await.save_to(&path).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    assert!(store_error(&error).kind().is_retryable());
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(fixture.names(), ["report"]);
}

#[tokio::test]
async fn a_dropped_save_leaves_the_old_file_and_nothing_else() {
    let fixture = Fixture::new();
    let path = fixture.folder.path().join("report");
    fs::write(&path, "old").unwrap();
    let id = fixture.put("new").await;
    let get = fixture.get(&id).await;
    let stuck = GetResult { stream: ByteStream::new(futures_util::stream::pending()), ..get };
    let save = tokio::spawn(stuck.save_to(&path));
    while fixture.names().len() == 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    save.abort();
    assert!(save.await.unwrap_err().is_cancelled());
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(fixture.names(), ["report"]);
}

#[tokio::test]
async fn a_path_that_cannot_be_a_file_is_an_error_that_says_so() {
    let fixture = Fixture::new();
    let id = fixture.put("hello").await;
    let folder = fixture.folder.path();
    let error = fixture.get(&id).await.save_to(folder.join("missing/file")).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let error = fixture.get(&id).await.save_to("..").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let error = Body::from_path(folder.join("missing")).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let error = Body::from_path(folder).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
}

#[tokio::test]
async fn a_file_that_grows_after_it_was_opened_is_not_stored() {
    let fixture = Fixture::new();
    let path = fixture.folder.path().join("log");
    fs::write(&path, "one").unwrap();
    let body = Body::from_path(&path).await.unwrap();
    fs::write(&path, "one two").unwrap();
    let error = fixture.store.put(&fixture.scope, body, PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let query = ListQuery::new(ScopePattern::all_tenants());
    assert!(fixture.store.list(&query).await.unwrap().rows.is_empty());
    assert_eq!(fixture.store.calls().iter().filter(|call| call.verb == Verb::Put).count(), 1);
}
