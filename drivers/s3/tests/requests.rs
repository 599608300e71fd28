//! What each verb costs, counted in HTTP requests before a real server: a part of the driver's contract.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // Helpers of tests.

mod harness;

use artifact_store_backends::{Counter, S3Kind};
use artifact_store_core::{
    ArtifactStore, Body, ByteRange, Digest, ListQuery, Metadata, PutOptions, PutOutcome, Scope, ScopePattern,
};
use artifact_store_s3::S3Store;
use futures_util::{StreamExt, TryStreamExt};
use harness::{MIB, Site, config_at, fresh_prefix, piece, pieces, scope, server};

/// Requests since the last look, and how many there may be.
struct Budget<'a> {
    counter: &'a Counter,
    lines: Vec<String>,
}

impl Budget<'_> {
    fn spent(&mut self, verb: &str, budget: usize) {
        let requests = self.counter.take();
        self.lines.push(format!("{verb:<44} {:>3} of {budget}", requests.len()));
        let shown: Vec<String> = requests.iter().map(ToString::to_string).collect();
        assert!(requests.len() <= budget, "{verb}: {} requests of {budget}: {shown:#?}", requests.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garage_answers_within_the_budget() {
    // It ignores the condition, so a put asks first.
    within_budget(S3Kind::Garage, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3s_fs_answers_within_the_budget() {
    // It honours the condition, so a put need not ask.
    within_budget(S3Kind::S3sFs, 1).await;
}

/// The requests of a put, short: what each did and to which folder of the place.
fn shown(counter: &Counter, site: &Site<'_>) -> Vec<String> {
    let below = format!("/{}/{}/", site.bucket, site.prefix);
    let folder = |target: &str| target.strip_prefix(&below).map(|rest| rest[..2].to_owned());
    let requests = counter.take().into_iter();
    requests
        .map(|request| {
            let folder = folder(&request.target).unwrap_or_else(|| request.target.clone());
            let parts = request.target.contains("uploadId") || request.target.contains("uploads");
            format!("{} {folder}{} {}", request.method, if parts { " (parts)" } else { "" }, request.status)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_put_is_one_request_and_hears_what_stood() {
    let site = Site::of(server(S3Kind::S3sFs).await).await;
    let counter = Counter::before(site.server.address()).await.unwrap();
    let store = S3Store::open(site.config_at(&counter.endpoint())).await.unwrap();
    counter.take();
    let first = PutOptions { filename: Some("first.txt".into()), ..PutOptions::default() };
    let created = store.put(&scope(), Body::from("hello"), first).await.unwrap();
    assert_eq!(created.outcome, PutOutcome::Created);
    assert_eq!(shown(&counter, &site), ["PUT a/ 200"]);

    let second = PutOptions { filename: Some("second.txt".into()), ..PutOptions::default() };
    let stood = store.put(&scope(), Body::from("hello"), second).await.unwrap();
    assert_eq!(stood.outcome, PutOutcome::StoodAlready);
    assert_eq!(stood.record, created.record);
    assert_eq!(shown(&counter, &site), ["PUT a/ 412", "HEAD a/ 200"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_new_bytes_are_one_request_and_stand_already_the_second_time() {
    let site = Site::of(server(S3Kind::S3sFs).await).await;
    let counter = Counter::before(site.server.address()).await.unwrap();
    let store = S3Store::open(site.config_at(&counter.endpoint())).await.unwrap();
    counter.take();
    let body = || Body::from(vec![7; 2 * MIB]);
    assert_eq!(
        store.put(&scope(), body(), PutOptions::default()).await.unwrap().outcome,
        PutOutcome::Created
    );
    assert_eq!(shown(&counter, &site), ["PUT a/ 200"]);
    // The server says so before it has read them, and the client may only see that the connection broke.
    let stood = store.put(&scope(), body(), PutOptions::default()).await.unwrap();
    assert_eq!(stood.outcome, PutOutcome::StoodAlready);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_an_announced_digest_go_straight_to_their_key() {
    for kind in [S3Kind::Garage, S3Kind::S3sFs] {
        let site = Site::of(server(kind).await).await;
        let counter = Counter::before(site.server.address()).await.unwrap();
        let store = S3Store::open(site.config_at(&counter.endpoint())).await.unwrap();
        counter.take();
        let whole: Vec<u8> = (0..11).flat_map(piece).collect();
        let announced = |body: Body| body.with_length(whole.len() as u64).with_digest(Digest::of(&whole));
        let put = store.put(&scope(), announced(pieces(11, 11, async {})), PutOptions::default()).await;
        assert_eq!(put.unwrap().outcome, PutOutcome::Created);
        let sent = shown(&counter, &site);
        let parts = ["PUT a/ (parts) 200"; 3];
        let expected =
            [&["HEAD a/ 404", "POST a/ (parts) 200"][..], &parts, &["HEAD a/ 404", "POST a/ (parts) 200"]];
        assert_eq!(sent, expected.concat(), "{kind:?}");
        let put = store.put(&scope(), announced(pieces(11, 11, async {})), PutOptions::default()).await;
        assert_eq!(put.unwrap().outcome, PutOutcome::StoodAlready);
        assert_eq!(shown(&counter, &site), ["HEAD a/ 200"], "{kind:?}");
    }
}

async fn within_budget(kind: S3Kind, put: usize) {
    let server = server(kind).await;
    let counter = Counter::before(server.address()).await.unwrap();
    let prefix = fresh_prefix();
    let config = config_at(server, &counter.endpoint(), &prefix);
    let store = S3Store::open(config.clone()).await.unwrap();
    let mut budget = Budget { counter: &counter, lines: Vec::new() };
    budget.spent("open, for the first time", 10);
    store.close().await.unwrap();
    let store = S3Store::open(config).await.unwrap();
    budget.spent("open, again", 1);

    let scope = Scope::new("acme", "ada", "s-1").unwrap();
    let options = PutOptions::default;
    let id = store.put(&scope, Body::from("hello"), options()).await.unwrap().record.id;
    budget.spent("put, at hand", put);
    store.put(&scope, Body::from("hello"), options()).await.unwrap();
    budget.spent("put, at hand, of what stood already", 2);
    let pieces = futures_util::stream::iter(["hel", "lo!"])
        .map(|piece| Ok::<_, std::io::Error>(artifact_store_core::Bytes::from(piece)));
    store.put(&scope, Body::from_stream(pieces), options()).await.unwrap();
    budget.spent("put, a short stream", put);

    for (what, range) in [
        ("get", None),
        ("get, a range", Some(ByteRange::from(1..3))),
        ("get, from a byte on", Some(ByteRange::from(2..))),
        ("get, the last bytes", Some(ByteRange::Suffix(2))),
    ] {
        let get = store.get(&scope, &id, range).await.unwrap().unwrap();
        get.stream.try_collect::<Vec<_>>().await.unwrap();
        budget.spent(what, 1);
    }
    store.get(&scope, &id, Some(ByteRange::from(100..200))).await.unwrap().unwrap();
    budget.spent("get, past the end", 2);
    store.stat(&scope, &id).await.unwrap().unwrap();
    budget.spent("stat", 1);

    let other = Scope::new("acme", "bob", "s-1").unwrap();
    store.put(&other, Body::from("of another scope"), options()).await.unwrap();
    counter.take();
    let page = store.list(&ListQuery::new(ScopePattern::exactly(&scope))).await.unwrap();
    assert_eq!(page.rows.len(), 2);
    budget.spent("list of 2 artifacts", 1 + 2);

    store.health().await.unwrap();
    budget.spent("health", 1);
    assert!(store.delete(&scope, &id).await.unwrap());
    budget.spent("delete", 2);
    assert!(!store.delete(&scope, &id).await.unwrap());
    budget.spent("delete of nothing", 2);
    assert!(store.stat(&scope, &id).await.unwrap().is_none());
    budget.spent("stat of nothing", 2);
    assert!(store.get(&scope, &id, None).await.unwrap().is_none());
    budget.spent("get of nothing", 2);

    let mut metadata = Metadata::new();
    metadata.insert("note".into(), "x".repeat(5000).into());
    let long = PutOptions { metadata, ..PutOptions::default() };
    let id = store.put(&scope, Body::from("with much to say"), long).await.unwrap().record.id;
    budget.spent("put, with a long record", put + 1);
    store.stat(&scope, &id).await.unwrap().unwrap();
    budget.spent("stat, of a long record", 2);
    assert!(store.delete(&scope, &id).await.unwrap());
    budget.spent("delete, of a long record", 3);
    store.close().await.unwrap();
    println!("{kind:?}: verb, requests, budget\n{}", budget.lines.join("\n"));
}
