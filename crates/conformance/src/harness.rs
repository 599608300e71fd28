//! The interface between the suite and the tests of a driver: a [`Harness`] creates empty [`Backend`]s.
//!
//! This module must never name a check.

use std::fmt;
use std::sync::Arc;

use artifact_store_core::{ArtifactStore, BoxError, Clock, StoreError, SystemClock, async_trait};
use bytes::Bytes;

/// The options with which a check opens its store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The clock from which the store takes the creation time of records.
    pub clock: Arc<dyn Clock>,
    /// The largest artifact that the store accepts, in bytes. A check sets a small limit to test that the store
    /// enforces the limit.
    pub max_artifact_bytes: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), max_artifact_bytes: u64::MAX }
    }
}

/// Creates backends for one flavour of a driver. A flavour is a driver with one set of options.
#[async_trait]
pub trait Harness: fmt::Debug + Send + Sync + 'static {
    /// The flavour's name in reports, such as `fs` or `sqlite :memory:`.
    fn flavour(&self) -> String;

    /// Creates an empty backend. Every check gets its own backend, and dropping the backend deletes it.
    ///
    /// # Errors
    /// If the backend cannot be created. The check fails with this error.
    async fn create_backend(&self) -> Result<Box<dyn Backend>, BoxError>;
}

/// The storage under a store: a directory, a database file, a bucket, or memory.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync {
    /// Opens a bare store, which is a store without a gate, on this backend.
    ///
    /// A check may open a second store while the first is open, or after the first was closed.
    ///
    /// # Errors
    /// The errors of the driver.
    async fn open(&self, options: &StoreOptions) -> Result<Arc<dyn ArtifactStore>, StoreError>;

    /// Returns whether the storage keeps its artifacts after its stores are closed. `false` means that each open
    /// creates a new, empty store, as in memory.
    fn is_persistent(&self) -> bool;

    /// Returns everything in the raw storage that belongs to no visible artifact, one line for each item: temporary
    /// files, orphan bytes, empty directories, incomplete uploads.
    ///
    /// An implementation reads the raw storage without the verbs of the driver. The suite calls this method while
    /// stores are open, and after they are closed.
    ///
    /// # Errors
    /// If the raw storage cannot be read. The check fails with this error.
    async fn residue(&self) -> Result<Vec<String>, BoxError>;

    /// Returns a plain HTTP client that can reach the storage, for presigned URLs. `None` if the driver does not
    /// presign.
    ///
    /// The backend of a driver that presigns must return a client.
    fn http_client(&self) -> Option<Arc<dyn HttpClient>> {
        None
    }
}

/// A response to a plain HTTP request.
#[derive(Debug, Clone)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// A minimal HTTP client.
#[async_trait]
pub trait HttpClient: fmt::Debug + Send + Sync {
    /// Sends one request without credentials.
    ///
    /// # Errors
    /// If no response arrived. A response with an error status is not an error.
    async fn request(
        &self,
        method: &str,
        url: &str,
        headers: &[(String, String)],
        body: Bytes,
    ) -> Result<HttpResponse, BoxError>;
}
