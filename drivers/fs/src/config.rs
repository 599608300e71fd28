//! What a store is opened with: [`FsConfig`], and the table of options that configurations and URLs spell.
//!
//! This module must never touch a disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifact_store_core::{
    Capabilities, Clock, DriverInfo, Flag, OptionKind, OptionSpec, Options, StoreError, SystemClock, UrlForm,
};

/// Most files that one listing looks at, where nothing else is said.
pub const DEFAULT_MAX_SCAN: u64 = 100_000;

/// The driver's row in a registry.
pub(crate) static INFO: DriverInfo = DriverInfo {
    name: "fs",
    about: "Artifacts as files under one directory.",
    options: &[
        OptionSpec {
            name: "root",
            kind: OptionKind::Text,
            default: None,
            required: true,
            about: "The directory that holds the store; made where it is missing, its parent is not.",
        },
        OptionSpec {
            name: "sync",
            kind: OptionKind::Word(&["always", "never"]),
            default: Some("always"),
            required: false,
            about: "Whether a put or delete waits until the disk holds it; 'never' gives up the flag durable.",
        },
        OptionSpec {
            name: "max_scan",
            kind: OptionKind::Count,
            default: Some("100000"),
            required: false,
            about: "Most files that one listing looks at; past it the listing is refused.",
        },
        OptionSpec {
            name: "max_artifact_bytes",
            kind: OptionKind::Size,
            default: None,
            required: false,
            about: "The largest artifact; unset, only the file system sets a bound.",
        },
    ],
    url: UrlForm::Path("root"),
    bytes_cannot_change: false,
};

/// When an acknowledged change is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// Before the call returns: the store is `DURABLE`.
    #[default]
    Always,
    /// Whenever the operating system writes it back: a power cut may lose or cut what was acknowledged shortly before
    /// it; a cut file is found out on every read. A kill of the process alone loses nothing.
    Never,
}

impl SyncPolicy {
    pub(crate) fn is_always(self) -> bool {
        self == Self::Always
    }
}

/// How a store is opened.
///
/// # Examples
/// ```
/// use artifact_store_fs::{FsConfig, SyncPolicy};
///
/// let config = FsConfig::new("/var/lib/artifacts").sync(SyncPolicy::Never).max_scan(10_000);
/// assert_eq!(config.root(), std::path::Path::new("/var/lib/artifacts"));
/// ```
#[derive(Debug, Clone)]
pub struct FsConfig {
    pub(crate) root: PathBuf,
    pub(crate) sync: SyncPolicy,
    pub(crate) max_scan: u64,
    pub(crate) max_artifact_bytes: u64,
    pub(crate) clock: Arc<dyn Clock>,
}

impl FsConfig {
    /// The store in the directory `root`, which is made on opening where it is missing; a relative path counts from
    /// the working directory at that moment. Everything else at its default.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            sync: SyncPolicy::default(),
            max_scan: DEFAULT_MAX_SCAN,
            max_artifact_bytes: u64::MAX,
            clock: Arc::new(SystemClock),
        }
    }

    /// The same with another sync policy. Processes that share a root had better agree on it: a put with
    /// [`SyncPolicy::Never`] is durable only once something else synced it.
    #[must_use]
    pub fn sync(mut self, policy: SyncPolicy) -> Self {
        self.sync = policy;
        self
    }

    /// The same with listings that look at `files` files at most ([`DEFAULT_MAX_SCAN`] unless said otherwise).
    #[must_use]
    pub fn max_scan(mut self, files: u64) -> Self {
        self.max_scan = files;
        self
    }

    /// The same with artifacts of `bytes` at most.
    #[must_use]
    pub fn max_artifact_bytes(mut self, bytes: u64) -> Self {
        self.max_artifact_bytes = bytes;
        self
    }

    /// The same with the clock that stamps records.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The directory that holds the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What a store opened so advertises.
    pub(crate) fn capabilities(&self) -> Capabilities {
        let flags = Capabilities::new().with(Flag::Shared);
        let flags = if self.sync.is_always() { flags.with(Flag::Durable) } else { flags };
        flags.max_artifact_bytes(self.max_artifact_bytes)
    }

    /// The configuration that `options` spell.
    pub(crate) fn from_options(options: &Options) -> Result<Self, StoreError> {
        let root = options
            .text("root")
            .ok_or_else(|| StoreError::invalid("the driver fs needs the option 'root'"))?;
        let sync = match options.text("sync") {
            Some("never") => SyncPolicy::Never,
            _ => SyncPolicy::Always,
        };
        let config = Self::new(root).sync(sync);
        let max_scan = options.number("max_scan").unwrap_or(config.max_scan);
        let max_artifact_bytes = options.number("max_artifact_bytes").unwrap_or(config.max_artifact_bytes);
        Ok(config.max_scan(max_scan).max_artifact_bytes(max_artifact_bytes))
    }
}
