//! An open store: [`Inner`], what stands at an artifact's key, and how it is removed.
//!
//! This module must never know how bytes come or go.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use artifact_store_core::{ArtifactId, Digest, Health, Record, Scope, StoreError};
use aws_sdk_s3::Client;

use crate::abilities::Abilities;
use crate::client::Clients;
use crate::config::S3Config;
use crate::error::{self, Failed, Why};
use crate::layout::Layout;
use crate::locks::{KeyTurn, turn};
use crate::presign::Signing;
use crate::record::{Found, MAX_RECORD_BYTES, META_MARK, decode_record, decode_side};
use crate::tasks::Tasks;

/// How often a record that vanishes while it is read is looked for again.
const LOOKS: usize = 4;

/// Everything that the verbs of an open store share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) client: Client,
    /// Signs URLs for `presign_endpoint`, where there is one.
    pub(crate) presign_client: Option<Client>,
    /// Presigned URLs end with the key that signs them.
    pub(crate) signing: Signing,
    pub(crate) bucket: String,
    pub(crate) layout: Layout,
    pub(crate) config: S3Config,
    pub(crate) abilities: Abilities,
    pub(crate) tasks: Arc<Tasks>,
    closed: AtomicBool,
}

/// What stands at an artifact's key.
#[derive(Debug)]
pub(crate) enum Standing {
    /// Nothing.
    Absent,
    /// An object without our metadata: no artifact, or one that a store is just about to finish.
    Foreign,
    /// An artifact.
    Ours(Box<Stands>),
}

/// An artifact that stands.
#[derive(Debug)]
pub(crate) struct Stands {
    pub(crate) record: Record,
    /// The mark of the put that made it.
    pub(crate) mark: Option<String>,
}

impl Stands {
    /// Whether it is what was asked for: tokens can be equal, clear names decide.
    pub(crate) fn check(&self, key: &str, scope: &Scope, id: &ArtifactId) -> Result<(), StoreError> {
        if self.record.scope == *scope && self.record.id == *id {
            return Ok(());
        }
        Err(StoreError::corrupt(format!("{key}: this artifact is of another scope or id")))
    }
}

/// What the answer to a HEAD or GET says of an object.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) metadata: Option<&'a HashMap<String, String>>,
    /// The size of the whole object, in bytes.
    pub(crate) size: Option<u64>,
}

impl Inner {
    pub(crate) fn new(config: S3Config, clients: Clients, abilities: Abilities) -> Self {
        let Clients { client, presign_client, credentials } = clients;
        Self {
            client,
            presign_client,
            signing: Signing::new(credentials),
            bucket: config.bucket.clone(),
            layout: Layout::new(&config.prefix),
            config,
            abilities,
            tasks: Tasks::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Bodies that flow end with their next part.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Refuses to go on once the store is closed.
    pub(crate) fn may_go_on(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { Ok(()) }
    }

    /// What a failed request means.
    pub(crate) fn failed<E>(
        &self,
        doing: &str,
        error: aws_sdk_s3::error::SdkError<E, aws_smithy_runtime_api::client::orchestrator::HttpResponse>,
    ) -> Failed
    where
        E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        error::of(&self.config, doing, error)
    }

    /// Waits for this process's turn to change the object at `key`.
    pub(crate) async fn turn(&self, key: &str) -> KeyTurn {
        turn(format!("{} {} {key}", self.config.place(), self.bucket)).await
    }

    /// The record at an artifact's key; `None` where there is no artifact. One request, and one more for a long record.
    ///
    /// # Errors
    /// `Corrupt` where something else stands there under our name; `Unavailable`, `Backend`.
    pub(crate) async fn head(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        Ok(match self.standing(scope, id).await? {
            Standing::Ours(stands) => Some(stands.record),
            Standing::Absent | Standing::Foreign => None,
        })
    }

    /// What stands at an artifact's key.
    pub(crate) async fn standing(&self, scope: &Scope, id: &ArtifactId) -> Result<Standing, StoreError> {
        let key = self.layout.artifact_key(scope, id);
        let standing = self.standing_at(&key).await?;
        if let Standing::Ours(stands) = &standing {
            stands.check(&key, scope, id)?;
        }
        Ok(standing)
    }

    /// The same where only the key is known.
    pub(crate) async fn standing_at(&self, key: &str) -> Result<Standing, StoreError> {
        for _ in 0..LOOKS {
            let head = match self.client.head_object().bucket(&self.bucket).key(key).send().await {
                Ok(head) => head,
                Err(error) => match self.failed("looking for an artifact", error) {
                    Failed { why: Why::NoKey, .. } => return Ok(Standing::Absent),
                    failed => return Err(failed.into()),
                },
            };
            let size = head.content_length().and_then(|size| u64::try_from(size).ok());
            if let Some(standing) = self.read_standing(key, &Seen { metadata: head.metadata(), size }).await?
            {
                return Ok(standing);
            }
        }
        Err(lost_record(key))
    }

    /// The same of an object that was seen already. `None` where its long record is not there, which is how it looks
    /// when the artifact is being deleted: then look again.
    pub(crate) async fn read_standing(
        &self,
        key: &str,
        seen: &Seen<'_>,
    ) -> Result<Option<Standing>, StoreError> {
        let record = match decode_record(key, seen.metadata)? {
            None => return Ok(Some(Standing::Foreign)),
            Some(Found::Inline(record)) => *record,
            Some(Found::Side { random, digest }) => {
                match self.read_side(&self.layout.side_of(key, &random), &digest).await? {
                    Some(record) => record,
                    None => return Ok(None),
                }
            }
        };
        if self.layout.artifact_key(&record.scope, &record.id) != key {
            return Err(StoreError::corrupt(format!("{key}: this artifact is of another scope or id")));
        }
        if seen.size != Some(record.size) {
            return Err(StoreError::corrupt(format!(
                "{key}: the object holds more or fewer bytes than the record says"
            )));
        }
        let mark = seen.metadata.and_then(|metadata| metadata.get(META_MARK)).cloned();
        Ok(Some(Standing::Ours(Box::new(Stands { record, mark }))))
    }

    /// The long record at `key`; `None` where there is none.
    pub(crate) async fn read_side(&self, key: &str, digest: &Digest) -> Result<Option<Record>, StoreError> {
        let doing = "reading a long record";
        let got = match self.client.get_object().bucket(&self.bucket).key(key).send().await {
            Ok(got) => got,
            Err(error) => match self.failed(doing, error) {
                Failed { why: Why::NoKey, .. } => return Ok(None),
                failed => return Err(failed.into()),
            },
        };
        let json = self.small_body(key, got.body).await?;
        decode_side(key, &json, digest).map(Some)
    }

    /// A body that is to be small, read whole.
    pub(crate) async fn small_body(
        &self,
        key: &str,
        mut body: aws_sdk_s3::primitives::ByteStream,
    ) -> Result<Vec<u8>, StoreError> {
        let mut all = Vec::new();
        loop {
            let piece = tokio::time::timeout(self.config.request_timeout, body.next())
                .await
                .map_err(|_| error::stalled_body(&self.config))?;
            let Some(piece) = piece else { return Ok(all) };
            all.extend_from_slice(&piece.map_err(|error| error::broken_body(&self.config, &error))?);
            if all.len() > MAX_RECORD_BYTES {
                return Err(StoreError::corrupt(format!("{key}: the object is far too large")));
            }
        }
    }

    /// Removes the artifact; whether there was one. Two requests, and one more for a long record.
    pub(crate) async fn delete(self: Arc<Self>, scope: Scope, id: ArtifactId) -> Result<bool, StoreError> {
        let key = self.layout.artifact_key(&scope, &id);
        let _turn = self.turn(&key).await;
        let head = match self.client.head_object().bucket(&self.bucket).key(&key).send().await {
            Ok(head) => head,
            Err(error) => match self.failed("looking for an artifact", error) {
                Failed { why: Why::NoKey, .. } => {
                    self.check_bucket().await?;
                    return Ok(false);
                }
                failed => return Err(failed.into()),
            },
        };
        // One that is ours goes even where it cannot be read any more: how else would it?
        let side = match decode_record(&key, head.metadata()) {
            Ok(None) => return Ok(false),
            Ok(Some(Found::Side { random, .. })) => Some(self.layout.side_of(&key, &random)),
            Ok(Some(Found::Inline(_))) | Err(_) => None,
        };
        self.remove("deleting an artifact", &key).await?;
        if let Some(side) = side
            && self.remove("deleting a long record", &side).await.is_err()
        {
            // The artifact is gone; what is left of it is removed later, by a sweep at the latest.
            let inner = Arc::clone(&self);
            self.tasks.detach(async move { inner.remove_stubbornly(&side).await });
        }
        Ok(true)
    }

    /// Removes one object, whatever it is.
    pub(crate) async fn remove(&self, doing: &str, key: &str) -> Result<(), StoreError> {
        match self.client.delete_object().bucket(&self.bucket).key(key).send().await {
            Ok(_) => Ok(()),
            Err(error) => match self.failed(doing, error) {
                Failed { why: Why::NoKey, .. } => Ok(()),
                failed => Err(failed.into()),
            },
        }
    }

    /// Whether the place is still there. One request.
    pub(crate) async fn health(&self) -> Result<Health, StoreError> {
        let key = self.layout.format_key();
        match self.client.get_object().bucket(&self.bucket).key(&key).send().await {
            Ok(_) => Ok(Health::ready()),
            Err(error) => match self.failed("asking the store how it is", error) {
                Failed { why: Why::NoKey, .. } => {
                    self.check_bucket().await?;
                    Err(StoreError::unavailable(format!(
                        "the object {key} is gone, and so is perhaps the rest: was the bucket emptied, or put back without it?"
                    )))
                }
                failed => Err(failed.into()),
            },
        }
    }

    /// Tells a bucket without this object from a bucket that is not there: the answer to a HEAD looks the same, and on
    /// some stores that to a GET.
    pub(crate) async fn check_bucket(&self) -> Result<(), StoreError> {
        match self.client.head_bucket().bucket(&self.bucket).send().await {
            Ok(_) => Ok(()),
            Err(error) => match self.failed("looking for the bucket", error) {
                Failed { why: Why::NoKey, .. } => Err(error::no_bucket(&self.config)),
                // A key that may read objects need not be allowed to ask for the bucket.
                Failed { why: Why::Denied, .. } => Ok(()),
                failed => Err(failed.into()),
            },
        }
    }
}

/// An artifact whose long record is not there.
pub(crate) fn lost_record(key: &str) -> StoreError {
    StoreError::corrupt(format!("{key}: the object that held its record is gone"))
}
