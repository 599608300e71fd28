//! The driver sends the requests of its hot methods itself, and the S3 client sends the others. Both clients do the same.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // Helpers of tests.

mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use artifact_store_backends::{Fault, FaultProxy, S3Kind};
use artifact_store_core::{
    ArtifactStore, ArtifactStoreExt, Body, ByteRange, ErrorKind, Metadata, PutOptions, PutOutcome,
};
use artifact_store_s3::{ConditionalCreate, S3Config, S3Store};
use futures_util::TryStreamExt;
use harness::{MIB, TestBucket, scope, server};

/// A store that is reached through a proxy.
async fn open_through_proxy(
    test_bucket: &TestBucket<'_>,
    with: impl FnOnce(S3Config) -> S3Config,
) -> (FaultProxy, S3Store) {
    let proxy = FaultProxy::start(test_bucket.server.address()).await.unwrap();
    let config = test_bucket.config_at(&proxy.endpoint()).conditional_create(ConditionalCreate::Yes);
    let store = S3Store::open(with(config)).await.unwrap();
    (proxy, store)
}

fn options() -> PutOptions {
    PutOptions {
        filename: Some("a  b.txt".into()),
        media_type: Some("text/plain;  charset=utf-8".into()),
        ..PutOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hot_methods_do_not_need_the_s3_client() {
    let test_bucket = TestBucket::new(server(S3Kind::S3sFs).await).await;
    let (proxy, store) = open_through_proxy(&test_bucket, |config| config).await;
    // Only the S3 client sends this header.
    proxy.set_rule(|head| {
        head.has_header("x-amz-user-agent").then_some(Fault::Respond { status: 400, code: "Refused" })
    });
    let mut metadata = Metadata::new();
    metadata.insert("note".into(), "x".repeat(5000).into());
    for options in [options(), PutOptions { metadata, ..PutOptions::default() }] {
        let id = store.put(&scope(), Body::from("hello"), options).await.unwrap().record.id;
        assert_eq!(store.get_bytes(&scope(), &id, 100).await.unwrap().unwrap(), "hello");
        let part = store.get(&scope(), &id, Some(ByteRange::Suffix(2))).await.unwrap().unwrap();
        assert_eq!(part.stream.try_collect::<Vec<_>>().await.unwrap().concat(), b"lo");
        assert!(store.stat(&scope(), &id).await.unwrap().is_some());
        store.health().await.unwrap();
        assert!(store.delete(&scope(), &id).await.unwrap());
    }
    store.close().await.unwrap();
    assert_eq!(test_bucket.residue().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_on_garage_is_the_same_whichever_client_puts_it() {
    is_the_same_object(S3Kind::Garage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_on_s3s_fs_is_the_same_whichever_client_puts_it() {
    is_the_same_object(S3Kind::S3sFs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_on_moto_is_the_same_whichever_client_puts_it() {
    is_the_same_object(S3Kind::Moto).await;
}

/// Each client puts an artifact, and the other one reads and deletes it.
async fn is_the_same_object(kind: S3Kind) {
    let test_bucket = TestBucket::new(server(kind).await).await;
    let config = test_bucket.config().conditional_create(ConditionalCreate::Yes);
    let direct = S3Store::open(config.clone()).await.unwrap();
    let by_s3_client = S3Store::open(config.s3_client_only(true)).await.unwrap();
    let mut objects = Vec::new();
    for (writer, reader) in [(&direct, &by_s3_client), (&by_s3_client, &direct)] {
        let put = writer.put(&scope(), Body::from(vec![7; 3 * MIB]), options()).await.unwrap();
        assert_eq!(put.outcome, PutOutcome::Created);
        let head = test_bucket.client.head_object().bucket(&test_bucket.name);
        let head = head.key(test_bucket.artifact().await).send().await.unwrap();
        let mut names: Vec<String> = head.metadata.unwrap_or_default().into_keys().collect();
        names.sort();
        objects.push((head.content_type, head.content_disposition, head.content_length, names));

        let id = put.record.id.clone();
        assert_eq!(reader.stat(&scope(), &id).await.unwrap(), Some(put.record));
        let get = reader.get(&scope(), &id, Some((MIB as u64..).into())).await.unwrap().unwrap();
        let bytes = get.stream.try_collect::<Vec<_>>().await.unwrap().concat();
        assert_eq!(bytes, vec![7; 2 * MIB], "{kind:?}");
        assert!(reader.delete(&scope(), &id).await.unwrap());
        assert!(writer.get(&scope(), &id, None).await.unwrap().is_none());
    }
    assert_eq!(objects[0], objects[1], "{kind:?}");
    assert_eq!(test_bucket.residue().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_busy_for_a_moment_is_asked_again() {
    let test_bucket = TestBucket::new(server(S3Kind::S3sFs).await).await;
    for s3_client_only in [false, true] {
        let (proxy, store) =
            open_through_proxy(&test_bucket, |config| config.s3_client_only(s3_client_only)).await;
        // The first request of each method fails.
        let refusals = Arc::new(AtomicUsize::new(0));
        let refuse_once = |method: &'static str| {
            let refusals = Arc::clone(&refusals);
            let refused = AtomicUsize::new(0);
            proxy.set_rule(move |head| {
                let refuse = head.method() == method && refused.fetch_add(1, Ordering::SeqCst) == 0;
                refusals.fetch_add(usize::from(refuse), Ordering::SeqCst);
                refuse.then_some(Fault::Respond { status: 503, code: "SlowDown" })
            });
        };
        refuse_once("PUT");
        let put = store.put(&scope(), Body::from("hello"), options()).await.unwrap();
        assert_eq!(put.outcome, PutOutcome::Created);
        refuse_once("GET");
        assert_eq!(store.get_bytes(&scope(), &put.record.id, 100).await.unwrap().unwrap(), "hello");
        refuse_once("HEAD");
        assert!(store.stat(&scope(), &put.record.id).await.unwrap().is_some());
        refuse_once("DELETE");
        assert!(store.delete(&scope(), &put.record.id).await.unwrap());
        assert_eq!(refusals.load(Ordering::SeqCst), 4);
        store.close().await.unwrap();
        assert_eq!(test_bucket.residue().await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_has_the_same_error_from_both_clients() {
    let test_bucket = TestBucket::new(server(S3Kind::S3sFs).await).await;
    let mut errors = Vec::new();
    for s3_client_only in [false, true] {
        let (proxy, store) =
            open_through_proxy(&test_bucket, |config| config.s3_client_only(s3_client_only).max_attempts(1))
                .await;
        let put = store.put(&scope(), Body::from("hello"), options()).await.unwrap();
        for (status, code) in [
            (403, "AccessDenied"),
            (403, "SignatureDoesNotMatch"),
            (403, "RequestTimeTooSkewed"),
            (400, "ExpiredToken"),
            (301, "PermanentRedirect"),
            (404, "NoSuchBucket"),
            (501, "NotImplemented"),
            (503, "SlowDown"),
            (507, "InsufficientStorage"),
            (418, "Teapot"),
        ] {
            proxy.set_rule(move |_| Some(Fault::Respond { status, code }));
            let error = store.get(&scope(), &put.record.id, None).await.map(drop).unwrap_err();
            errors.push((s3_client_only, error.kind(), error.to_string()));
            let error = store.put(&scope(), Body::from("other"), options()).await.unwrap_err();
            errors.push((s3_client_only, error.kind(), error.to_string()));
        }
        proxy.set_rule(|_| None);
        assert!(store.delete(&scope(), &put.record.id).await.unwrap());
    }
    let of = |client: bool| -> Vec<(ErrorKind, &str)> {
        let errors = errors.iter().filter(|(only, ..)| *only == client);
        errors.map(|(_, kind, text)| (*kind, text.as_str())).collect()
    };
    // The proxies have different ports.
    let without_ports = |errors: Vec<(ErrorKind, &str)>| -> Vec<(ErrorKind, String)> {
        errors
            .into_iter()
            .map(|(kind, text)| (kind, text.replace(|c: char| c.is_ascii_digit(), "")))
            .collect()
    };
    assert_eq!(without_ports(of(false)), without_ports(of(true)));
}
