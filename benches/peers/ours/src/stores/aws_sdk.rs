//! The SDK of AWS, with its default settings.

use std::ops::Range;
use std::time::Duration;

use artifact_store_bench_load::{Case, Error, Kind, Store, Work};
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Region};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use super::{S3_BUCKET, S3_KEY};

pub(crate) struct AwsSdk(Client);

impl AwsSdk {
    pub(crate) fn new(endpoint: &str) -> Self {
        let config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(S3_KEY.0, S3_KEY.1, None, None, "benchmark"))
            .force_path_style(true)
            .endpoint_url(endpoint);
        Self(Client::from_conf(config.build()))
    }
}

impl Store for AwsSdk {
    type Key = String;

    fn name(&self) -> &'static str {
        "aws-sdk-s3"
    }

    fn kind(&self) -> Kind {
        Kind::Library
    }

    fn supports(&self, case: &Case) -> bool {
        !matches!(case.work, Work::List(_))
    }

    async fn put(&self, name: String, body: Bytes) -> Result<String, Error> {
        let key = format!("aws-sdk/{name}");
        self.0.put_object().bucket(S3_BUCKET).key(&key).body(ByteStream::from(body)).send().await?;
        Ok(key)
    }

    async fn get(&self, key: &String, range: Option<Range<u64>>) -> Result<u64, Error> {
        let range = range.map(|range| format!("bytes={}-{}", range.start, range.end - 1));
        let get = self.0.get_object().bucket(S3_BUCKET).key(key).set_range(range).send().await?;
        let (mut body, mut bytes) = (get.body, 0);
        while let Some(chunk) = body.try_next().await? {
            bytes += chunk.len() as u64;
        }
        Ok(bytes)
    }

    async fn stat(&self, key: &String) -> Result<u64, Error> {
        let head = self.0.head_object().bucket(S3_BUCKET).key(key).send().await?;
        Ok(head.content_length().unwrap_or_default().unsigned_abs())
    }

    async fn delete(&self, key: &String) -> Result<(), Error> {
        self.0.delete_object().bucket(S3_BUCKET).key(key).send().await?;
        Ok(())
    }

    async fn presign(&self, key: &String) -> Result<(), Error> {
        let expiry = PresigningConfig::expires_in(Duration::from_mins(15))?;
        self.0.get_object().bucket(S3_BUCKET).key(key).presigned(expiry).await?;
        Ok(())
    }
}
