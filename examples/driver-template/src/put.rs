//! Stores a body: the bytes, then the record. The record is the commit point.

use artifact_store_core::{Body, PutOptions, PutResult, Scope, StoreError};

use crate::config::TemplateConfig;
use crate::error::unwritten;

/// Puts an artifact.
pub(crate) async fn put(
    config: &TemplateConfig,
    scope: &Scope,
    body: Body,
    options: PutOptions,
) -> Result<PutResult, StoreError> {
    let _ = (config, scope, body, options);
    let task = "read `body.open(limit)?.into_stream()` to its end, call `finish`, and commit the record last";
    Err(unwritten("put", "src/put.rs", task))
}
