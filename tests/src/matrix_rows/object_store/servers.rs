//! Backends for the driver on servers: a bucket of its own for each. The tests look into the bucket with a client of
//! their own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use artifact_store_backends::{AzureStandIn, Conditions, FakeGcs, S3, S3Kind};
use artifact_store_conformance::{Backend, Harness, HttpClient, StoreOptions};
use artifact_store_core::{ArtifactStore, BoxError, Bytes, StoreError, async_trait};
use artifact_store_object_store::{
    AzureConfig, GcsConfig, GcsPresign, ObjectArtifactStore, ObjectStoreConfig,
};
use futures_util::TryStreamExt;
use http::Method;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::signer::Signer;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, PutPayload};

use super::harness::{PREFIX, residue};
use crate::matrix_rows::s3::curl::Curl;

/// A server, and the client of `object_store` that the driver uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StorageServer {
    /// The driver gcs on fake-gcs-server.
    FakeGcs(Conditions),
    /// The driver azure on the stand-in for Azure Blob Storage.
    AzureStandIn,
    /// The S3 client of `object_store`, which no driver of ours uses, on a server that checks signatures and conditions.
    S3(S3Kind),
}

/// Runs the driver on one server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerHarness(pub(crate) StorageServer);

#[async_trait]
impl Harness for ServerHarness {
    fn flavour(&self) -> String {
        match self.0 {
            StorageServer::FakeGcs(Conditions::Honoured) => "gcs (fake-gcs-server)".into(),
            StorageServer::FakeGcs(Conditions::Ignored) => "gcs (fake-gcs-server, without conditions)".into(),
            StorageServer::AzureStandIn => "azure (stand-in)".into(),
            StorageServer::S3(kind) => format!("object-store (S3 client, {kind:?})").to_lowercase(),
        }
    }

    async fn create_backend(&self) -> Result<Box<dyn Backend>, BoxError> {
        Ok(Box::new(ServerBackend::new(self.0).await?))
    }
}

/// A bucket or container, and a client for it.
#[derive(Clone)]
pub(crate) struct ServerBackend {
    server: StorageServer,
    /// The bucket, or the prefix in the bucket of an S3 server.
    bucket: String,
}

impl fmt::Debug for ServerBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerBackend({:?}, {})", self.server, self.bucket)
    }
}

impl ServerBackend {
    /// Creates an empty bucket.
    pub(crate) async fn new(server: StorageServer) -> Result<Self, BoxError> {
        let bucket = match server {
            StorageServer::FakeGcs(conditions) => FakeGcs::shared(conditions).await?.create_bucket().await?,
            StorageServer::AzureStandIn => AzureStandIn::shared().await?.create_container().await?,
            // A prefix of its own in the bucket of the server, or on s3s-fs a bucket of its own: for each listing, that
            // server reads the whole bucket.
            StorageServer::S3(_) => unique_name(),
        };
        if server == StorageServer::S3(S3Kind::S3sFs) {
            create_s3_bucket(S3::shared(S3Kind::S3sFs).await?, &bucket).await?;
        }
        Ok(Self { server, bucket })
    }

    /// A new client of the bucket. Each caller gets its own: connections belong to the runtime that uses them, and a
    /// check counts the tasks of its runtime.
    async fn client(&self) -> Result<Arc<dyn ObjectStore>, BoxError> {
        Ok(match self.server {
            StorageServer::FakeGcs(conditions) => Arc::new(
                GoogleCloudStorageBuilder::new()
                    .with_bucket_name(&self.bucket)
                    .with_base_url(&FakeGcs::shared(conditions).await?.endpoint())
                    .with_skip_signature(true)
                    .with_client_options(ClientOptions::new().with_allow_http(true))
                    .build()?,
            ),
            StorageServer::AzureStandIn => {
                let azure = AzureStandIn::shared().await?;
                let builder = MicrosoftAzureBuilder::new()
                    .with_container_name(&self.bucket)
                    .with_account(azure.account())
                    .with_access_key(azure.key())
                    .with_endpoint(azure.endpoint())
                    .with_allow_http(true);
                Arc::new(builder.build()?)
            }
            StorageServer::S3(kind) => {
                let s3 = S3::shared(kind).await?;
                if kind == S3Kind::S3sFs {
                    Arc::new(s3_builder(s3, &self.bucket).build()?)
                } else {
                    Arc::new(PrefixStore::new(s3_builder(s3, s3.bucket()).build()?, self.bucket.as_str()))
                }
            }
        })
    }

    /// The configuration of the driver, as its users make it.
    async fn config(&self, with: &StoreOptions) -> Result<ObjectStoreConfig, StoreError> {
        let found = |error: BoxError| StoreError::backend(error.to_string());
        let clock = Arc::clone(&with.clock);
        match self.server {
            StorageServer::FakeGcs(conditions) => {
                let gcs = FakeGcs::shared(conditions).await.map_err(found)?;
                GcsConfig::bucket(&self.bucket)
                    .prefix(PREFIX)
                    .endpoint(gcs.endpoint())
                    .service_account_key(gcs.service_account_key())
                    // The server checks no signature, so it would serve a URL that was altered or that has expired.
                    .presign(GcsPresign::No)
                    .clock(clock)
                    .max_artifact_bytes(with.max_artifact_bytes)
                    .store_config()
            }
            StorageServer::AzureStandIn => {
                let azure = AzureStandIn::shared().await.map_err(found)?;
                AzureConfig::container(azure.account(), &self.bucket)
                    .prefix(PREFIX)
                    .endpoint(azure.endpoint())
                    .access_key(azure.key())
                    .clock(clock)
                    .max_artifact_bytes(with.max_artifact_bytes)
                    .store_config()
            }
            StorageServer::S3(_) => Ok(ObjectStoreConfig::new(self.client().await.map_err(found)?)
                .prefix(Path::from(PREFIX))
                .durable(true)
                .clock(clock)
                .max_artifact_bytes(with.max_artifact_bytes)),
        }
    }
}

/// What programs with a configuration need: options and addresses instead of values.
impl ServerBackend {
    /// The options of the driver that select it.
    pub(crate) async fn driver_options(&self) -> Result<Vec<(&'static str, String)>, BoxError> {
        let prefix = ("prefix", PREFIX.to_owned());
        Ok(match self.server {
            StorageServer::FakeGcs(conditions) => {
                let gcs = FakeGcs::shared(conditions).await?;
                vec![
                    ("bucket", self.bucket.clone()),
                    prefix,
                    ("endpoint", gcs.endpoint()),
                    ("service_account_key", gcs.service_account_key().to_owned()),
                    ("presign", "no".to_owned()),
                ]
            }
            StorageServer::AzureStandIn => {
                let azure = AzureStandIn::shared().await?;
                vec![
                    ("account", azure.account().to_owned()),
                    ("container", self.bucket.clone()),
                    prefix,
                    ("endpoint", azure.endpoint()),
                    ("access_key", azure.key().to_owned()),
                ]
            }
            StorageServer::S3(_) => return Err("no driver has this client".into()),
        })
    }

    /// `gs://bucket/prefix` or `az://container/prefix`.
    pub(crate) fn address(&self) -> String {
        let scheme = if self.server == StorageServer::AzureStandIn { "az" } else { "gs" };
        format!("{scheme}://{}/{PREFIX}", self.bucket)
    }

    /// Replaces the bytes of every object.
    pub(crate) async fn overwrite(&self) -> Result<(), BoxError> {
        let client = self.client().await?;
        let objects: Vec<_> = client.list(None).try_collect().await?;
        for object in objects {
            client.put(&object.location, PutPayload::from_static(b"ruins")).await?;
        }
        Ok(())
    }

    /// Deletes the bucket with its objects.
    pub(crate) async fn remove(&self) -> Result<(), BoxError> {
        match self.server {
            StorageServer::FakeGcs(conditions) => {
                FakeGcs::shared(conditions).await?.delete_bucket(&self.bucket).await
            }
            StorageServer::AzureStandIn => AzureStandIn::shared().await?.delete_container(&self.bucket).await,
            StorageServer::S3(_) => Err("the bucket is that of the server".into()),
        }
    }
}

/// A client of a bucket of an S3 server.
fn s3_builder(s3: &S3, bucket: &str) -> AmazonS3Builder {
    AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_endpoint(s3.endpoint())
        .with_region(s3.region())
        .with_access_key_id(s3.access_key_id())
        .with_secret_access_key(s3.secret_access_key())
        .with_allow_http(true)
}

/// Creates a bucket, which the client of `object_store` cannot: it only signs the request.
async fn create_s3_bucket(s3: &S3, bucket: &str) -> Result<(), BoxError> {
    let client = s3_builder(s3, bucket).build()?;
    let url = client.signed_url(Method::PUT, &Path::default(), Duration::from_mins(1)).await?;
    let response = Curl.request("PUT", url.as_str(), &[], Bytes::new()).await?;
    if response.status == 200 { Ok(()) } else { Err(format!("{bucket}: {response:?}").into()) }
}

/// A name that no other backend has, also if the server outlives the tests.
fn unique_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("o{:x}{:x}", since.as_nanos(), NEXT.fetch_add(1, Ordering::Relaxed))
}

#[async_trait]
impl Backend for ServerBackend {
    async fn open(&self, with: &StoreOptions) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        Ok(Arc::new(ObjectArtifactStore::open(self.config(with).await?).await?))
    }

    fn is_persistent(&self) -> bool {
        true
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        let mut found = residue(&self.client().await?).await?;
        match self.server {
            StorageServer::FakeGcs(conditions) => {
                found.extend(FakeGcs::shared(conditions).await?.multipart_uploads(&self.bucket).await?);
            }
            StorageServer::AzureStandIn => {
                found.extend(AzureStandIn::shared().await?.uncommitted_blobs(&self.bucket).await?);
            }
            // The S3 client of `object_store` cannot list uploads. The tests of faults count those that are aborted.
            StorageServer::S3(_) => {}
        }
        Ok(found)
    }

    fn http_client(&self) -> Option<Arc<dyn HttpClient>> {
        Some(Arc::new(Curl))
    }
}
