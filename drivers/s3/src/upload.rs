//! Presigned uploads, from their announcement to the artifact.
//!
//! **Announcing.** What the artifact will be (scope, options, digest, size) is stored as JSON under `{prefix}p/n/…`, and only
//! then a PUT to `{prefix}p/b/…` is signed, bound to exactly the announced length and SHA-256: both are signed headers,
//! so a store that checks them takes these bytes and no others. The URL names no artifact's key, so nothing is visible. A later
//! announcement of the same id in the same scope replaces the earlier one: its options are those that a commit takes, and
//! an earlier URL still uploads the same bytes to the same place. Where the artifact stands already, an upload can be
//! announced all the same, and its commit says so. A URL takes 5 GiB at most, as one PUT does, and lives for half of
//! `upload_ttl` at most: what arrives in its last moment can still be committed before a sweep counts the announcement as
//! abandoned.
//!
//! **Committing.** A store's word is not enough: there are some that keep the bytes of a PUT they refused, or check
//! nothing. So the commit reads what arrived once, as a stream, and hashes it. Other bytes are removed and are a
//! `DigestMismatch`; the announcement stays, and the upload can be tried again. The right ones are copied within the store to
//! the artifact's key, with the record as their metadata, which is the commit point of every other put too; then upload and
//! announcement go. Bytes that are replaced between the reading and the copying are not copied, where the store honours
//! `x-amz-copy-source-if-match`.
//!
//! **Again, and at once.** A commit of an artifact that stands says *stood already*, whoever made it stand, and clears
//! away what lies beside it. Of commits that race, one creates; a commit that finds its upload taken away under its hands
//! looks once more whether the artifact stands. What nobody commits is swept.
//!
//! This module must never know a signature.

use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, Digest, Flag, Hasher, Presigned, Put, PutOutcome, Record, Scope, StoreError, UploadIntent,
};
use aws_sdk_s3::primitives::ByteStream;
use data_encoding::BASE64;

use crate::cleanup::Scrap;
use crate::error::{self, Failed, Why};
use crate::inner::{Inner, Standing};
use crate::layout::check_length;
use crate::record::{MAX_RECORD_BYTES, encode_record};

/// The largest body of one PUT; the protocol's own bound.
const MAX_UPLOAD_BYTES: u64 = 5 << 30;

/// Stores what is announced and signs the upload of it.
pub(crate) async fn announce(
    inner: &Arc<Inner>,
    scope: &Scope,
    intent: &UploadIntent,
    expiry: Duration,
) -> Result<Presigned, StoreError> {
    let limit = inner.config.limit().min(MAX_UPLOAD_BYTES);
    if intent.size > limit {
        return Err(StoreError::too_large(limit));
    }
    let id = intent.id();
    let (staged, announced) =
        (inner.layout.upload_key(scope, &id), inner.layout.announcement_key(scope, &id));
    for key in [&staged, &announced, &inner.layout.artifact_key(scope, &id)] {
        check_length(key)?;
    }
    let expiry = expiry.min((inner.config.upload_ttl / 2).max(Duration::from_secs(1)));
    let (lease, key) = inner.signing.lease(expiry, inner.config.request_timeout).await?;
    let now = inner.config.clock.now();
    let record = Record::new(scope.clone(), intent.options.clone(), intent.digest, intent.size, now);
    // What cannot become an artifact is refused before it is uploaded.
    encode_record(&record)?;
    let json = serde_json::to_vec(&serde_json::json!({ "record": record, "expires_at": lease.expires_at() }))
        .map_err(|error| StoreError::backend("the announcement is no JSON").with_source(error))?;
    if json.len() > MAX_RECORD_BYTES {
        return Err(StoreError::invalid(format!(
            "the announcement takes {} bytes of JSON; at most {MAX_RECORD_BYTES} are stored",
            json.len()
        )));
    }
    inner
        .client
        .put_object()
        .bucket(&inner.bucket)
        .key(announced)
        .content_type("application/json")
        .body(ByteStream::from(json))
        .customize()
        .disable_payload_signing()
        .send()
        .await
        .map_err(|error| inner.failed("announcing an upload", error))?;
    let request = inner
        .signer()
        .put_object()
        .bucket(&inner.bucket)
        .key(staged)
        .content_length(intent.size.cast_signed())
        .checksum_sha256(BASE64.encode(intent.digest.as_bytes()))
        .customize()
        .config_override(key)
        .presigned(lease.terms()?)
        .await
        .map_err(|error| inner.failed("signing a URL", error))?;
    Ok(lease.presigned(&request))
}

/// Makes what arrived the artifact that was announced. `None` where nothing was announced or nothing arrived.
pub(crate) async fn commit(
    inner: &Arc<Inner>,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<Option<Put>, StoreError> {
    if !inner.config.presign_put {
        return Err(StoreError::unsupported(Flag::PresignPut));
    }
    let upload = Upload {
        inner: Arc::clone(inner),
        scope: scope.clone(),
        id: id.clone(),
        staged: inner.layout.upload_key(scope, id),
        announced: inner.layout.announcement_key(scope, id),
    };
    let tasks = Arc::clone(&inner.tasks);
    tasks.whole(async move { upload.commit().await }).await
}

/// An upload that is being committed.
struct Upload {
    inner: Arc<Inner>,
    scope: Scope,
    id: ArtifactId,
    staged: String,
    announced: String,
}

impl Upload {
    async fn commit(self) -> Result<Option<Put>, StoreError> {
        // Within this process, whoever comes second finds it done, and reads nothing.
        let _turn = self.inner.turn(&self.staged).await;
        if let Some(put) = self.stands().await? {
            self.clear().await;
            return Ok(Some(put));
        }
        match self.take().await {
            Ok(Some(put)) => {
                self.clear().await;
                Ok(Some(put))
            }
            // Another process may have committed it meanwhile, and cleared it away.
            other => match self.stands().await {
                Ok(Some(put)) => Ok(Some(put)),
                _ => other,
            },
        }
    }

    async fn stands(&self) -> Result<Option<Put>, StoreError> {
        Ok(match self.inner.standing(&self.scope, &self.id).await? {
            Standing::Ours(stands) => Some(Put { record: stands.record, outcome: PutOutcome::StoodAlready }),
            Standing::Absent | Standing::Foreign => None,
        })
    }

    async fn take(&self) -> Result<Option<Put>, StoreError> {
        let Some(announced) = self.announcement().await? else { return Ok(None) };
        let Some(actual) = self.hash().await? else { return Ok(None) };
        if actual.digest != announced.digest || actual.size != announced.size {
            Scrap::new(&self.inner, self.staged.clone()).remove().await;
            return Err(StoreError::digest_mismatch(announced.digest, actual.digest));
        }
        let record = Record { created_at: self.inner.config.clock.now(), ..announced };
        let inner = Arc::clone(&self.inner);
        inner.commit_copy(self.staged.clone(), actual.etag, record).await.map(Some)
    }

    /// What was announced last.
    async fn announcement(&self) -> Result<Option<Record>, StoreError> {
        let (inner, key) = (&self.inner, &self.announced);
        let got = match inner.client.get_object().bucket(&inner.bucket).key(key).send().await {
            Ok(got) => got,
            Err(error) => match inner.failed("reading an announcement", error) {
                Failed { why: Why::NoKey, .. } => return Ok(None),
                failed => return Err(failed.into()),
            },
        };
        let json = inner.small_body(key, got.body).await?;
        let record = serde_json::from_slice::<serde_json::Value>(&json)
            .and_then(|mut json| serde_json::from_value::<Record>(json["record"].take()))
            .map_err(|error| {
                StoreError::corrupt(format!("{key}: the announcement is unreadable")).with_source(error)
            })?;
        if record.scope == self.scope
            && record.id == self.id
            && record.id == ArtifactId::new(&record.options.namespace, &record.digest)
        {
            return Ok(Some(record));
        }
        Err(StoreError::corrupt(format!("{key}: this announcement is of another scope or id")))
    }

    /// Reads what arrived; `None` where nothing did.
    async fn hash(&self) -> Result<Option<Arrived>, StoreError> {
        let inner = &self.inner;
        let mut got = match inner.client.get_object().bucket(&inner.bucket).key(&self.staged).send().await {
            Ok(got) => got,
            Err(error) => match inner.failed("reading an upload", error) {
                Failed { why: Why::NoKey, .. } => return Ok(None),
                failed => return Err(failed.into()),
            },
        };
        let (mut hasher, mut size) = (Hasher::new(), 0);
        loop {
            let piece = tokio::time::timeout(inner.config.request_timeout, got.body.next())
                .await
                .map_err(|_| error::stalled_body(&inner.config))?;
            let Some(piece) = piece else { break };
            let piece = piece.map_err(|error| error::broken_body(&inner.config, &error))?;
            inner.may_go_on()?;
            hasher.update(&piece);
            size += piece.len() as u64;
            // Pieces that are at hand already would hold up the executor.
            tokio::task::consume_budget().await;
        }
        Ok(Some(Arrived { digest: hasher.finish(), size, etag: got.e_tag }))
    }

    /// Upload and announcement go, the upload first: without an announcement nobody would look for it.
    async fn clear(&self) {
        Scrap::new(&self.inner, self.staged.clone()).remove().await;
        Scrap::new(&self.inner, self.announced.clone()).remove().await;
    }
}

/// What was found at the place of an upload.
struct Arrived {
    digest: Digest,
    size: u64,
    etag: Option<String>,
}
