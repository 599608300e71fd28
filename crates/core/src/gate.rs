//! The [`Gate`]: the single wrapper between callers and drivers.
//!
//! It implements everything that is the same for all stores: the closed state, flags, limits, the check that each
//! result belongs to its request, digests of reads, cursors and error context. This module must never know a driver.

mod checked;
mod results;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::body::{Body, BodyObserver};
use crate::capability::{Capabilities, Flag};
use crate::cursor::CursorKey;
use crate::error::{ErrorContext, StoreError, Verb};
use crate::id::ArtifactId;
use crate::list::{ListQuery, Page};
use crate::presign::{PresignIntent, PresignedRequest};
use crate::range::ByteRange;
use crate::record::{PutOptions, Record};
use crate::scope::Scope;
use crate::store::{ArtifactStore, GetResult, Health, PutResult};

use checked::CheckedStream;
use results::{check_page, check_put, check_record};

/// Whether the gate hashes the bytes of a read while they are streamed, and compares the hash with the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VerifyReads {
    /// Every read of a whole artifact is hashed, and so is every read of a range that the driver returns by
    /// [`RangeRead`](crate::RangeRead) and that it can check. If the hash is not the one in the record, the stream ends with
    /// an error.
    #[default]
    Always,
    /// Only the length of a read is checked. This is for storages that verify their data themselves.
    Never,
}

/// The configuration of a [`Gate`].
///
/// # Examples
/// ```
/// use artifact_store_core::{CursorKey, GateOptions, VerifyReads};
///
/// let options = GateOptions::default()
///     .with_verify_reads(VerifyReads::Never)
///     .with_max_artifact_bytes(1 << 30)
///     .with_cursor_key(CursorKey::from_secret(b"at least 16 bytes")?);
/// assert_eq!(options.max_artifact_bytes, 1 << 30);
/// # Ok::<(), artifact_store_core::StoreError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GateOptions {
    /// Whether the hash of a read is compared with the record.
    pub verify_reads: VerifyReads,
    /// The largest artifact in bytes; `u64::MAX` for no limit. The driver's own limit applies in any case.
    pub max_artifact_bytes: u64,
    /// The key that signs cursors; `None` for a new random key.
    pub cursor_key: Option<CursorKey>,
}

impl GateOptions {
    /// Sets whether the hash of a read is compared with the record.
    #[must_use]
    pub fn with_verify_reads(mut self, verify_reads: VerifyReads) -> Self {
        self.verify_reads = verify_reads;
        self
    }

    /// Limits artifacts to `bytes`.
    #[must_use]
    pub fn with_max_artifact_bytes(mut self, bytes: u64) -> Self {
        self.max_artifact_bytes = bytes;
        self
    }

    /// Signs cursors with `key`. Stores with the same key accept each other's cursors.
    #[must_use]
    pub fn with_cursor_key(mut self, key: CursorKey) -> Self {
        self.cursor_key = Some(key);
        self
    }
}

impl Default for GateOptions {
    fn default() -> Self {
        Self { verify_reads: VerifyReads::default(), max_artifact_bytes: u64::MAX, cursor_key: None }
    }
}

/// A driver behind the checks that are the same for all stores. This is the store that callers use.
///
/// - After [`close`](ArtifactStore::close), every other verb returns `Closed`, whatever the driver does.
/// - A verb whose flag is not advertised returns `Unsupported`, and the driver is not called.
/// - The limit of a body is the caller's limit or the store's limit, whichever is smaller. The sizes of options and
///   filters are limited, too.
/// - A put whose record has another digest or size than the bytes that were read returns `Corrupt`.
/// - A result with another scope, id or range than requested is `Corrupt`.
/// - A page is `Corrupt` if a row does not match the query, if rows are out of order, or if there are too many rows. It
///   is also `Corrupt` if a requested total is missing, or if the page has a total that was not requested.
/// - With [`VerifyReads::Always`], a read of a whole artifact ends successfully only if its SHA-256 or BLAKE3 is the one in
///   the record. If the driver uses [`RangeRead`](crate::RangeRead), each block of a read is checked before a byte of it is
///   returned, also in a read of a range. A read that is shorter or longer than its range is always `Corrupt`. The last
///   chunk of a read is held back until these checks have passed.
/// - Returned cursors are signed, and passed cursors are verified.
/// - The rows of a listing are counted once. If a page has the total, its cursor carries the total to the following
///   pages, and the driver is not asked for it again.
/// - Every error gets a context: the driver, the verb and, if the verb takes an id, the id.
#[derive(Debug)]
pub struct Gate {
    store: Arc<dyn ArtifactStore>,
    verify_reads: VerifyReads,
    capabilities: Capabilities,
    cursor_key: CursorKey,
    closed: AtomicBool,
}

impl Gate {
    /// Wraps `store`.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the operating system provides no randomness for the cursor
    /// key.
    pub fn new(store: Arc<dyn ArtifactStore>, options: GateOptions) -> Result<Self, StoreError> {
        let capabilities = store.capabilities();
        let limit = options.max_artifact_bytes.min(capabilities.artifact_bytes_limit());
        let cursor_key = match options.cursor_key {
            Some(key) => key,
            None => CursorKey::random()?,
        };
        Ok(Self {
            verify_reads: options.verify_reads,
            capabilities: capabilities.max_artifact_bytes(limit),
            cursor_key,
            closed: AtomicBool::new(false),
            store,
        })
    }

    fn context(&self, verb: Verb, id: Option<&ArtifactId>) -> ErrorContext {
        ErrorContext { driver: self.store.driver(), verb, id: id.map(|id| id.as_str().to_owned()) }
    }

    /// Runs `call`, or returns `Closed` if the gate is closed. Adds the context to an error.
    async fn run_unless_closed<T>(
        &self,
        verb: Verb,
        id: Option<&ArtifactId>,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let result = if self.closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { call.await };
        result.map_err(|error| error.with_context(|| self.context(verb, id)))
    }

    /// Checks a put, limits its body, and returns the observer of the body.
    fn prepare_put(&self, body: Body, options: &PutOptions) -> Result<(Body, BodyObserver), StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::closed());
        }
        options.validate()?;
        let mut body = body.with_limit(self.capabilities.artifact_bytes_limit());
        let observer = body.observer();
        Ok((body, observer))
    }

    /// Returns `Unsupported` if the store does not advertise `flag`.
    fn require_flag(&self, flag: Flag) -> Result<(), StoreError> {
        if self.capabilities.has(flag) { Ok(()) } else { Err(StoreError::unsupported(flag)) }
    }
}

#[deny(clippy::missing_trait_methods)] // A verb that is not forwarded here would silently use its default body.
#[async_trait]
impl ArtifactStore for Gate {
    fn driver(&self) -> &'static str {
        self.store.driver()
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        // Body and options are not moved into a future inside this one, as in the other verbs: it would be larger than
        // what allocators serve fast.
        let put = match self.prepare_put(body, &options) {
            Ok((body, observer)) => {
                let namespace = options.namespace.clone();
                let put = self.store.put(scope, body, options).await;
                put.and_then(|put| check_put(put, scope, &namespace, &observer))
            }
            Err(error) => Err(error),
        };
        put.map_err(|error| error.with_context(|| self.context(Verb::Put, None)))
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        self.run_unless_closed(Verb::Get, Some(id), async {
            let Some(get) = self.store.get(scope, id, range).await? else { return Ok(None) };
            check_record(&get.record, scope, Some(id))?;
            let whole = 0..get.record.size;
            let requested = range.map_or(whole.clone(), |range| range.resolve(get.record.size));
            if get.range != requested {
                return Err(StoreError::corrupt(format!(
                    "the store returned bytes {:?}, but {requested:?} were requested",
                    get.range
                )));
            }
            let mut source = get.stream;
            let mut digest = None;
            match self.verify_reads {
                VerifyReads::Never => source.stop_verifying(),
                VerifyReads::Always => match source.verifies(&get.record) {
                    Some(true) => {}
                    Some(false) => {
                        return Err(StoreError::corrupt(
                            "the store checks the bytes with the hash of another artifact",
                        ));
                    }
                    // The SHA-256 in the record is that of the whole artifact, so a part cannot be compared with it.
                    None => digest = (requested == whole).then_some(get.record.digest),
                },
            }
            let context = self.context(Verb::Get, Some(id));
            let stream = CheckedStream::new(source, requested.end - requested.start, digest, context);
            Ok(Some(GetResult { stream: stream.into(), ..get }))
        })
        .await
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        self.run_unless_closed(Verb::Stat, Some(id), async {
            let record = self.store.stat(scope, id).await?;
            if let Some(record) = &record {
                check_record(record, scope, Some(id))?;
            }
            Ok(record)
        })
        .await
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        self.run_unless_closed(Verb::Delete, Some(id), self.store.delete(scope, id)).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.run_unless_closed(Verb::List, None, async {
            query.validate()?;
            let fingerprint = query.fingerprint();
            let (inner_cursor, carried_total) = match query.cursor() {
                Some(cursor) => {
                    let (inner_cursor, total) = self.cursor_key.verify(cursor, fingerprint)?;
                    (Some(inner_cursor), total)
                }
                None => (None, None),
            };
            let mut inner_query = query.clone().with_cursor(inner_cursor);
            if carried_total.is_some() {
                inner_query = inner_query.without_total();
            }
            let page = self.store.list(&inner_query).await?;
            check_page(&page, &inner_query, &fingerprint)?;
            // The next cursor also carries a total that this page was not asked for, because a later page may be.
            let known_total = carried_total.or(page.total);
            let next = page.next.map(|next| self.cursor_key.sign(&next, known_total, &fingerprint));
            Ok(Page { rows: page.rows, total: known_total.filter(|_| query.counts_total()), next })
        })
        .await
    }

    async fn presign(
        &self,
        scope: &Scope,
        intent: &PresignIntent,
        expiry: Duration,
    ) -> Result<Option<PresignedRequest>, StoreError> {
        let id = intent.id();
        self.run_unless_closed(Verb::Presign, Some(&id), async {
            self.require_flag(intent.flag())?;
            let expiry_limit = self.capabilities.presign_expiry_limit();
            if expiry.is_zero() || expiry > expiry_limit {
                return Err(StoreError::invalid(format!(
                    "the expiry of a presigned URL must be more than 0 and at most {} seconds",
                    expiry_limit.as_secs()
                )));
            }
            if let PresignIntent::Put(upload) = intent {
                upload.options.validate()?;
                let bytes_limit = self.capabilities.artifact_bytes_limit();
                if upload.size > bytes_limit {
                    return Err(StoreError::too_large(bytes_limit));
                }
            }
            self.store.presign(scope, intent, expiry).await
        })
        .await
    }

    async fn commit_upload(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<PutResult>, StoreError> {
        self.run_unless_closed(Verb::CommitUpload, Some(id), async {
            self.require_flag(Flag::PresignPut)?;
            let put = self.store.commit_upload(scope, id).await?;
            if let Some(put) = &put {
                check_record(&put.record, scope, Some(id))?;
            }
            Ok(put)
        })
        .await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.run_unless_closed(Verb::Health, None, self.store.health()).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        // `run_unless_closed` is not used here, because it returns an error if the gate is already closed.
        self.closed.store(true, Ordering::Release);
        self.store.close().await.map_err(|error| error.with_context(|| self.context(Verb::Close, None)))
    }
}
