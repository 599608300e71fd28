//! The driver trait, [`ArtifactStore`], and what its verbs answer.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::capability::{Capabilities, Flag};
use crate::error::StoreError;
use crate::id::ArtifactId;
use crate::list::{ListQuery, Page};
use crate::presign::{PresignIntent, Presigned};
use crate::range::ByteRange;
use crate::record::{PutOptions, Record};
use crate::scope::Scope;
use crate::stream::ByteStream;

/// Whether a put stored something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PutOutcome {
    /// The artifact is new.
    Created,
    /// The same bytes stood already under this scope and namespace; nothing was stored, their record stays as it was.
    StoodAlready,
}

impl fmt::Display for PutOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::StoodAlready => "stood already",
        })
    }
}

/// The answer to a put.
#[derive(Debug, Clone, PartialEq)]
pub struct Put {
    /// The artifact's record: the new one, or the one that stood.
    pub record: Record,
    /// Which of the two.
    pub outcome: PutOutcome,
}

/// The answer to a get.
#[derive(Debug)]
pub struct Get {
    /// The artifact's record; its `size` is the total that the range was resolved against.
    pub record: Record,
    /// The bytes served, which may be fewer than asked for; empty where the range lies past the end.
    pub range: Range<u64>,
    /// Exactly these bytes.
    pub stream: ByteStream,
}

/// How well a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Everything works.
    Ready,
    /// Reads work, something else does not.
    Degraded,
}

/// The answer to a health probe that could be answered. A store that cannot serve answers with an error instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// How well it is.
    pub status: HealthStatus,
    /// Whether it takes puts at present: false where its storage is full, or may only be read.
    pub takes_puts: bool,
    /// What an operator should know, in a sentence without secrets.
    pub detail: Option<String>,
}

impl Health {
    /// Everything works.
    pub const fn ready() -> Self {
        Self { status: HealthStatus::Ready, takes_puts: true, detail: None }
    }

    /// Reads work, something else does not: what it is, and what to do about it.
    pub fn degraded(detail: impl Into<String>) -> Self {
        Self { status: HealthStatus::Degraded, takes_puts: true, detail: Some(detail.into()) }
    }

    /// Reads work and puts are refused: why, and what to do about it.
    pub fn refusing_puts(detail: impl Into<String>) -> Self {
        Self { takes_puts: false, ..Self::degraded(detail) }
    }
}

/// A store of artifacts: the trait that a driver implements and that runtimes hold as `Arc<dyn ArtifactStore>`.
///
/// # For callers
/// Open a store through the facade crate, which puts the [`Gate`](crate::Gate) around the driver; the comforts
/// (`put_text`, `get_bytes`, `scoped`, …) are on [`ArtifactStoreExt`](crate::ArtifactStoreExt). Absence is `None` or
/// `false`, never an error. All verbs may be called concurrently and are cancel-safe: a dropped future leaves the whole
/// artifact or none of it, no lock, and nothing that the driver does not clear away by itself.
///
/// # For driver authors
/// A driver is bare storage. For each argument, what the Gate guarantees to the driver and what the driver guarantees
/// back is said at the verb. Every driver guarantees, whatever its flags:
///
/// 1. Bytes first, record last; record away first, bytes after. The record is the commit point: whoever sees it can read
///    all its bytes. A kill at any moment leaves the whole artifact or none, plus perhaps orphan bytes that a sweep
///    removes.
/// 2. Nothing is found outside its scope.
/// 3. The same scope, namespace and bytes give the same id and are stored once, however many race; exactly one put
///    answers [`PutOutcome::Created`].
/// 4. Memory per operation is bounded by a constant, whatever the artifact's size. (A store in memory holds the bytes,
///    once.)
/// 5. [`close`](Self::close) is idempotent; after it every verb answers [`Closed`](crate::ErrorKind::Closed). A dropped
///    future leaves no lock, temporary file or visible half artifact behind.
/// 6. Linearizable per scope and id: after a put returns, every get that starts later sees it; after a delete returns,
///    none does.
/// 7. Acknowledged means durable, where [`Flag::Durable`] is advertised. A looser policy is an option that takes the flag
///    away.
/// 8. Time-outs and retries are the driver's business, bounded; only steps that may be repeated are tried again.
/// 9. Lists are newest first, filtered in the storage and paged by position. Where the storage has no index, the scan is
///    bounded, and past the bound the answer says to narrow the scope.
///
/// The conformance crate proves these, and each flag both ways, as far as one process can; that a driver survives kills and
/// that its memory stays bounded is proved by programs that kill it and measure it.
///
/// Wrappers implement every verb and carry `#[deny(clippy::missing_trait_methods)]`, so that none falls back to a
/// default body in silence.
#[async_trait]
pub trait ArtifactStore: fmt::Debug + Send + Sync + 'static {
    /// The driver's name, as configuration spells it.
    fn driver(&self) -> &'static str;

    /// What this store promises beyond the contract. Constant for the life of the store.
    fn capabilities(&self) -> Capabilities;

    /// Stores `body` under `scope`. Atomic: nothing is visible before all of it is, and on any error nothing is left.
    ///
    /// *The Gate guarantees:* the options are small enough; the body carries the caller's and the store's limit.
    /// *The driver guarantees:* it reads the body through [`Body::open`] and rolls back on its errors; the full digest
    /// is compared before anything counts as the same; the first writer's record stays.
    ///
    /// # Errors
    /// `TooLarge`, `DigestMismatch`, `InvalidArgument` (the body's source failed or its length is not as announced),
    /// `Conflict` (the id is taken by another digest), `Corrupt` (what stands under the id cannot be read), `Unavailable`,
    /// `Closed`, `Backend`.
    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<Put, StoreError>;

    /// Reads an artifact, whole or by range. `None` where there is none under this scope.
    ///
    /// *The Gate guarantees to the caller:* scope, id, range and length of the answer are right, and a whole read ends
    /// only if its SHA-256 does. *The driver guarantees:* [`Get::range`] is `range` resolved against the record's size;
    /// only the storage's pieces that hold the range are read; reading goes no faster than the stream is polled.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`, `Closed`, `Backend`; the same may end the stream.
    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<Get>, StoreError>;

    /// Reads an artifact's record without its bytes. `None` where there is none under this scope.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`, `Closed`, `Backend`.
    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError>;

    /// Removes an artifact; `false` where there was none under this scope. Once it returns, no later read finds it. A
    /// stream that is flowing already ends whole or fails.
    ///
    /// # Errors
    /// `Corrupt` (something else stands in the artifact's place), `Unavailable`, `Closed`, `Backend`.
    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError>;

    /// Lists records: newest first, ties by id, then by [`ScopeMark`](crate::ScopeMark). Pages are stable: rows that
    /// stand throughout are neither skipped nor shown twice, whatever is put or deleted meanwhile.
    ///
    /// *The Gate guarantees:* the cursor is genuine and of this query. *The driver guarantees:* it filters and orders in
    /// the storage, starts after [`ListQuery::position`] and builds its answer with [`Page::new`]. Where the storage has
    /// no index, a scan past its bound is refused as `InvalidArgument` that says to narrow the scope; a page that looks
    /// whole is whole.
    ///
    /// # Errors
    /// `InvalidArgument` (cursor, scan bound), `Corrupt`, `Unavailable`, `Closed`, `Backend`.
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError>;

    /// Signs a URL for `intent` that lives for `expiry`. `None` where a download is asked and there is no such artifact
    /// under this scope.
    ///
    /// *The Gate guarantees:* the intent's flag is advertised, and `expiry` is within the store's limit and not zero.
    ///
    /// # Errors
    /// `Unsupported` with the intent's flag, which is the default body; `InvalidArgument`, `Unavailable`, `Closed`,
    /// `Backend`.
    async fn presign(
        &self,
        scope: &Scope,
        intent: &PresignIntent,
        expiry: Duration,
    ) -> Result<Option<Presigned>, StoreError> {
        let _ = (scope, expiry);
        Err(StoreError::unsupported(intent.flag()))
    }

    /// Commits a presigned upload: checks that what arrived is what was announced, and only then makes the record.
    /// `None` where nothing was announced or nothing arrived. Idempotent: a second commit says *stood already*.
    ///
    /// *The Gate guarantees:* [`Flag::PresignPut`] is advertised.
    ///
    /// # Errors
    /// `Unsupported`, which is the default body; `DigestMismatch`, `Conflict`, `Unavailable`, `Closed`, `Backend`.
    async fn commit_upload(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Put>, StoreError> {
        let _ = (scope, id);
        Err(StoreError::unsupported(Flag::PresignPut))
    }

    /// Asks the storage whether it can serve, cheaply: no artifact is read or written.
    ///
    /// # Errors
    /// `Unavailable`, `Closed`, `Backend`: what is wrong and what to do about it.
    async fn health(&self) -> Result<Health, StoreError>;

    /// Ends the store: no verb starts after it, what the driver runs in the background has stopped when it returns.
    /// Idempotent.
    ///
    /// # Errors
    /// `Backend` where the storage could not be ended in order; the store is closed all the same.
    async fn close(&self) -> Result<(), StoreError>;
}
