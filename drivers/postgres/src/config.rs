//! Configuration of a store: [`PostgresConfig`], and the driver's table of options.
//!
//! This module must never contain SQL.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{
    Capabilities, Clock, Flag, OptionKind, OptionSpec, Options, StoreError, SystemClock,
};

use crate::schema;

/// The driver's name.
pub(crate) const NAME: &str = "postgres";

/// The largest legal `max_connections`.
const MAX_CONNECTIONS: u32 = 1000;
/// The longest legal timeout.
const MAX_TIMEOUT: Duration = Duration::from_hours(1);
/// The shortest legal timeout.
const MIN_TIMEOUT: Duration = Duration::from_millis(10);
/// The largest length of a schema name, in bytes. PostgreSQL truncates longer names.
const MAX_SCHEMA_BYTES: usize = 63;

/// The specification of an optional driver option. If `default` is `None`, the option is unset by default.
const fn optional(
    name: &'static str,
    kind: OptionKind,
    default: Option<&'static str>,
    about: &'static str,
) -> OptionSpec {
    OptionSpec { name, kind, default, required: false, about }
}

/// The driver's options.
pub(crate) const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "url",
        kind: OptionKind::Text,
        default: None,
        required: true,
        about: "The database: postgres://user:password@host:5432/name, with sslmode and sslrootcert as in other PostgreSQL clients.",
    },
    optional(
        "schema",
        OptionKind::Text,
        Some("artifact_store"),
        "The schema that holds the tables. It is created if it does not exist. Each store needs its own.",
    ),
    optional(
        "max_connections",
        OptionKind::Count,
        Some("10"),
        "The maximum number of connections, 2 to 1000.",
    ),
    optional(
        "acquire_timeout",
        OptionKind::Duration,
        Some("5s"),
        "How long a call waits for a free connection, or for the server to accept a new one; 10ms to 1h.",
    ),
    optional(
        "upload_wait",
        OptionKind::Duration,
        Some("1m"),
        "How long a streamed put waits while three quarters of the connections are used by other streamed puts; 10ms to 1h.",
    ),
    optional(
        "statement_timeout",
        OptionKind::Duration,
        Some("30s"),
        "The time limit of one statement; 10ms to 1h.",
    ),
    optional(
        "synchronous_commit",
        OptionKind::Choice(&["on", "off"]),
        Some("on"),
        "When a put is acknowledged: 'on' after it is on the server's disk, 'off' before that. 'off' removes the flag 'durable'.",
    ),
    optional(
        "max_artifact_bytes",
        OptionKind::Size,
        None,
        "The size limit of an artifact; at most 1TiB, which is the default.",
    ),
];

/// When a put is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SynchronousCommit {
    /// A put is acknowledged after it is on the server's disk. If the server is also set to wait for its replicas, the
    /// put waits for them too.
    #[default]
    On,
    /// A put is acknowledged when the server has it in memory. An acknowledged put survives a kill of this process. It
    /// may be lost if the server is killed. The store does not have the flag [`Flag::Durable`].
    Off,
}

/// Configuration of a [`PostgresStore`](crate::PostgresStore). The debug output omits the URL, because it may contain a
/// password.
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
    /// Creates a configuration for the database at `url`, with the defaults for everything else.
    pub fn new(url: impl Into<String>) -> Self {
        // These are the defaults that `OPTIONS` documents.
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

    /// Creates a configuration from parsed driver options.
    ///
    /// # Errors
    /// `InvalidArgument` if the URL is missing or a value is out of range.
    pub fn from_options(options: &Options, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let url = options
            .text("url")
            .ok_or_else(|| StoreError::invalid_option("url", "is missing; the driver postgres needs it"))?;
        let defaults = Self::new(url);
        let config = Self {
            schema: options.text("schema").map_or(defaults.schema, str::to_owned),
            max_connections: match options.number("max_connections") {
                // A value that does not fit into `u32` becomes `u32::MAX`, and `validate` below rejects it.
                Some(number) => u32::try_from(number).unwrap_or(u32::MAX),
                None => defaults.max_connections,
            },
            acquire_timeout: options.duration("acquire_timeout").unwrap_or(defaults.acquire_timeout),
            upload_wait: options.duration("upload_wait").unwrap_or(defaults.upload_wait),
            statement_timeout: options.duration("statement_timeout").unwrap_or(defaults.statement_timeout),
            synchronous_commit: match options.text("synchronous_commit") {
                Some("off") => SynchronousCommit::Off,
                // `Options` has rejected all words except `on` and `off`. `None` means the default, `on`.
                _ => SynchronousCommit::On,
            },
            max_artifact_bytes: options.number("max_artifact_bytes").unwrap_or(defaults.max_artifact_bytes),
            url: defaults.url,
            clock,
        };
        config.validate()?;
        Ok(config)
    }

    /// Sets the name of the schema: a letter or `_`, then letters, digits and `_`, at most 63 characters. Names are
    /// case-sensitive.
    #[must_use]
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// Sets the maximum number of connections: 2 to 1000.
    #[must_use]
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.max_connections = connections;
        self
    }

    /// Sets how long a call waits for a connection: 10 ms to 1 hour.
    #[must_use]
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// Sets how long a streamed put waits for a connection: 10 ms to 1 hour.
    ///
    /// A streamed put uses its connection until its caller has sent the whole body. Streamed puts may use three
    /// quarters of the connections. Further streamed puts wait in the order of their arrival.
    #[must_use]
    pub fn upload_wait(mut self, wait: Duration) -> Self {
        self.upload_wait = wait;
        self
    }

    /// Sets the time limit of one statement: 10 ms to 1 hour.
    #[must_use]
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// Sets when puts are acknowledged.
    #[must_use]
    pub fn synchronous_commit(mut self, commit: SynchronousCommit) -> Self {
        self.synchronous_commit = commit;
        self
    }

    /// Sets the size limit of an artifact, in bytes. A value above 1 TiB is treated as 1 TiB.
    #[must_use]
    pub fn max_artifact_bytes(mut self, bytes: u64) -> Self {
        self.max_artifact_bytes = bytes;
        self
    }

    /// Sets the clock that gives records their creation time.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The capabilities of a store with this configuration. When the store is opened, it removes [`Flag::Durable`] if
    /// the server runs with `fsync` or `full_page_writes` off.
    pub fn capabilities(&self) -> Capabilities {
        let limit = self.max_artifact_bytes.min(schema::MAX_ARTIFACT_BYTES);
        let shared = Capabilities::new().max_artifact_bytes(limit).with(Flag::Shared);
        match self.synchronous_commit {
            SynchronousCommit::On => shared.with(Flag::Durable),
            SynchronousCommit::Off => shared,
        }
    }

    /// Returns `InvalidArgument` if a value is out of range, or if the name of the schema is invalid or reserved.
    pub(crate) fn validate(&self) -> Result<(), StoreError> {
        if !(2..=MAX_CONNECTIONS).contains(&self.max_connections) {
            return Err(StoreError::invalid_option(
                "max_connections",
                format!("must be 2 to {MAX_CONNECTIONS}: one for uploads, one for everything else"),
            ));
        }
        for (name, timeout) in [
            ("acquire_timeout", self.acquire_timeout),
            ("upload_wait", self.upload_wait),
            ("statement_timeout", self.statement_timeout),
        ] {
            if !(MIN_TIMEOUT..=MAX_TIMEOUT).contains(&timeout) {
                return Err(StoreError::invalid_option(name, "must be 10ms to 1h"));
            }
        }
        let starts_with_digit = self.schema.starts_with(|first: char| first.is_ascii_digit());
        let has_valid_characters =
            self.schema.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let has_valid_length = (1..=MAX_SCHEMA_BYTES).contains(&self.schema.len());
        if starts_with_digit || !has_valid_characters || !has_valid_length {
            return Err(StoreError::invalid_option(
                "schema",
                format!(
                    "must be a letter or '_', then letters, digits and '_', at most {MAX_SCHEMA_BYTES} characters"
                ),
            ));
        }
        if self.schema.starts_with("pg_") || self.schema == "information_schema" {
            return Err(StoreError::invalid_option(
                "schema",
                "is reserved by PostgreSQL; choose another schema for the store",
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
