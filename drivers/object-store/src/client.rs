//! The storage that a store is opened on: [`Client`].
//!
//! The configuration of a cloud builds a client (`config.rs`), and every verb uses it. This module must never know what
//! a request is for.

use std::fmt;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;

use crate::presign::UrlSigner;

/// Whose storage it is. Decides which headers objects are stored with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cloud {
    /// Google Cloud Storage.
    #[cfg_attr(not(feature = "gcs"), allow(dead_code))]
    Gcs,
    /// Azure Blob Storage.
    #[cfg_attr(not(feature = "azure"), allow(dead_code))]
    Azure,
    /// An `ObjectStore` of the caller.
    Other,
}

/// The storage that a store is opened on.
#[derive(Clone)]
pub(crate) struct Client {
    /// Sends the requests, except those of `upload_store`.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Sends the requests with the bytes of artifacts, which may take longer.
    pub(crate) upload_store: Arc<dyn ObjectStore>,
    /// Signs URLs; `None` if the storage has no signer, if its credentials cannot sign, or if presigning is off.
    pub(crate) signer: Option<Arc<dyn UrlSigner>>,
    /// The prefix of every key.
    pub(crate) prefix: Path,
    pub(crate) cloud: Cloud,
}

impl fmt::Debug for Client {
    // The storage's own debug output could contain credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("prefix", &self.prefix)
            .field("cloud", &self.cloud)
            .field("signs", &self.signer.is_some())
            .finish_non_exhaustive()
    }
}
