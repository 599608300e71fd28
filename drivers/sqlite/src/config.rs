//! The configuration of a store: [`SqliteConfig`], and the table of driver options.
//!
//! This module must never contain SQL.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{
    Capabilities, Clock, Flag, OptionKind, OptionSpec, Options, StoreError, SystemClock,
};

use crate::schema;

/// The driver's name.
pub(crate) const NAME: &str = "sqlite";
/// The value of `path` for a database in memory.
pub(crate) const MEMORY: &str = ":memory:";

/// The largest legal `busy_timeout`.
const MAX_BUSY_TIMEOUT: Duration = Duration::from_mins(10);
/// The largest legal number of `read_connections`. Each connection needs a thread and about 2 MiB.
const MAX_READ_CONNECTIONS: u32 = 64;

/// The driver's options.
pub(crate) const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "path",
        kind: OptionKind::Text,
        default: None,
        required: true,
        about: "The database file. Created if missing. ':memory:' keeps everything in memory instead.",
    },
    OptionSpec {
        name: "synchronous",
        kind: OptionKind::Choice(&["full", "normal"]),
        default: Some("full"),
        required: false,
        about: "When a put is acknowledged: 'full' after it is synced to disk, 'normal' before. With 'normal' the store is not durable.",
    },
    OptionSpec {
        name: "busy_timeout",
        kind: OptionKind::Duration,
        default: Some("5s"),
        required: false,
        about: "The longest wait for a lock that another process holds, at most 10m.",
    },
    OptionSpec {
        name: "read_connections",
        kind: OptionKind::Count,
        default: Some("4"),
        required: false,
        about: "The maximum number of concurrent reads, 1 to 64. Each connection needs a thread and about 2 MiB.",
    },
    OptionSpec {
        name: "page_size",
        kind: OptionKind::Size,
        default: Some("8KiB"),
        required: false,
        about: "The page size of a new database, a power of two from 512 to 64KiB. An existing database keeps its page size.",
    },
    OptionSpec {
        name: "max_artifact_bytes",
        kind: OptionKind::Size,
        default: None,
        required: false,
        about: "The largest artifact. At most 1TiB, which is the default.",
    },
];

/// When a put is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// A put is acknowledged after it is synced to disk. An acknowledged put survives a power failure.
    #[default]
    Full,
    /// A put is acknowledged after it is written to the operating system. An acknowledged put survives a kill of the
    /// process, but perhaps not a power failure. The store does not have [`Flag::Durable`].
    Normal,
}

/// The configuration of a [`SqliteStore`](crate::SqliteStore).
///
/// # Examples
/// ```
/// use artifact_store_sqlite::SqliteConfig;
/// use std::time::Duration;
///
/// let config = SqliteConfig::file("artifacts.db").busy_timeout(Duration::from_secs(2)).read_connections(8);
/// # drop(config);
/// ```
#[derive(Debug, Clone)]
pub struct SqliteConfig {
    /// `None` for a database in memory.
    pub(crate) path: Option<PathBuf>,
    pub(crate) synchronous: Synchronous,
    pub(crate) busy_timeout: Duration,
    pub(crate) read_connections: u32,
    pub(crate) page_size: u32,
    pub(crate) max_artifact_bytes: u64,
    pub(crate) clock: Arc<dyn Clock>,
}

impl SqliteConfig {
    /// The configuration of a store in the database file at `path`. The directory of the file must exist. When a store
    /// is opened for writing, the file is created if it is missing.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self { path: Some(path.as_ref().to_owned()), ..Self::memory() }
    }

    /// The configuration of a store in memory. The artifacts of such a store are lost when it is closed or dropped.
    pub fn memory() -> Self {
        // These are the defaults that `OPTIONS` documents. A store in a file has the same defaults.
        Self {
            path: None,
            synchronous: Synchronous::default(),
            busy_timeout: Duration::from_secs(5),
            read_connections: 4,
            page_size: 8 * 1024,
            max_artifact_bytes: schema::MAX_ARTIFACT_BYTES,
            clock: Arc::new(SystemClock),
        }
    }

    /// Reads the configuration from driver options.
    ///
    /// # Errors
    /// `InvalidArgument` if the path is missing or a value is out of range.
    pub fn from_options(options: &Options, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let defaults = Self::memory();
        let u32_option = |name: &'static str, default: u32| match options.number(name) {
            Some(number) => {
                u32::try_from(number).map_err(|_| StoreError::invalid_option(name, "is too large"))
            }
            None => Ok(default),
        };
        let path = options
            .text("path")
            .ok_or_else(|| StoreError::invalid_option("path", "is missing; the driver sqlite needs it"))?;
        let config = Self {
            path: (path != MEMORY).then(|| PathBuf::from(path)),
            synchronous: match options.text("synchronous") {
                Some("normal") => Synchronous::Normal,
                // `Options` has rejected all words except `full` and `normal`. `None` means the default, `full`.
                _ => Synchronous::Full,
            },
            busy_timeout: options.duration("busy_timeout").unwrap_or(defaults.busy_timeout),
            read_connections: u32_option("read_connections", defaults.read_connections)?,
            page_size: u32_option("page_size", defaults.page_size)?,
            max_artifact_bytes: options.number("max_artifact_bytes").unwrap_or(defaults.max_artifact_bytes),
            clock,
        };
        config.validate()?;
        Ok(config)
    }

    /// Sets when puts are acknowledged. This setting has no effect on a database in memory.
    #[must_use]
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// Sets the longest wait for a lock that another connection holds, at most 10 minutes.
    #[must_use]
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Sets the maximum number of concurrent reads, 1 to 64. A database in memory uses one connection for all reads and
    /// writes.
    #[must_use]
    pub fn read_connections(mut self, connections: u32) -> Self {
        self.read_connections = connections;
        self
    }

    /// Sets the page size of a new database in bytes: a power of two from 512 to 65536.
    #[must_use]
    pub fn page_size(mut self, bytes: u32) -> Self {
        self.page_size = bytes;
        self
    }

    /// Sets the size limit of an artifact, in bytes. A value above 1 TiB is treated as 1 TiB.
    #[must_use]
    pub fn max_artifact_bytes(mut self, bytes: u64) -> Self {
        self.max_artifact_bytes = bytes;
        self
    }

    /// Sets the clock that gives each record its `created_at`.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The capabilities of a store with this configuration.
    pub fn capabilities(&self) -> Capabilities {
        let without_flags = Capabilities::new().max_artifact_bytes(self.artifact_bytes_limit());
        match (&self.path, self.synchronous) {
            (None, _) => without_flags,
            (Some(_), Synchronous::Normal) => without_flags.with(Flag::Shared),
            (Some(_), Synchronous::Full) => without_flags.with(Flag::Shared).with(Flag::Durable),
        }
    }

    /// The size limit of an artifact, in bytes.
    fn artifact_bytes_limit(&self) -> u64 {
        self.max_artifact_bytes.min(schema::MAX_ARTIFACT_BYTES)
    }

    /// Returns `InvalidArgument` if a value is out of its range.
    pub(crate) fn validate(&self) -> Result<(), StoreError> {
        if self.busy_timeout > MAX_BUSY_TIMEOUT {
            return Err(StoreError::invalid_option("busy_timeout", "takes at most 10m"));
        }
        if !(1..=MAX_READ_CONNECTIONS).contains(&self.read_connections) {
            return Err(StoreError::invalid_option(
                "read_connections",
                format!("takes 1 to {MAX_READ_CONNECTIONS}"),
            ));
        }
        if !self.page_size.is_power_of_two() || !(512..=65_536).contains(&self.page_size) {
            return Err(StoreError::invalid_option("page_size", "takes a power of two from 512 to 64KiB"));
        }
        Ok(())
    }
}
