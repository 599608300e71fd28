//! A scoped handle has every method of the store, and each of them stays in its scope.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{
    ArtifactStore, ArtifactStoreExt, ByteRange, Digest, ErrorKind, Filter, Flag, Gate, GateOptions,
    PresignIntent, PutOptions, PutOutcome, RecordStream, Scope, ScopedStore, UploadIntent,
};
use artifact_store_inmem::{InmemConfig, InmemStore};
use futures_util::TryStreamExt;

/// The methods in the part of `code` between `begin` and the next line that is a closing brace.
fn methods(code: &str, begin: &str) -> BTreeSet<String> {
    let (_, code) = code.split_once(begin).unwrap();
    let (code, _) = code.split_once("\n}\n").unwrap();
    code.lines()
        .filter_map(|line| {
            let line = line.strip_prefix("    ")?;
            let line = line.strip_prefix("pub ").unwrap_or(line);
            let line = line.strip_prefix("async ").unwrap_or(line);
            let name = line.strip_prefix("fn ")?;
            Some(name.split(|c: char| c != '_' && !c.is_alphanumeric()).next()?.to_owned())
        })
        .collect()
}

#[test]
fn a_scoped_handle_has_every_method_of_the_store() {
    let mut store = methods(include_str!("../../src/store.rs"), "pub trait ArtifactStore:");
    store.extend(methods(include_str!("../../src/ext.rs"), "pub trait ArtifactStoreExt:"));
    assert!(store.len() > 15, "{store:?}");
    let scoped =
        methods(include_str!("../../src/scoped.rs"), "impl<S: ArtifactStore + ?Sized> ScopedStore<S> {");
    let missing: Vec<&String> = store.difference(&scoped).collect();
    // Only the code that opened the store closes it, and a handle cannot change its scope.
    assert_eq!(missing, ["close", "scoped"]);
}

fn handles() -> (ScopedStore, ScopedStore) {
    let bare = Arc::new(InmemStore::new(InmemConfig::new()));
    let store: Arc<dyn ArtifactStore> = Arc::new(Gate::new(bare, GateOptions::default()).unwrap());
    let scope = |user| Scope::new("acme", user, "session-1").unwrap();
    (store.scoped(scope("ada")), store.scoped(scope("bob")))
}

#[tokio::test]
async fn each_method_of_a_handle_works_in_its_scope_and_in_no_other() {
    let (ada, bob) = handles();
    let options = PutOptions::default;
    let text = ada.put_text("hello", options()).await.unwrap();
    assert_eq!(text.record.scope, *ada.scope());
    assert_eq!(text.record.options.media_type.as_deref(), Some("text/plain; charset=utf-8"));
    let bytes = ada.put_bytes(vec![1, 2, 3], options()).await.unwrap();
    assert_eq!(ada.put("hello", options()).await.unwrap().outcome, PutOutcome::AlreadyExists);
    let id = &text.record.id;

    assert_eq!(ada.get_text(id, 10).await.unwrap().as_deref(), Some("hello"));
    assert_eq!(ada.get_bytes(id, 10).await.unwrap().unwrap(), "hello");
    assert_eq!(ada.get(id, None).await.unwrap().unwrap().range, 0..5);
    assert_eq!(ada.stat(id).await.unwrap().unwrap(), text.record);
    assert!(ada.exists(id).await.unwrap());
    assert_eq!(ada.list(Filter::default(), 10, None).await.unwrap().rows.len(), 2);
    let all: Vec<_> = ada.list_all(Filter::default()).try_collect().await.unwrap();
    assert!(all.contains(&text.record) && all.contains(&bytes.record) && all.len() == 2);
    assert!(ada.health().await.unwrap().accepts_puts);
    assert_eq!((ada.driver(), ada.capabilities().has(Flag::PresignGet)), ("inmem", false));

    assert_eq!(bob.get_text(id, 10).await.unwrap(), None);
    assert!(bob.get_bytes(id, 10).await.unwrap().is_none());
    assert!(bob.get(id, None).await.unwrap().is_none() && bob.get_range(id, ..).await.unwrap().is_none());
    assert!(bob.stat(id).await.unwrap().is_none() && !bob.exists(id).await.unwrap());
    assert!(bob.list(Filter::default(), 10, None).await.unwrap().rows.is_empty());
    assert_eq!(bob.list_all(Filter::default()).try_next().await.unwrap(), None);
    assert!(!bob.delete(id).await.unwrap() && ada.delete(id).await.unwrap());

    let minute = Duration::from_mins(1);
    let get = PresignIntent::Get { id: id.clone() };
    let put = PresignIntent::Put(UploadIntent::new(Digest::of(b"hello"), 5, options()));
    for (intent, flag) in [(get, Flag::PresignGet), (put, Flag::PresignPut)] {
        let error = ada.presign(&intent, minute).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported(flag));
    }
    let error = ada.commit_upload(id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported(Flag::PresignPut));
}

#[tokio::test]
async fn a_part_of_an_artifact_is_named_by_any_range() {
    let (ada, _) = handles();
    let id = ada.put_text("0123456789", PutOptions::default()).await.unwrap().record.id;
    let part = async |range: ByteRange| {
        let get = ada.get_range(&id, range).await.unwrap().unwrap();
        get.stream.collect_bytes(10).await.unwrap()
    };
    assert_eq!(ada.get_range(&id, ..5).await.unwrap().unwrap().range, 0..5);
    assert_eq!(ada.get_range(&id, 0..=4).await.unwrap().unwrap().range, 0..5);
    assert_eq!(part((..5).into()).await, "01234");
    assert_eq!(part((0..=4).into()).await, "01234");
    assert_eq!(part((5..).into()).await, "56789");
    assert_eq!(part((..).into()).await, "0123456789");
    assert_eq!(part(ByteRange::Suffix(2)).await, "89");
}

#[tokio::test]
async fn a_stream_of_all_rows_outlives_the_handles_that_made_it_and_moves_into_a_task() {
    fn check<T: Send + Unpin + 'static>(_: &T) {}
    let rows: RecordStream = {
        let (ada, _) = handles();
        for text in ["a", "b", "c"] {
            ada.put_text(text, PutOptions::default()).await.unwrap();
        }
        ada.list_all(Filter::default())
    };
    check(&rows);
    let rows: Vec<_> = tokio::spawn(rows.try_collect::<Vec<_>>()).await.unwrap().unwrap();
    assert_eq!(rows.len(), 3);
}
