//! Small objects that the driver writes for its own use: `FORMAT`, encryption keys, record objects, index keys,
//! reservations, claims, upload intents, the lock object of a sweep. No other module writes such objects.
//!
//! This module must never know what an object is for.

use std::collections::HashMap;

use artifact_store_core::{Bytes, Digest};

use crate::config::S3Config;
use crate::error::{Operation, RequestError};
use crate::object_client::{NewObject, ObjectClient};

/// What a put does if an object exists at the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfExists {
    /// Overwrites the object.
    Overwrite,
    /// Fails, because of the header `If-None-Match: *`. A storage that does not honour this header overwrites the
    /// object.
    Fail,
}

impl IfExists {
    /// The value of the header `If-None-Match`; `None` if it is not sent.
    pub(crate) fn if_none_match(self) -> Option<String> {
        (self == Self::Fail).then(|| "*".to_owned())
    }
}

/// An object to be put.
#[derive(Debug)]
pub(crate) struct SmallObject {
    pub(crate) key: String,
    pub(crate) bytes: Bytes,
    /// The user metadata; `None` if the object has none.
    pub(crate) metadata: Option<HashMap<String, String>>,
    pub(crate) if_exists: IfExists,
}

impl SmallObject {
    /// An object of these bytes without metadata. It overwrites an existing object.
    pub(crate) fn new(key: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self { key: key.into(), bytes: bytes.into(), metadata: None, if_exists: IfExists::Overwrite }
    }

    /// Puts the object with its SHA-256. A bucket with object lock requires a checksum.
    pub(crate) async fn put(
        self,
        config: &S3Config,
        objects: &ObjectClient,
        operation: Operation,
    ) -> Result<(), RequestError> {
        let object = NewObject {
            key: &self.key,
            digest: Digest::of(&self.bytes),
            // An empty object needs no content type.
            content_type: (!self.bytes.is_empty()).then(|| "application/json".to_owned()),
            content_disposition: None,
            metadata: self.metadata,
            if_exists: self.if_exists,
            attempt_timeout: config.request_timeout,
            bytes: self.bytes,
        };
        objects.put(object, operation).await
    }
}
