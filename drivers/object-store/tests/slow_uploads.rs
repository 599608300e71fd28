//! Uploads over a slow connection.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

use std::time::Duration;

use artifact_store_backends::{AzureStandIn, Proxy, ProxyMode};
use artifact_store_core::{ArtifactStore, Body, BoxError, Bytes, PutOptions, Scope};
use artifact_store_object_store::{AzureConfig, ObjectArtifactStore};
use futures_util::stream;

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_part_may_take_longer_than_request_timeout() -> Result<(), BoxError> {
    let azure = AzureStandIn::shared().await?;
    let proxy = Proxy::start(azure.address()).await?;
    let config = AzureConfig::container(azure.account(), azure.create_container().await?)
        .endpoint(format!("http://{}/{}", proxy.address(), azure.account()))
        .access_key(azure.key())
        .part_size(5 * MIB as u64)
        .max_attempts(1)
        .request_timeout(Duration::from_secs(1));
    let store = ObjectArtifactStore::open(config.store_config()?).await?;
    // A part takes 2 s.
    proxy.set_mode(ProxyMode::Throttle { bytes_per_second: 5 * MIB as u64 / 2 });
    let scope = Scope::new("acme", "ada", "s-1")?;
    let short = Body::from_bytes(vec![1; 5 * MIB]);
    let pieces = (0..7).map(|n| Ok::<_, BoxError>(Bytes::from(vec![n; MIB])));
    let long = Body::from_stream(stream::iter(pieces));
    for (body, size) in [(short, 5 * MIB), (long, 7 * MIB)] {
        let put = store.put(&scope, body, PutOptions::new()).await?;
        assert_eq!(put.record.size, size as u64);
    }
    store.close().await?;
    Ok(())
}
