//! The server stops: killed during a put, killed between calls, or with its bucket deleted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact_store_backends::{S3, S3Kind};
use artifact_store_core::{
    ArtifactStore, ArtifactStoreExt, Body, ErrorKind, ListQuery, PutOptions, PutOutcome, ScopePattern,
    StoreError,
};
use artifact_store_s3::S3Store;

use crate::harness::{TestBucket, pieces, scope};

on_both!(
    a_server_killed_in_the_middle_of_a_long_put_ends_it_and_shows_nothing,
    a_store_reconnects_after_its_server_was_killed_between_calls,
    a_bucket_deleted_under_the_store_is_an_error_and_not_absence,
);
on_moto!(a_bucket_deleted_under_the_store_is_an_error_and_not_absence);

async fn a_server_killed_in_the_middle_of_a_long_put_ends_it_and_shows_nothing(kind: S3Kind) {
    let server = Arc::new(S3::dedicated(kind).await.unwrap());
    let test_bucket = TestBucket::new(&server).await;
    let store = S3Store::open(test_bucket.config().upload_ttl(Duration::ZERO)).await.unwrap();

    let killed = Arc::clone(&server);
    let body = pieces(13, 11, async move { killed.kill().await.unwrap() });
    let start = Instant::now();
    let error = store.put(&scope(), body, PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());

    server.start().await.unwrap();
    assert_eq!(test_bucket.keys("a/").await, Vec::<String>::new());
    let page = store.list(&ListQuery::new(ScopePattern::exactly(&scope()))).await.unwrap();
    assert!(page.rows.is_empty());
    let put = store.put(&scope(), pieces(13, 13, async {}), PutOptions::default()).await.unwrap();
    assert_eq!(put.outcome, PutOutcome::Created);
    assert_eq!(store.stat(&scope(), &put.record.id).await.unwrap(), Some(put.record));

    // If the put could not delete its upload, a background task or a sweep deletes it later.
    crate::harness::eventually("a sweep deletes the rest", || async {
        store.sweep().await.unwrap();
        test_bucket.residue().await.is_empty()
    })
    .await;
    store.close().await.unwrap();
}

async fn a_store_reconnects_after_its_server_was_killed_between_calls(kind: S3Kind) {
    let server = S3::dedicated(kind).await.unwrap();
    let test_bucket = TestBucket::new(&server).await;
    let store = test_bucket.open().await;
    let id = store.put(&scope(), Body::from("hello"), PutOptions::default()).await.unwrap().record.id;

    server.kill().await.unwrap();
    let error = store.stat(&scope(), &id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    server.start().await.unwrap();

    assert_eq!(store.get_bytes(&scope(), &id, 100).await.unwrap().unwrap(), "hello");
    let put = store.put(&scope(), Body::from("hello"), PutOptions::default()).await.unwrap();
    assert_eq!(put.outcome, PutOutcome::AlreadyExists);

    // This breaks the pooled connections. No call may fail because of it.
    server.kill().await.unwrap();
    server.start().await.unwrap();
    let put = store.put(&scope(), Body::from("again"), PutOptions::default()).await.unwrap();
    assert_eq!(put.outcome, PutOutcome::Created);
    assert!(store.delete(&scope(), &put.record.id).await.unwrap());
    store.close().await.unwrap();
}

async fn a_bucket_deleted_under_the_store_is_an_error_and_not_absence(kind: S3Kind) {
    let server = S3::dedicated(kind).await.unwrap();
    let test_bucket = TestBucket::new(&server).await;
    let store = test_bucket.open().await;
    let id = store.put(&scope(), Body::from("hello"), PutOptions::default()).await.unwrap().record.id;
    for key in test_bucket.keys("").await {
        test_bucket.client.delete_object().bucket(&test_bucket.name).key(key).send().await.unwrap();
    }
    test_bucket.client.delete_bucket().bucket(&test_bucket.name).send().await.unwrap();

    let check = |method: &str, error: StoreError| {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{method}: {error}");
        assert!(error.to_string().contains("there is no bucket '"), "{method}: {error}");
    };
    check("get", store.get(&scope(), &id, None).await.map(drop).unwrap_err());
    check("get a range", store.get(&scope(), &id, Some((0..2).into())).await.map(drop).unwrap_err());
    check("stat", store.stat(&scope(), &id).await.unwrap_err());
    check("delete", store.delete(&scope(), &id).await.unwrap_err());
    check("list", store.list(&ListQuery::new(ScopePattern::exactly(&scope()))).await.unwrap_err());
    check("health", store.health().await.map(drop).unwrap_err());
    let put = store.put(&scope(), Body::from("other"), PutOptions::default()).await;
    let long = store.put(&scope(), pieces(11, 11, async {}), PutOptions::default()).await;
    match kind {
        S3Kind::Garage | S3Kind::Moto => {
            check("put", put.unwrap_err());
            check("long put", long.unwrap_err());
        }
        // This server creates the bucket again, so both puts succeed, and their artifacts must exist.
        S3Kind::S3sFs => {
            for put in [put, long] {
                let record = put.unwrap().record;
                assert_eq!(store.stat(&scope(), &record.id).await.unwrap(), Some(record));
            }
        }
    }
    store.close().await.unwrap();
}
