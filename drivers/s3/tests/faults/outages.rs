//! The server goes away: killed in the middle of a put, killed between calls, and with its bucket gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact_store_backends::{S3, S3Kind};
use artifact_store_core::{
    ArtifactStore, ArtifactStoreExt, Body, ErrorKind, ListQuery, PutOptions, PutOutcome, ScopePattern,
    StoreError,
};
use artifact_store_s3::S3Store;

use crate::harness::{Site, pieces, scope};

on_both!(
    a_server_killed_in_the_middle_of_a_long_put_ends_it_and_shows_nothing,
    a_server_killed_between_calls_is_found_again_by_the_same_store,
    a_bucket_deleted_under_the_store_is_said_and_not_taken_for_absence,
);

async fn a_server_killed_in_the_middle_of_a_long_put_ends_it_and_shows_nothing(kind: S3Kind) {
    let server = Arc::new(S3::own(kind).await.unwrap());
    let site = Site::of(&server).await;
    let store = S3Store::open(site.config().upload_ttl(Duration::ZERO)).await.unwrap();

    let victim = Arc::clone(&server);
    let body = pieces(13, 11, async move { victim.kill().await.unwrap() });
    let began = Instant::now();
    let error = store.put(&scope(), body, PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());

    server.start().await.unwrap();
    assert_eq!(site.keys("a/").await, Vec::<String>::new());
    let page = store.list(&ListQuery::new(ScopePattern::exactly(&scope()))).await.unwrap();
    assert!(page.rows.is_empty());
    let put = store.put(&scope(), pieces(13, 13, async {}), PutOptions::default()).await.unwrap();
    assert_eq!(put.outcome, PutOutcome::Created);
    assert_eq!(store.stat(&scope(), &put.record.id).await.unwrap(), Some(put.record));

    // What the put could not clear away goes by itself, or with a sweep once a second has passed.
    crate::harness::soon("a sweep clears it away", || async {
        store.sweep().await.unwrap();
        site.residue().await.is_empty()
    })
    .await;
    store.close().await.unwrap();
}

async fn a_server_killed_between_calls_is_found_again_by_the_same_store(kind: S3Kind) {
    let server = S3::own(kind).await.unwrap();
    let site = Site::of(&server).await;
    let store = site.open().await;
    let id = store.put(&scope(), Body::from("hello"), PutOptions::default()).await.unwrap().record.id;

    server.kill().await.unwrap();
    let error = store.stat(&scope(), &id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    server.start().await.unwrap();

    assert_eq!(store.get_bytes(&scope(), &id, 100).await.unwrap().unwrap(), "hello");
    let put = store.put(&scope(), Body::from("hello"), PutOptions::default()).await.unwrap();
    assert_eq!(put.outcome, PutOutcome::StoodAlready);

    // Connections that the pool still holds are dead after this; no call may notice.
    server.kill().await.unwrap();
    server.start().await.unwrap();
    let put = store.put(&scope(), Body::from("again"), PutOptions::default()).await.unwrap();
    assert_eq!(put.outcome, PutOutcome::Created);
    assert!(store.delete(&scope(), &put.record.id).await.unwrap());
    store.close().await.unwrap();
}

async fn a_bucket_deleted_under_the_store_is_said_and_not_taken_for_absence(kind: S3Kind) {
    let server = S3::own(kind).await.unwrap();
    let site = Site::of(&server).await;
    let store = site.open().await;
    let id = store.put(&scope(), Body::from("hello"), PutOptions::default()).await.unwrap().record.id;
    for key in site.keys("").await {
        site.client.delete_object().bucket(&site.bucket).key(key).send().await.unwrap();
    }
    site.client.delete_bucket().bucket(&site.bucket).send().await.unwrap();

    let said = |verb: &str, error: StoreError| {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{verb}: {error}");
        assert!(error.to_string().contains("there is no bucket '"), "{verb}: {error}");
    };
    said("get", store.get(&scope(), &id, None).await.map(drop).unwrap_err());
    said("get a range", store.get(&scope(), &id, Some((0..2).into())).await.map(drop).unwrap_err());
    said("stat", store.stat(&scope(), &id).await.unwrap_err());
    said("delete", store.delete(&scope(), &id).await.unwrap_err());
    said("list", store.list(&ListQuery::new(ScopePattern::exactly(&scope()))).await.unwrap_err());
    said("health", store.health().await.map(drop).unwrap_err());
    let put = store.put(&scope(), Body::from("other"), PutOptions::default()).await;
    let long = store.put(&scope(), pieces(11, 11, async {}), PutOptions::default()).await;
    match kind {
        S3Kind::Garage => {
            said("put", put.unwrap_err());
            said("long put", long.unwrap_err());
        }
        // This server makes the bucket anew, so what it acknowledged must be there.
        S3Kind::S3sFs => {
            for put in [put, long] {
                let record = put.unwrap().record;
                assert_eq!(store.stat(&scope(), &record.id).await.unwrap(), Some(record));
            }
        }
    }
    store.close().await.unwrap();
}
