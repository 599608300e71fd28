//! The [`Gate`]: the one wrapper between callers and drivers.
//!
//! Everything that holds for every store alike stands here and nowhere else: closed state, flags, limits, answers that
//! match their questions, digests on the way out, cursors, error context. It must never know a driver.

mod checked;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::body::{Body, Sealed};
use crate::capability::{Capabilities, Flag};
use crate::cursor::{Cursor, CursorKey, Position};
use crate::error::{ErrorContext, StoreError, Verb};
use crate::id::ArtifactId;
use crate::list::{ListQuery, Page};
use crate::presign::{PresignIntent, Presigned};
use crate::range::ByteRange;
use crate::record::{PutOptions, Record};
use crate::scope::Scope;
use crate::store::{ArtifactStore, Get, Health, Put};

use checked::CheckedStream;

/// Whether whole reads are compared with the record's SHA-256 while they flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VerifyReads {
    /// On every whole read: altered bytes never end as if complete.
    #[default]
    Always,
    /// Never: only lengths are checked. For storages that check by themselves.
    Never,
}

/// What a [`Gate`] holds its store to.
#[derive(Debug, Clone)]
pub struct GateOptions {
    /// Whether whole reads are checked.
    pub verify_reads: VerifyReads,
    /// The largest artifact in bytes, below or at what the driver takes.
    pub max_artifact_bytes: u64,
    /// The key of cursors; `None`: a fresh random one.
    pub cursor_key: Option<CursorKey>,
}

impl Default for GateOptions {
    fn default() -> Self {
        Self { verify_reads: VerifyReads::default(), max_artifact_bytes: u64::MAX, cursor_key: None }
    }
}

/// A store as callers hold it: a driver behind the checks that hold for all of them.
///
/// - After [`close`](ArtifactStore::close), every verb answers `Closed`, whatever the driver does.
/// - A verb whose flag is not advertised is `Unsupported` before the driver hears of it.
/// - Bodies carry the smaller of the caller's and the store's limit; options and filters are bounded.
/// - A put is answered with a record of the bytes that flowed: their digest, their size.
/// - An answer about another scope, id, range or filter than the question's is `Corrupt`, on every read and every row.
/// - A whole read ends only with the record's SHA-256; its last piece is held back until that is known. A read that is
///   shorter or longer than its range is `Corrupt` in any case.
/// - Cursors are sealed on the way out, opened and authenticated on the way in.
/// - Errors say driver, verb and id.
#[derive(Debug)]
pub struct Gate {
    store: Arc<dyn ArtifactStore>,
    verify_reads: VerifyReads,
    capabilities: Capabilities,
    cursor_key: CursorKey,
    closed: AtomicBool,
}

impl Gate {
    /// Puts the gate before `store`.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) where no randomness for the cursor key is to be had.
    pub fn new(store: Arc<dyn ArtifactStore>, options: GateOptions) -> Result<Self, StoreError> {
        let capabilities = store.capabilities();
        let limit = options.max_artifact_bytes.min(capabilities.artifact_bytes_limit());
        Ok(Self {
            verify_reads: options.verify_reads,
            capabilities: capabilities.max_artifact_bytes(limit),
            cursor_key: options.cursor_key.map_or_else(CursorKey::random, Ok)?,
            closed: AtomicBool::new(false),
            store,
        })
    }

    fn context(&self, verb: Verb, id: Option<&ArtifactId>) -> ErrorContext {
        ErrorContext { driver: self.store.driver(), verb, id: id.map(|id| id.as_str().to_owned()) }
    }

    /// Runs `call` unless the gate is closed, and says where its error happened.
    async fn pass<T>(
        &self,
        verb: Verb,
        id: Option<&ArtifactId>,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let result = if self.closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { call.await };
        result.map_err(|error| error.with_context(|| self.context(verb, id)))
    }

    fn need(&self, flag: Flag) -> Result<(), StoreError> {
        if self.capabilities.has(flag) { Ok(()) } else { Err(StoreError::unsupported(flag)) }
    }
}

/// The record is about what was asked for, and agrees with itself.
fn check_record(record: &Record, scope: &Scope, id: Option<&ArtifactId>) -> Result<(), StoreError> {
    if record.scope != *scope {
        return Err(StoreError::corrupt("the store answered with a record of another scope"));
    }
    if id.is_some_and(|id| record.id != *id)
        || record.id != ArtifactId::new(&record.options.namespace, &record.digest)
    {
        return Err(StoreError::corrupt("the store answered with a record of another id"));
    }
    Ok(())
}

fn check_page(page: &Page, query: &ListQuery) -> Result<(), StoreError> {
    if page.rows.len() > query.limit() as usize {
        return Err(StoreError::corrupt("the store answered with more rows than the limit"));
    }
    if !page.rows.iter().all(|row| query.matches(row)) {
        return Err(StoreError::corrupt("the store listed a row that the query does not cover"));
    }
    // The cursor of a store that is gated itself stays sealed; that gate has seen to the order after it.
    let sealed = query.cursor().is_some_and(Cursor::is_sealed);
    let mut before = if sealed { None } else { query.position()?.cloned() };
    for row in &page.rows {
        let here = Position::of(row);
        if before.is_some_and(|before| here <= before) {
            return Err(StoreError::corrupt("the store listed rows out of order"));
        }
        before = Some(here);
    }
    if page.total.is_some() != query.counts_total() {
        return Err(StoreError::corrupt("the store's total is not as the query asked"));
    }
    Ok(())
}

#[deny(clippy::missing_trait_methods)] // A verb that is not forwarded here would silently be the default one.
#[async_trait]
impl ArtifactStore for Gate {
    fn driver(&self) -> &'static str {
        self.store.driver()
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<Put, StoreError> {
        self.pass(Verb::Put, None, async {
            options.check()?;
            let namespace = options.namespace.clone();
            let mut body = body.with_limit(self.capabilities.artifact_bytes_limit());
            let witness = body.witness();
            let put = self.store.put(scope, body, options).await?;
            check_record(&put.record, scope, None)?;
            if put.record.options.namespace != namespace {
                return Err(StoreError::corrupt("the store answered with a record of another namespace"));
            }
            if witness.sealed() != Some(Sealed { digest: put.record.digest, size: put.record.size }) {
                return Err(StoreError::corrupt("the store answered with a record of other bytes"));
            }
            Ok(put)
        })
        .await
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<Get>, StoreError> {
        self.pass(Verb::Get, Some(id), async {
            let Some(get) = self.store.get(scope, id, range).await? else { return Ok(None) };
            check_record(&get.record, scope, Some(id))?;
            let whole = 0..get.record.size;
            let asked = range.map_or(whole.clone(), |range| range.resolve(get.record.size));
            if get.range != asked {
                return Err(StoreError::corrupt(format!(
                    "the store served bytes {:?} where {asked:?} were asked for",
                    get.range
                )));
            }
            let verify = self.verify_reads == VerifyReads::Always && asked == whole;
            let digest = verify.then_some(get.record.digest);
            let context = self.context(Verb::Get, Some(id));
            let stream = CheckedStream::new(get.stream, asked.end - asked.start, digest, context);
            Ok(Some(Get { stream: stream.into(), ..get }))
        })
        .await
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        self.pass(Verb::Stat, Some(id), async {
            let record = self.store.stat(scope, id).await?;
            if let Some(record) = &record {
                check_record(record, scope, Some(id))?;
            }
            Ok(record)
        })
        .await
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        self.pass(Verb::Delete, Some(id), self.store.delete(scope, id)).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.pass(Verb::List, None, async {
            query.check()?;
            let fingerprint = query.fingerprint();
            let cursor =
                query.cursor().map(|cursor| self.cursor_key.open(cursor, fingerprint)).transpose()?;
            let query = query.clone().with_cursor(cursor);
            let page = self.store.list(&query).await?;
            check_page(&page, &query)?;
            let next = page.next.map(|next| self.cursor_key.seal(&next, &fingerprint));
            Ok(Page { next, ..page })
        })
        .await
    }

    async fn presign(
        &self,
        scope: &Scope,
        intent: &PresignIntent,
        expiry: Duration,
    ) -> Result<Option<Presigned>, StoreError> {
        let id = match intent {
            PresignIntent::Get { id } => id.clone(),
            PresignIntent::Put(upload) => upload.id(),
        };
        self.pass(Verb::Presign, Some(&id), async {
            self.need(intent.flag())?;
            let limit = self.capabilities.presign_expiry_limit();
            if expiry.is_zero() || expiry > limit {
                return Err(StoreError::invalid(format!(
                    "a presigned URL lives for more than 0 and at most {} seconds",
                    limit.as_secs()
                )));
            }
            if let PresignIntent::Put(upload) = intent {
                upload.options.check()?;
                let limit = self.capabilities.artifact_bytes_limit();
                if upload.size > limit {
                    return Err(StoreError::too_large(limit));
                }
            }
            self.store.presign(scope, intent, expiry).await
        })
        .await
    }

    async fn commit_upload(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Put>, StoreError> {
        self.pass(Verb::CommitUpload, Some(id), async {
            self.need(Flag::PresignPut)?;
            let put = self.store.commit_upload(scope, id).await?;
            if let Some(put) = &put {
                check_record(&put.record, scope, Some(id))?;
            }
            Ok(put)
        })
        .await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.pass(Verb::Health, None, self.store.health()).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.closed.store(true, Ordering::Release);
        self.store.close().await.map_err(|error| error.with_context(|| self.context(Verb::Close, None)))
    }
}
