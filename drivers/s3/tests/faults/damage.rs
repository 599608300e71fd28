//! Objects that another program changes.

use artifact_store_backends::S3Kind;
use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ErrorKind, Gate, ListQuery, Metadata, PutOptions, ScopePattern,
    StoreError,
};
use futures_util::StreamExt;

use crate::harness::{TestBucket, gated, scope, server};

on_each!(
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

async fn bucket_with_artifact(kind: S3Kind) -> (TestBucket<'static>, Gate, ArtifactId) {
    bucket_with_artifact_of(kind, PutOptions::default()).await
}

/// A bucket with one artifact.
async fn bucket_with_artifact_of(
    kind: S3Kind,
    options: PutOptions,
) -> (TestBucket<'static>, Gate, ArtifactId) {
    let test_bucket = TestBucket::new(server(kind).await).await;
    let store = gated(test_bucket.open().await);
    let id = store.put(&scope(), Body::from(TEXT), options).await.unwrap().record.id;
    (test_bucket, store, id)
}

/// Options whose record does not fit into the metadata.
fn long() -> PutOptions {
    let mut metadata = Metadata::new();
    metadata.insert("note".into(), "x".repeat(5000).into());
    PutOptions { metadata, ..PutOptions::default() }
}

fn assert_corrupt<T: std::fmt::Debug>(method: &str, result: Result<T, StoreError>) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{method}: {error}");
}

async fn assert_reads_are_corrupt(store: &Gate, id: &ArtifactId) {
    assert_corrupt("get", store.get(&scope(), id, None).await.map(drop));
    assert_corrupt("get a range", store.get(&scope(), id, Some((0..2).into())).await.map(drop));
    assert_corrupt("stat", store.stat(&scope(), id).await);
    assert_corrupt("list", store.list(&ListQuery::new(ScopePattern::exactly(&scope()))).await);
    assert_corrupt("put", store.put(&scope(), Body::from(TEXT), PutOptions::default()).await);
}

async fn other_bytes_of_the_same_length_are_corrupt_and_never_end_as_if_complete(kind: S3Kind) {
    let (test_bucket, store, id) = bucket_with_artifact(kind).await;
    let key = test_bucket.artifact().await;
    test_bucket.replace(&key, &vec![b'x'; TEXT.len()], test_bucket.metadata(&key).await).await;
    let mut get = store.get(&scope(), &id, None).await.unwrap().unwrap();
    let mut length = 0;
    let error = loop {
        match get.stream.next().await {
            Some(Ok(piece)) => length += piece.len(),
            Some(Err(error)) => break error,
            None => panic!("the stream ended without an error after {length} bytes"),
        }
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(length < TEXT.len(), "all {length} bytes were returned before the error");
}

async fn a_truncated_object_is_corrupt_to_every_read(kind: S3Kind) {
    let (test_bucket, store, id) = bucket_with_artifact(kind).await;
    let key = test_bucket.artifact().await;
    test_bucket.replace(&key, &TEXT.as_bytes()[..5], test_bucket.metadata(&key).await).await;
    assert_reads_are_corrupt(&store, &id).await;
}

async fn a_longer_object_is_corrupt_to_every_read(kind: S3Kind) {
    let (test_bucket, store, id) = bucket_with_artifact(kind).await;
    let key = test_bucket.artifact().await;
    test_bucket.replace(&key, format!("{TEXT}, and more").as_bytes(), test_bucket.metadata(&key).await).await;
    assert_reads_are_corrupt(&store, &id).await;
}

async fn altered_metadata_are_corrupt_and_can_be_deleted(kind: S3Kind) {
    let (test_bucket, store, id) = bucket_with_artifact(kind).await;
    let key = test_bucket.artifact().await;
    let mut metadata = test_bucket.metadata(&key).await;
    let record = metadata.get_mut("artifact-record").unwrap();
    let other = if record.starts_with('A') { "B" } else { "A" };
    record.replace_range(..1, other);
    test_bucket.replace(&key, TEXT.as_bytes(), metadata).await;
    assert_reads_are_corrupt(&store, &id).await;
    assert!(store.delete(&scope(), &id).await.unwrap());
    assert_eq!(store.stat(&scope(), &id).await.unwrap(), None);
}

async fn metadata_of_another_artifact_are_corrupt(kind: S3Kind) {
    let (test_bucket, store, id) = bucket_with_artifact(kind).await;
    let key = test_bucket.artifact().await;
    store.put(&scope(), Body::from("of one length"), PutOptions::default()).await.unwrap();
    let other = test_bucket.keys("a/").await.into_iter().find(|other| *other != key).unwrap();
    test_bucket.replace(&key, b"of one length", test_bucket.metadata(&other).await).await;
    assert_reads_are_corrupt(&store, &id).await;
}

async fn an_object_without_its_metadata_is_absent(kind: S3Kind) {
    let (test_bucket, store, id) = bucket_with_artifact(kind).await;
    let key = test_bucket.artifact().await;
    test_bucket.replace(&key, TEXT.as_bytes(), [].into()).await;
    assert!(store.get(&scope(), &id, None).await.unwrap().is_none());
    assert_eq!(store.stat(&scope(), &id).await.unwrap(), None);
    assert!(!store.delete(&scope(), &id).await.unwrap());
    let page = store.list(&ListQuery::new(ScopePattern::exactly(&scope()))).await.unwrap();
    assert_eq!(page.rows, []);
    // A put does not overwrite such an object.
    let error = store.put(&scope(), Body::from(TEXT), PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("remove it by hand"), "{error}");
}

async fn an_altered_long_record_is_corrupt(kind: S3Kind) {
    let (test_bucket, store, id) = bucket_with_artifact_of(kind, long()).await;
    let record = test_bucket.keys("o/").await.remove(0);
    test_bucket.replace(&record, b"{}", [].into()).await;
    assert_reads_are_corrupt(&store, &id).await;
    assert!(store.delete(&scope(), &id).await.unwrap());
    assert_eq!(test_bucket.keys("o/").await, Vec::<String>::new());
}

async fn a_lost_long_record_is_corrupt(kind: S3Kind) {
    let (test_bucket, store, id) = bucket_with_artifact_of(kind, long()).await;
    let record = test_bucket.keys("o/").await.remove(0);
    test_bucket.client.delete_object().bucket(&test_bucket.name).key(record).send().await.unwrap();
    assert_reads_are_corrupt(&store, &id).await;
    assert!(store.delete(&scope(), &id).await.unwrap());
    assert_eq!(store.stat(&scope(), &id).await.unwrap(), None);
}
