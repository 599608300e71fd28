//! What a store is opened with: [`RedbConfig`], and the driver options that set it.
//!
//! This module must never touch the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifact_store_core::{
    Capabilities, Clock, Flag, OptionKind, OptionSpec, Options, StoreError, SystemClock,
};

use crate::schema::MAX_ARTIFACT_BYTES;

/// The driver's name.
pub(crate) const NAME: &str = "redb";

/// The default size of the page cache, in bytes. The text for the table of options is below.
const DEFAULT_CACHE_BYTES: u64 = 64 << 20;

/// The driver's options.
pub(crate) const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "path",
        kind: OptionKind::Text,
        default: None,
        required: true,
        about: "The database file. Created if missing; its directory must exist.",
    },
    OptionSpec {
        name: "cache_bytes",
        kind: OptionKind::Size,
        default: Some("64MiB"),
        required: false,
        about: "The memory for pages of the database, read or not yet written.",
    },
    OptionSpec {
        name: "max_artifact_bytes",
        kind: OptionKind::Size,
        default: Some("1TiB"),
        required: false,
        about: "The largest artifact; at most 1TiB.",
    },
];

/// The configuration of a store.
#[derive(Debug, Clone)]
pub struct RedbConfig {
    pub(crate) path: PathBuf,
    pub(crate) cache_bytes: u64,
    pub(crate) max_artifact_bytes: u64,
    pub(crate) clock: Arc<dyn Clock>,
}

impl RedbConfig {
    /// A configuration for the database file `path`, with defaults for all other options. Opening the store creates the
    /// file if it is missing.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            cache_bytes: DEFAULT_CACHE_BYTES,
            max_artifact_bytes: MAX_ARTIFACT_BYTES,
            clock: Arc::new(SystemClock),
        }
    }

    /// Sets the memory for pages of the database, in bytes.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Sets the largest size of an artifact, in bytes. A size above 1 TiB means 1 TiB.
    #[must_use]
    pub fn max_artifact_bytes(mut self, bytes: u64) -> Self {
        self.max_artifact_bytes = bytes.min(MAX_ARTIFACT_BYTES);
        self
    }

    /// Sets the clock that gives records their creation time.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a store with this configuration promises.
    pub(crate) fn capabilities(&self) -> Capabilities {
        Capabilities::new().with(Flag::Durable).max_artifact_bytes(self.max_artifact_bytes)
    }

    /// The configuration that `options` describe.
    ///
    /// # Errors
    /// `InvalidArgument` if the option `path` is missing.
    pub(crate) fn from_options(options: &Options) -> Result<Self, StoreError> {
        let path = options
            .text("path")
            .ok_or_else(|| StoreError::invalid_option("path", "is missing; the driver redb needs it"))?;
        let config = Self::new(path);
        let cache_bytes = options.number("cache_bytes").unwrap_or(config.cache_bytes);
        let max_artifact_bytes = options.number("max_artifact_bytes").unwrap_or(config.max_artifact_bytes);
        Ok(config.cache_bytes(cache_bytes).max_artifact_bytes(max_artifact_bytes))
    }
}
