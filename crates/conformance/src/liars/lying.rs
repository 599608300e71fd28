//! The liars themselves: [`Liar`], a flavour that tells one [`Lie`].
//!
//! Each lie is a branch in the verb that tells it; what is not a lie is passed on to the honest base.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, ArtifactStoreExt, Body, BoxError, ByteRange, ByteStream, Bytes, Capabilities,
    ErrorKind, Filter, Flag, Get, Health, ListQuery, Page, Position, PresignIntent, Presigned, PresignedUrl,
    Put, PutOptions, PutOutcome, Record, Scope, ScopePattern, StoreError, TaskPattern, TenantPattern,
    Timestamp, async_trait,
};
use futures_util::TryStreamExt;

use super::presigner::{Desk, Lax, Presigner, WEEK};
use crate::harness::{Harness, HttpClient, HttpResponse, OpenWith, Place};

/// What a liar lies about; the names say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Lie {
    StatIgnoresTask,
    GetIgnoresTask,
    DeleteIgnoresTask,
    ListIgnoresTask,
    PresignIgnoresTask,
    CommitIgnoresTask,
    FoldsCase,
    TaskNamedNoneIsNoTask,
    JoinsPartsRaw,
    TenantByPrefix,
    IgnoresRange,
    ShiftsSuffix,
    DropsLastPiece,
    FlipsAByte,
    ShortensLongStreams,
    ForgetsMetadata,
    StopsTextAtNul,
    RefusesLargeOptions,
    IdOfTwelveDigits,
    AlwaysCreated,
    SecondWriterWins,
    AbsenceIsAnError,
    DeleteAlwaysTrue,
    StaleReadAfterDelete,
    NeverForgetsAnId,
    IgnoresTagFilter,
    ComparesMediaTypesExactly,
    SizeBoundsExclusive,
    OldestFirst,
    TiesBackwards,
    IgnoresLimit,
    SkipsARowBetweenPages,
    RepeatsARowBetweenPages,
    TotalOfThePage,
    CursorIsAnOffset,
    TakesAnyCursor,
    CursorOfAnyQuery,
    RecordBeforeBytes,
    CutsAtTheLimit,
    LimitOffByOne,
    IgnoresDigest,
    KeepsWhatCame,
    IgnoresLength,
    LeaksATempFile,
    LeaksWhenDropped,
    LosesTheStandingOne,
    NeverGivesWay,
    HoldsTheWholeBody,
    LooksThenLeaps,
    SeesPutsLate,
    SickWhenUsed,
    WorksAfterClose,
    ClosesOnce,
    LeavesATask,
    FlagWithoutVerb,
    VerbWithoutFlag,
    PresignsTheMissing,
    UploadFlagWithoutVerb,
    UploadVerbWithoutFlag,
    UploadVisibleBeforeCommit,
    UrlTakesAnyMethod,
    UrlTakesAnySignature,
    UrlTakesAnyKey,
    DownloadsInline,
    UploadTakesAnyBytes,
    CommitsWhateverArrived,
    EveryCommitCreates,
    SaysDurable,
    RemembersHalf,
    SaysShared,
    SharesInSilence,
    NumberTooLarge,
    ExpiryWithoutEnd,
    SignsForLongerThanAsked,
    ForgetsEveryTenthPut,
}

/// A flavour that tells one lie.
#[derive(Debug)]
pub struct Liar(pub Lie);

/// What a liar's place remembers beside its stores.
#[derive(Debug, Default)]
struct Memory {
    leaks: Mutex<Vec<String>>,
    remembered: Mutex<Vec<Record>>,
}

#[derive(Debug)]
struct LyingPlace {
    lie: Lie,
    desk: Arc<Desk>,
    memory: Arc<Memory>,
    first: Mutex<Option<Arc<Presigner>>>,
}

#[async_trait]
impl Harness for Liar {
    fn flavour(&self) -> String {
        format!("the liar {:?}", self.0)
    }

    async fn place(&self) -> Result<Box<dyn Place>, BoxError> {
        Ok(Box::new(LyingPlace {
            lie: self.0,
            desk: Arc::default(),
            memory: Arc::default(),
            first: Mutex::default(),
        }))
    }
}

#[async_trait]
impl Place for LyingPlace {
    async fn open(&self, with: &OpenWith) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let fresh = || Arc::new(Presigner::new(with, Arc::clone(&self.desk)));
        let inner = if self.lie == Lie::SharesInSilence {
            Arc::clone(lock(&self.first).get_or_insert_with(fresh))
        } else {
            fresh()
        };
        Ok(Arc::new(LyingStore {
            lie: self.lie,
            inner,
            memory: Arc::clone(&self.memory),
            puts: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            stale: Mutex::default(),
            fresh: Mutex::default(),
            offsets: Mutex::default(),
        }))
    }

    fn outlives_stores(&self) -> bool {
        matches!(self.lie, Lie::SaysDurable | Lie::RemembersHalf | Lie::SaysShared)
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        Ok(lock(&self.memory.leaks).clone())
    }

    fn http_client(&self) -> Option<Arc<dyn HttpClient>> {
        let lax = Lax {
            method: self.lie == Lie::UrlTakesAnyMethod,
            signature: self.lie == Lie::UrlTakesAnySignature,
            key: self.lie == Lie::UrlTakesAnyKey,
            body: self.lie == Lie::UploadTakesAnyBytes,
            disposition: self.lie == Lie::DownloadsInline,
        };
        Some(Arc::new(LaxDesk(Arc::clone(&self.desk), lax)))
    }
}

/// A storage that does not look at everything.
#[derive(Debug)]
struct LaxDesk(Arc<Desk>, Lax);

#[async_trait]
impl HttpClient for LaxDesk {
    async fn request(
        &self,
        method: &str,
        url: &str,
        _headers: &[(String, String)],
        body: Bytes,
    ) -> Result<HttpResponse, BoxError> {
        self.0.serve(method, url, body, self.1).await
    }
}

#[derive(Debug)]
struct LyingStore {
    lie: Lie,
    inner: Arc<Presigner>,
    memory: Arc<Memory>,
    puts: AtomicUsize,
    closed: AtomicBool,
    stale: Mutex<HashMap<(Scope, ArtifactId), Record>>,
    fresh: Mutex<HashSet<ArtifactId>>,
    offsets: Mutex<HashMap<Position, usize>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells the place of a leak when the put that owns it is dropped before its end.
struct LeakOnDrop<'a>(&'a Memory, bool);

impl Drop for LeakOnDrop<'_> {
    fn drop(&mut self) {
        if self.1 {
            lock(&self.0.leaks).push("tmp/half".into());
        }
    }
}

/// Polls a future until it is ready, as a loop without a yield would.
fn stubborn<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    // Bounded, so that the process of the test ends at last.
    let begun = std::time::Instant::now();
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        assert!(begun.elapsed() < Duration::from_secs(40), "the source is stuck");
    }
}

impl LyingStore {
    fn lies(&self, lie: Lie) -> bool {
        self.lie == lie
    }

    /// The scope that this liar takes `scope` for.
    fn mistaken(&self, scope: &Scope) -> Result<Scope, StoreError> {
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

    /// A record with this id anywhere in the session.
    async fn anywhere(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        let rows = self.rows(ScopePattern::session_of(scope), Filter::default()).await?;
        Ok(rows.into_iter().find(|row| row.id == *id))
    }

    async fn rows(&self, pattern: ScopePattern, filter: Filter) -> Result<Vec<Record>, StoreError> {
        self.inner.list_all(ListQuery::new(pattern).with_filter(filter)).try_collect().await
    }

    /// Reads a body piece by piece: all that came, and the error that ended it.
    async fn swallow(&self, body: Body) -> Result<(Vec<u8>, Option<StoreError>), StoreError> {
        let mut stream = body.open(u64::MAX)?.into_stream();
        let mut all = Vec::new();
        let mut held = Vec::new();
        loop {
            // A liar that never gives way polls its source to the end without letting anybody in between.
            let next =
                if self.lies(Lie::NeverGivesWay) { stubborn(stream.next()) } else { stream.next().await };
            match next {
                Ok(Some(piece)) => {
                    all.extend_from_slice(&piece);
                    if self.lies(Lie::HoldsTheWholeBody) {
                        held.push(piece);
                    }
                }
                Ok(None) => return Ok((all, None)),
                Err(error) => return Ok((all, Some(error))),
            }
        }
    }

    /// What this liar makes of a body that failed after `all` had come.
    async fn after_failure(
        &self,
        scope: &Scope,
        all: Vec<u8>,
        kept: PutOptions,
        error: StoreError,
    ) -> Result<Put, StoreError> {
        let kind = error.kind();
        let sourced = std::error::Error::source(&error).is_some();
        let stores_it = match self.lie {
            Lie::CutsAtTheLimit => matches!(kind, ErrorKind::TooLarge { .. }),
            Lie::IgnoresDigest => matches!(kind, ErrorKind::DigestMismatch { .. }),
            Lie::IgnoresLength => kind == ErrorKind::InvalidArgument && !sourced,
            _ => false,
        };
        if stores_it {
            return self.inner.put(scope, Body::from(all), kept).await;
        }
        match self.lie {
            Lie::KeepsWhatCame => _ = self.inner.put(scope, Body::from(all), kept).await?,
            Lie::LeaksATempFile => lock(&self.memory.leaks).push("tmp/whole".into()),
            Lie::LosesTheStandingOne => {
                for row in self.rows(ScopePattern::exactly(scope), Filter::default()).await? {
                    self.inner.delete(scope, &row.id).await?;
                }
            }
            _ => {}
        }
        Err(error)
    }

    async fn lying_put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<Put, StoreError> {
        let said = options.clone();
        let mut kept = options;
        match self.lie {
            Lie::ForgetsMetadata => kept.metadata.clear(),
            Lie::StopsTextAtNul => {
                kept.filename =
                    kept.filename.map(|name| name.split('\0').next().unwrap_or_default().to_owned());
            }
            Lie::LimitOffByOne if body.limit() < u64::MAX => {
                let less = body.limit().saturating_sub(1);
                return self.inner.put(scope, body.with_limit(less), kept).await;
            }
            Lie::LeavesATask => drop(tokio::spawn(std::future::pending::<()>())),
            Lie::RefusesLargeOptions if serde_json::to_vec(&kept).is_ok_and(|json| json.len() > 4096) => {
                return Err(StoreError::backend("the storage takes 4 KiB of metadata"));
            }
            _ => {}
        }
        if self.lies(Lie::RecordBeforeBytes) {
            let mut stream = body.open(u64::MAX)?.into_stream();
            let mut all = Vec::new();
            let mut early = None;
            while let Some(piece) = stream.next().await? {
                all.extend_from_slice(&piece);
                if early.is_none() {
                    early = Some(self.inner.put(scope, Body::from_bytes(piece), kept.clone()).await?);
                }
            }
            if let Some(early) = early {
                self.inner.delete(scope, &early.record.id).await?;
            }
            return self.inner.put(scope, Body::from(all), kept).await;
        }
        let mut guard = LeakOnDrop(&self.memory, self.lies(Lie::LeaksWhenDropped));
        let (all, error) = self.swallow(body).await?;
        guard.1 = false;
        if let Some(error) = error {
            return self.after_failure(scope, all, kept, error).await;
        }
        let mistaken = self.mistaken(scope)?;
        let id = ArtifactId::new(&kept.namespace, &artifact_store_core::Digest::of(&all));
        match self.lie {
            Lie::IdOfTwelveDigits => {
                let length = kept.namespace.as_str().len() + 1 + 12;
                let rows = self.rows(ScopePattern::exactly(scope), Filter::default()).await?;
                let twin = rows.into_iter().find(|row| row.id.as_str()[..length] == id.as_str()[..length]);
                if let Some(record) = twin {
                    return Ok(Put { record, outcome: PutOutcome::StoodAlready });
                }
            }
            Lie::NeverForgetsAnId => {
                let key = (scope.clone(), id.clone());
                if let Some(record) = lock(&self.stale).get(&key).cloned() {
                    return Ok(Put { record, outcome: PutOutcome::StoodAlready });
                }
            }
            Lie::SecondWriterWins if self.inner.delete(scope, &id).await? => {
                let put = self.inner.put(scope, Body::from(all), kept).await?;
                return Ok(Put { outcome: PutOutcome::StoodAlready, ..put });
            }
            Lie::LooksThenLeaps if !self.inner.exists(scope, &id).await? => {
                tokio::time::sleep(Duration::from_millis(3)).await;
                self.inner.delete(scope, &id).await?;
                return self.inner.put(scope, Body::from(all), kept).await;
            }
            _ => {}
        }
        let count = self.puts.fetch_add(1, Ordering::SeqCst) + 1;
        let mut put = self.inner.put(&mistaken, Body::from(all), kept).await?;
        put.record.scope = scope.clone();
        match self.lie {
            Lie::ForgetsEveryTenthPut if count.is_multiple_of(10) => {
                _ = self.inner.delete(scope, &id).await?;
            }
            Lie::AlwaysCreated => put.outcome = PutOutcome::Created,
            Lie::ForgetsMetadata | Lie::StopsTextAtNul if put.outcome == PutOutcome::Created => {
                put.record.options = said;
            }
            Lie::SeesPutsLate => _ = lock(&self.fresh).insert(id),
            Lie::RemembersHalf => lock(&self.memory.remembered).push(put.record.clone()),
            _ => {}
        }
        Ok(put)
    }

    /// All rows that this liar would list, in its own order.
    async fn lying_rows(&self, query: &ListQuery) -> Result<Vec<Record>, StoreError> {
        let mut pattern = query.pattern().clone();
        let mut filter = query.filter().clone();
        match (self.lie, &mut pattern.tenant) {
            (Lie::ListIgnoresTask, _) => pattern.task = TaskPattern::Any,
            (Lie::TenantByPrefix, TenantPattern::One(tenant)) => {
                let prefix = tenant.as_str().to_owned();
                pattern.tenant = TenantPattern::AllTenants;
                let mut rows = self.rows(pattern, filter).await?;
                rows.retain(|row| row.scope.tenant().as_str().starts_with(&prefix));
                return Ok(rows);
            }
            (Lie::IgnoresTagFilter, _) => filter.tags.clear(),
            _ => {}
        }
        let mut rows = self.rows(pattern, filter.clone()).await?;
        match self.lie {
            Lie::ComparesMediaTypesExactly => rows.retain(|row| {
                let media_type = row.options.media_type.as_deref();
                filter.media_types.is_empty()
                    || filter.media_types.iter().any(|range| Some(range.as_str()) == media_type)
            }),
            Lie::SizeBoundsExclusive => rows.retain(|row| {
                filter.min_bytes.is_none_or(|min| row.size > min)
                    && filter.max_bytes.is_none_or(|max| row.size < max)
            }),
            Lie::OldestFirst => rows.reverse(),
            Lie::TiesBackwards => {
                rows.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| b.id.cmp(&a.id)));
            }
            Lie::RemembersHalf if rows.is_empty() => rows.clone_from(&lock(&self.memory.remembered)),
            _ => {}
        }
        Ok(rows)
    }

    async fn lying_list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let rows = self.lying_rows(query).await?;
        let position = match query.position() {
            Err(_) if self.lies(Lie::TakesAnyCursor) => None,
            Err(_)
                if self.lies(Lie::CursorOfAnyQuery)
                    && query.cursor().is_some_and(|c| c.as_text().is_none()) =>
            {
                None
            }
            position => position?,
        };
        // Liars with an order of their own find their place by the row, honest ones by the order.
        let after = |position: &Position| match self.lie {
            Lie::OldestFirst | Lie::TiesBackwards => {
                rows.iter().position(|row| Position::of(row) == *position).map_or(rows.len(), |n| n + 1)
            }
            _ => rows.iter().filter(|row| Position::of(row) <= *position).count(),
        };
        let mut start = position.map_or(0, after);
        match (self.lie, position) {
            (Lie::SkipsARowBetweenPages, Some(_)) => start = (start + 1).min(rows.len()),
            (Lie::RepeatsARowBetweenPages, Some(_)) => start -= 1,
            (Lie::CursorIsAnOffset, Some(position)) => {
                start = lock(&self.offsets).get(position).copied().unwrap_or(start).min(rows.len());
            }
            _ => {}
        }
        let limit = if self.lies(Lie::IgnoresLimit) { rows.len() } else { query.limit() as usize };
        let end = (start + limit).min(rows.len());
        let page = rows[start..end].to_vec();
        if let Some(last) = page.last() {
            lock(&self.offsets).insert(Position::of(last), end);
        }
        let total = if self.lies(Lie::TotalOfThePage) { page.len() } else { rows.len() } as u64;
        Ok(Page::new(query, page, query.counts_total().then_some(total), end < rows.len()))
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

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<Put, StoreError> {
        self.lying_put(scope, body, options).await
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<Get>, StoreError> {
        let range = match (self.lie, range) {
            (Lie::IgnoresRange, _) => None,
            (Lie::ShiftsSuffix, Some(ByteRange::Suffix(length))) => Some(ByteRange::From(length)),
            (_, range) => range,
        };
        let mut from = self.mistaken(scope)?;
        if self.lies(Lie::GetIgnoresTask)
            && let Some(record) = self.anywhere(scope, id).await?
        {
            from = record.scope;
        }
        let Some(mut get) = self.inner.get(&from, id, range).await? else {
            return if self.lies(Lie::AbsenceIsAnError) {
                Err(StoreError::backend("no such artifact"))
            } else {
                Ok(None)
            };
        };
        get.record.scope = scope.clone();
        let length = get.range.end - get.range.start;
        match self.lie {
            Lie::DropsLastPiece if length > 1024 => {
                let bytes = get.stream.collect_bytes(u64::MAX).await?;
                get.stream = ByteStream::from_bytes(bytes.slice(..bytes.len() - 1024));
            }
            Lie::FlipsAByte if length > 1 << 20 => {
                let mut bytes = get.stream.collect_bytes(u64::MAX).await?.to_vec();
                bytes[1 << 19] ^= 1;
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
        if self.lies(Lie::UploadVisibleBeforeCommit) {
            self.inner.commit_upload(scope, id).await?;
        }
        if self.lies(Lie::SeesPutsLate) && lock(&self.fresh).remove(id) {
            return Ok(None);
        }
        let found = match self.lie {
            Lie::StatIgnoresTask => self.anywhere(scope, id).await?,
            _ => self.inner.stat(&self.mistaken(scope)?, id).await?,
        };
        match (self.lie, found) {
            (Lie::AbsenceIsAnError, None) => Err(StoreError::backend("no such artifact")),
            (Lie::StaleReadAfterDelete, None) => {
                Ok(lock(&self.stale).get(&(scope.clone(), id.clone())).cloned())
            }
            (Lie::StatIgnoresTask, found) => Ok(found),
            (_, found) => Ok(found.map(|record| Record { scope: scope.clone(), ..record })),
        }
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        if matches!(self.lie, Lie::StaleReadAfterDelete | Lie::NeverForgetsAnId)
            && let Some(record) = self.inner.stat(scope, id).await?
        {
            lock(&self.stale).insert((scope.clone(), id.clone()), record);
        }
        let mut from = self.mistaken(scope)?;
        if self.lies(Lie::DeleteIgnoresTask)
            && let Some(record) = self.anywhere(scope, id).await?
        {
            from = record.scope;
        }
        let deleted = self.inner.delete(&from, id).await?;
        Ok(deleted || self.lies(Lie::DeleteAlwaysTrue))
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.lying_list(query).await
    }

    async fn presign(
        &self,
        scope: &Scope,
        intent: &PresignIntent,
        expiry: Duration,
    ) -> Result<Option<Presigned>, StoreError> {
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
            (Lie::ExpiryWithoutEnd, _) => self.inner.presign(scope, intent, expiry.min(WEEK)).await,
            (Lie::PresignIgnoresTask, PresignIntent::Get { id }) => {
                let scope =
                    self.anywhere(scope, id).await?.map_or_else(|| scope.clone(), |record| record.scope);
                self.inner.presign(&scope, intent, expiry).await
            }
            (Lie::PresignsTheMissing, _) => {
                let presigned = self.inner.presign(scope, intent, expiry).await?;
                Ok(Some(presigned.unwrap_or_else(|| Presigned {
                    url: PresignedUrl::new("mem://nothing"),
                    headers: Vec::new(),
                    expires_at: Timestamp::from_micros(0),
                })))
            }
            _ => self.inner.presign(scope, intent, expiry).await,
        }
    }

    async fn commit_upload(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Put>, StoreError> {
        if self.lies(Lie::CommitIgnoresTask) && scope.task().is_none() {
            return self.inner.commit_upload(&scope.clone().with_task("t-1")?, id).await;
        }
        let committed = self.inner.commit(scope, id, self.lies(Lie::CommitsWhateverArrived)).await?;
        Ok(committed.map(|put| match self.lie {
            Lie::EveryCommitCreates => Put { outcome: PutOutcome::Created, ..put },
            _ => put,
        }))
    }

    async fn health(&self) -> Result<Health, StoreError> {
        if self.lies(Lie::SickWhenUsed) && self.puts.load(Ordering::SeqCst) > 0 {
            return Err(StoreError::unavailable("not feeling well"));
        }
        self.inner.health().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        if self.lies(Lie::WorksAfterClose) {
            return Ok(());
        }
        if self.lies(Lie::ClosesOnce) && self.closed.swap(true, Ordering::SeqCst) {
            return Err(StoreError::closed());
        }
        self.inner.close().await
    }
}
