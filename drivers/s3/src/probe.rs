//! Probes what the storage honours: conditions, checksums, size of user metadata.
//!
//! A probe deletes the objects and uploads that it creates. If a deletion fails, the error names the object or the
//! upload. This module must never touch an artifact.

use std::time::Duration;

use artifact_store_core::{Digest, ErrorKind, StoreError};
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, MetadataDirective};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use data_encoding::BASE64;
use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::client;
use crate::config::S3Config;
use crate::error::{self, Operation, RequestError, RequestErrorKind};
use crate::features::{ConditionalRequests, StorageFeatures};
use crate::layout::{Layout, random_hex};
use crate::multipart::{PART_CHECKSUM, completed_part, crc32c};
use crate::paused_body::PausedBody;
use crate::record::MetadataLimit;

const PUT: Operation = Operation::write("probing what the storage honours");
const READ: Operation = Operation::read("probing what the storage honours");
const DELETE: Operation = Operation::delete("deleting a probe's object");
const ABORT: Operation = Operation::object("aborting a probe's upload", "s3:AbortMultipartUpload");
/// The bytes of the objects that a probe writes.
const BODY: &[u8] = b"probe";
/// The number of concurrent puts in each round of the race in [`FeatureProbe::is_conditional_put_atomic`].
const RACE_WRITERS: usize = 6;
/// The number of rounds of the race.
const RACE_ROUNDS: usize = 4;
/// The delay of the second put in [`FeatureProbe::overtake_paused_put`]. During this time, the storage can read the
/// headers of the first put.
const SECOND_PUT_DELAY: Duration = Duration::from_millis(200);

/// Whether the parts of a probe's upload are sent with checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartChecksums {
    Sent,
    Omitted,
}

/// What [`FeatureProbe::probe_upload`] has found out with one multipart upload.
struct UploadFeatures {
    /// Whether the storage compares the checksum of a part.
    compares_checksum: bool,
    /// Whether the storage honours `If-None-Match` when an upload is completed. `None` if this could not be tested.
    honours_condition: Option<bool>,
}

/// Probes the storage.
#[derive(Debug)]
pub(crate) struct FeatureProbe<'a> {
    config: &'a S3Config,
    client: &'a Client,
    /// The key of an object that exists during the probe. So requests for this key with `If-None-Match: *` must fail.
    existing_key: String,
    /// The key for the racing puts, and for the put with a wrong checksum. No object exists there before such a test.
    absent_key: String,
}

impl<'a> FeatureProbe<'a> {
    /// Prepares a probe with random keys. Sends no request.
    pub(crate) fn new(config: &'a S3Config, client: &'a Client) -> Result<Self, StoreError> {
        let layout = Layout::new(&config.prefix);
        let existing_key = layout.probe_key(&random_hex()?);
        let absent_key = layout.probe_key(&random_hex()?);
        Ok(Self { config, client, existing_key, absent_key })
    }

    /// Fails with `AccessDenied` if the access key may not delete objects. Deletes an object that does not exist, so it
    /// changes nothing. Ignores every other failure.
    pub(crate) async fn check_may_delete(&self) -> Result<(), RequestError> {
        let delete =
            self.client.delete_object().bucket(&self.config.bucket).key(&self.existing_key).send().await;
        match delete.map_err(|error| self.request_error(DELETE, error)) {
            Err(failed) if failed.kind == RequestErrorKind::AccessDenied => Err(failed),
            _ => Ok(()),
        }
    }

    /// Runs all probes. Deletes the objects that they wrote, even after a failure.
    pub(crate) async fn run(&self) -> Result<StorageFeatures, RequestError> {
        let result = self.probe_features().await;
        // Some storages keep an object that they refused, so both keys are deleted.
        let deleted = [self.delete(&self.existing_key).await, self.delete(&self.absent_key).await];
        let deleted: Result<Vec<()>, RequestError> = deleted.into_iter().collect();
        match (result, deleted) {
            (Ok(features), Ok(_)) => Ok(features),
            (Err(failed), Ok(_)) | (Ok(_), Err(failed)) => Err(failed),
            // Two permissions may be missing. The error names both.
            (Err(failed), Err(delete_failed)) => {
                let details =
                    [&failed.error, &delete_failed.error].map(|error| error.detail().unwrap_or_default());
                let mut error = StoreError::backend(details.join("; and "));
                for option in failed.error.options() {
                    error = error.with_option(option);
                }
                Err(RequestError { kind: failed.kind, error: error.with_source(failed.error) })
            }
        }
    }

    /// Runs all probes. The caller deletes the objects that they wrote.
    async fn probe_features(&self) -> Result<StorageFeatures, RequestError> {
        let metadata_limit = self.probe_metadata_limit().await?;
        let put = self.honours_condition_on_put().await? && self.is_conditional_put_atomic().await?;
        let copy = self.honours_condition_on_copy().await?;
        let checksum_on_put = self.compares_checksum_of_put().await?;
        let (checksum_on_part, complete) = self.probe_multipart().await?;
        Ok(StorageFeatures {
            conditions: ConditionalRequests { put, complete, copy },
            checksum_on_put: Some(checksum_on_put),
            checksum_on_part: Some(checksum_on_part),
            metadata_limit,
        })
    }

    /// Writes the object at `existing_key`, with as much metadata as the storage keeps. Returns the limit that the
    /// storage accepted.
    async fn probe_metadata_limit(&self) -> Result<MetadataLimit, RequestError> {
        // The error of the last put that failed; `None` if all puts succeeded.
        let mut refused = None;
        for limit in MetadataLimit::ALL {
            let metadata = limit.largest_metadata();
            let put = self.put(&self.existing_key, BODY, ByteStream::from_static(BODY));
            let put = put.set_metadata(Some(metadata.clone()));
            if let Err(error) = put.customize().disable_payload_signing().send().await {
                let failed = self.request_error(PUT, error);
                let may_be_refusal = matches!(
                    failed.kind,
                    RequestErrorKind::Rejected
                        | RequestErrorKind::NotImplemented
                        | RequestErrorKind::OutcomeUnknown
                );
                if !may_be_refusal {
                    return Err(failed);
                }
                // The storage may accept less metadata.
                refused = Some(failed);
                continue;
            }
            let head =
                self.client.head_object().bucket(&self.config.bucket).key(&self.existing_key).send().await;
            let head = head.map_err(|error| self.request_error(READ, error))?;
            // A storage may accept metadata and later return other metadata.
            let is_kept = |(name, value)| head.metadata().and_then(|kept| kept.get(name)) == Some(value);
            if metadata.iter().all(is_kept) {
                return Ok(limit);
            }
        }
        match refused {
            // The server was too busy or did not answer, so the failure may have another reason than the metadata.
            Some(failed) if failed.kind == RequestErrorKind::OutcomeUnknown => Err(failed),
            refused => {
                let reason = refused.map_or_else(
                    || "it returns other metadata".to_owned(),
                    |failed| failed.error.to_string(),
                );
                let error = StoreError::backend(format!(
                    "{} does not keep user metadata of 250 bytes with an object, which this driver needs ({reason})",
                    self.config.server_name()
                ));
                Err(RequestError { kind: RequestErrorKind::Rejected, error })
            }
        }
    }

    /// A put of `body` to `key`, with the SHA-256 of `checksummed`. Callers pass the bytes of the body, or other bytes
    /// to send a wrong checksum.
    fn put(&self, key: &str, checksummed: &[u8], body: ByteStream) -> PutObjectFluentBuilder {
        let put = self.client.put_object().bucket(&self.config.bucket).key(key).body(body);
        put.checksum_algorithm(ChecksumAlgorithm::Sha256).checksum_sha256(sha256(checksummed))
    }

    /// Whether the storage refuses a conditional put to the existing object.
    async fn honours_condition_on_put(&self) -> Result<bool, RequestError> {
        let put =
            self.put(&self.existing_key, b"again", ByteStream::from_static(b"again")).if_none_match("*");
        let put = put.customize().disable_payload_signing();
        self.is_condition_honoured(put.send().await.map(drop).map_err(|error| self.request_error(PUT, error)))
    }

    /// Whether the storage accepts only one of several racing conditional puts. A storage that checks first and then
    /// writes may accept two.
    ///
    /// [`overtake_paused_put`](Self::overtake_paused_put) detects a storage that checks before it has the body. The
    /// race detects most storages that check after they have the body. Neither test proves that a storage is atomic.
    async fn is_conditional_put_atomic(&self) -> Result<bool, RequestError> {
        let several_succeeded = self.end_race(self.overtake_paused_put().await).await?;
        if several_succeeded {
            return Ok(false);
        }
        for _ in 0..RACE_ROUNDS {
            let puts = (0..RACE_WRITERS).map(|_| self.send_conditional_put(ByteStream::from_static(BODY)));
            let several_succeeded = self.end_race(join_all(puts).await).await?;
            if several_succeeded {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sends two conditional puts, and returns the results of the first and the second put. The second put is sent
    /// while the storage has only the start of the first put's body. Then the rest of the first body is sent.
    async fn overtake_paused_put(&self) -> [Result<(), RequestError>; 2] {
        let (release, released) = oneshot::channel();
        let (first_chunk, second_chunk) = BODY.split_at(1);
        let body =
            PausedBody::new(Bytes::from_static(first_chunk), Bytes::from_static(second_chunk), released);
        let first_put = self.send_conditional_put(ByteStream::from_body_1_x(body));
        let second_put = async {
            sleep(SECOND_PUT_DELAY).await;
            let result = self.send_conditional_put(ByteStream::from_static(BODY)).await;
            // If the first put has already failed, its body is dropped and does not receive this signal.
            let _ = release.send(());
            result
        };
        let (first_result, second_result) = tokio::join!(first_put, second_put);
        [first_result, second_result]
    }

    /// Sends one put to `absent_key` with `If-None-Match: *`, without retries.
    async fn send_conditional_put(&self, body: ByteStream) -> Result<(), RequestError> {
        let put = self.put(&self.absent_key, BODY, body).if_none_match("*");
        let put =
            put.customize().disable_payload_signing().config_override(client::without_retries(self.config));
        put.send().await.map(drop).map_err(|error| self.request_error(PUT, error))
    }

    /// Returns whether more than one of several puts to `absent_key` succeeded, and deletes the object that they wrote.
    /// `results` are the results of the puts.
    async fn end_race(
        &self,
        results: impl IntoIterator<Item = Result<(), RequestError>>,
    ) -> Result<bool, RequestError> {
        let mut successes = 0;
        for result in results {
            match result {
                Ok(()) => successes += 1,
                Err(failed) if failed.kind == RequestErrorKind::AccessDenied => return Err(failed),
                // Every other failure counts as a put that did not succeed, for example because the condition failed.
                Err(_) => {}
            }
        }
        self.delete(&self.absent_key).await?;
        Ok(successes > 1)
    }

    /// Whether the storage refuses a conditional copy to the existing object.
    async fn honours_condition_on_copy(&self) -> Result<bool, RequestError> {
        let copy = self
            .client
            .copy_object()
            .bucket(&self.config.bucket)
            .key(&self.existing_key)
            .copy_source(format!("{}/{}", self.config.bucket, self.existing_key))
            .metadata_directive(MetadataDirective::Replace)
            .content_type("text/plain")
            .if_none_match("*");
        let result = copy.send().await.map(drop).map_err(|error| self.request_error(PUT, error));
        self.is_condition_honoured(result)
    }

    /// Whether the storage honours the condition of a request that had this `result`. `true` if the storage refused the
    /// request because the condition failed.
    #[allow(clippy::unused_self)] // Consistent with the other methods.
    fn is_condition_honoured(&self, result: Result<(), RequestError>) -> Result<bool, RequestError> {
        match result {
            Err(RequestError { kind: RequestErrorKind::PreconditionFailed, .. }) => Ok(true),
            // The storage ignores the header, or it refuses the header or the request.
            Ok(())
            | Err(RequestError {
                kind: RequestErrorKind::NotImplemented | RequestErrorKind::Rejected, ..
            }) => Ok(false),
            Err(failed) => Err(failed),
        }
    }

    /// Whether the storage refuses a put with a wrong SHA-256.
    async fn compares_checksum_of_put(&self) -> Result<bool, RequestError> {
        let put = self.put(&self.absent_key, b"something else", ByteStream::from_static(BODY));
        match put.customize().disable_payload_signing().send().await {
            Ok(_) => Ok(false),
            Err(error) => match self.request_error(PUT, error) {
                RequestError {
                    // A general error code also counts as a refusal of the wrong checksum.
                    kind:
                        RequestErrorKind::BadDigest
                        | RequestErrorKind::Rejected
                        | RequestErrorKind::NotImplemented,
                    ..
                } => Ok(true),
                failed => Err(failed),
            },
        }
    }

    /// Returns two answers: whether the storage compares the checksum of a part, and whether it honours a condition
    /// when an upload is completed.
    async fn probe_multipart(&self) -> Result<(bool, bool), RequestError> {
        let with_checksums = match self.probe_upload(PartChecksums::Sent).await {
            // The storage refuses uploads with checksums of parts.
            Err(RequestError {
                kind: RequestErrorKind::Rejected | RequestErrorKind::NotImplemented, ..
            }) => UploadFeatures { compares_checksum: false, honours_condition: None },
            result => result?,
        };
        let honours_condition = match with_checksums.honours_condition {
            Some(honours) => honours,
            // The upload with checksums could not be completed, so another upload without checksums tests the
            // condition.
            None => self.probe_upload(PartChecksums::Omitted).await?.honours_condition.unwrap_or(false),
        };
        Ok((with_checksums.compares_checksum, honours_condition))
    }

    /// Probes with one upload to the key of the existing object. Aborts the upload afterwards.
    async fn probe_upload(&self, part_checksums: PartChecksums) -> Result<UploadFeatures, RequestError> {
        let bucket = &self.config.bucket;
        let created = self
            .client
            .create_multipart_upload()
            .bucket(bucket)
            .key(&self.existing_key)
            .set_checksum_algorithm((part_checksums == PartChecksums::Sent).then_some(PART_CHECKSUM))
            .send()
            .await
            .map_err(|error| self.request_error(PUT, error))?;
        let Some(upload_id) = created.upload_id else {
            return Ok(UploadFeatures { compares_checksum: false, honours_condition: None });
        };
        let result = self.probe_part_and_complete(&upload_id, part_checksums).await;
        let abort =
            self.client.abort_multipart_upload().bucket(bucket).key(&self.existing_key).upload_id(&upload_id);
        let aborted = abort.send().await.map_err(|error| self.request_error(ABORT, error));
        match aborted {
            Ok(_)
            | Err(RequestError {
                kind: RequestErrorKind::NoSuchUpload | RequestErrorKind::NoSuchKey, ..
            }) => result,
            Err(failed) => {
                Err(self.cleanup_error(failed, &format!("the upload {upload_id} to {}", self.existing_key)))
            }
        }
    }

    /// Sends a part to the upload and completes the upload. If parts have checksums, first sends a part with a wrong
    /// checksum.
    async fn probe_part_and_complete(
        &self,
        upload_id: &str,
        part_checksums: PartChecksums,
    ) -> Result<UploadFeatures, RequestError> {
        let sends_checksums = part_checksums == PartChecksums::Sent;
        let send_part = async |checksum: Option<String>| {
            let part = self
                .client
                .upload_part()
                .bucket(&self.config.bucket)
                .key(&self.existing_key)
                .upload_id(upload_id)
                .part_number(1)
                .set_checksum_crc32_c(checksum)
                .body(ByteStream::from_static(BODY))
                .customize()
                .disable_payload_signing();
            part.send().await.map_err(|error| self.request_error(PUT, error))
        };
        // This is the CRC32C of an empty part, so it is wrong for `BODY`.
        let wrong_checksum = BASE64.encode(&[0; 4]);
        let compares_checksum = sends_checksums
            && match send_part(Some(wrong_checksum)).await {
                Ok(_) | Err(RequestError { kind: RequestErrorKind::NotImplemented, .. }) => false,
                // A general error code also counts as a refusal of the wrong checksum.
                Err(RequestError {
                    kind: RequestErrorKind::BadDigest | RequestErrorKind::Rejected, ..
                }) => true,
                Err(failed) => return Err(failed),
            };
        let checksum = sends_checksums.then(|| crc32c(BODY));
        let sent = match send_part(checksum.clone()).await {
            Ok(sent) => sent,
            // The upload cannot be completed. Either the part with the wrong checksum has ended the upload, or the
            // storage refuses this part, too.
            Err(RequestError {
                kind:
                    RequestErrorKind::NoSuchUpload
                    | RequestErrorKind::Rejected
                    | RequestErrorKind::NotImplemented
                    | RequestErrorKind::BadDigest,
                ..
            }) => {
                return Ok(UploadFeatures { compares_checksum, honours_condition: None });
            }
            Err(failed) => return Err(failed),
        };
        let parts = [completed_part(1, sent.e_tag, checksum)];
        let complete = self
            .client
            .complete_multipart_upload()
            .bucket(&self.config.bucket)
            .key(&self.existing_key)
            .upload_id(upload_id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec())).build())
            .if_none_match("*");
        let result = complete.send().await.map(drop).map_err(|error| self.request_error(PUT, error));
        let honours_condition = Some(self.is_condition_honoured(result)?);
        Ok(UploadFeatures { compares_checksum, honours_condition })
    }

    /// Deletes an object of the probe. A missing object is not an error.
    async fn delete(&self, key: &str) -> Result<(), RequestError> {
        match self.client.delete_object().bucket(&self.config.bucket).key(key).send().await {
            Ok(_) => Ok(()),
            Err(error) => match self.request_error(DELETE, error) {
                RequestError { kind: RequestErrorKind::NoSuchKey, .. } => Ok(()),
                failed => Err(self.cleanup_error(failed, &format!("the object {key}"))),
            },
        }
    }

    /// The error for an object or upload that could not be deleted. `what` names the object or upload.
    #[allow(clippy::unused_self)] // Consistent with the other methods.
    fn cleanup_error(&self, failed: RequestError, what: &str) -> RequestError {
        let message = format!("{}; {what} may be left in the bucket: remove it by hand", failed.error);
        let error = match failed.error.kind() {
            ErrorKind::Unavailable => StoreError::unavailable(message),
            _ => StoreError::backend(message),
        };
        RequestError { kind: failed.kind, error: error.with_source(failed.error) }
    }

    fn request_error<E>(&self, operation: Operation, error: SdkError<E, HttpResponse>) -> RequestError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        error::from_sdk_error(self.config, operation, error)
    }
}

/// The SHA-256 of `bytes` in base64, as the protocol requires.
fn sha256(bytes: &[u8]) -> String {
    BASE64.encode(Digest::of(bytes).as_bytes())
}
