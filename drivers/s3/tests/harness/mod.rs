//! Places for the s3 driver: a prefix of its own, and a client of the bucket that is not the driver's.
//!
//! On s3s-fs a place has a bucket of its own too: that server walks the whole bucket for each listing, whatever the prefix.

#![allow(dead_code)] // Each test file uses its part.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

#[path = "../curl/mod.rs"]
mod curl;
mod site;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use artifact_store_backends::{S3, S3Kind};
use artifact_store_conformance::{Harness, HttpClient, OpenWith, Place};
use artifact_store_core::{ArtifactStore, BoxError, StoreError, async_trait};
use artifact_store_s3::{S3Config, S3Store};
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};

#[allow(unused_imports)] // Each test file uses its part.
pub(crate) use site::{MIB, Site, gated, piece, pieces, scope, server};

/// The driver with one kind of server.
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
        }
    }

    async fn place(&self) -> Result<Box<dyn Place>, BoxError> {
        Ok(Box::new(S3Place::new(S3::shared(self.0).await?).await?))
    }
}

/// A prefix that no other test has. Short, because s3s-fs puts bucket and key into one file name.
pub(crate) fn fresh_prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("t{:x}{:x}", since.as_nanos(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A bucket and a prefix in it that together no other test has.
pub(crate) async fn fresh_place(server: &S3) -> Result<(String, String), BoxError> {
    let fresh = fresh_prefix();
    match server.kind() {
        S3Kind::Garage => Ok((server.bucket().to_owned(), fresh)),
        S3Kind::S3sFs => {
            raw(server).create_bucket().bucket(&fresh).send().await?;
            Ok((fresh, "t".to_owned()))
        }
    }
}

/// A store in `prefix` of the server's bucket, reached at `endpoint`.
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

/// The same at the server's own address.
pub(crate) fn config(server: &S3, prefix: &str) -> S3Config {
    config_at(server, server.endpoint(), prefix)
}

/// A client that is not the driver's.
pub(crate) fn raw(server: &S3) -> Client {
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

/// One prefix.
pub(crate) struct S3Place {
    server: &'static S3,
    bucket: String,
    prefix: String,
}

impl S3Place {
    pub(crate) async fn new(server: &'static S3) -> Result<Self, BoxError> {
        let (bucket, prefix) = fresh_place(server).await?;
        Ok(Self { server, bucket, prefix })
    }
}

impl fmt::Debug for S3Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Place({})", self.prefix)
    }
}

#[async_trait]
impl Place for S3Place {
    async fn open(&self, with: &OpenWith) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let config = config_in(self.server, &self.bucket, self.server.endpoint(), &self.prefix)
            .clock(Arc::clone(&with.clock))
            .max_artifact_bytes(with.max_artifact_bytes)
            // A server over files fails a listing that meets a deletion; it is asked again.
            .max_attempts(10);
        Ok(Arc::new(S3Store::open(config).await?))
    }

    fn outlives_stores(&self) -> bool {
        true
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        residue(self.server, &self.bucket, &self.prefix).await
    }

    fn http_client(&self) -> Option<Arc<dyn HttpClient>> {
        Some(Arc::new(curl::Curl))
    }
}

/// Every key of the place.
pub(crate) async fn keys(server: &S3, bucket: &str, prefix: &str) -> Result<Vec<String>, BoxError> {
    let client = raw(server);
    let mut pages =
        client.list_objects_v2().bucket(bucket).prefix(format!("{prefix}/")).into_paginator().send();
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await {
        keys.extend(page?.contents.unwrap_or_default().into_iter().filter_map(|object| object.key));
    }
    Ok(keys)
}

/// What belongs to no artifact, except the marker.
pub(crate) async fn residue(server: &S3, bucket: &str, prefix: &str) -> Result<Vec<String>, BoxError> {
    let client = raw(server);
    let (mut lines, mut sides, mut used) = (Vec::new(), Vec::new(), HashSet::new());
    for key in keys(server, bucket, prefix).await? {
        let name = key[prefix.len() + 1..].to_owned();
        if name == "FORMAT" {
            continue;
        }
        if let Some(side) = name.strip_prefix("o/") {
            sides.push(side.to_owned());
            continue;
        }
        let Some(path) = name.strip_prefix("a/") else {
            lines.push(format!("the object {name}"));
            continue;
        };
        match client.head_object().bucket(bucket).key(&key).send().await {
            Ok(head) => {
                let metadata = head.metadata.unwrap_or_default();
                match (metadata.get("artifact"), metadata.get("artifact-side")) {
                    (Some(_), _) => {}
                    (None, Some(side)) => {
                        let random = side.split('.').next().unwrap_or_default();
                        used.insert(format!("{path}.{random}"));
                    }
                    (None, None) => lines.push(format!("the object {name}, without metadata")),
                }
            }
            Err(error) => lines.push(format!("the object {name}, which cannot be read: {error}")),
        }
    }
    lines.extend(
        sides.into_iter().filter(|side| !used.contains(side)).map(|side| format!("the object o/{side}")),
    );
    lines.extend(uploads(server, prefix).await?.into_iter().map(|(key, _)| format!("an upload to {key}")));
    Ok(lines)
}

/// The uploads in parts that are under way in the place, key and name; s3s-fs cannot tell.
pub(crate) async fn uploads(server: &S3, prefix: &str) -> Result<Vec<(String, String)>, BoxError> {
    if server.kind() == S3Kind::S3sFs {
        return Ok(Vec::new());
    }
    let list = raw(server).list_multipart_uploads().bucket(server.bucket()).prefix(format!("{prefix}/"));
    let uploads = list.send().await?.uploads.unwrap_or_default().into_iter();
    Ok(uploads.filter_map(|upload| upload.key.zip(upload.upload_id)).collect())
}

/// Puts other bytes in the place of every object under a prefix, which keeps its metadata.
pub(crate) async fn overwrite(server: &S3, prefix: &str) -> Result<(), BoxError> {
    let client = raw(server);
    for key in keys(server, server.bucket(), prefix).await? {
        let head = client.head_object().bucket(server.bucket()).key(&key).send().await?;
        let ruins =
            client.put_object().bucket(server.bucket()).key(key).body(ByteStream::from_static(b"ruins"));
        ruins.set_metadata(head.metadata).send().await?;
    }
    Ok(())
}

/// Removes everything under a prefix.
pub(crate) async fn remove(server: &S3, prefix: &str) -> Result<(), BoxError> {
    let client = raw(server);
    for (key, upload) in uploads(server, prefix).await? {
        client.abort_multipart_upload().bucket(server.bucket()).key(key).upload_id(upload).send().await?;
    }
    for keys in keys(server, server.bucket(), prefix).await?.chunks(500) {
        let objects = keys.iter().map(|key| ObjectIdentifier::builder().key(key).build());
        let delete =
            Delete::builder().set_objects(Some(objects.collect::<Result<_, _>>()?)).quiet(true).build()?;
        client.delete_objects().bucket(server.bucket()).delete(delete).send().await?;
    }
    Ok(())
}

/// Waits until `done` holds, and fails the test where it never does.
pub(crate) async fn soon<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    for _ in 0..500 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not within 10 s");
}
