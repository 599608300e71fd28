//! Objects that somebody changes behind the store's back.

use artifact_store_backends::S3Kind;
use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ErrorKind, Gate, ListQuery, Metadata, PutOptions, ScopePattern,
    StoreError,
};
use futures_util::StreamExt;

use crate::harness::{Site, gated, scope, server};

on_both!(
    other_bytes_of_the_same_length_are_corrupt_and_never_end_as_if_complete,
    a_truncated_object_is_corrupt_to_every_read,
    a_longer_object_is_corrupt_to_every_read,
    altered_metadata_are_corrupt_and_can_be_deleted,
    metadata_of_another_artifact_are_corrupt,
    an_object_without_its_metadata_is_absent,
    an_altered_long_record_is_corrupt,
    a_lost_long_record_is_corrupt,
);

const TEXT: &str = "what was put";

async fn site(kind: S3Kind) -> (Site<'static>, Gate, ArtifactId) {
    site_with(kind, PutOptions::default()).await
}

/// A place with one artifact.
async fn site_with(kind: S3Kind, options: PutOptions) -> (Site<'static>, Gate, ArtifactId) {
    let site = Site::of(server(kind).await).await;
    let store = gated(site.open().await);
    let id = store.put(&scope(), Body::from(TEXT), options).await.unwrap().record.id;
    (site, store, id)
}

fn long() -> PutOptions {
    let mut metadata = Metadata::new();
    metadata.insert("note".into(), "x".repeat(5000).into());
    PutOptions { metadata, ..PutOptions::default() }
}

fn corrupt<T: std::fmt::Debug>(verb: &str, result: Result<T, StoreError>) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{verb}: {error}");
}

async fn reads_are_corrupt(store: &Gate, id: &ArtifactId) {
    corrupt("get", store.get(&scope(), id, None).await.map(drop));
    corrupt("get a range", store.get(&scope(), id, Some((0..2).into())).await.map(drop));
    corrupt("stat", store.stat(&scope(), id).await);
    corrupt("list", store.list(&ListQuery::new(ScopePattern::exactly(&scope()))).await);
    corrupt("put", store.put(&scope(), Body::from(TEXT), PutOptions::default()).await);
}

async fn other_bytes_of_the_same_length_are_corrupt_and_never_end_as_if_complete(kind: S3Kind) {
    let (site, store, id) = site(kind).await;
    let key = site.artifact().await;
    site.replace(&key, &vec![b'x'; TEXT.len()], site.metadata(&key).await).await;
    let mut get = store.get(&scope(), &id, None).await.unwrap().unwrap();
    let mut length = 0;
    let error = loop {
        match get.stream.next().await {
            Some(Ok(piece)) => length += piece.len(),
            Some(Err(error)) => break error,
            None => panic!("it ended as if complete, after {length} bytes"),
        }
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(length < TEXT.len(), "{length} bytes of it were handed out");
}

async fn a_truncated_object_is_corrupt_to_every_read(kind: S3Kind) {
    let (site, store, id) = site(kind).await;
    let key = site.artifact().await;
    site.replace(&key, &TEXT.as_bytes()[..5], site.metadata(&key).await).await;
    reads_are_corrupt(&store, &id).await;
}

async fn a_longer_object_is_corrupt_to_every_read(kind: S3Kind) {
    let (site, store, id) = site(kind).await;
    let key = site.artifact().await;
    site.replace(&key, format!("{TEXT}, and more").as_bytes(), site.metadata(&key).await).await;
    reads_are_corrupt(&store, &id).await;
}

async fn altered_metadata_are_corrupt_and_can_be_deleted(kind: S3Kind) {
    let (site, store, id) = site(kind).await;
    let key = site.artifact().await;
    let mut metadata = site.metadata(&key).await;
    let record = metadata.get_mut("artifact").unwrap();
    let other = if record.starts_with('A') { "B" } else { "A" };
    record.replace_range(..1, other);
    site.replace(&key, TEXT.as_bytes(), metadata).await;
    reads_are_corrupt(&store, &id).await;
    assert!(store.delete(&scope(), &id).await.unwrap());
    assert_eq!(store.stat(&scope(), &id).await.unwrap(), None);
}

async fn metadata_of_another_artifact_are_corrupt(kind: S3Kind) {
    let (site, store, id) = site(kind).await;
    let key = site.artifact().await;
    store.put(&scope(), Body::from("of one length"), PutOptions::default()).await.unwrap();
    let other = site.keys("a/").await.into_iter().find(|other| *other != key).unwrap();
    site.replace(&key, b"of one length", site.metadata(&other).await).await;
    reads_are_corrupt(&store, &id).await;
}

async fn an_object_without_its_metadata_is_absent(kind: S3Kind) {
    let (site, store, id) = site(kind).await;
    let key = site.artifact().await;
    site.replace(&key, TEXT.as_bytes(), [].into()).await;
    assert!(store.get(&scope(), &id, None).await.unwrap().is_none());
    assert_eq!(store.stat(&scope(), &id).await.unwrap(), None);
    assert!(!store.delete(&scope(), &id).await.unwrap());
    let page = store.list(&ListQuery::new(ScopePattern::exactly(&scope()))).await.unwrap();
    assert_eq!(page.rows, []);
    // It is nobody's to overwrite.
    let error = store.put(&scope(), Body::from(TEXT), PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("remove it by hand"), "{error}");
}

async fn an_altered_long_record_is_corrupt(kind: S3Kind) {
    let (site, store, id) = site_with(kind, long()).await;
    let record = site.keys("o/").await.remove(0);
    site.replace(&record, b"{}", [].into()).await;
    reads_are_corrupt(&store, &id).await;
    assert!(store.delete(&scope(), &id).await.unwrap());
    assert_eq!(site.keys("o/").await, Vec::<String>::new());
}

async fn a_lost_long_record_is_corrupt(kind: S3Kind) {
    let (site, store, id) = site_with(kind, long()).await;
    let record = site.keys("o/").await.remove(0);
    site.client.delete_object().bucket(&site.bucket).key(record).send().await.unwrap();
    reads_are_corrupt(&store, &id).await;
    assert!(store.delete(&scope(), &id).await.unwrap());
    assert_eq!(store.stat(&scope(), &id).await.unwrap(), None);
}
