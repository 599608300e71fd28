//! The errors of a store that cannot be opened: each mistake has its own message, and none contains a secret.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // Helpers of tests.

mod harness;

use std::time::Duration;

use artifact_store_backends::{Proxy, ProxyMode, S3, S3Kind};
use artifact_store_core::{ErrorKind, StoreError};
use artifact_store_s3::{S3Config, S3Store};
use harness::{config, config_at, fresh_prefix};

const SECRET: &str = "5ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e7abcd";

async fn garage() -> (&'static S3, S3Config) {
    let server = S3::shared(S3Kind::Garage).await.unwrap();
    (server, config(server, &fresh_prefix()))
}

async fn refused(config: S3Config) -> StoreError {
    let error = S3Store::open(config).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(SECRET), "the secret is in the error");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bucket_is_named() {
    let (server, _) = garage().await;
    let config = S3Config::bucket("no-such-bucket")
        .endpoint(server.endpoint())
        .region(server.region())
        .path_style(true)
        .keys(server.access_key_id(), server.secret_access_key());
    let error = refused(config).await;
    // A server may hide from a key whether a bucket exists.
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Backend), "{error}");
    assert!(
        error.to_string().contains("the bucket 'no-such-bucket'") || error.to_string().contains("no bucket"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_id_and_a_wrong_secret_point_at_the_options() {
    let (server, config) = garage().await;
    for config in [
        config.clone().keys("GK000000000000000000000000", SECRET),
        config.keys(server.access_key_id(), SECRET),
    ] {
        let error = refused(config).await;
        assert_eq!(error.kind(), ErrorKind::Backend, "{error}");
        assert!(error.to_string().contains("secret_access_key"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_region_points_at_the_option() {
    let (_, config) = garage().await;
    let error = refused(config.region("elsewhere-1")).await;
    assert_eq!(error.kind(), ErrorKind::Backend, "{error}");
    assert!(error.to_string().contains("check the option 'region' and the option 'endpoint'"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_without_a_listener_is_unavailable() {
    let (server, config) = garage().await;
    let proxy = Proxy::start(server.address()).await.unwrap();
    proxy.set_mode(ProxyMode::Refuse);
    let error = refused(config.endpoint(format!("http://{}", proxy.address())).max_attempts(1)).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("'endpoint'"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_never_answers_is_unavailable_within_the_timeout() {
    let (server, _) = garage().await;
    let proxy = Proxy::start(server.address()).await.unwrap();
    proxy.set_mode(ProxyMode::BlackHole);
    let config = config_at(server, &format!("http://{}", proxy.address()), &fresh_prefix())
        .request_timeout(Duration::from_millis(300))
        .max_attempts(2);
    let error = tokio::time::timeout(Duration::from_secs(5), refused(config)).await.unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("request_timeout"), "{error}");
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_before_a_request_is_sent() {
    let base = || S3Config::bucket("artifacts").keys("id", SECRET);
    for (config, word) in [
        (S3Config::bucket("a/b"), "'bucket'"),
        (base().prefix("/x"), "'prefix'"),
        (base().endpoint("ftp://host"), "'endpoint'"),
        (base().endpoint("http://192.0.2.1:9000"), "allow_http"),
        (base().presign_endpoint("host:1"), "'presign_endpoint'"),
        (base().part_size(1), "'part_size'"),
        (base().part_concurrency(0), "'part_concurrency'"),
        (base().list_concurrency(1000), "'list_concurrency'"),
        (base().max_attempts(0), "'max_attempts'"),
        (base().request_timeout(Duration::ZERO), "'request_timeout'"),
        (S3Config::bucket("artifacts").session_token("t"), "'session_token'"),
    ] {
        let error = refused(config).await;
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}
