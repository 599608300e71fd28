//! Connections that break, say nothing, or are too slow.

use std::time::{Duration, Instant};

use artifact_store_backends::{Mode, Proxy, S3Kind};
use artifact_store_core::{
    ArtifactStore, ArtifactStoreExt, Body, Bytes, ErrorKind, ListQuery, PutOptions, PutOutcome, ScopePattern,
    StoreError,
};
use artifact_store_s3::S3Store;
use futures_util::{StreamExt, TryStreamExt};
use std::sync::Arc;

use crate::harness::{MIB, Site, gated, pieces, scope, server};

on_both!(
    a_body_cut_half_way_in_on_every_connection_ends_its_put_and_shows_nothing,
    a_long_put_whose_connections_are_cut_once_is_sent_again,
    a_put_whose_answers_are_all_lost_stands_whole_or_not_at_all,
    a_read_cut_half_way_never_ends_as_if_complete,
    a_read_that_stands_still_ends_within_the_time_out,
    a_server_that_never_answers_is_unavailable_to_every_verb_within_the_time_outs,
    a_line_that_is_too_slow_is_unavailable_to_every_verb_within_the_time_outs,
    answers_that_come_too_late_are_unavailable_to_every_verb_within_the_time_outs,
);

/// A store that is reached through a proxy.
async fn behind(site: &Site<'_>) -> (Proxy, S3Store) {
    let proxy = Proxy::before(site.server.address()).await.unwrap();
    let config = site.config_at(&format!("http://{}", proxy.address()));
    let store = S3Store::open(config.request_timeout(Duration::from_millis(500))).await.unwrap();
    (proxy, store)
}

fn large(byte: u8) -> Bytes {
    Bytes::from(vec![byte; 4 * MIB])
}

async fn a_body_cut_half_way_in_on_every_connection_ends_its_put_and_shows_nothing(kind: S3Kind) {
    let site = Site::of(server(kind).await).await;
    let (proxy, store) = behind(&site).await;
    proxy.set(Mode::CutAfterToServer(2 * MIB as u64));
    let error = store.put_bytes(&scope(), large(1), PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    proxy.set(Mode::Pass);
    assert_eq!(site.keys("a/").await, Vec::<String>::new());
    let put = store.put_bytes(&scope(), large(1), PutOptions::default()).await.unwrap();
    assert_eq!(put.outcome, PutOutcome::Created);
    let back = gated(store).get_bytes(&scope(), &put.record.id, u64::MAX).await.unwrap();
    assert_eq!(back, Some(large(1)));
    assert_eq!(site.residue().await, Vec::<String>::new());
}

async fn a_long_put_whose_connections_are_cut_once_is_sent_again(kind: S3Kind) {
    let site = Site::of(server(kind).await).await;
    let (proxy, store) = behind(&site).await;
    let proxy = Arc::new(proxy);
    let cut = Arc::clone(&proxy);
    let body = pieces(13, 11, async move { cut.cut_all() });
    let put = store.put(&scope(), body, PutOptions::default()).await.unwrap();
    assert_eq!((put.outcome, put.record.size), (PutOutcome::Created, 13 * MIB as u64));
    let get = gated(store).get(&scope(), &put.record.id, None).await.unwrap().unwrap();
    assert_eq!(get.stream.try_fold(0, async |sum, piece| Ok(sum + piece.len())).await.unwrap(), 13 * MIB);
    assert_eq!(site.residue().await, Vec::<String>::new());
}

async fn a_put_whose_answers_are_all_lost_stands_whole_or_not_at_all(kind: S3Kind) {
    let site = Site::of(server(kind).await).await;
    let (proxy, store) = behind(&site).await;
    proxy.set(Mode::CutAfterToClient(0));
    let error = store.put_bytes(&scope(), large(2), PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    proxy.set(Mode::Pass);
    let put = store.put_bytes(&scope(), large(2), PutOptions::default()).await.unwrap();
    let store = gated(store);
    let page = store.list(&ListQuery::new(ScopePattern::exactly(&scope()))).await.unwrap();
    assert_eq!(page.rows, std::slice::from_ref(&put.record));
    assert_eq!(store.get_bytes(&scope(), &put.record.id, u64::MAX).await.unwrap(), Some(large(2)));
    assert_eq!(site.residue().await, Vec::<String>::new());
}

async fn a_read_cut_half_way_never_ends_as_if_complete(kind: S3Kind) {
    let site = Site::of(server(kind).await).await;
    let (proxy, store) = behind(&site).await;
    let put = store.put_bytes(&scope(), large(3), PutOptions::default()).await.unwrap();
    for range in [None, Some((1..4 * MIB as u64).into())] {
        proxy.set(Mode::CutAfterToClient(2 * MIB as u64));
        let get = store.get(&scope(), &put.record.id, range).await.unwrap().unwrap();
        let error = get.stream.try_for_each(async |_| Ok(())).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Corrupt), "{error}");
        proxy.set(Mode::Pass);
        proxy.cut_all();
    }
    let back = store.get_bytes(&scope(), &put.record.id, u64::MAX).await.unwrap();
    assert_eq!(back, Some(large(3)));
}

async fn a_read_that_stands_still_ends_within_the_time_out(kind: S3Kind) {
    let site = Site::of(server(kind).await).await;
    let (proxy, store) = behind(&site).await;
    let bytes = vec![4; 40 * MIB];
    let put = store.put_bytes(&scope(), bytes, PutOptions::default()).await.unwrap();
    let mut get = store.get(&scope(), &put.record.id, None).await.unwrap().unwrap();
    get.stream.next().await.unwrap().unwrap();
    proxy.set(Mode::BlackHole);
    let began = Instant::now();
    let error = get.stream.try_for_each(async |_| Ok(())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

async fn a_server_that_never_answers_is_unavailable_to_every_verb_within_the_time_outs(kind: S3Kind) {
    every_verb_gives_up(kind, Mode::BlackHole).await;
}

async fn a_line_that_is_too_slow_is_unavailable_to_every_verb_within_the_time_outs(kind: S3Kind) {
    every_verb_gives_up(kind, Mode::Throttle { bytes_per_second: 100 }).await;
}

async fn answers_that_come_too_late_are_unavailable_to_every_verb_within_the_time_outs(kind: S3Kind) {
    every_verb_gives_up(kind, Mode::Delay(Duration::from_millis(600))).await;
}

/// Two attempts of half a second, what is waited between them, and a look at what a put came to.
async fn every_verb_gives_up(kind: S3Kind, mode: Mode) {
    let site = Site::of(server(kind).await).await;
    let (proxy, store) = behind(&site).await;
    let (kept, doomed) = (Body::from("kept"), Body::from("to be deleted"));
    let kept = store.put(&scope(), kept, PutOptions::default()).await.unwrap().record.id;
    let doomed = store.put(&scope(), doomed, PutOptions::default()).await.unwrap().record.id;
    proxy.set(mode);

    let gives_up =
        async |verb: &str, call: &mut (dyn Future<Output = Result<(), StoreError>> + Send + Unpin)| {
            let ended = tokio::time::timeout(Duration::from_secs(5), call).await;
            let error = ended.unwrap_or_else(|_| panic!("{verb} is still waiting")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{verb}: {error}");
        };
    let scope = scope();
    let query = ListQuery::new(ScopePattern::exactly(&scope));
    let mut put =
        Box::pin(async { store.put(&scope, Body::from("new"), PutOptions::default()).await.map(drop) });
    let mut get = Box::pin(async { store.get(&scope, &kept, None).await.map(drop) });
    let mut stat = Box::pin(async { store.stat(&scope, &kept).await.map(drop) });
    let mut list = Box::pin(async { store.list(&query).await.map(drop) });
    let mut delete = Box::pin(async { store.delete(&scope, &doomed).await.map(drop) });
    tokio::join!(
        gives_up("put", &mut put),
        gives_up("get", &mut get),
        gives_up("stat", &mut stat),
        gives_up("list", &mut list),
        gives_up("delete", &mut delete),
    );

    proxy.set(Mode::Pass);
    proxy.cut_all();
    assert_eq!(store.get_bytes(&scope, &kept, 100).await.unwrap().unwrap(), "kept");
    assert_eq!(site.residue().await, Vec::<String>::new());
}
