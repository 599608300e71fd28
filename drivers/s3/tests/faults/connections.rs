//! Connections that break, are silent, or are too slow.

use std::time::{Duration, Instant};

use artifact_store_backends::{Proxy, ProxyMode, S3Kind};
use artifact_store_core::{
    ArtifactStore, ArtifactStoreExt, Body, Bytes, ErrorKind, ListQuery, PutOptions, PutOutcome, ScopePattern,
    StoreError,
};
use artifact_store_s3::S3Store;
use futures_util::{StreamExt, TryStreamExt};
use std::sync::Arc;

use crate::harness::{MIB, TestBucket, eventually, gated, pieces, scope, server};

on_each!(
    a_put_whose_connections_all_break_within_the_body_fails_and_shows_nothing,
    a_long_put_whose_connections_are_cut_once_is_sent_again,
    a_put_whose_responses_are_all_lost_exists_completely_or_not_at_all,
    a_read_whose_connection_breaks_never_ends_as_if_complete,
    a_read_without_progress_ends_within_the_timeout,
    a_server_that_never_answers_is_unavailable_to_every_method_within_the_timeouts,
    a_connection_that_is_too_slow_is_unavailable_to_every_method_within_the_timeouts,
    responses_that_come_too_late_are_unavailable_to_every_method_within_the_timeouts,
);

/// A store that is reached through a proxy.
async fn open_through_proxy(test_bucket: &TestBucket<'_>) -> (Proxy, S3Store) {
    let proxy = Proxy::start(test_bucket.server.address()).await.unwrap();
    let config = test_bucket.config_at(&format!("http://{}", proxy.address()));
    let store = S3Store::open(config.request_timeout(Duration::from_millis(500))).await.unwrap();
    (proxy, store)
}

fn large(byte: u8) -> Bytes {
    Bytes::from(vec![byte; 4 * MIB])
}

async fn a_put_whose_connections_all_break_within_the_body_fails_and_shows_nothing(kind: S3Kind) {
    let test_bucket = TestBucket::new(server(kind).await).await;
    let (proxy, store) = open_through_proxy(&test_bucket).await;
    proxy.set_mode(ProxyMode::CutAfterToServer(2 * MIB as u64));
    let error = store.put_bytes(&scope(), large(1), PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    proxy.set_mode(ProxyMode::Pass);
    assert_eq!(test_bucket.keys("a/").await, Vec::<String>::new());
    let put = store.put_bytes(&scope(), large(1), PutOptions::default()).await.unwrap();
    assert_eq!(put.outcome, PutOutcome::Created);
    let back = gated(store).get_bytes(&scope(), &put.record.id, u64::MAX).await.unwrap();
    assert_eq!(back, Some(large(1)));
    a_sweep_deletes_the_rest(&test_bucket).await;
}

async fn a_long_put_whose_connections_are_cut_once_is_sent_again(kind: S3Kind) {
    let test_bucket = TestBucket::new(server(kind).await).await;
    let (proxy, store) = open_through_proxy(&test_bucket).await;
    let proxy = Arc::new(proxy);
    let cut = Arc::clone(&proxy);
    let body = pieces(13, 11, async move { cut.reset_all() });
    let put = store.put(&scope(), body, PutOptions::default()).await.unwrap();
    assert_eq!((put.outcome, put.record.size), (PutOutcome::Created, 13 * MIB as u64));
    let get = gated(store).get(&scope(), &put.record.id, None).await.unwrap().unwrap();
    assert_eq!(get.stream.try_fold(0, async |sum, piece| Ok(sum + piece.len())).await.unwrap(), 13 * MIB);
    assert_eq!(test_bucket.residue().await, Vec::<String>::new());
}

async fn a_put_whose_responses_are_all_lost_exists_completely_or_not_at_all(kind: S3Kind) {
    let test_bucket = TestBucket::new(server(kind).await).await;
    let (proxy, store) = open_through_proxy(&test_bucket).await;
    proxy.set_mode(ProxyMode::CutAfterToClient(0));
    let error = store.put_bytes(&scope(), large(2), PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    proxy.set_mode(ProxyMode::Pass);
    let put = store.put_bytes(&scope(), large(2), PutOptions::default()).await.unwrap();
    let store = gated(store);
    let page = store.list(&ListQuery::new(ScopePattern::exactly(&scope()))).await.unwrap();
    assert_eq!(page.rows, std::slice::from_ref(&put.record));
    assert_eq!(store.get_bytes(&scope(), &put.record.id, u64::MAX).await.unwrap(), Some(large(2)));
    assert_eq!(test_bucket.residue().await, Vec::<String>::new());
}

async fn a_read_whose_connection_breaks_never_ends_as_if_complete(kind: S3Kind) {
    let test_bucket = TestBucket::new(server(kind).await).await;
    let (proxy, store) = open_through_proxy(&test_bucket).await;
    let put = store.put_bytes(&scope(), large(3), PutOptions::default()).await.unwrap();
    for range in [None, Some((1..4 * MIB as u64).into())] {
        proxy.set_mode(ProxyMode::CutAfterToClient(2 * MIB as u64));
        let get = store.get(&scope(), &put.record.id, range).await.unwrap().unwrap();
        let error = get.stream.try_for_each(async |_| Ok(())).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Corrupt), "{error}");
        proxy.set_mode(ProxyMode::Pass);
        proxy.reset_all();
    }
    let back = store.get_bytes(&scope(), &put.record.id, u64::MAX).await.unwrap();
    assert_eq!(back, Some(large(3)));
}

async fn a_read_without_progress_ends_within_the_timeout(kind: S3Kind) {
    let test_bucket = TestBucket::new(server(kind).await).await;
    let (proxy, store) = open_through_proxy(&test_bucket).await;
    let bytes = vec![4; 40 * MIB];
    let put = store.put_bytes(&scope(), bytes, PutOptions::default()).await.unwrap();
    let mut get = store.get(&scope(), &put.record.id, None).await.unwrap().unwrap();
    get.stream.next().await.unwrap().unwrap();
    proxy.set_mode(ProxyMode::BlackHole);
    let began = Instant::now();
    let error = get.stream.try_for_each(async |_| Ok(())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

async fn a_server_that_never_answers_is_unavailable_to_every_method_within_the_timeouts(kind: S3Kind) {
    every_method_fails(kind, ProxyMode::BlackHole).await;
}

async fn a_connection_that_is_too_slow_is_unavailable_to_every_method_within_the_timeouts(kind: S3Kind) {
    every_method_fails(kind, ProxyMode::Throttle { bytes_per_second: 100 }).await;
}

async fn responses_that_come_too_late_are_unavailable_to_every_method_within_the_timeouts(kind: S3Kind) {
    every_method_fails(kind, ProxyMode::Delay(Duration::from_millis(600))).await;
}

/// Each call makes two attempts of 0.5 s with a delay between them. A put also looks up its outcome.
async fn every_method_fails(kind: S3Kind, mode: ProxyMode) {
    let test_bucket = TestBucket::new(server(kind).await).await;
    let (proxy, store) = open_through_proxy(&test_bucket).await;
    let (kept, deleted) = (Body::from("kept"), Body::from("to be deleted"));
    let kept = store.put(&scope(), kept, PutOptions::default()).await.unwrap().record.id;
    let deleted = store.put(&scope(), deleted, PutOptions::default()).await.unwrap().record.id;
    proxy.set_mode(mode);

    let fails_in_time =
        async |method: &str, call: &mut (dyn Future<Output = Result<(), StoreError>> + Send + Unpin)| {
            let ended = tokio::time::timeout(Duration::from_secs(5), call).await;
            let error = ended.unwrap_or_else(|_| panic!("{method} is still waiting")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{method}: {error}");
        };
    let scope = scope();
    let query = ListQuery::new(ScopePattern::exactly(&scope));
    let mut put =
        Box::pin(async { store.put(&scope, Body::from("new"), PutOptions::default()).await.map(drop) });
    let mut get = Box::pin(async { store.get(&scope, &kept, None).await.map(drop) });
    let mut stat = Box::pin(async { store.stat(&scope, &kept).await.map(drop) });
    let mut list = Box::pin(async { store.list(&query).await.map(drop) });
    let mut delete = Box::pin(async { store.delete(&scope, &deleted).await.map(drop) });
    tokio::join!(
        fails_in_time("put", &mut put),
        fails_in_time("get", &mut get),
        fails_in_time("stat", &mut stat),
        fails_in_time("list", &mut list),
        fails_in_time("delete", &mut delete),
    );

    proxy.set_mode(ProxyMode::Pass);
    proxy.reset_all();
    assert_eq!(store.get_bytes(&scope, &kept, 100).await.unwrap().unwrap(), "kept");
    a_sweep_deletes_the_rest(&test_bucket).await;
}

/// If no response arrives, the put cannot know whether its artifact exists. So the put leaves its index key or claim to
/// a sweep.
async fn a_sweep_deletes_the_rest(test_bucket: &TestBucket<'_>) {
    let sweeper = S3Store::open(test_bucket.config().upload_ttl(Duration::ZERO)).await.unwrap();
    eventually("a sweep deletes what is left", || async {
        sweeper.sweep().await.unwrap();
        test_bucket.residue().await.is_empty()
    })
    .await;
}
