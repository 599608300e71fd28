//! What a driver's test gives to the suite: a [`Harness`] that makes empty [`Place`]s.
//!
//! This module must never know a check.

use std::fmt;
use std::sync::Arc;

use artifact_store_core::{ArtifactStore, BoxError, Clock, StoreError, SystemClock, async_trait};
use bytes::Bytes;

/// How a check wants its store opened.
#[derive(Debug, Clone)]
pub struct OpenWith {
    /// The clock that stamps records.
    pub clock: Arc<dyn Clock>,
    /// The store's bound on artifacts, in bytes: the driver's own option, so that its number can be put to the proof.
    pub max_artifact_bytes: u64,
}

impl Default for OpenWith {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), max_artifact_bytes: u64::MAX }
    }
}

/// Makes places for one flavour of a driver: the driver with one set of options.
#[async_trait]
pub trait Harness: fmt::Debug + Send + Sync + 'static {
    /// The flavour's name in reports, such as `fs` or `sqlite :memory:`.
    fn flavour(&self) -> String;

    /// A fresh, empty place. Every check gets one of its own; it is removed when dropped.
    ///
    /// # Errors
    /// Whatever keeps the place from being made; the check fails with it.
    async fn place(&self) -> Result<Box<dyn Place>, BoxError>;
}

/// Where one store keeps its artifacts: a directory, a database file, a bucket, or nothing but memory.
#[async_trait]
pub trait Place: fmt::Debug + Send + Sync {
    /// Opens a bare store here: the first one, a second one beside it, or again after the first was closed.
    ///
    /// # Errors
    /// The driver's own.
    async fn open(&self, with: &OpenWith) -> Result<Arc<dyn ArtifactStore>, StoreError>;

    /// Whether the place outlives its stores. In memory there is nothing to open again: each open is a store of its own.
    fn outlives_stores(&self) -> bool;

    /// Everything in the raw storage that belongs to no visible artifact, one line each: temporary files, orphan bytes,
    /// empty folders, half uploads. Asked by other means than the driver's own verbs, while stores are open or after.
    ///
    /// # Errors
    /// Where the raw storage cannot be looked at; the check fails with it.
    async fn residue(&self) -> Result<Vec<String>, BoxError>;

    /// A plain HTTP client that reaches the storage, for presigned URLs. A driver that presigns must give one.
    fn http_client(&self) -> Option<Arc<dyn HttpClient>> {
        None
    }
}

/// A response to a plain HTTP request.
#[derive(Debug, Clone)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// The least an HTTP client can do.
#[async_trait]
pub trait HttpClient: fmt::Debug + Send + Sync {
    /// Sends one request without credentials.
    ///
    /// # Errors
    /// Where no response came; a failing status is a response.
    async fn request(
        &self,
        method: &str,
        url: &str,
        headers: &[(String, String)],
        body: Bytes,
    ) -> Result<HttpResponse, BoxError>;
}
