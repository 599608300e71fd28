//! Single requests that a server refuses, fails or delays.

use std::time::Duration;

use artifact_store_backends::{Fault, FaultProxy, S3Kind};
use artifact_store_core::{
    ArtifactStore, Body, Bytes, Digest, ErrorKind, Metadata, PresignIntent, PutOptions, PutOutcome,
    UploadIntent,
};
use artifact_store_s3::{ConditionalCreate, S3Config, S3Store};

use crate::harness::{MIB, TestBucket, pieces, scope, server};

/// A store on s3s-fs that is reached through a proxy. The test sets the faults, so one server is enough.
async fn open_through_proxy(
    test_bucket: &TestBucket<'_>,
    with: impl FnOnce(S3Config) -> S3Config,
) -> (FaultProxy, S3Store) {
    let proxy = FaultProxy::start(test_bucket.server.address()).await.unwrap();
    let store = S3Store::open(with(test_bucket.config_at(&proxy.endpoint()))).await.unwrap();
    (proxy, store)
}

/// The start of the targets of requests for objects below `directory`.
fn below(test_bucket: &TestBucket<'_>, directory: &str) -> String {
    format!("/{}/{}/{directory}", test_bucket.name, test_bucket.prefix)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_is_refused_in_all_retries_because_of_other_requests_can_be_tried_again() {
    let test_bucket = TestBucket::new(server(S3Kind::S3sFs).await).await;
    for (status, code) in [(409, "ConditionalRequestConflict"), (412, "PreconditionFailed")] {
        let (proxy, store) =
            open_through_proxy(&test_bucket, |config| config.conditional_create(ConditionalCreate::Yes))
                .await;
        let artifacts = below(&test_bucket, "a/");
        proxy.set_rule(move |head| {
            (head.method() == "PUT" && head.target().starts_with(&artifacts))
                .then_some(Fault::Respond { status, code })
        });
        let scope = scope();
        let put = || store.put(&scope, Body::from(code), PutOptions::default());
        let error = put().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{code}: {error}");
        assert!(error.to_string().contains("try again"), "{code}: {error}");
        proxy.set_rule(|_| None);
        assert_eq!(put().await.unwrap().outcome, PutOutcome::Created);
        store.close().await.unwrap();
    }
    assert_eq!(test_bucket.residue().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_upload_was_replaced_can_be_tried_again() {
    for conditional in [ConditionalCreate::Yes, ConditionalCreate::Put, ConditionalCreate::No] {
        let test_bucket = TestBucket::new(server(S3Kind::S3sFs).await).await;
        let (proxy, store) =
            open_through_proxy(&test_bucket, |config| config.conditional_create(conditional)).await;
        let bytes = Bytes::from("uploaded");
        let intent = UploadIntent::new(Digest::of(&bytes), bytes.len() as u64, PutOptions::default());
        let id = intent.id();
        let intent = PresignIntent::Put(intent);
        store.presign(&scope(), &intent, Duration::from_mins(1)).await.unwrap().unwrap();
        let intent_key = test_bucket.keys("p/n/").await.remove(0);
        test_bucket.replace(&intent_key.replace("/p/n/", "/p/b/"), &bytes, [].into()).await;
        // The answer of a server that finds another tag at the copied object.
        proxy.set_rule(|head| {
            head.has_header("x-amz-copy-source")
                .then_some(Fault::Respond { status: 412, code: "PreconditionFailed" })
        });
        let error = store.commit_upload(&scope(), &id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{conditional:?}: {error}");
        assert!(error.to_string().contains("commit it again"), "{conditional:?}: {error}");
        proxy.set_rule(|_| None);
        let commit = store.commit_upload(&scope(), &id).await.unwrap().unwrap();
        assert_eq!(commit.outcome, PutOutcome::Created, "{conditional:?}");
        store.close().await.unwrap();
        assert_eq!(test_bucket.residue().await, Vec::<String>::new(), "{conditional:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_completion_of_a_copy_in_parts_has_the_time_of_a_copy_of_its_size() {
    let test_bucket = TestBucket::new(server(S3Kind::S3sFs).await).await;
    let (proxy, store) = open_through_proxy(&test_bucket, |config| {
        config
            .conditional_create(ConditionalCreate::Yes)
            .copy_limit(32 * MIB as u64)
            .max_attempts(1)
            .request_timeout(Duration::from_secs(8))
    })
    .await;
    let artifacts = below(&test_bucket, "a/");
    // A request may take 8 s, and a copy of 49 MiB 3 s more. The two parts of this copy are larger than `part_size`.
    proxy.set_rule(move |head| {
        let completes = head.method() == "POST" && head.target().contains("uploadId=");
        (completes && head.target().starts_with(&artifacts)).then_some(Fault::Delay(Duration::from_secs(9)))
    });
    let put = store.put(&scope(), pieces(49, 49, async {}), PutOptions::default()).await.unwrap();
    assert_eq!((put.outcome, put.record.size), (PutOutcome::Created, 49 * MIB as u64));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_range_is_not_a_damaged_artifact() {
    let test_bucket = TestBucket::new(server(S3Kind::S3sFs).await).await;
    let (proxy, store) = open_through_proxy(&test_bucket, |config| config).await;
    let put = store.put(&scope(), Body::from("whole"), PutOptions::default()).await.unwrap();
    proxy.set_rule(|head| {
        head.has_header("range").then_some(Fault::Respond { status: 416, code: "InvalidRange" })
    });
    let error = store.get(&scope(), &put.record.id, Some((1..3).into())).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Backend, "{error}");
    assert!(error.to_string().contains("range"), "{error}");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_cannot_read_the_record_at_the_moment_deletes_nothing() {
    let test_bucket = TestBucket::new(server(S3Kind::S3sFs).await).await;
    let (proxy, store) = open_through_proxy(&test_bucket, |config| config).await;
    let mut metadata = Metadata::new();
    metadata.insert("note".into(), "x".repeat(5000).into());
    let options = PutOptions { metadata, ..PutOptions::default() };
    let put = store.put(&scope(), Body::from("with much to say"), options).await.unwrap();
    let record_objects = below(&test_bucket, "o/");
    proxy.set_rule(move |head| {
        (head.method() == "GET" && head.target().starts_with(&record_objects))
            .then_some(Fault::Respond { status: 503, code: "SlowDown" })
    });
    let error = store.delete(&scope(), &put.record.id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    proxy.set_rule(|_| None);
    assert_eq!(store.stat(&scope(), &put.record.id).await.unwrap(), Some(put.record.clone()));
    assert!(store.delete(&scope(), &put.record.id).await.unwrap());
    store.close().await.unwrap();
    assert_eq!(test_bucket.residue().await, Vec::<String>::new());
}
