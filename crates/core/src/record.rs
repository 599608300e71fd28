//! The metadata of an artifact: [`Record`], its [`ArtifactRef`], and the [`PutOptions`] of the put.
//!
//! Some drivers store the JSON form of a record, so its field names cannot change. This module must never know a
//! driver.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::{Blake3Digest, Digest};
use crate::error::StoreError;
use crate::id::{ArtifactId, Namespace};
use crate::scope::Scope;
use crate::time::Timestamp;

/// The largest [`PutOptions`], in bytes of compact JSON. The limit exists because a record is always read as a whole.
pub const MAX_OPTIONS_BYTES: usize = 64 * 1024;

/// The largest number of nested containers (objects and lists) in metadata, including the metadata object itself.
/// The limit is lower than the nesting limits of common JSON parsers.
pub const MAX_METADATA_DEPTH: usize = 64;

/// Custom metadata: a JSON object.
pub type Metadata = serde_json::Map<String, serde_json::Value>;

/// Where an artifact came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The output of a tool.
    Tool,
    /// Made by the planner.
    Planner,
    /// Uploaded by a user.
    #[default]
    UserUpload,
    /// Made by the runtime itself.
    System,
}

impl Source {
    /// Every source.
    pub const ALL: &'static [Source] = &[Self::Tool, Self::Planner, Self::UserUpload, Self::System];

    /// The source's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Planner => "planner",
            Self::UserUpload => "user_upload",
            Self::System => "system",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Source {
    type Err = StoreError;
    fn from_str(text: &str) -> Result<Self, StoreError> {
        Self::ALL
            .iter()
            .copied()
            .find(|source| source.as_str() == text)
            .ok_or_else(|| StoreError::invalid("a source is one of tool, planner, user_upload, system"))
    }
}

/// The metadata that a put sets. The store keeps these options unchanged. If the artifact already exists, the store
/// keeps the options of the first put.
///
/// # Examples
/// ```
/// use artifact_store_core::{Namespace, PutOptions, Source};
///
/// let options = PutOptions {
///     media_type: Some("text/csv".into()),
///     filename: Some("report.csv".into()),
///     source: Source::Tool,
///     tags: vec!["q3".into()],
///     ..PutOptions::default()
/// };
/// assert_eq!(options.namespace, Namespace::new("default")?);
/// // The same as a chain of calls.
/// let chained = PutOptions::new()
///     .with_media_type("text/csv")
///     .with_filename("report.csv")
///     .with_source(Source::Tool)
///     .with_tag("q3");
/// assert_eq!(chained, options);
/// # Ok::<(), artifact_store_core::StoreError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PutOptions {
    /// Separates artifacts of different purposes or producers; part of the id. The same bytes in two namespaces are two
    /// artifacts. The default is `default`.
    pub namespace: Namespace,
    /// The media type (RFC 9110 §8.3). The store does not interpret it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The file name for listings and downloads. It is never used as a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// Where the bytes came from.
    pub source: Source,
    /// Tags to filter by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Custom metadata.
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
}

impl PutOptions {
    /// No media type, file name, tag or metadata; the namespace `default`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the namespace.
    #[must_use]
    pub fn with_namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }

    /// Sets the media type.
    #[must_use]
    pub fn with_media_type(mut self, media_type: impl Into<String>) -> Self {
        self.media_type = Some(media_type.into());
        self
    }

    /// Sets the file name for listings and downloads.
    #[must_use]
    pub fn with_filename(mut self, filename: impl Into<String>) -> Self {
        self.filename = Some(filename.into());
        self
    }

    /// Sets where the bytes came from.
    #[must_use]
    pub fn with_source(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn with_tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Sets one field of the custom metadata.
    #[must_use]
    pub fn with_metadata(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// Returns an error if the compact JSON of the options is larger than [`MAX_OPTIONS_BYTES`], or if the metadata is
    /// deeper than [`MAX_METADATA_DEPTH`].
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    pub fn validate(&self) -> Result<(), StoreError> {
        if self.are_obviously_small() {
            return Ok(());
        }
        // The depth is checked first, because `serde_json::to_writer` recurses into the metadata. The metadata object
        // itself is the first level, so at most `MAX_METADATA_DEPTH - 1` levels are left for its values.
        let is_value_within_depth = |value| is_within_depth(value, MAX_METADATA_DEPTH - 1);
        if !self.metadata.values().all(is_value_within_depth) {
            return Err(StoreError::invalid(format!(
                "the metadata is deeper than {MAX_METADATA_DEPTH} containers"
            )));
        }
        let mut counter = JsonSizeCounter { bytes: 0 };
        match serde_json::to_writer(&mut counter, self) {
            Ok(()) => Ok(()),
            // The counter returns an I/O error if the JSON is too long.
            Err(error) if error.is_io() => Err(StoreError::invalid(format!(
                "the options take more than {MAX_OPTIONS_BYTES} bytes of JSON"
            ))),
            Err(error) => {
                Err(StoreError::invalid("the options cannot be written as JSON").with_source(error))
            }
        }
    }
}

impl PutOptions {
    /// Whether the compact JSON has at most [`MAX_OPTIONS_BYTES`], by an estimate that is cheaper than writing the JSON.
    /// `false` says nothing.
    fn are_obviously_small(&self) -> bool {
        // In JSON, a byte of a text takes at most 6 bytes, as in `\u0000`.
        const BYTES_PER_BYTE: usize = 6;
        // More than the names of all fields with their punctuation and the source take.
        const BYTES_AROUND: usize = 256;
        // The quotes and the comma.
        const BYTES_AROUND_TAG: usize = 3;
        let Self { namespace, media_type, filename, source: _, tags, metadata } = self;
        let text_bytes = namespace.as_str().len()
            + media_type.as_ref().map_or(0, String::len)
            + filename.as_ref().map_or(0, String::len)
            + tags.iter().map(String::len).sum::<usize>();
        metadata.is_empty()
            && text_bytes
                .saturating_mul(BYTES_PER_BYTE)
                .saturating_add(tags.len().saturating_mul(BYTES_AROUND_TAG))
                .saturating_add(BYTES_AROUND)
                <= MAX_OPTIONS_BYTES
    }
}

/// Whether the containers in `value` are nested at most `levels` deep. The outermost container is level 1. A value that
/// is not a container has depth 0.
fn is_within_depth(value: &serde_json::Value, levels: usize) -> bool {
    match value {
        serde_json::Value::Array(items) => {
            levels > 0 && items.iter().all(|item| is_within_depth(item, levels - 1))
        }
        serde_json::Value::Object(map) => {
            levels > 0 && map.values().all(|item| is_within_depth(item, levels - 1))
        }
        _ => true,
    }
}

/// Counts the bytes of the options' JSON without storing them. Writing fails if there are more than
/// [`MAX_OPTIONS_BYTES`].
struct JsonSizeCounter {
    bytes: usize,
}

impl std::io::Write for JsonSizeCounter {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        self.bytes += piece.len();
        if self.bytes > MAX_OPTIONS_BYTES {
            Err(std::io::ErrorKind::FileTooLarge.into())
        } else {
            Ok(piece.len())
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The metadata of an artifact. If a record is visible, all bytes of the artifact can be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The id: the namespace and the first half of the digest.
    pub id: ArtifactId,
    /// The full SHA-256 of the bytes.
    pub digest: Digest,
    /// The BLAKE3 of the bytes, with which reads check them: see [`RangeRead`](crate::RangeRead). `None` if the artifact
    /// is small, or if the driver stores no tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<Blake3Digest>,
    /// The number of bytes.
    pub size: u64,
    /// The scope of the artifact.
    pub scope: Scope,
    /// When the store created the artifact.
    pub created_at: Timestamp,
    /// The options of the put that created the artifact.
    pub options: PutOptions,
}

impl Record {
    /// The record of bytes with `digest` and `size` in `scope`, created at `created_at`.
    pub fn new(scope: Scope, options: PutOptions, digest: Digest, size: u64, created_at: Timestamp) -> Self {
        let id = ArtifactId::new(&options.namespace, &digest);
        Self { id, digest, blake3: None, size, scope, created_at, options }
    }

    /// Sets the BLAKE3 of the bytes. A driver sets it if it also stores the [`HashTree`](crate::HashTree).
    #[must_use]
    pub fn with_blake3(mut self, blake3: Option<Blake3Digest>) -> Self {
        self.blake3 = blake3;
        self
    }

    /// The reference that a runtime passes on instead of the bytes.
    pub fn artifact_ref(&self) -> ArtifactRef {
        ArtifactRef {
            id: self.id.clone(),
            mime_type: self.options.media_type.clone(),
            size_bytes: self.size,
            filename: self.options.filename.clone(),
            sha256: self.digest,
            namespace: self.options.namespace.clone(),
            scope: self.scope.clone(),
        }
    }
}

/// A reference to an artifact. Runtimes pass it on instead of the bytes, and its JSON form is part of the wire
/// protocol. A ref grants no access: reading the bytes requires permission for the scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactRef {
    /// The artifact's id.
    pub id: ArtifactId,
    /// Its media type, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its file name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// The SHA-256 of its bytes.
    pub sha256: Digest,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its scope.
    pub scope: Scope,
}
