//! The driver trait [`ArtifactStore`] and the results of its verbs.
//!
//! This module must never know a driver.

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
use crate::presign::{PresignIntent, PresignedRequest};
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
    /// The same bytes were already stored in this scope and namespace. Nothing was stored, and the record is unchanged.
    AlreadyExists,
}

impl fmt::Display for PutOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::AlreadyExists => "already stored",
        })
    }
}

/// The result of a put.
#[derive(Debug, Clone, PartialEq)]
pub struct PutResult {
    /// The artifact's record: the new record, or the existing record if the outcome is
    /// [`AlreadyExists`](PutOutcome::AlreadyExists).
    pub record: Record,
    /// Whether the record is new.
    pub outcome: PutOutcome,
}

/// The result of a get.
#[derive(Debug)]
pub struct GetResult {
    /// The artifact's record. The requested range was resolved against `record.size`.
    pub record: Record,
    /// The range of the returned bytes. If the artifact ends within the requested range, this range ends there, too. If
    /// the requested range is past the end, this range is empty.
    pub range: Range<u64>,
    /// The bytes of this range.
    pub stream: ByteStream,
}

/// The status of a store that can serve requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Everything works.
    Ready,
    /// Reads work, but something else does not.
    Degraded,
}

/// The result of a health check. If the store cannot serve requests, the check returns an error instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The status.
    pub status: HealthStatus,
    /// Whether puts are currently accepted: false if the storage is full or read-only.
    pub accepts_puts: bool,
    /// A message for the operator, without secrets; `None` if there is nothing to report.
    pub detail: Option<String>,
}

impl Health {
    /// Everything works.
    pub const fn ready() -> Self {
        Self { status: HealthStatus::Ready, accepts_puts: true, detail: None }
    }

    /// Reads and puts work, but something else does not. `detail` says what does not work and what to do about it.
    pub fn degraded(detail: impl Into<String>) -> Self {
        Self { status: HealthStatus::Degraded, accepts_puts: true, detail: Some(detail.into()) }
    }

    /// Reads work, but puts are refused. `detail` says why and what to do about it.
    pub fn refusing_puts(detail: impl Into<String>) -> Self {
        Self { accepts_puts: false, ..Self::degraded(detail) }
    }
}

/// A store of artifacts. Drivers implement this trait; applications use it as `Arc<dyn ArtifactStore>`.
///
/// # For callers
/// Open a store through the facade crate, which wraps the driver in the [`Gate`](crate::Gate). Convenience methods
/// (`put_text`, `get_bytes`, `scoped`, …) are on [`ArtifactStoreExt`](crate::ArtifactStoreExt). A missing artifact is
/// `None` or `false`, never an error. All verbs may be called concurrently and are cancel-safe. If the future of a put
/// or a delete is dropped, the artifact exists as a whole or not at all, and no lock stays behind. The driver deletes
/// the bytes of an incomplete artifact by itself, perhaps after the drop. No verb returns these bytes.
///
/// # For driver authors
/// A driver is only storage. Each verb documents what the Gate guarantees to the driver and what the driver guarantees
/// in return. Every driver guarantees the following, whatever its flags are:
///
/// 1. A put writes the bytes, then the record. A delete removes the record, then the bytes. The record is the commit
///    point: if a record is visible, all its bytes can be read. A kill of the process at any moment leaves the whole
///    artifact or none. A kill may also leave orphans, which a sweep deletes.
/// 2. An artifact is never found outside its scope.
/// 3. Puts of the same bytes into the same scope and namespace have the same id, and the bytes are stored once, even if
///    the puts run concurrently. Exactly one put returns [`PutOutcome::Created`].
/// 4. Memory per operation is bounded by a constant, whatever the artifact's size. (Exception: a store in memory holds
///    each artifact's bytes once.)
/// 5. [`close`](Self::close) is idempotent. After `close`, every other verb returns
///    [`Closed`](crate::ErrorKind::Closed). If the future of any verb is dropped, no lock, no temporary file and no
///    visible partial artifact stays behind.
/// 6. Operations are linearizable per scope and id: after a put returns, every get that starts later finds the
///    artifact. After a delete returns, no get finds it.
/// 7. If [`Flag::Durable`] is advertised, acknowledged writes are durable. If a driver option weakens durability, the
///    store does not advertise the flag.
/// 8. The driver handles timeouts and retries, and both are bounded. It retries only idempotent steps.
/// 9. Listings are newest first and filtered in the storage. A page starts after a [`Position`](crate::Position), not
///    at an offset. If the storage has no index, the length of a scan is limited. A scan past the limit returns an
///    error that says to narrow the scope.
///
/// The conformance crate tests these guarantees as far as one process can. It has two tests for each flag: one for
/// stores that advertise the flag, and one for stores that do not. Separate programs test that a driver survives kills
/// and that its memory is bounded.
///
/// Wrappers implement every verb and use `#[deny(clippy::missing_trait_methods)]`, so that no verb silently uses a
/// default body.
#[async_trait]
pub trait ArtifactStore: fmt::Debug + Send + Sync + 'static {
    /// The driver's name, as in configurations.
    fn driver(&self) -> &'static str;

    /// The flags and limits of this store. They are constant while the store is open.
    fn capabilities(&self) -> Capabilities;

    /// Stores `body` in `scope`. Atomic: the artifact becomes visible as a whole, and an error leaves no part of it
    /// behind. After `Unavailable` or `Backend`, the whole artifact may exist, because the error may happen after the
    /// commit. The put can be repeated.
    ///
    /// The same bytes in one scope and namespace are one artifact, whoever puts them. The options of a second put,
    /// such as its file name, are ignored: the record keeps the options of the first put. A [`delete`](Self::delete) by
    /// one producer removes the artifact for all producers. If producers must not share artifacts, give each of them
    /// its own [`namespace`](PutOptions::namespace).
    ///
    /// *The Gate guarantees:* the options are valid, see [`PutOptions::validate`]; the body has the limit of the caller
    /// or of the store, whichever is smaller. *The driver guarantees:* it reads the body through [`Body::open`] and
    /// rolls back if the body fails; it compares the full digest before it treats two bodies as equal; the record of
    /// the first put stays.
    ///
    /// # Errors
    /// `TooLarge`, `DigestMismatch`, `InvalidArgument` (the body's source failed, or its length is not the announced
    /// length), `Conflict` (the id belongs to another digest), `Corrupt` (the data stored under the id cannot be read),
    /// `Unavailable`, `Closed`, `Backend`.
    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError>;

    /// Reads an artifact, whole or by range. `None` if the artifact does not exist in this scope.
    ///
    /// *The Gate guarantees to the caller:* scope, id, range and length of the result match the request. With
    /// [`VerifyReads::Always`](crate::VerifyReads::Always), a read of a whole artifact ends successfully only if its
    /// SHA-256 is correct. *The driver guarantees:* [`GetResult::range`] is `range` resolved against the record's size;
    /// only the stored chunks that contain the range are read; data is read only when the stream is polled.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`, `Closed`, `Backend`. The stream may end with the same errors.
    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError>;

    /// Reads an artifact's record without its bytes. `None` if the artifact does not exist in this scope.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`, `Closed`, `Backend`.
    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError>;

    /// Deletes an artifact. Returns `false` if it did not exist in this scope. After the call returns, no later read
    /// finds the artifact. A stream that was opened before the delete returns all bytes or fails.
    ///
    /// The artifact is deleted for everyone who put the same bytes into this scope and namespace: see
    /// [`put`](Self::put).
    ///
    /// # Errors
    /// `Corrupt` (the data under the artifact's key does not belong to this artifact), `Unavailable`, `Closed`,
    /// `Backend`.
    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError>;

    /// Lists records: newest first, then by id, then by [`ScopeMark`](crate::ScopeMark). Pages are stable: a row that
    /// exists during the whole listing is returned exactly once, even if other rows are put or deleted at the same
    /// time.
    ///
    /// *The Gate guarantees:* the cursor is authentic and belongs to this query. If the cursor carries the total of the
    /// listing, the query of the following page does not request it. *The driver guarantees:* it filters and sorts in
    /// the storage, starts after [`ListQuery::position`] and builds the result with [`Page::new`]. It counts for every
    /// query that requests the total, also if the query has a cursor. If the
    /// storage has no index, a scan has a limit. Past this limit the driver returns `InvalidArgument`, and the message
    /// says to narrow the scope. The driver never returns an incomplete page as complete.
    ///
    /// # Errors
    /// `InvalidArgument` (cursor, scan limit), `Corrupt`, `Unavailable`, `Closed`, `Backend`.
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError>;

    /// Signs a URL for `intent` that expires after `expiry` or earlier: see [`PresignedRequest::expires_at`]. `None` if
    /// `intent` is a download and the artifact does not exist in this scope.
    ///
    /// *The Gate guarantees:* the intent's flag is advertised, and `expiry` is within the store's limit and not zero.
    /// The options of an upload are valid, and its size is within the store's limit.
    ///
    /// # Errors
    /// `Unsupported` if the intent's flag is not advertised (the default body always returns this error); `TooLarge`
    /// for an upload; `InvalidArgument`, `Corrupt`, `Unavailable`, `Closed`, `Backend`.
    async fn presign(
        &self,
        scope: &Scope,
        intent: &PresignIntent,
        expiry: Duration,
    ) -> Result<Option<PresignedRequest>, StoreError> {
        let _ = (scope, expiry);
        Err(StoreError::unsupported(intent.flag()))
    }

    /// Commits a presigned upload: compares the digest and size of the uploaded bytes with the announced digest and
    /// size, then creates the record. `None` if the upload was not announced by [`presign`](Self::presign), or if
    /// nothing was uploaded. Idempotent: a second commit returns [`PutOutcome::AlreadyExists`].
    ///
    /// *The Gate guarantees:* [`Flag::PresignPut`] is advertised.
    ///
    /// # Errors
    /// `Unsupported` if [`Flag::PresignPut`] is not advertised (the default body always returns this error);
    /// `DigestMismatch`, `Conflict`, `Corrupt`, `Unavailable`, `Closed`, `Backend`.
    async fn commit_upload(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<PutResult>, StoreError> {
        let _ = (scope, id);
        Err(StoreError::unsupported(Flag::PresignPut))
    }

    /// Checks whether the storage can serve requests. Cheap: no artifact is read or written.
    ///
    /// # Errors
    /// `Unavailable`, `Closed`, `Backend`. The error says what is wrong and what to do about it.
    async fn health(&self) -> Result<Health, StoreError>;

    /// Closes the store. Later calls of other verbs return `Closed`. When `close` returns, the driver's background
    /// tasks have stopped. Idempotent.
    ///
    /// # Errors
    /// `Backend` if the storage did not close cleanly. The store is closed nevertheless.
    async fn close(&self) -> Result<(), StoreError>;
}
