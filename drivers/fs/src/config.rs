//! The configuration of an fs store: [`FsConfig`] and the driver options that set it.
//!
//! This module must never touch a disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifact_store_core::{
    Capabilities, Clock, Flag, OptionKind, OptionSpec, Options, StoreError, SystemClock,
};

/// The driver's name.
pub(crate) const NAME: &str = "fs";

/// The default limit on the number of files that one listing reads.
pub const DEFAULT_MAX_SCAN: u64 = 100_000;

/// The driver's options.
pub(crate) const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "root",
        kind: OptionKind::Text,
        default: None,
        required: true,
        about: "The directory that holds the store. Created if missing; its parent must exist.",
    },
    OptionSpec {
        name: "sync",
        kind: OptionKind::Choice(&["always", "never"]),
        default: Some("always"),
        required: false,
        about: "Whether a put or delete waits for fsync. With 'never' the store is not durable.",
    },
    OptionSpec {
        name: "max_scan",
        kind: OptionKind::Count,
        default: Some("100000"),
        required: false,
        about: "The maximum number of files that one listing reads. A listing of more files is refused.",
    },
    OptionSpec {
        name: "max_artifact_bytes",
        kind: OptionKind::Size,
        default: None,
        required: false,
        about: "The largest artifact. If unset, the file system is the only limit.",
    },
];

/// When acknowledged changes are synced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// A put or delete syncs its changes before it returns. The store has the flag `durable`.
    #[default]
    Always,
    /// The operating system syncs changes later. A power failure may lose or truncate artifacts that were acknowledged
    /// shortly before the failure. Every read detects a truncated file. If only the process is killed, nothing is lost.
    Never,
}

impl SyncPolicy {
    /// Whether the policy is [`Always`](Self::Always).
    pub(crate) fn is_always(self) -> bool {
        self == Self::Always
    }
}

/// The configuration of an fs store.
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
    /// A configuration for the store in the directory `root`, with defaults for all other options.
    ///
    /// Opening the store creates `root` if it is missing. A relative path is resolved against the working directory
    /// when the store is opened.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            sync: SyncPolicy::default(),
            max_scan: DEFAULT_MAX_SCAN,
            max_artifact_bytes: u64::MAX,
            clock: Arc::new(SystemClock),
        }
    }

    /// Sets the sync policy.
    ///
    /// Processes that share a root should use the same policy. A put under [`SyncPolicy::Never`] does not sync its
    /// artifact. The artifact is durable only after the operating system has synced it, or after a put of the same
    /// bytes under [`SyncPolicy::Always`] has synced it.
    #[must_use]
    pub fn sync(mut self, policy: SyncPolicy) -> Self {
        self.sync = policy;
        self
    }

    /// Sets the maximum number of files that one listing reads. A listing of more files is refused. The default is
    /// [`DEFAULT_MAX_SCAN`].
    #[must_use]
    pub fn max_scan(mut self, files: u64) -> Self {
        self.max_scan = files;
        self
    }

    /// Sets the largest size of an artifact, in bytes. By default the size is not limited.
    #[must_use]
    pub fn max_artifact_bytes(mut self, bytes: u64) -> Self {
        self.max_artifact_bytes = bytes;
        self
    }

    /// Sets the clock that gives records their creation time. The default is the system clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The directory that contains the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The capabilities of a store that is opened with this configuration.
    pub(crate) fn capabilities(&self) -> Capabilities {
        let flags = Capabilities::new().with(Flag::Shared);
        let flags = if self.sync.is_always() { flags.with(Flag::Durable) } else { flags };
        flags.max_artifact_bytes(self.max_artifact_bytes)
    }

    /// Returns the configuration that `options` describe.
    ///
    /// # Errors
    /// `InvalidArgument` if the option `root` is missing.
    pub(crate) fn from_options(options: &Options) -> Result<Self, StoreError> {
        let root = options
            .text("root")
            .ok_or_else(|| StoreError::invalid_option("root", "is missing; the driver fs needs it"))?;
        let sync = match options.text("sync") {
            Some("never") => SyncPolicy::Never,
            // `Options` accepts only `always` and `never`. The default is `always`.
            _ => SyncPolicy::Always,
        };
        let config = Self::new(root).sync(sync);
        let max_scan = options.number("max_scan").unwrap_or(config.max_scan);
        let max_artifact_bytes = options.number("max_artifact_bytes").unwrap_or(config.max_artifact_bytes);
        Ok(config.max_scan(max_scan).max_artifact_bytes(max_artifact_bytes))
    }
}
