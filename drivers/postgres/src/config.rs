//! How a store is to be opened: [`PostgresConfig`], and the table of options that configurations are read by.
//!
//! This module must never know SQL.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{
    Capabilities, Clock, Flag, OptionKind, OptionSpec, Options, StoreError, SystemClock,
};

use crate::schema;

const MAX_CONNECTIONS: u32 = 1000;
const MAX_TIMEOUT: Duration = Duration::from_hours(1);
const MIN_TIMEOUT: Duration = Duration::from_millis(10);
/// The longest name that PostgreSQL keeps.
const MAX_SCHEMA_BYTES: usize = 63;

const fn option(
    name: &'static str,
    kind: OptionKind,
    default: Option<&'static str>,
    about: &'static str,
) -> OptionSpec {
    OptionSpec { name, kind, default, required: false, about }
}

pub(crate) const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "url",
        kind: OptionKind::Text,
        default: None,
        required: true,
        about: "The database: postgres://user:password@host:5432/name, with sslmode and sslrootcert as the clients of PostgreSQL know them.",
    },
    option(
        "schema",
        OptionKind::Text,
        Some("artifact_store"),
        "The schema that holds the tables, made where there is none; one a store.",
    ),
    option(
        "max_connections",
        OptionKind::Count,
        Some("10"),
        "How many connections the store holds at most, 2 to 1000.",
    ),
    option(
        "acquire_timeout",
        OptionKind::Duration,
        Some("5s"),
        "How long a call waits for a free connection, or for the server to accept one; 10ms to 1h.",
    ),
    option(
        "upload_wait",
        OptionKind::Duration,
        Some("1m"),
        "How long a streamed put waits for its turn, while as many as may hold a connection do; 10ms to 1h.",
    ),
    option(
        "statement_timeout",
        OptionKind::Duration,
        Some("30s"),
        "How long one statement may take; 10ms to 1h.",
    ),
    option(
        "synchronous_commit",
        OptionKind::Word(&["on", "off"]),
        Some("on"),
        "When a put is acknowledged: 'on' after it reached the server's disk, 'off' before, which takes 'durable' away.",
    ),
    option(
        "max_artifact_bytes",
        OptionKind::Size,
        None,
        "The largest artifact that is taken; at most 1TiB, which is the default.",
    ),
];

/// When a put is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SynchronousCommit {
    /// Once it has reached the server's disk. Where the server waits for its replicas too, it goes on doing so.
    #[default]
    On,
    /// Once the server has it: it survives a kill of this process, but not one of the server. The store does not
    /// advertise [`Flag::Durable`] then.
    Off,
}

/// What a [`PostgresStore`](crate::PostgresStore) is opened with. Its debug output does not show the URL, which may hold
/// a password.
///
/// # Examples
/// ```
/// use artifact_store_postgres::PostgresConfig;
/// use std::time::Duration;
///
/// let config = PostgresConfig::new("postgres://artifacts@db.example/artifacts")
///     .schema("staging")
///     .max_connections(20)
///     .statement_timeout(Duration::from_secs(10));
/// # drop(config);
/// ```
#[derive(Clone)]
pub struct PostgresConfig {
    pub(crate) url: String,
    pub(crate) schema: String,
    pub(crate) max_connections: u32,
    pub(crate) acquire_timeout: Duration,
    pub(crate) upload_wait: Duration,
    pub(crate) statement_timeout: Duration,
    pub(crate) synchronous_commit: SynchronousCommit,
    pub(crate) max_artifact_bytes: u64,
    pub(crate) clock: Arc<dyn Clock>,
}

impl PostgresConfig {
    /// A store in the database at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: "artifact_store".into(),
            max_connections: 10,
            acquire_timeout: Duration::from_secs(5),
            upload_wait: Duration::from_mins(1),
            statement_timeout: Duration::from_secs(30),
            synchronous_commit: SynchronousCommit::default(),
            max_artifact_bytes: schema::MAX_ARTIFACT_BYTES,
            clock: Arc::new(SystemClock),
        }
    }

    /// The same as the options of the driver's table say.
    ///
    /// # Errors
    /// `InvalidArgument` where the URL is missing or a number is out of its bounds.
    pub fn from_options(options: &Options, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let url = options
            .text("url")
            .ok_or_else(|| StoreError::invalid("the driver postgres needs the option 'url'"))?;
        let defaults = Self::new(url);
        let config = Self {
            schema: options.text("schema").map_or(defaults.schema, str::to_owned),
            max_connections: match options.number("max_connections") {
                // Whatever does not fit is past the bound that is checked next.
                Some(number) => u32::try_from(number).unwrap_or(u32::MAX),
                None => defaults.max_connections,
            },
            acquire_timeout: options.duration("acquire_timeout").unwrap_or(defaults.acquire_timeout),
            upload_wait: options.duration("upload_wait").unwrap_or(defaults.upload_wait),
            statement_timeout: options.duration("statement_timeout").unwrap_or(defaults.statement_timeout),
            synchronous_commit: match options.text("synchronous_commit") {
                Some("off") => SynchronousCommit::Off,
                _ => SynchronousCommit::On,
            },
            max_artifact_bytes: options.number("max_artifact_bytes").unwrap_or(defaults.max_artifact_bytes),
            url: defaults.url,
            clock,
        };
        config.check()?;
        Ok(config)
    }

    /// The same, in the schema called `name`: a letter or `_`, then letters, digits and `_`, at most 63. Lower and upper
    /// case differ.
    #[must_use]
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// The same, with at most `connections` connections: 2 to 1000.
    #[must_use]
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.max_connections = connections;
        self
    }

    /// The same, waiting at most `timeout` for a connection: 10 ms to 1 hour.
    #[must_use]
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// The same, where a streamed put waits at most `wait` for its turn: 10 ms to 1 hour. Three quarters of the connections
    /// may be held by streamed puts, each for as long as its caller sends; the next ones wait in the order in which they came.
    #[must_use]
    pub fn upload_wait(mut self, wait: Duration) -> Self {
        self.upload_wait = wait;
        self
    }

    /// The same, with statements of at most `timeout`: 10 ms to 1 hour.
    #[must_use]
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// The same, acknowledging puts as `commit` says.
    #[must_use]
    pub fn synchronous_commit(mut self, commit: SynchronousCommit) -> Self {
        self.synchronous_commit = commit;
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

    /// What a store opened with this advertises, unless its server turns out not to keep what it is told to keep.
    pub fn capabilities(&self) -> Capabilities {
        let limit = self.max_artifact_bytes.min(schema::MAX_ARTIFACT_BYTES);
        let shared = Capabilities::new().max_artifact_bytes(limit).with(Flag::Shared);
        match self.synchronous_commit {
            SynchronousCommit::On => shared.with(Flag::Durable),
            SynchronousCommit::Off => shared,
        }
    }

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if !(2..=MAX_CONNECTIONS).contains(&self.max_connections) {
            return Err(StoreError::invalid(format!(
                "the option 'max_connections' is 2 to {MAX_CONNECTIONS}: one for uploads, one for everything else"
            )));
        }
        for (name, timeout) in [
            ("acquire_timeout", self.acquire_timeout),
            ("upload_wait", self.upload_wait),
            ("statement_timeout", self.statement_timeout),
        ] {
            if !(MIN_TIMEOUT..=MAX_TIMEOUT).contains(&timeout) {
                return Err(StoreError::invalid(format!("the option '{name}' is 10ms to 1h")));
            }
        }
        let mut letters = self.schema.bytes();
        let legal = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
            && self.schema.len() <= MAX_SCHEMA_BYTES;
        if !legal {
            return Err(StoreError::invalid(format!(
                "the option 'schema' is a letter or '_', then letters, digits and '_', at most {MAX_SCHEMA_BYTES}"
            )));
        }
        if self.schema.starts_with("pg_") || self.schema == "information_schema" {
            return Err(StoreError::invalid(
                "the option 'schema' names a schema of the server's own; give the store one of its own",
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("schema", &self.schema)
            .field("max_connections", &self.max_connections)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("upload_wait", &self.upload_wait)
            .field("statement_timeout", &self.statement_timeout)
            .field("synchronous_commit", &self.synchronous_commit)
            .field("max_artifact_bytes", &self.max_artifact_bytes)
            .finish_non_exhaustive()
    }
}
