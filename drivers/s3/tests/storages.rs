//! The driver on storages with few permissions, versions, object lock, small metadata, or missing buckets. Also the
//! cost of listing many artifacts.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // Helpers of tests.

mod harness;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use artifact_store_backends::{AccessKey, BucketKind, LockMode, MetadataLimitProxy, RequestCounter, S3Kind};
use artifact_store_core::{
    ArtifactStore, Body, Clock, ErrorKind, ListQuery, Metadata, PresignIntent, PutOptions, PutOutcome,
    ScopePattern, StoreError, SystemClock,
};
use artifact_store_s3::{ConditionalCreate, ListingIndex, S3Config, S3Store};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use harness::{MIB, TestBucket, eventually, fresh_prefix, pieces, scope, sdk_client, server};

const KINDS: [S3Kind; 3] = [S3Kind::Garage, S3Kind::S3sFs, S3Kind::Moto];

fn value(store: &S3Store, name: &str) -> String {
    let features = store.store_features().unwrap();
    features.into_iter().find(|feature| feature.name == name).unwrap().value
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bucket_is_an_error_and_not_created() {
    for kind in KINDS {
        let test_bucket = TestBucket::new(server(kind).await).await;
        let missing = format!("missing-{}", fresh_prefix());
        let config = S3Config::bucket(&missing)
            .endpoint(test_bucket.server.endpoint())
            .region(test_bucket.server.region())
            .path_style(true)
            .keys(test_bucket.server.access_key_id(), test_bucket.server.secret_access_key());
        let error = S3Store::open(config).await.unwrap_err();
        assert!(error.to_string().contains(&missing), "{kind:?}: {error}");
        let buckets = sdk_client(test_bucket.server).list_buckets().send().await.unwrap();
        assert!(
            buckets.buckets().iter().all(|bucket| bucket.name() != Some(&missing)),
            "{kind:?} created the bucket"
        );
    }
}

/// The policy of `docs/drivers.md` for this bucket and prefix. It does not allow the action `without`, unless `without`
/// is empty.
fn minimal_policy(bucket: &str, prefix: &str, without: &str) -> String {
    let page = include_str!("../../../docs/drivers.md");
    let start = page.find("{\"Version\": \"2012-10-17\"").unwrap();
    let policy = page[start..].split("```").next().unwrap();
    let policy = policy.replace("BUCKET", bucket).replace("PREFIX", prefix);
    assert!(without.is_empty() || policy.contains(&format!("\"{without}\"")), "{policy}");
    policy.replace(&format!("\"{without}\""), "\"s3:GetBucketTagging\"")
}

async fn config_with_policy(test_bucket: &TestBucket<'_>, without: &str) -> S3Config {
    let policy = minimal_policy(&test_bucket.name, &test_bucket.prefix, without);
    let AccessKey { access_key_id, secret_access_key, .. } =
        test_bucket.server.create_user(&policy).await.unwrap();
    test_bucket.config().keys(access_key_id, secret_access_key)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_minimal_policy_is_enough_for_every_method() {
    let test_bucket = TestBucket::new(server(S3Kind::Moto).await).await;
    let store = S3Store::open(config_with_policy(&test_bucket, "").await).await.unwrap();
    let mut metadata = Metadata::new();
    metadata.insert("note".into(), "x".repeat(5000).into());
    let options = PutOptions { metadata, ..PutOptions::default() };
    let put = store.put(&scope(), Body::from("with much to say"), options).await.unwrap();
    store.put(&scope(), pieces(11, 11, async {}), PutOptions::default()).await.unwrap();
    assert_eq!(store.stat(&scope(), &put.record.id).await.unwrap().unwrap(), put.record);
    let get = store.get(&scope(), &put.record.id, None).await.unwrap().unwrap();
    assert_eq!(get.record, put.record);
    drop(get);
    let query = ListQuery::new(ScopePattern::exactly(&scope())).with_total();
    assert_eq!(store.list(&query).await.unwrap().total, Some(2));
    assert!(store.delete(&scope(), &put.record.id).await.unwrap());
    assert_eq!(store.stat(&scope(), &put.record.id).await.unwrap(), None);
    store.sweep().await.unwrap();
    store.health().await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_named_with_its_resource() {
    let test_bucket = TestBucket::new(server(S3Kind::Moto).await).await;
    // The store already exists before a key with a smaller policy opens it.
    S3Store::open(test_bucket.config()).await.unwrap().close().await.unwrap();
    let bucket = format!("arn:aws:s3:::{}", test_bucket.name);
    let objects = format!("{bucket}/{}/*", test_bucket.prefix);
    let refused = async |without: &str| -> StoreError {
        let store = match S3Store::open_and_probe(config_with_policy(&test_bucket, without).await).await {
            Ok(store) => store,
            Err(error) => return error,
        };
        let query = ListQuery::new(ScopePattern::exactly(&scope()));
        store.list(&query).await.unwrap_err()
    };
    for (without, resource) in [
        ("s3:PutObject", &objects),
        ("s3:GetObject", &objects),
        ("s3:DeleteObject", &objects),
        ("s3:AbortMultipartUpload", &objects),
        ("s3:ListBucket", &bucket),
    ] {
        let error = refused(without).await;
        assert_eq!(error.kind(), ErrorKind::Backend, "{without}: {error}");
        let message = error.to_string();
        assert!(message.contains(&format!("{without} on {resource}")), "{without}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_a_probe_cannot_delete_are_named() {
    let test_bucket = TestBucket::new(server(S3Kind::Moto).await).await;
    let error = S3Store::open(config_with_policy(&test_bucket, "s3:DeleteObject").await)
        .await
        .unwrap_err()
        .to_string();
    let left = test_bucket.keys("u/").await;
    assert!(!left.is_empty(), "this test needs a probe that leaves something");
    for key in left {
        assert!(error.contains(&key), "{key} is left and not named: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_not_delete_leaves_nothing_in_an_existing_store() {
    let test_bucket = TestBucket::new(server(S3Kind::Moto).await).await;
    S3Store::open(test_bucket.config()).await.unwrap().close().await.unwrap();
    // The recorded features are too old, so the next opening would probe the storage.
    age(&test_bucket, Duration::from_hours(25)).await;
    let before = test_bucket.keys("").await;
    let config = config_with_policy(&test_bucket, "s3:DeleteObject").await;
    let store = S3Store::open(config).await.unwrap();
    assert_eq!(test_bucket.keys("").await, before);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_with_default_retention_accepts_artifacts_and_reports_the_retention() {
    let server = server(S3Kind::Moto).await;
    let bucket =
        server.create_bucket(BucketKind::ObjectLock { mode: LockMode::Governance, days: 2 }).await.unwrap();
    let config = S3Config::bucket(&bucket)
        .endpoint(server.endpoint())
        .region(server.region())
        .path_style(true)
        .part_size(5 * MIB as u64)
        .keys(server.access_key_id(), server.secret_access_key());
    let store = S3Store::open(config).await.unwrap();
    assert_eq!(value(&store, "retention"), "GOVERNANCE, 2 days");
    assert_eq!(value(&store, "versioning"), "enabled");
    let mut metadata = Metadata::new();
    metadata.insert("note".into(), "x".repeat(5000).into());
    let options = PutOptions { metadata, ..PutOptions::default() };
    let put = store.put(&scope(), Body::from("locked"), options).await.unwrap();
    assert_eq!(store.stat(&scope(), &put.record.id).await.unwrap(), Some(put.record.clone()));
    assert!(store.delete(&scope(), &put.record.id).await.unwrap());
    assert_eq!(store.stat(&scope(), &put.record.id).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn versioning_that_is_enabled_later_is_detected_at_the_next_opening() {
    let test_bucket = TestBucket::new(server(S3Kind::Moto).await).await;
    let store = S3Store::open(test_bucket.config()).await.unwrap();
    assert_eq!(value(&store, "versioning"), "off");
    store.close().await.unwrap();
    let counter = RequestCounter::start(test_bucket.server.address()).await.unwrap();
    let puts = async || {
        counter.take();
        let store = S3Store::open(test_bucket.config_at(&counter.endpoint())).await.unwrap();
        let puts = counter.take().into_iter().filter(|request| request.method == "PUT").count();
        (value(&store, "versioning"), puts)
    };
    // The counter has another address than the server, so the first opening through it probes the storage.
    puts().await;
    assert_eq!(puts().await, ("off".to_owned(), 0), "the storage was probed again");
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let request = test_bucket
        .client
        .put_bucket_versioning()
        .bucket(&test_bucket.name)
        .versioning_configuration(enabled);
    request.send().await.unwrap();
    let (versioning, probe_puts) = puts().await;
    assert_eq!(versioning, "enabled");
    assert!(probe_puts > 0, "the storage was not probed again");
    assert_eq!(puts().await, ("enabled".to_owned(), 0));
    let store = S3Store::open(test_bucket.config()).await.unwrap();
    store.put(&scope(), Body::from("again"), PutOptions::default()).await.unwrap();
    let again = store.put(&scope(), Body::from("again"), PutOptions::default()).await.unwrap();
    assert_eq!(again.outcome, PutOutcome::AlreadyExists);
}

/// Changes the time of the probe in `FORMAT`, so that the recorded features have this age.
async fn age(test_bucket: &TestBucket<'_>, age: Duration) {
    let key = format!("{}/FORMAT", test_bucket.prefix);
    let object = test_bucket.client.get_object().bucket(&test_bucket.name).key(&key).send().await.unwrap();
    let mut format: serde_json::Value =
        serde_json::from_slice(&object.body.collect().await.unwrap().into_bytes()).unwrap();
    let then = SystemClock.now().as_micros() - i64::try_from(age.as_micros()).unwrap();
    format["probed_at"] = then.into();
    test_bucket.replace(&key, format.to_string().as_bytes(), HashMap::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn features_that_are_only_assumed_are_not_called_recorded() {
    let test_bucket = TestBucket::new(server(S3Kind::S3sFs).await).await;
    // The option sets the features, so this opening records none in `FORMAT`.
    let configured = test_bucket.config().conditional_create(ConditionalCreate::Yes);
    S3Store::open(configured).await.unwrap().close().await.unwrap();
    let about = |store: &S3Store| {
        let features = store.store_features().unwrap();
        features.into_iter().find(|feature| feature.name == "conditional_put").unwrap().about
    };
    let store = S3Store::open_existing(test_bucket.config()).await.unwrap();
    assert!(about(&store).contains("assumed") && !about(&store).contains("recorded"), "{}", about(&store));
    S3Store::open(test_bucket.config()).await.unwrap().close().await.unwrap();
    let store = S3Store::open_existing(test_bucket.config()).await.unwrap();
    assert!(about(&store).contains("recorded in FORMAT at 2"), "{}", about(&store));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_open_for_a_day_probes_the_storage_again() {
    let test_bucket = TestBucket::new(server(S3Kind::Moto).await).await;
    S3Store::open(test_bucket.config()).await.unwrap().close().await.unwrap();
    age(&test_bucket, Duration::from_hours(24).checked_sub(Duration::from_secs(4)).unwrap()).await;
    let store = S3Store::open(test_bucket.config()).await.unwrap();
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let request = test_bucket
        .client
        .put_bucket_versioning()
        .bucket(&test_bucket.name)
        .versioning_configuration(enabled);
    request.send().await.unwrap();
    store.put(&scope(), Body::from("within the day"), PutOptions::default()).await.unwrap();
    assert_eq!(value(&store, "versioning"), "off", "the storage was probed before a day had passed");
    tokio::time::sleep(Duration::from_secs(4)).await;
    store.put(&scope(), Body::from("after it"), PutOptions::default()).await.unwrap();
    eventually("the storage is probed again", || async { value(&store, "versioning") == "enabled" }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_bucket_was_emptied_is_not_created_again_after_a_day() {
    let test_bucket = TestBucket::new(server(S3Kind::Moto).await).await;
    S3Store::open(test_bucket.config()).await.unwrap().close().await.unwrap();
    age(&test_bucket, Duration::from_hours(24).checked_sub(Duration::from_secs(4)).unwrap()).await;
    let store = S3Store::open(test_bucket.config()).await.unwrap();
    for key in test_bucket.keys("").await {
        test_bucket.client.delete_object().bucket(&test_bucket.name).key(key).send().await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    store.put(&scope(), Body::from("after it"), PutOptions::default()).await.unwrap();
    // The refresh runs in the background, and `close` waits for it.
    store.close().await.unwrap();
    assert_eq!(test_bucket.keys("FORMAT").await, Vec::<String>::new());
    assert_eq!(test_bucket.keys("k/").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_holder_of_a_url_cannot_read_the_record() {
    for kind in [S3Kind::Garage, S3Kind::S3sFs] {
        let test_bucket = TestBucket::new(server(kind).await).await;
        let store = S3Store::open(test_bucket.config()).await.unwrap();
        for note in [10, 5000] {
            let mut metadata = Metadata::new();
            metadata.insert("secret-note".into(), "classified".repeat(note / 10).into());
            let options = PutOptions { metadata, tags: vec!["confidential".into()], ..PutOptions::default() };
            let put = store.put(&scope(), Body::from("shared"), options).await.unwrap();
            let intent = PresignIntent::Get { id: put.record.id.clone() };
            let url = store.presign(&scope(), &intent, Duration::from_mins(1)).await.unwrap().unwrap();
            let output = tokio::process::Command::new("curl").args(["-sSi", url.url.reveal()]).output();
            let answer = String::from_utf8_lossy(&output.await.unwrap().stdout).into_owned();
            assert!(answer.contains(" 200 ") && answer.ends_with("shared"), "{kind:?}: {answer}");
            let metadata: Vec<_> =
                answer.lines().filter_map(|line| line.trim().strip_prefix("x-amz-meta-")).collect();
            let names: Vec<_> = metadata.iter().map(|line| line.split(':').next().unwrap()).collect();
            let record = if note == 10 { "artifact-record" } else { "artifact-record-at" };
            assert!(
                names.len() == 2 && names.contains(&record) && names.contains(&"artifact-mark"),
                "{names:?}"
            );
            // The response must not reveal the record, neither in clear text nor in its decoded metadata.
            let mut text = answer.clone().into_bytes();
            for value in metadata.iter().flat_map(|line| line.rsplit(": ").next().unwrap().split('.')) {
                text.extend(data_encoding::BASE64URL_NOPAD.decode(value.as_bytes()).unwrap_or_default());
            }
            let text = String::from_utf8_lossy(&text).into_owned();
            // The record is JSON, so scope parts are searched in quotes.
            for word in ["\"acme\"", "\"ada\"", "\"s-1\"", "classified", "confidential", "secret-note"] {
                assert!(!text.contains(word), "{kind:?}: {word} is revealed: {text}");
            }
            assert!(store.delete(&scope(), &put.record.id).await.unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_with_small_metadata_keeps_every_record() {
    for (longest, expected) in [(2000, "one_value"), (256, "short_values"), (250, "short_values")] {
        for kind in KINDS {
            let test_bucket = TestBucket::new(server(kind).await).await;
            let limits = MetadataLimitProxy::start(test_bucket.server.address(), longest).await.unwrap();
            let store = S3Store::open(test_bucket.config_at(&limits.endpoint())).await.unwrap();
            assert_eq!(value(&store, "metadata"), expected, "{kind:?} with values of {longest} bytes");
            for note in [0, 200, 800, 5000] {
                let mut metadata = Metadata::new();
                metadata.insert("note".into(), "x".repeat(note).into());
                let options = PutOptions { metadata, ..PutOptions::default() };
                let put = store.put(&scope(), Body::from(vec![1; note]), options).await.unwrap();
                assert_eq!(store.stat(&scope(), &put.record.id).await.unwrap(), Some(put.record));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_with_too_small_metadata_is_an_error_at_opening() {
    let test_bucket = TestBucket::new(server(S3Kind::Garage).await).await;
    let limits = MetadataLimitProxy::start(test_bucket.server.address(), 100).await.unwrap();
    let error = S3Store::open(test_bucket.config_at(&limits.endpoint())).await.unwrap_err();
    let message = error.to_string();
    assert!(message.contains("does not keep user metadata of 250 bytes"), "{message}");
    assert!(
        message.contains("MetadataTooLarge"),
        "the message does not contain the storage's own code: {message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_format_1_is_read_and_written_in_format_1() {
    let test_bucket = TestBucket::new(server(S3Kind::Garage).await).await;
    let format = format!("{}/FORMAT", test_bucket.prefix);
    let old = br#"{"format":1,"driver":"s3","endpoint":"x","conditional_create":false,"checksum_on_put":true,"checksum_on_part":true}"#;
    test_bucket.replace(&format, old, [].into()).await;
    let store = S3Store::open(test_bucket.config()).await.unwrap();
    assert_eq!(
        (value(&store, "listing_index"), value(&store, "sealed_records")),
        ("none".into(), "no".into())
    );
    let put = store.put(&scope(), Body::from("old"), PutOptions::default()).await.unwrap();
    let metadata = test_bucket.metadata(&test_bucket.artifact().await).await;
    assert!(metadata.contains_key("artifact"), "as older builds read it: {metadata:?}");
    assert_eq!(store.stat(&scope(), &put.record.id).await.unwrap(), Some(put.record.clone()));
    let page = store.list(&ListQuery::new(ScopePattern::exactly(&scope())).with_total()).await.unwrap();
    assert_eq!((page.rows, page.total), (vec![put.record], Some(1)));
    assert_eq!(test_bucket.keys("").await.len(), 2, "FORMAT and the artifact");
}

/// The number of artifacts to list: the environment variable `LISTED`, or 1000 if it is not set.
fn artifact_count() -> usize {
    std::env::var("LISTED").ok().and_then(|listed| listed.parse().ok()).unwrap_or(1000)
}

async fn fill(store: &S3Store, count: usize) {
    let puts = stream::iter(0..count).map(|number| async move {
        store.put(&scope(), Body::from(format!("artifact {number}")), PutOptions::default()).await.unwrap();
    });
    puts.buffer_unordered(16).collect::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_long_session_reads_only_the_records_of_that_page() {
    let count = artifact_count();
    for (kind, index) in [
        (S3Kind::Garage, ListingIndex::Time),
        (S3Kind::Garage, ListingIndex::None),
        (S3Kind::Moto, ListingIndex::Time),
    ] {
        let test_bucket = TestBucket::new(server(kind).await).await;
        let config = test_bucket
            .config()
            .single_writer(true)
            .listing_index(index)
            .request_timeout(Duration::from_secs(30));
        let store = S3Store::open(config.clone()).await.unwrap();
        fill(&store, count).await;
        let counter = RequestCounter::start(test_bucket.server.address()).await.unwrap();
        let store = S3Store::open(config.endpoint(counter.endpoint()).max_scan(1_000_000)).await.unwrap();
        counter.take();
        let mut cursor = None;
        let mut seen = Vec::new();
        for page in 0..5 {
            let start = Instant::now();
            let query = ListQuery::new(ScopePattern::exactly(&scope())).with_limit(100).with_cursor(cursor);
            let answer = store.list(&query).await.unwrap();
            let requests = counter.take();
            println!(
                "{kind:?}, {index:?}: page {page} of 100 among {count}: {} requests, {} bytes of answers, {:?}",
                requests.len(),
                requests.iter().map(|request| request.response_bytes).sum::<u64>(),
                start.elapsed()
            );
            if index == ListingIndex::Time {
                // The last row of the previous page is read again, because an index key does not show whether its id
                // comes after the cursor.
                let again = usize::from(page > 0);
                let lists = requests.iter().filter(|request| request.method == "GET").count();
                assert!(lists <= 1 + again, "{lists} lists");
                assert!(requests.len() - lists <= 101 + again, "{} requests", requests.len());
            }
            seen.extend(answer.rows.into_iter().map(|row| (row.created_at, row.id)));
            cursor = answer.next;
        }
        assert_eq!(seen.len(), 500);
        assert!(
            seen.is_sorted_by(|a, b| a.0 > b.0 || (a.0 == b.0 && a.1 < b.1)),
            "the rows are not listed newest first"
        );
        let query = ListQuery::new(ScopePattern::exactly(&scope())).with_limit(1).with_total();
        assert_eq!(store.list(&query).await.unwrap().total, Some(count as u64));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_key_without_its_artifact_is_skipped_and_swept() {
    let test_bucket = TestBucket::new(server(S3Kind::Garage).await).await;
    let store = S3Store::open(test_bucket.config().upload_ttl(Duration::ZERO)).await.unwrap();
    let put = store.put(&scope(), Body::from("kept"), PutOptions::default()).await.unwrap();
    let index = test_bucket.keys("i/").await.remove(0);
    // Two index keys of puts that died. One is of the same artifact, with another time and mark. The other one is of
    // another artifact.
    let (start, rest) = index.rsplit_once('/').unwrap();
    let [_, task, name, _] = rest.split('.').collect::<Vec<_>>()[..] else { panic!("{rest}") };
    test_bucket.replace(&format!("{start}/7fffffffffffffff.{task}.{name}.00000000"), b"", [].into()).await;
    let other = "a".repeat(32);
    test_bucket.replace(&format!("{start}/7ffffffffffffff0.{task}.{other}.00000000"), b"", [].into()).await;
    let page = store.list(&ListQuery::new(ScopePattern::session_of(&scope())).with_total()).await.unwrap();
    assert_eq!((page.rows, page.total), (vec![put.record], Some(1)));
    let report = store.count_orphans().await.unwrap();
    eventually("the index keys are old", || async { store.count_orphans().await.unwrap().objects == 2 })
        .await;
    assert!(report.objects <= 2);
    assert_eq!(test_bucket.keys("i/").await.len(), 3, "counting deletes nothing");
    assert_eq!(store.sweep().await.unwrap().objects, 2);
    assert_eq!(test_bucket.keys("i/").await, [index]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_deletes_bytes_without_a_record_together_with_their_index_key() {
    let test_bucket = TestBucket::new(server(S3Kind::Garage).await).await;
    let store = S3Store::open(test_bucket.config().upload_ttl(Duration::ZERO)).await.unwrap();
    let put = store.put(&scope(), Body::from("half"), PutOptions::default()).await.unwrap();
    // Some storages show bytes before metadata. On such a storage, a put that dies can leave an object like this.
    test_bucket.replace(&test_bucket.artifact().await, b"ha", [].into()).await;
    let counted = async || store.count_orphans().await.unwrap().objects == 2;
    eventually("both are old, and a dry run counts both", counted).await;
    let report = store.sweep().await.unwrap();
    assert_eq!((report.objects, test_bucket.residue().await), (2, Vec::new()), "the bytes and the index key");
    assert_eq!(store.stat(&scope(), &put.record.id).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_sweeps_of_several_stores_delete_each_orphan_once() {
    // s3s-fs is omitted, because it answers 500 to a listing while objects of the bucket are deleted.
    for kind in [S3Kind::Garage, S3Kind::Moto] {
        let test_bucket = TestBucket::new(server(kind).await).await;
        let mut stores = Vec::new();
        for _ in 0..8 {
            stores.push(S3Store::open(test_bucket.config().upload_ttl(Duration::ZERO)).await.unwrap());
        }
        for round in 0..3 {
            for number in 0..20 {
                let key = format!("{}/u/{number:032x}", test_bucket.prefix);
                test_bucket.replace(&key, b"left", [].into()).await;
            }
            let counted = async || stores[0].count_orphans().await.unwrap().objects == 20;
            eventually("the orphans are old", counted).await;
            let reports = join_all(stores.iter().map(S3Store::sweep)).await;
            let deleted: u64 = reports.into_iter().map(|report| report.unwrap().objects).sum();
            assert_eq!((deleted, test_bucket.residue().await), (20, Vec::new()), "{kind:?}, round {round}");
        }
    }
}
