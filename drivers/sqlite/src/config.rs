//! How a store is to be opened: [`SqliteConfig`], and the table of options that configurations are read by.
//!
//! This module must never know SQL.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{
    Capabilities, Clock, Flag, OptionKind, OptionSpec, Options, StoreError, SystemClock,
};

use crate::schema;

/// The value of `path` that means a database in memory.
pub(crate) const MEMORY: &str = ":memory:";

const MAX_BUSY_TIMEOUT: Duration = Duration::from_mins(10);
const MAX_READ_CONNECTIONS: u32 = 64;

pub(crate) const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "path",
        kind: OptionKind::Text,
        default: None,
        required: true,
        about: "The database file, made where there is none; ':memory:' keeps everything in memory instead.",
    },
    OptionSpec {
        name: "synchronous",
        kind: OptionKind::Word(&["full", "normal"]),
        default: Some("full"),
        required: false,
        about: "When a put is acknowledged: 'full' after it reached the disk, 'normal' before, which takes 'durable' away.",
    },
    OptionSpec {
        name: "busy_timeout",
        kind: OptionKind::Duration,
        default: Some("5s"),
        required: false,
        about: "How long to wait for a lock that another process holds, at most 10m.",
    },
    OptionSpec {
        name: "read_connections",
        kind: OptionKind::Count,
        default: Some("4"),
        required: false,
        about: "How many reads run at once, 1 to 64; each connection takes a thread and about 2 MiB.",
    },
    OptionSpec {
        name: "page_size",
        kind: OptionKind::Size,
        default: Some("8KiB"),
        required: false,
        about: "The page size of a new database, a power of two from 512 to 64KiB; an existing one keeps its own.",
    },
    OptionSpec {
        name: "max_artifact_bytes",
        kind: OptionKind::Size,
        default: None,
        required: false,
        about: "The largest artifact that is taken; at most 1TiB, which is the default.",
    },
];

/// When a put is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// Once it has reached the disk: it survives a power cut.
    #[default]
    Full,
    /// Once the operating system has it: it survives a kill of the process, but perhaps not a power cut. The store does
    /// not advertise [`Flag::Durable`] then.
    Normal,
}

/// What a [`SqliteStore`](crate::SqliteStore) is opened with.
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
    /// `None` in memory.
    pub(crate) path: Option<PathBuf>,
    pub(crate) synchronous: Synchronous,
    pub(crate) busy_timeout: Duration,
    pub(crate) read_connections: u32,
    pub(crate) page_size: u32,
    pub(crate) max_artifact_bytes: u64,
    pub(crate) clock: Arc<dyn Clock>,
}

impl SqliteConfig {
    /// A store in the database file at `path`, which is made where there is none; its directory must be there.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self { path: Some(path.as_ref().to_owned()), ..Self::memory() }
    }

    /// A store in memory, which ends with its last handle.
    pub fn memory() -> Self {
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

    /// The same as the options of the driver's table say.
    ///
    /// # Errors
    /// `InvalidArgument` where the path is missing or a number is out of its bounds.
    pub fn from_options(options: &Options, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let defaults = Self::memory();
        let number = |name: &str, default: u32| {
            options.number(name).map_or(Ok(default), |number| {
                u32::try_from(number)
                    .map_err(|_| StoreError::invalid(format!("the option '{name}' is too large")))
            })
        };
        let path = options
            .text("path")
            .ok_or_else(|| StoreError::invalid("the driver sqlite needs the option 'path'"))?;
        let config = Self {
            path: (path != MEMORY).then(|| PathBuf::from(path)),
            synchronous: match options.text("synchronous") {
                Some("normal") => Synchronous::Normal,
                _ => Synchronous::Full,
            },
            busy_timeout: options.duration("busy_timeout").unwrap_or(defaults.busy_timeout),
            read_connections: number("read_connections", defaults.read_connections)?,
            page_size: number("page_size", defaults.page_size)?,
            max_artifact_bytes: options.number("max_artifact_bytes").unwrap_or(defaults.max_artifact_bytes),
            clock,
        };
        config.check()?;
        Ok(config)
    }

    /// The same, acknowledging puts as `synchronous` says. In memory it means nothing.
    #[must_use]
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// The same, waiting at most `timeout` for a lock that another connection holds. At most 10 minutes.
    #[must_use]
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// The same, with at most `connections` reads at once: 1 to 64. In memory there is one connection for everything.
    #[must_use]
    pub fn read_connections(mut self, connections: u32) -> Self {
        self.read_connections = connections;
        self
    }

    /// The same, with pages of `bytes` where the database is new: a power of two from 512 to 65536.
    #[must_use]
    pub fn page_size(mut self, bytes: u32) -> Self {
        self.page_size = bytes;
        self
    }

    /// The same, taking artifacts of at most `bytes`. More than 1 TiB is taken as that.
    #[must_use]
    pub fn max_artifact_bytes(mut self, bytes: u64) -> Self {
        self.max_artifact_bytes = bytes;
        self
    }

    /// The same, stamping records with the time of `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// What a store opened with this advertises.
    pub fn capabilities(&self) -> Capabilities {
        let plain = Capabilities::new().max_artifact_bytes(self.limit());
        match (&self.path, self.synchronous) {
            (None, _) => plain,
            (Some(_), Synchronous::Normal) => plain.with(Flag::Shared),
            (Some(_), Synchronous::Full) => plain.with(Flag::Shared).with(Flag::Durable),
        }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.max_artifact_bytes.min(schema::MAX_ARTIFACT_BYTES)
    }

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if self.busy_timeout > MAX_BUSY_TIMEOUT {
            return Err(StoreError::invalid("the option 'busy_timeout' is at most 10m"));
        }
        if !(1..=MAX_READ_CONNECTIONS).contains(&self.read_connections) {
            return Err(StoreError::invalid(format!(
                "the option 'read_connections' is 1 to {MAX_READ_CONNECTIONS}"
            )));
        }
        if !self.page_size.is_power_of_two() || !(512..=65_536).contains(&self.page_size) {
            return Err(StoreError::invalid("the option 'page_size' is a power of two from 512 to 64KiB"));
        }
        Ok(())
    }
}
