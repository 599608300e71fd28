//! Reads an artifact, or its record alone. Each read compares the record's scope.

use artifact_store_core::{ArtifactId, ByteRange, GetResult, Record, Scope, StoreError};

use crate::config::TemplateConfig;
use crate::error::unwritten;

/// Opens an artifact's bytes. Nothing is held while the stream is not polled.
pub(crate) async fn get(
    config: &TemplateConfig,
    scope: &Scope,
    id: &ArtifactId,
    range: Option<ByteRange>,
) -> Result<Option<GetResult>, StoreError> {
    let _ = (config, scope, id, range);
    let task = "find the record, resolve the range against its size, and return a stream of the chunks in it";
    Err(unwritten("get", "src/read.rs", task))
}

/// Reads an artifact's record.
pub(crate) async fn stat(
    config: &TemplateConfig,
    scope: &Scope,
    id: &ArtifactId,
) -> Result<Option<Record>, StoreError> {
    let _ = (config, scope, id);
    Err(unwritten("stat", "src/read.rs", "return the record, or `None` if this scope has no such artifact"))
}
