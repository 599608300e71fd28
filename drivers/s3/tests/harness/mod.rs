//! Backends for the s3 driver. Each backend is a prefix of a bucket. The tests look into the bucket with a client of
//! their own.
//!
//! On s3s-fs and moto, each backend also has its own bucket: these servers scan the whole bucket for each listing,
//! whatever the prefix.

#![allow(dead_code)] // Each test file uses a part.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

#[path = "../curl/mod.rs"]
pub(crate) mod curl;
mod test_bucket;
mod without_presign;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use artifact_store_backends::{S3, S3Kind};
use artifact_store_conformance::{Backend, Harness, HttpClient, StoreOptions};
use artifact_store_core::{ArtifactStore, BoxError, StoreError, async_trait};
use artifact_store_s3::{ConditionalCreate, S3Config, S3Store};
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};

use without_presign::StoreWithoutPresign;

#[allow(unused_imports)] // Each test file uses a part.
pub(crate) use test_bucket::{MIB, TestBucket, gated, piece, pieces, scope, server};

/// Runs the driver on one kind of server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct S3Harness(S3Kind);

impl S3Harness {
    pub(crate) fn new(kind: S3Kind) -> Self {
        Self(kind)
    }
}

#[async_trait]
impl Harness for S3Harness {
    fn flavour(&self) -> String {
        match self.0 {
            S3Kind::Garage => "s3 (garage)".into(),
            S3Kind::S3sFs => "s3 (s3s-fs)".into(),
            S3Kind::Moto => "s3 (moto)".into(),
        }
    }

    async fn create_backend(&self) -> Result<Box<dyn Backend>, BoxError> {
        Ok(Box::new(S3Backend::new(S3::shared(self.0).await?).await?))
    }
}

/// A unique prefix. It is short, because s3s-fs puts bucket and key into one file name.
pub(crate) fn fresh_prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("t{:x}{:x}", since.as_nanos(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A unique pair of bucket and prefix.
pub(crate) async fn fresh_bucket_and_prefix(server: &S3) -> Result<(String, String), BoxError> {
    let fresh = fresh_prefix();
    match server.kind() {
        S3Kind::Garage => Ok((server.bucket().to_owned(), fresh)),
        S3Kind::S3sFs | S3Kind::Moto => {
            sdk_client(server).create_bucket().bucket(&fresh).send().await?;
            Ok((fresh, "t".to_owned()))
        }
    }
}

/// The configuration of a store below `prefix` of the server's bucket, reached at `endpoint`.
pub(crate) fn config_at(server: &S3, endpoint: &str, prefix: &str) -> S3Config {
    config_in(server, server.bucket(), endpoint, prefix)
}

fn config_in(server: &S3, bucket: &str, endpoint: &str, prefix: &str) -> S3Config {
    S3Config::bucket(bucket)
        .prefix(prefix)
        .endpoint(endpoint)
        .region(server.region())
        .path_style(true)
        .keys(server.access_key_id(), server.secret_access_key())
}

/// As [`config_at`], but at the server's own address.
pub(crate) fn config(server: &S3, prefix: &str) -> S3Config {
    config_at(server, server.endpoint(), prefix)
}

/// A client of the server. The driver does not use it.
pub(crate) fn sdk_client(server: &S3) -> Client {
    let keys = Credentials::new(server.access_key_id(), server.secret_access_key(), None, None, "tests");
    Client::from_conf(
        aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(server.region().to_owned()))
            .endpoint_url(server.endpoint())
            .force_path_style(true)
            .credentials_provider(keys)
            .build(),
    )
}

/// A backend: one prefix of a bucket.
pub(crate) struct S3Backend {
    server: &'static S3,
    bucket: String,
    prefix: String,
}

impl S3Backend {
    pub(crate) async fn new(server: &'static S3) -> Result<Self, BoxError> {
        let (bucket, prefix) = fresh_bucket_and_prefix(server).await?;
        Ok(Self { server, bucket, prefix })
    }
}

impl fmt::Debug for S3Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Backend({})", self.prefix)
    }
}

#[async_trait]
impl Backend for S3Backend {
    async fn open(&self, with: &StoreOptions) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let config = config_in(self.server, &self.bucket, self.server.endpoint(), &self.prefix)
            .clock(Arc::clone(&with.clock))
            .max_artifact_bytes(with.max_artifact_bytes)
            // A server that stores files fails a listing if an object is deleted during it. The driver retries the
            // listing.
            .max_attempts(10);
        if self.server.kind() != S3Kind::Moto {
            return Ok(Arc::new(S3Store::open(config).await?));
        }
        // moto checks before it writes, so it may honour a condition in a probe but not in a race. It authenticates
        // only by a header, so presigned URLs do not work.
        let store = S3Store::open(config.conditional_create(ConditionalCreate::No)).await?;
        Ok(Arc::new(StoreWithoutPresign(store)))
    }

    fn is_persistent(&self) -> bool {
        true
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        residue(self.server, &self.bucket, &self.prefix).await
    }

    fn http_client(&self) -> Option<Arc<dyn HttpClient>> {
        Some(Arc::new(curl::Curl))
    }
}

/// All keys below the prefix.
pub(crate) async fn keys(server: &S3, bucket: &str, prefix: &str) -> Result<Vec<String>, BoxError> {
    let client = sdk_client(server);
    let mut pages =
        client.list_objects_v2().bucket(bucket).prefix(format!("{prefix}/")).into_paginator().send();
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await {
        keys.extend(page?.contents.unwrap_or_default().into_iter().filter_map(|object| object.key));
    }
    Ok(keys)
}

/// The objects and uploads that belong to no artifact, except `FORMAT` and the encryption key. An encrypted record does
/// not show which record object and which index key belong to its artifact. So for each artifact, this function
/// compares the number of such objects that the artifact needs with the number that exist.
pub(crate) async fn residue(server: &S3, bucket: &str, prefix: &str) -> Result<Vec<String>, BoxError> {
    let client = sdk_client(server);
    let (mut lines, mut companions) = (Vec::new(), Vec::new());
    // For each artifact: how many record objects and index keys it needs.
    let mut artifacts: HashMap<String, (usize, usize)> = HashMap::new();
    for key in keys(server, bucket, prefix).await? {
        let name = key[prefix.len() + 1..].to_owned();
        if name == "FORMAT" || name.starts_with("k/") {
            continue;
        }
        if name.starts_with("o/") || name.starts_with("i/") {
            companions.push(name);
            continue;
        }
        let Some(path) = name.strip_prefix("a/") else {
            lines.push(format!("the object {name}"));
            continue;
        };
        match client.head_object().bucket(bucket).key(&key).send().await {
            Ok(head) => {
                let metadata = head.metadata.unwrap_or_default();
                let has = |name| usize::from(metadata.contains_key(name));
                let inline = has("artifact") + has("artifact-record");
                let in_record_object = has("artifact-side") + has("artifact-record-at");
                if inline + in_record_object == 1 {
                    artifacts.insert(path.to_owned(), (in_record_object, 1));
                } else {
                    lines.push(format!("the object {name}, without metadata"));
                }
            }
            Err(error) => lines.push(format!("the object {name}, which cannot be read: {error}")),
        }
    }
    for name in companions {
        let needed = match name.strip_prefix("i/") {
            // The form is tenant/user/session/time.task.name.mark.
            Some(path) => path.rsplit_once('/').and_then(|(session, rest)| {
                let name = rest.split('.').nth(2)?;
                artifacts.get_mut(&format!("{session}/{name}")).map(|(_, index_keys)| index_keys)
            }),
            None => name[2..]
                .rsplit_once('.')
                .and_then(|(path, _)| artifacts.get_mut(path).map(|(record_objects, _)| record_objects)),
        };
        match needed {
            Some(needed) if *needed > 0 => *needed -= 1,
            _ => lines.push(format!("the object {name}")),
        }
    }
    lines.extend(
        uploads(server, bucket, prefix).await?.into_iter().map(|(key, _)| format!("an upload to {key}")),
    );
    Ok(lines)
}

/// The multipart uploads below the prefix, as key and id. s3s-fs cannot list them.
pub(crate) async fn uploads(
    server: &S3,
    bucket: &str,
    prefix: &str,
) -> Result<Vec<(String, String)>, BoxError> {
    if server.kind() == S3Kind::S3sFs {
        return Ok(Vec::new());
    }
    let list = sdk_client(server).list_multipart_uploads().bucket(bucket).prefix(format!("{prefix}/"));
    let uploads = list.send().await?.uploads.unwrap_or_default().into_iter();
    Ok(uploads.filter_map(|upload| upload.key.zip(upload.upload_id)).collect())
}

/// Replaces the bytes of every object below a prefix, but not the metadata.
pub(crate) async fn overwrite(server: &S3, bucket: &str, prefix: &str) -> Result<(), BoxError> {
    let client = sdk_client(server);
    for key in keys(server, bucket, prefix).await? {
        let head = client.head_object().bucket(bucket).key(&key).send().await?;
        let ruins = client.put_object().bucket(bucket).key(key).body(ByteStream::from_static(b"ruins"));
        ruins.set_metadata(head.metadata).send().await?;
    }
    Ok(())
}

/// Deletes everything below a prefix, and the bucket if it was created for the backend.
pub(crate) async fn remove(server: &S3, bucket: &str, prefix: &str) -> Result<(), BoxError> {
    let client = sdk_client(server);
    for (key, upload) in uploads(server, bucket, prefix).await? {
        client.abort_multipart_upload().bucket(bucket).key(key).upload_id(upload).send().await?;
    }
    for keys in keys(server, bucket, prefix).await?.chunks(500) {
        let objects = keys.iter().map(|key| ObjectIdentifier::builder().key(key).build());
        let delete =
            Delete::builder().set_objects(Some(objects.collect::<Result<_, _>>()?)).quiet(true).build()?;
        client.delete_objects().bucket(bucket).delete(delete).send().await?;
    }
    if bucket != server.bucket() {
        client.delete_bucket().bucket(bucket).send().await?;
    }
    Ok(())
}

/// Waits until `done` returns `true`. Fails the test after 10 s.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    for _ in 0..500 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not within 10 s");
}
