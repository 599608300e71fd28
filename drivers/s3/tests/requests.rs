//! The number of HTTP requests of each method, counted on real servers: a part of the driver's contract.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // Helpers of tests.

mod harness;

use std::time::Duration;

use artifact_store_backends::{RequestCounter, S3Kind};
use artifact_store_core::{
    ArtifactStore, Body, ByteRange, Digest, ListQuery, Metadata, PutOptions, PutOutcome, Scope, ScopePattern,
};
use artifact_store_s3::{ConditionalCreate, ListingIndex, S3Config, S3Store};
use futures_util::{StreamExt, TryStreamExt};
use harness::{MIB, TestBucket, config_at, fresh_prefix, piece, pieces, scope, server};

/// Counts the requests of each call and compares their number with a limit.
struct Budget<'a> {
    counter: &'a RequestCounter,
    lines: Vec<String>,
}

impl Budget<'_> {
    async fn check(&mut self, call: &str, limit: usize) {
        // The requests of background tasks are included.
        tokio::time::sleep(Duration::from_millis(150)).await;
        let requests = self.counter.take();
        self.lines.push(format!("{call:<44} {:>3} of {limit}", requests.len()));
        let list: Vec<String> = requests.iter().map(ToString::to_string).collect();
        assert!(requests.len() <= limit, "{call}: {} requests of {limit}: {list:#?}", requests.len());
    }
}

/// The largest number of requests of those methods that differ between storages.
#[derive(Clone, Copy)]
struct Costs {
    put: usize,
    /// A put of an existing artifact.
    again: usize,
    delete: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_honours_conditions_answers_within_the_budget() {
    // A put sends two requests: one for the index key, one for the artifact. A put of an existing artifact also looks
    // up the artifact, and deletes the index key.
    let honours = |config: S3Config| config.conditional_create(ConditionalCreate::Yes);
    within_budget(S3Kind::S3sFs, Costs { put: 2, again: 4, delete: 3 }, honours).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_index_a_put_is_one_request() {
    let without = |config: S3Config| {
        config.conditional_create(ConditionalCreate::Yes).listing_index(ListingIndex::None)
    };
    within_budget(S3Kind::S3sFs, Costs { put: 1, again: 2, delete: 2 }, without).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_s3_client_alone_sends_as_many_requests() {
    let honours = |config: S3Config| config.conditional_create(ConditionalCreate::Yes).s3_client_only(true);
    within_budget(S3Kind::S3sFs, Costs { put: 2, again: 4, delete: 3 }, honours).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_without_conditions_answers_within_the_budget() {
    // A put sends six requests: a lookup, the claim, the list of claims, the index key, the artifact, the release of
    // the claim.
    within_budget(S3Kind::Garage, Costs { put: 6, again: 1, delete: 3 }, |config| config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_writer_needs_no_claims() {
    let single = |config: S3Config| config.single_writer(true);
    within_budget(S3Kind::Garage, Costs { put: 3, again: 1, delete: 3 }, single).await;
    let without = |config: S3Config| config.single_writer(true).listing_index(ListingIndex::None);
    within_budget(S3Kind::Garage, Costs { put: 2, again: 1, delete: 2 }, without).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_answers_within_the_budget() {
    let honours = |config: S3Config| config.conditional_create(ConditionalCreate::Yes);
    within_budget(S3Kind::Moto, Costs { put: 2, again: 4, delete: 3 }, honours).await;
}

/// The requests since the last call, in short form: method, first two characters of the key below the prefix, status.
fn summary(counter: &RequestCounter, test_bucket: &TestBucket<'_>) -> Vec<String> {
    let below = format!("/{}/{}/", test_bucket.name, test_bucket.prefix);
    let directory = |target: &str| match target.strip_prefix(&below) {
        Some(rest) => Some(rest[..2].to_owned()),
        None => target.contains("list-type").then(|| "list".to_owned()),
    };
    let requests = counter.take().into_iter();
    requests
        .map(|request| {
            let directory = directory(&request.target).unwrap_or_else(|| request.target.clone());
            let parts = request.target.contains("uploadId") || request.target.contains("uploads");
            format!(
                "{} {directory}{} {}",
                request.method,
                if parts { " (parts)" } else { "" },
                request.status
            )
        })
        .collect()
}

/// The requests of the first opening, which probes the storage.
async fn probe_requests(kind: S3Kind) -> Vec<String> {
    let test_bucket = TestBucket::new(server(kind).await).await;
    let counter = RequestCounter::start(test_bucket.server.address()).await.unwrap();
    S3Store::open(test_bucket.config_at(&counter.endpoint())).await.unwrap();
    counter.take().iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_checks_before_it_has_the_body_is_detected_without_a_race() {
    let requests = probe_requests(S3Kind::S3sFs).await;
    println!("s3s-fs: {} requests", requests.len());
    // One round of the race would add seven.
    assert!(requests.len() <= 24, "{}: {requests:#?}", requests.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_may_honour_conditions_is_probed_within_the_budget() {
    // 31 of these requests test racing puts: two puts, of which one overtakes the other, and a delete; then four rounds
    // of six puts and a delete.
    let requests = probe_requests(S3Kind::Moto).await;
    println!("moto: {} requests", requests.len());
    assert!(requests.len() <= 24 + 28, "{}: {requests:#?}", requests.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_put_writes_its_index_key_first_and_deletes_it_if_the_artifact_exists() {
    let test_bucket = TestBucket::new(server(S3Kind::S3sFs).await).await;
    let counter = RequestCounter::start(test_bucket.server.address()).await.unwrap();
    let store =
        S3Store::open(test_bucket.config_at(&counter.endpoint()).conditional_create(ConditionalCreate::Yes))
            .await
            .unwrap();
    counter.take();
    let first = PutOptions { filename: Some("first.txt".into()), ..PutOptions::default() };
    let created = store.put(&scope(), Body::from("hello"), first).await.unwrap();
    assert_eq!(created.outcome, PutOutcome::Created);
    assert_eq!(summary(&counter, &test_bucket), ["PUT i/ 200", "PUT a/ 200"]);

    let second = PutOptions { filename: Some("second.txt".into()), ..PutOptions::default() };
    let existing = store.put(&scope(), Body::from("hello"), second).await.unwrap();
    assert_eq!(existing.outcome, PutOutcome::AlreadyExists);
    assert_eq!(existing.record, created.record);
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(summary(&counter, &test_bucket), ["PUT i/ 200", "PUT a/ 412", "HEAD a/ 200", "DELETE i/ 204"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_in_memory_is_one_put_and_already_exists_the_second_time() {
    let test_bucket = TestBucket::new(server(S3Kind::S3sFs).await).await;
    let counter = RequestCounter::start(test_bucket.server.address()).await.unwrap();
    let store =
        S3Store::open(test_bucket.config_at(&counter.endpoint()).conditional_create(ConditionalCreate::Yes))
            .await
            .unwrap();
    counter.take();
    let body = || Body::from(vec![7; 2 * MIB]);
    assert_eq!(
        store.put(&scope(), body(), PutOptions::default()).await.unwrap().outcome,
        PutOutcome::Created
    );
    assert_eq!(summary(&counter, &test_bucket), ["PUT i/ 200", "PUT a/ 200"]);
    // The server refuses the put before it has read the body, so the client may see only a broken connection.
    let existing = store.put(&scope(), body(), PutOptions::default()).await.unwrap();
    assert_eq!(existing.outcome, PutOutcome::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_an_announced_digest_go_directly_to_their_key() {
    use ConditionalCreate::{Probe, Put, Yes};
    for (kind, conditional) in
        [(S3Kind::Garage, Probe), (S3Kind::S3sFs, Probe), (S3Kind::S3sFs, Put), (S3Kind::Moto, Yes)]
    {
        let test_bucket = TestBucket::new(server(kind).await).await;
        let counter = RequestCounter::start(test_bucket.server.address()).await.unwrap();
        let config = test_bucket.config_at(&counter.endpoint()).conditional_create(conditional);
        let store = S3Store::open(config).await.unwrap();
        counter.take();
        let whole: Vec<u8> = (0..11).flat_map(piece).collect();
        let announced = |body: Body| body.with_length(whole.len() as u64).with_digest(Digest::of(&whole));
        let put = store.put(&scope(), announced(pieces(11, 11, async {})), PutOptions::default()).await;
        assert_eq!(put.unwrap().outcome, PutOutcome::Created);
        tokio::time::sleep(Duration::from_millis(150)).await;
        let sent = summary(&counter, &test_bucket);
        let parts = ["PUT a/ (parts) 200"; 3];
        let begin = ["HEAD a/ 404", "POST a/ (parts) 200"];
        let end: &[&str] = match conditional {
            Yes => &["HEAD a/ 404", "PUT i/ 200", "POST a/ (parts) 200"],
            // The key is reserved.
            Put => &["PUT a/ 200", "PUT i/ 200", "POST a/ (parts) 200"],
            // A claim is written, and the claims are listed.
            _ => &[
                "HEAD a/ 404",
                "PUT a/ 200",
                "GET list 200",
                "PUT i/ 200",
                "POST a/ (parts) 200",
                "DELETE a/ 204",
            ],
        };
        assert_eq!(sent, [&begin[..], &parts, end].concat(), "{kind:?}, {conditional:?}");
        let put = store.put(&scope(), announced(pieces(11, 11, async {})), PutOptions::default()).await;
        assert_eq!(put.unwrap().outcome, PutOutcome::AlreadyExists);
        assert_eq!(summary(&counter, &test_bucket), ["HEAD a/ 200"], "{kind:?}, {conditional:?}");
    }
}

async fn within_budget(kind: S3Kind, costs: Costs, with: fn(S3Config) -> S3Config) {
    let Costs { put, again, delete } = costs;
    let server = server(kind).await;
    let counter = RequestCounter::start(server.address()).await.unwrap();
    let prefix = fresh_prefix();
    let config = with(config_at(server, &counter.endpoint(), &prefix));
    let store = S3Store::open(config.clone()).await.unwrap();
    let mut budget = Budget { counter: &counter, lines: Vec::new() };
    budget.check("open, for the first time", 24 + 28).await;
    store.close().await.unwrap();
    let store = S3Store::open(config).await.unwrap();
    budget.check("open, again", 3).await;

    let scope = Scope::new("acme", "ada", "s-1").unwrap();
    let options = PutOptions::default;
    let id = store.put(&scope, Body::from("hello"), options()).await.unwrap().record.id;
    budget.check("put, in memory", put).await;
    store.put(&scope, Body::from("hello"), options()).await.unwrap();
    budget.check("put, in memory, of an existing artifact", again).await;
    let pieces = futures_util::stream::iter(["hel", "lo!"])
        .map(|piece| Ok::<_, std::io::Error>(artifact_store_core::Bytes::from(piece)));
    store.put(&scope, Body::from_stream(pieces), options()).await.unwrap();
    budget.check("put, a short stream", put).await;

    for (what, range) in [
        ("get", None),
        ("get, a range", Some(ByteRange::from(1..3))),
        ("get, from a byte on", Some(ByteRange::from(2..))),
        ("get, the last bytes", Some(ByteRange::Suffix(2))),
    ] {
        let get = store.get(&scope, &id, range).await.unwrap().unwrap();
        get.stream.try_collect::<Vec<_>>().await.unwrap();
        budget.check(what, 1).await;
    }
    store.get(&scope, &id, Some(ByteRange::from(100..200))).await.unwrap().unwrap();
    budget.check("get, past the end", 2).await;
    store.stat(&scope, &id).await.unwrap().unwrap();
    budget.check("stat", 1).await;

    let other = Scope::new("acme", "bob", "s-1").unwrap();
    store.put(&other, Body::from("of another scope"), options()).await.unwrap();
    counter.take();
    let page = store.list(&ListQuery::new(ScopePattern::exactly(&scope))).await.unwrap();
    assert_eq!(page.rows.len(), 2);
    budget.check("list of 2 artifacts", 1 + 2).await;

    store.health().await.unwrap();
    budget.check("health", 1).await;
    assert!(store.delete(&scope, &id).await.unwrap());
    budget.check("delete", delete).await;
    assert!(!store.delete(&scope, &id).await.unwrap());
    budget.check("delete of nothing", 2).await;
    assert!(store.stat(&scope, &id).await.unwrap().is_none());
    budget.check("stat of nothing", 2).await;
    assert!(store.get(&scope, &id, None).await.unwrap().is_none());
    budget.check("get of nothing", 2).await;

    let mut metadata = Metadata::new();
    metadata.insert("note".into(), "x".repeat(5000).into());
    let long = PutOptions { metadata, ..PutOptions::default() };
    let id = store.put(&scope, Body::from("with much to say"), long).await.unwrap().record.id;
    budget.check("put, with a long record", put + 1).await;
    store.stat(&scope, &id).await.unwrap().unwrap();
    budget.check("stat, of a long record", 2).await;
    assert!(store.delete(&scope, &id).await.unwrap());
    budget.check("delete, of a long record", delete + 1 + usize::from(delete == 3)).await;
    store.close().await.unwrap();
    println!("{kind:?}: method, requests, limit\n{}", budget.lines.join("\n"));
}
