//! The commit point: making the object at an artifact's key, once.
//!
//! Whatever way the bytes come, the questions are the same: does something stand there, and if a request's answer was
//! lost, was it carried out? This module must never know where a body comes from.

use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{Bytes, Put, PutOutcome, Record, StoreError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::MetadataDirective;
use data_encoding::BASE64;

use crate::cleanup::Scrap;
use crate::client;
use crate::error::{Failed, Why};
use crate::inner::{Inner, Standing};
use crate::layout::check_length;
use crate::multipart::{Parts, copy_in_parts};
use crate::record::{Encoded, encode_record};

/// The waits while a store is about to finish what stands there, or another request for the key is under way.
const WAITS: [Duration; 8] = [
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
];
/// What the store says of every artifact by itself: some stores forget what a presigned URL tells them to say when they
/// answer a range, and a browser must not run what somebody uploaded.
pub(crate) const DISPOSITION: &str = "attachment";
/// The longest media type that is told to the store too.
const MAX_CONTENT_TYPE_BYTES: usize = 255;

/// How the bytes come to the artifact's key.
#[derive(Debug)]
pub(crate) enum How {
    /// In the request.
    Bytes(Bytes),
    /// From another object of the bucket; where the tag of what was read there is known, from that and no other.
    Copy { from: String, tag: Option<String> },
    /// They are there, as parts of an upload to this key that was begun with this record's metadata.
    Parts(Parts),
}

/// An artifact that is to be.
#[derive(Debug)]
pub(crate) struct New {
    pub(crate) record: Record,
    pub(crate) encoded: Encoded,
    pub(crate) how: How,
}

impl Inner {
    /// Makes a staged object the artifact of `record`, by a copy within the store. What was staged stays.
    pub(crate) async fn commit_copy(
        self: Arc<Self>,
        staged: String,
        tag: Option<String>,
        record: Record,
    ) -> Result<Put, StoreError> {
        let encoded = encode_record(&record)?;
        self.create(New { record, encoded, how: How::Copy { from: staged, tag } }).await
    }

    /// Makes the artifact, or says that it stood already.
    pub(crate) async fn create(self: Arc<Self>, mut new: New) -> Result<Put, StoreError> {
        let key = self.layout.artifact_key(&new.record.scope, &new.record.id);
        check_length(&key)?;
        let _turn = self.turn(&key).await;
        // Where the store honours the condition and the bytes are in the request, it decides, and need not be asked.
        let mut ask = !self.abilities.conditional_create || !matches!(new.how, How::Bytes(_));
        let mut side = None;
        for wait in WAITS {
            if ask {
                match self.standing(&new.record.scope, &new.record.id).await? {
                    Standing::Absent => {}
                    Standing::Ours(stands) => return stood(&new, stands.record),
                    Standing::Foreign => {
                        tokio::time::sleep(wait).await;
                        continue;
                    }
                }
            }
            if side.is_none() {
                side = self.put_side(&key, &new.encoded).await?;
            }
            let failed = match self.send(&key, &mut new).await {
                Ok(()) => return Ok(created(new, side)),
                Err(failed) => failed,
            };
            match failed.why {
                Why::Stands => match self.standing(&new.record.scope, &new.record.id).await? {
                    Standing::Ours(stands) if stands.mark.as_ref() == Some(&new.encoded.mark) => {
                        return Ok(created(new, side));
                    }
                    Standing::Ours(stands) => return stood(&new, stands.record),
                    Standing::Absent if matches!(new.how, How::Copy { tag: Some(_), .. }) => {
                        return Err(StoreError::unavailable(
                            "the upload was replaced while it was committed; commit it again",
                        ));
                    }
                    Standing::Absent | Standing::Foreign => {}
                },
                Why::Busy => {}
                _ => return self.settle(&key, new, side, failed).await,
            }
            ask = true;
            tokio::time::sleep(wait).await;
        }
        Err(StoreError::corrupt(format!(
            "something else stands at {key}, without the metadata of an artifact; look at it, and remove it by hand"
        )))
    }

    /// After a failure: whether the artifact came to be all the same.
    async fn settle(
        &self,
        key: &str,
        new: New,
        side: Option<Scrap>,
        failed: Failed,
    ) -> Result<Put, StoreError> {
        let look = self.standing(&new.record.scope, &new.record.id);
        match tokio::time::timeout(self.config.request_timeout, look).await {
            Ok(Ok(Standing::Ours(stands))) if stands.mark.as_ref() == Some(&new.encoded.mark) => {
                return Ok(created(new, side));
            }
            // Whether it was refused because of that, or only not heard: it stands.
            Ok(Ok(Standing::Ours(stands))) if failed.why == Why::Unknown => {
                return stood(&new, stands.record);
            }
            // Some stores keep what they refuse, without its metadata, and the key would be taken for ever.
            Ok(Ok(Standing::Foreign)) if failed.why == Why::Altered => {
                self.remove_stubbornly(key).await;
            }
            _ => {}
        }
        // The request may be carried out yet, and would need its record: a sweep removes it where not.
        if failed.why == Why::Unknown
            && let Some(side) = side
        {
            side.keep();
        }
        Err(failed.into())
    }

    /// Stores a long record beside the artifact, before it.
    async fn put_side(self: &Arc<Self>, key: &str, encoded: &Encoded) -> Result<Option<Scrap>, StoreError> {
        let Some(side) = &encoded.side else { return Ok(None) };
        let at = self.layout.side_of(key, &side.random);
        check_length(&at)?;
        let scrap = Scrap::new(self, at.clone());
        let put = self.client.put_object().bucket(&self.bucket).key(at).content_type("application/json");
        let put =
            put.body(ByteStream::from(side.json.clone())).customize().disable_payload_signing().send().await;
        put.map_err(|error| self.failed("putting a long record", error))?;
        Ok(Some(scrap))
    }

    async fn send(self: &Arc<Self>, key: &str, new: &mut New) -> Result<(), Failed> {
        let condition = self.abilities.conditional_create.then(|| "*".to_owned());
        let content_type = content_type(&new.record);
        let metadata = new.encoded.metadata.clone();
        let size = new.record.size;
        match &mut new.how {
            How::Bytes(bytes) => {
                let put = self
                    .client
                    .put_object()
                    .bucket(&self.bucket)
                    .key(key)
                    .set_metadata(Some(metadata))
                    .set_content_type(content_type)
                    .content_disposition(DISPOSITION)
                    .set_if_none_match(condition)
                    // The digest is known, so the bytes are not hashed once more to sign them.
                    .checksum_sha256(BASE64.encode(new.record.digest.as_bytes()))
                    .body(ByteStream::from(bytes.clone()))
                    .customize()
                    .disable_payload_signing()
                    .config_override(client::to_send(&self.config, size));
                put.send().await.map(drop).map_err(|error| self.failed("putting an artifact", error))
            }
            How::Copy { from, .. } if size > self.config.copy_limit => {
                let mut parts = copy_in_parts(self, from, key, size, metadata, content_type).await?;
                parts.complete(condition).await
            }
            How::Copy { from, tag } => {
                let copy = self
                    .client
                    .copy_object()
                    .bucket(&self.bucket)
                    .key(key)
                    // Neither has a character that would have to be escaped: the options are held to that.
                    .copy_source(format!("{}/{from}", self.bucket))
                    .set_copy_source_if_match(tag.clone())
                    .metadata_directive(MetadataDirective::Replace)
                    .set_metadata(Some(metadata))
                    .set_content_type(content_type)
                    .content_disposition(DISPOSITION)
                    .set_if_none_match(condition)
                    .customize()
                    .config_override(client::to_copy(&self.config, size));
                copy.send()
                    .await
                    .map(drop)
                    .map_err(|error| self.failed("copying an upload to its artifact", error))
            }
            How::Parts(parts) => parts.complete(condition).await,
        }
    }
}

/// The media type, where it can stand in a header.
pub(crate) fn content_type(record: &Record) -> Option<String> {
    let legal = |text: &&String| {
        (1..=MAX_CONTENT_TYPE_BYTES).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b))
    };
    record.options.media_type.as_ref().filter(legal).cloned()
}

fn created(new: New, side: Option<Scrap>) -> Put {
    if let Some(side) = side {
        side.keep();
    }
    if let How::Parts(parts) = new.how {
        parts.keep();
    }
    Put { record: new.record, outcome: PutOutcome::Created }
}

fn stood(new: &New, record: Record) -> Result<Put, StoreError> {
    if record.digest != new.record.digest {
        return Err(StoreError::conflict(
            "bytes with another SHA-256 stand under this id; put these in another namespace",
        ));
    }
    Ok(Put { record, outcome: PutOutcome::StoodAlready })
}
