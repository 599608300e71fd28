//! The store of a liar: [`LyingStore`] behaves wrongly where its [`Lie`] says so. It forwards all other calls to the
//! honest store.
//!
//! The lies of `put` and `list` are in their own modules.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, ArtifactStoreExt, Body, ByteRange, ByteStream, Bytes, Capabilities, Filter,
    Flag, GetResult, Health, ListQuery, Page, Position, PresignIntent, PresignedRequest, PresignedUrl,
    PutOptions, PutOutcome, PutResult, Record, Scope, ScopePattern, StoreError, Timestamp, async_trait,
};
use futures_util::TryStreamExt;

use super::honest::{DigestCheck, MAX_EXPIRY, PresigningStore};
use super::lie::Lie;
use super::lock;
use super::shared_state::SharedState;

/// An honest store behind a wrapper that tells one lie.
#[derive(Debug)]
pub(super) struct LyingStore {
    pub(super) lie: Lie,
    /// The honest store.
    pub(super) inner: Arc<PresigningStore>,
    pub(super) shared: Arc<SharedState>,
    /// The number of puts so far. Some lies depend on this number.
    pub(super) put_count: AtomicUsize,
    /// With `Lie::ClosesOnce`, whether `close` was called.
    pub(super) closed: AtomicBool,
    /// With `Lie::StaleReadAfterDelete` and `Lie::NeverForgetsAnId`, the records that were deleted through this store.
    pub(super) deleted: Mutex<HashMap<(Scope, ArtifactId), Record>>,
    /// With `Lie::DestroysADroppedCommit`, the artifacts whose bytes are destroyed, although their record may exist.
    pub(super) destroyed: Arc<Mutex<HashSet<(Scope, ArtifactId)>>>,
    /// With `Lie::SeesPutsLate`, the ids whose next `stat` returns `None` although the artifact was put.
    pub(super) unseen_puts: Mutex<HashSet<ArtifactId>>,
    /// For the last row of each returned page, the number of rows up to and including this row.
    pub(super) offsets: Mutex<HashMap<Position, usize>>,
}

impl LyingStore {
    /// Returns whether this store tells `lie`.
    pub(super) fn has_lie(&self, lie: Lie) -> bool {
        self.lie == lie
    }

    /// Returns the scope that this store uses instead of `scope` because of its lie. With other lies, this is `scope`.
    pub(super) fn mistaken_scope(&self, scope: &Scope) -> Result<Scope, StoreError> {
        // The lies below store a scope without a task as if it had the task `none`.
        let task = scope.task().map_or("none", |task| task.as_str());
        match self.lie {
            Lie::FoldsCase => Scope::new(
                scope.tenant().as_str().to_lowercase(),
                scope.user().as_str().to_lowercase(),
                scope.session().as_str().to_lowercase(),
            )?
            .with_task(task.to_lowercase()),
            Lie::TaskNamedNoneIsNoTask => {
                Scope::new(scope.tenant(), scope.user(), scope.session())?.with_task(task)
            }
            Lie::JoinsPartsRaw => {
                let (tenant, user, session) = (scope.tenant(), scope.user(), scope.session());
                Scope::new(format!("{tenant}/{user}/{session}/{task}"), "x", "x")
            }
            _ => Ok(scope.clone()),
        }
    }

    /// Finds a record with this id in the session of `scope`, in any task.
    pub(super) async fn find_in_session(
        &self,
        scope: &Scope,
        id: &ArtifactId,
    ) -> Result<Option<Record>, StoreError> {
        let rows = self.rows(ScopePattern::session_of(scope), Filter::default()).await?;
        Ok(rows.into_iter().find(|row| row.id == *id))
    }

    /// Lists every row of the honest store that `pattern` and `filter` match.
    pub(super) async fn rows(
        &self,
        pattern: ScopePattern,
        filter: Filter,
    ) -> Result<Vec<Record>, StoreError> {
        self.inner.list_all(ListQuery::new(pattern).with_filter(filter)).try_collect().await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ArtifactStore for LyingStore {
    fn driver(&self) -> &'static str {
        self.inner.driver()
    }

    fn capabilities(&self) -> Capabilities {
        let honest = self.inner.capabilities();
        match self.lie {
            Lie::VerbWithoutFlag => honest.without(Flag::PresignGet),
            Lie::UploadVerbWithoutFlag => honest.without(Flag::PresignPut),
            Lie::SaysDurable => honest.with(Flag::Durable),
            Lie::SaysShared => honest.with(Flag::Shared),
            Lie::NumberTooLarge => honest.max_artifact_bytes(honest.artifact_bytes_limit().saturating_mul(2)),
            _ => honest,
        }
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        self.put_with_lie(scope, body, options).await
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        if lock(&self.destroyed).contains(&(scope.clone(), id.clone())) {
            return Err(StoreError::corrupt("the bytes of the artifact are gone"));
        }
        let range = match (self.lie, range) {
            (Lie::IgnoresRange, _) => None,
            (Lie::ShiftsSuffix, Some(ByteRange::Suffix(length))) => Some(ByteRange::From(length)),
            (_, range) => range,
        };
        let mut used_scope = self.mistaken_scope(scope)?;
        if self.has_lie(Lie::GetIgnoresTask)
            && let Some(record) = self.find_in_session(scope, id).await?
        {
            used_scope = record.scope;
        }
        let Some(mut get) = self.inner.get(&used_scope, id, range).await? else {
            return if self.has_lie(Lie::AbsenceIsAnError) {
                Err(StoreError::backend("no such artifact"))
            } else {
                Ok(None)
            };
        };
        get.record.scope = scope.clone();
        let length = get.range.end - get.range.start;
        match self.lie {
            Lie::DropsLastKib if length > 1024 => {
                let bytes = get.stream.collect_bytes(u64::MAX).await?;
                get.stream = ByteStream::from_bytes(bytes.slice(..bytes.len() - 1024));
            }
            Lie::FlipsAByte if length > 1 << 20 => {
                let mut bytes = get.stream.collect_bytes(u64::MAX).await?.to_vec();
                bytes[1 << 19] ^= 1;
                get.stream = ByteStream::from_bytes(Bytes::from(bytes));
            }
            Lie::FlipsAByteOfARange if length > 0 && length < get.record.size => {
                let mut bytes = get.stream.collect_bytes(u64::MAX).await?.to_vec();
                bytes[0] ^= 1;
                get.stream = ByteStream::from_bytes(Bytes::from(bytes));
            }
            Lie::ShortensLongStreams if length > 32 << 20 => {
                let bytes = get.stream.collect_bytes(u64::MAX).await?;
                get.stream = ByteStream::from_bytes(bytes.slice(..32 << 20));
            }
            _ => {}
        }
        Ok(Some(get))
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        if self.has_lie(Lie::UploadVisibleBeforeCommit) {
            self.inner.commit_upload(scope, id).await?;
        }
        if self.has_lie(Lie::SeesPutsLate) && lock(&self.unseen_puts).remove(id) {
            return Ok(None);
        }
        let found = match self.lie {
            Lie::StatIgnoresTask => self.find_in_session(scope, id).await?,
            _ => self.inner.stat(&self.mistaken_scope(scope)?, id).await?,
        };
        match (self.lie, found) {
            (Lie::AbsenceIsAnError, None) => Err(StoreError::backend("no such artifact")),
            (Lie::StaleReadAfterDelete, None) => {
                Ok(lock(&self.deleted).get(&(scope.clone(), id.clone())).cloned())
            }
            // The record keeps its own scope, which may have another task.
            (Lie::StatIgnoresTask, found) => Ok(found),
            (_, found) => Ok(found.map(|record| Record { scope: scope.clone(), ..record })),
        }
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        if matches!(self.lie, Lie::StaleReadAfterDelete | Lie::NeverForgetsAnId)
            && let Some(record) = self.inner.stat(scope, id).await?
        {
            lock(&self.deleted).insert((scope.clone(), id.clone()), record);
        }
        let mut used_scope = self.mistaken_scope(scope)?;
        if self.has_lie(Lie::DeleteIgnoresTask)
            && let Some(record) = self.find_in_session(scope, id).await?
        {
            used_scope = record.scope;
        }
        let deleted = self.inner.delete(&used_scope, id).await?;
        Ok(deleted || self.has_lie(Lie::DeleteAlwaysTrue))
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.list_with_lie(query).await
    }

    async fn presign(
        &self,
        scope: &Scope,
        intent: &PresignIntent,
        expiry: Duration,
    ) -> Result<Option<PresignedRequest>, StoreError> {
        match (self.lie, intent) {
            (Lie::FlagWithoutVerb, PresignIntent::Get { .. }) => {
                Err(StoreError::unsupported(Flag::PresignGet))
            }
            (Lie::UploadFlagWithoutVerb, PresignIntent::Put(_)) => {
                Err(StoreError::unsupported(Flag::PresignPut))
            }
            (Lie::SignsForLongerThanAsked, _) => {
                self.inner.presign(scope, intent, expiry + Duration::from_mins(1)).await
            }
            (Lie::ExpiryWithoutEnd, _) => self.inner.presign(scope, intent, expiry.min(MAX_EXPIRY)).await,
            (Lie::PresignIgnoresTask, PresignIntent::Get { id }) => {
                let scope = self
                    .find_in_session(scope, id)
                    .await?
                    .map_or_else(|| scope.clone(), |record| record.scope);
                self.inner.presign(&scope, intent, expiry).await
            }
            (Lie::PresignsTheMissing, _) => {
                let presigned = self.inner.presign(scope, intent, expiry).await?;
                Ok(Some(presigned.unwrap_or_else(|| PresignedRequest {
                    url: PresignedUrl::new("mem://nothing"),
                    headers: Vec::new(),
                    expires_at: Timestamp::from_micros(0),
                })))
            }
            _ => self.inner.presign(scope, intent, expiry).await,
        }
    }

    async fn commit_upload(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<PutResult>, StoreError> {
        if self.has_lie(Lie::CommitIgnoresTask) && scope.task().is_none() {
            // The check for this lie presigns its upload in the task `t-1`.
            return self.inner.commit_upload(&scope.clone().with_task("t-1")?, id).await;
        }
        let digest_check =
            if self.has_lie(Lie::CommitsUnverifiedBytes) { DigestCheck::Skip } else { DigestCheck::Perform };
        let committed = self.inner.commit(scope, id, digest_check).await?;
        Ok(committed.map(|put| match self.lie {
            Lie::EveryCommitCreates => PutResult { outcome: PutOutcome::Created, ..put },
            _ => put,
        }))
    }

    async fn health(&self) -> Result<Health, StoreError> {
        if self.has_lie(Lie::UnhealthyAfterPut) && self.put_count.load(Ordering::SeqCst) > 0 {
            return Err(StoreError::unavailable("unhealthy on purpose"));
        }
        self.inner.health().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        if self.has_lie(Lie::WorksAfterClose) {
            return Ok(());
        }
        if self.has_lie(Lie::ClosesOnce) && self.closed.swap(true, Ordering::SeqCst) {
            return Err(StoreError::closed());
        }
        self.inner.close().await
    }
}
