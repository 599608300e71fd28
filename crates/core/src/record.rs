//! What is known of an artifact: [`Record`], the [`ArtifactRef`] handed on, and the [`PutOptions`] it starts from.
//!
//! A record's JSON form is also its stored form in drivers that keep JSON, so its field names are fixed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::id::{ArtifactId, Digest, Namespace};
use crate::scope::Scope;
use crate::time::Timestamp;

/// The largest [`PutOptions`], in bytes of compact JSON. Records are read whole, so they stay small.
pub const MAX_OPTIONS_BYTES: usize = 64 * 1024;

/// The deepest metadata, in containers within each other, the metadata itself being the first: well within what every JSON
/// reader takes.
pub const MAX_METADATA_DEPTH: usize = 64;

/// Free metadata: a JSON object.
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

    /// The source's word.
    pub const fn word(self) -> &'static str {
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
        f.write_str(self.word())
    }
}

impl FromStr for Source {
    type Err = StoreError;
    fn from_str(text: &str) -> Result<Self, StoreError> {
        Self::ALL
            .iter()
            .copied()
            .find(|source| source.word() == text)
            .ok_or_else(|| StoreError::invalid("a source is one of tool, planner, user_upload, system"))
    }
}

/// What a put says about its bytes. All of it is kept as given; the first writer's options stay.
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
/// # Ok::<(), artifact_store_core::StoreError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PutOptions {
    /// Keeps purposes apart; part of the id. `default` unless said otherwise.
    pub namespace: Namespace,
    /// The media type (RFC 9110 §8.3), opaque to the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// A name for people and downloads; never used as a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// Where the bytes came from.
    pub source: Source,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Anything else.
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
}

impl PutOptions {
    /// Refuses options whose compact JSON is larger than [`MAX_OPTIONS_BYTES`], or whose metadata is deeper than
    /// [`MAX_METADATA_DEPTH`].
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    pub fn check(&self) -> Result<(), StoreError> {
        // Depth first: whatever walks the metadata after this is bounded.
        let fits = |value| depth_within(value, MAX_METADATA_DEPTH - 1);
        if !self.metadata.values().all(fits) {
            return Err(StoreError::invalid(format!(
                "the metadata is deeper than {MAX_METADATA_DEPTH} containers"
            )));
        }
        let mut size = Counter { bytes: 0 };
        match serde_json::to_writer(&mut size, self) {
            Ok(()) => Ok(()),
            Err(error) if error.is_io() => Err(StoreError::invalid(format!(
                "the options take more than {MAX_OPTIONS_BYTES} bytes of JSON"
            ))),
            Err(error) => Err(StoreError::invalid("the options are no JSON").with_source(error)),
        }
    }
}

/// Whether `value` has at most `levels` containers within each other.
fn depth_within(value: &serde_json::Value, levels: usize) -> bool {
    match value {
        serde_json::Value::Array(items) => {
            levels > 0 && items.iter().all(|item| depth_within(item, levels - 1))
        }
        serde_json::Value::Object(map) => {
            levels > 0 && map.values().all(|item| depth_within(item, levels - 1))
        }
        _ => true,
    }
}

/// Counts the bytes of the options' JSON without holding them, and ends the writing past the bound.
struct Counter {
    bytes: usize,
}

impl std::io::Write for Counter {
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

/// The metadata row of an artifact: the commit point. Whoever sees a record can read all its bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The id: namespace and the first half of the digest.
    pub id: ArtifactId,
    /// The SHA-256 of the bytes, in full.
    pub digest: Digest,
    /// Number of bytes.
    pub size: u64,
    /// The scope it was put under.
    pub scope: Scope,
    /// When the store accepted it.
    pub created_at: Timestamp,
    /// What its first writer said of it.
    pub options: PutOptions,
}

impl Record {
    /// The record of bytes with `digest` and `size`, put under `scope` at `created_at`.
    pub fn new(scope: Scope, options: PutOptions, digest: Digest, size: u64, created_at: Timestamp) -> Self {
        Self { id: ArtifactId::new(&options.namespace, &digest), digest, size, scope, created_at, options }
    }

    /// The small reference that a runtime hands on instead of the bytes.
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

/// The reference to an artifact, as runtimes pass it around and the wire spells it. It is a name, not a key: reading
/// the bytes takes the scope too, and the right to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactRef {
    /// The artifact's id.
    pub id: ArtifactId,
    /// Its media type, where one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its name for people, where one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// The SHA-256 of its bytes.
    pub sha256: Digest,
    /// Its namespace.
    pub namespace: Namespace,
    /// The scope it belongs to.
    pub scope: Scope,
}
