//! A bucket and a prefix for one test. The server is shared, or only for this test. The test reaches it directly or
//! through a proxy.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use artifact_store_backends::{S3, S3Kind};
use artifact_store_core::{ArtifactStore, Body, Bytes, Gate, GateOptions, Scope};
use artifact_store_s3::{S3Config, S3Store};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use futures_util::StreamExt;
use tokio::sync::OnceCell;

use super::{config_in, eventually, fresh_bucket_and_prefix, keys, residue, sdk_client, uploads};

pub(crate) const MIB: usize = 1 << 20;

/// A server of this kind. s3s-fs becomes slower with every object that was ever put there, so this process starts its
/// own s3s-fs.
pub(crate) async fn server(kind: S3Kind) -> &'static S3 {
    static OWN: OnceCell<S3> = OnceCell::const_new();
    match kind {
        S3Kind::Garage | S3Kind::Moto => S3::shared(kind).await.unwrap(),
        S3Kind::S3sFs => OWN.get_or_init(|| async { S3::dedicated(kind).await.unwrap() }).await,
    }
}

/// A unique pair of bucket and prefix.
pub(crate) struct TestBucket<'a> {
    pub(crate) server: &'a S3,
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) prefix: String,
}

impl<'a> TestBucket<'a> {
    pub(crate) async fn new(server: &'a S3) -> Self {
        let client = sdk_client(server);
        let (name, prefix) = fresh_bucket_and_prefix(server).await.unwrap();
        Self { server, client, name, prefix }
    }

    /// The configuration of a store in this bucket, with small parts and short timeouts.
    pub(crate) fn config(&self) -> S3Config {
        self.config_at(self.server.endpoint())
    }

    pub(crate) fn config_at(&self, endpoint: &str) -> S3Config {
        config_in(self.server, &self.name, endpoint, &self.prefix)
            .part_size(5 * MIB as u64)
            .part_concurrency(1)
            .connect_timeout(Duration::from_millis(500))
            .request_timeout(Duration::from_secs(2))
            .max_attempts(2)
    }

    pub(crate) async fn open(&self) -> S3Store {
        S3Store::open(self.config()).await.unwrap()
    }

    /// Every key below the prefix that starts with `directory`.
    pub(crate) async fn keys(&self, directory: &str) -> Vec<String> {
        let mut keys = keys(self.server, &self.name, &self.prefix).await.unwrap();
        keys.retain(|key| key.starts_with(&format!("{}/{directory}", self.prefix)));
        keys
    }

    /// The key of the only artifact.
    pub(crate) async fn artifact(&self) -> String {
        let mut keys = self.keys("a/").await;
        assert_eq!(keys.len(), 1, "{keys:?}");
        keys.remove(0)
    }

    pub(crate) async fn metadata(&self, key: &str) -> HashMap<String, String> {
        let head = self.client.head_object().bucket(&self.name).key(key).send().await.unwrap();
        head.metadata.unwrap_or_default()
    }

    /// Writes or overwrites an object, without the driver. Everybody who may write to the bucket can do this.
    pub(crate) async fn replace(&self, key: &str, bytes: &[u8], metadata: HashMap<String, String>) {
        let put = self.client.put_object().bucket(&self.name).key(key).set_metadata(Some(metadata));
        put.body(ByteStream::from(bytes.to_vec())).send().await.unwrap();
    }

    pub(crate) async fn uploads(&self) -> Vec<(String, String)> {
        uploads(self.server, &self.name, &self.prefix).await.unwrap()
    }

    pub(crate) async fn residue(&self) -> Vec<String> {
        residue(self.server, &self.name, &self.prefix).await.unwrap()
    }

    /// Waits until the background tasks have deleted everything.
    pub(crate) async fn wait_until_clean(&self) {
        eventually("the bucket is clean", || async { self.residue().await.is_empty() }).await;
    }
}

pub(crate) fn scope() -> Scope {
    Scope::new("acme", "ada", "s-1").unwrap()
}

/// The store behind the gate.
pub(crate) fn gated(store: S3Store) -> Gate {
    Gate::new(Arc::new(store) as Arc<dyn ArtifactStore>, GateOptions::default()).unwrap()
}

/// A body of `count` pieces of 1 MiB. `then` runs before the piece number `at`, from 0. If `at` is `count`, `then`
/// never runs.
pub(crate) fn pieces(count: usize, at: usize, then: impl Future<Output = ()> + Send + 'static) -> Body {
    let mut then = Some(Box::pin(then));
    Body::from_stream(futures_util::stream::iter(0..count).then(move |number| {
        let then = if number == at { then.take() } else { None };
        async move {
            if let Some(then) = then {
                then.await;
            }
            Ok::<_, std::io::Error>(piece(number))
        }
    }))
}

/// The piece `number`.
pub(crate) fn piece(number: usize) -> Bytes {
    Bytes::from(vec![u8::try_from(number % 251).unwrap(); MIB])
}
