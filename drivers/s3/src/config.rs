//! How a store is opened: [`S3Config`], and the table of options for the driver.
//!
//! This module must never send a request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{
    Capabilities, Clock, Flag, OptionKind, OptionSpec, Options, StoreError, SystemClock,
};

use crate::validation;

/// The driver's name.
pub(crate) const NAME: &str = "s3";
/// The maximum number of parts that the protocol allows in one upload.
pub(crate) const MAX_PARTS: u64 = 10_000;
/// The largest object that the protocol allows.
pub(crate) const MAX_OBJECT_BYTES: u64 = 5 << 40;
/// The longest validity that the protocol allows for a presigned URL.
pub(crate) const MAX_PRESIGN_EXPIRY: Duration = Duration::from_hours(7 * 24);
/// The largest object that the protocol copies in one request.
const MAX_COPY_BYTES: u64 = 5 << 30;
const MIB: u64 = 1 << 20;

/// An option that may be omitted. `about` describes it for operators.
const fn option(
    name: &'static str,
    kind: OptionKind,
    default: Option<&'static str>,
    about: &'static str,
) -> OptionSpec {
    OptionSpec { name, kind, default, required: false, about }
}

/// The options of the driver.
pub(crate) const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "bucket",
        kind: OptionKind::Text,
        default: None,
        required: true,
        about: "The bucket, which must exist.",
    },
    option(
        "prefix",
        OptionKind::Text,
        None,
        "The prefix of every key, so that several stores fit into one bucket; at most 256 bytes.",
    ),
    option(
        "endpoint",
        OptionKind::Text,
        None,
        "The address of an S3-compatible server, such as http://127.0.0.1:3900; unset: AWS.",
    ),
    option("region", OptionKind::Text, Some("us-east-1"), "The bucket's region."),
    option(
        "path_style",
        OptionKind::Bool,
        Some("false"),
        "Whether the bucket is in the path of a request and not in its host; servers other than AWS often need it.",
    ),
    option(
        "access_key_id",
        OptionKind::Text,
        None,
        "The id of the access key; unset: the default chain (environment, profile, container, machine).",
    ),
    option(
        "secret_access_key",
        OptionKind::Text,
        None,
        "The secret of the access key; required with access_key_id.",
    ),
    option("session_token", OptionKind::Text, None, "The token of temporary keys."),
    option(
        "presign_endpoint",
        OptionKind::Text,
        None,
        "The address in presigned URLs, if clients reach the storage at another one.",
    ),
    option(
        "allow_http",
        OptionKind::Bool,
        Some("false"),
        "Whether plain http is allowed beyond the loopback interface.",
    ),
    option(
        "conditional_create",
        OptionKind::Choice(&["probe", "yes", "put", "no"]),
        Some("probe"),
        "Whether the storage honours If-None-Match: on each request that creates, on PutObject alone, or not; 'probe' tests it.",
    ),
    option(
        "single_writer",
        OptionKind::Bool,
        Some("false"),
        "Whether no other process writes this store; saves requests if the storage does not honour If-None-Match.",
    ),
    option(
        "listing_index",
        OptionKind::Choice(&["time", "none"]),
        Some("time"),
        "Whether a new store has index keys ordered by time. A put and a delete send one more request, and a listing \
         reads fewer records.",
    ),
    option("presign_put", OptionKind::Bool, Some("true"), "Whether uploads can be presigned."),
    option(
        "part_size",
        OptionKind::Size,
        Some("8MiB"),
        "The size of a part of a long upload, 5MiB to 64MiB; an upload has at most 10000 parts.",
    ),
    option(
        "part_concurrency",
        OptionKind::Count,
        Some("2"),
        "How many parts of one upload are sent at once, 1 to 16.",
    ),
    option(
        "list_concurrency",
        OptionKind::Count,
        Some("32"),
        "How many records of a listing are read at once, 1 to 256.",
    ),
    option(
        "max_scan",
        OptionKind::Count,
        Some("10000"),
        "The maximum number of records that one listing reads. A listing of more records is refused.",
    ),
    option("connect_timeout", OptionKind::Duration, Some("3s"), "How long to wait for a connection."),
    option(
        "request_timeout",
        OptionKind::Duration,
        Some("30s"),
        "How long to wait for the response to a request, and for each chunk of a body.",
    ),
    option(
        "max_attempts",
        OptionKind::Count,
        Some("3"),
        "The maximum number of times that a request is sent if it can be repeated.",
    ),
    option(
        "upload_ttl",
        OptionKind::Duration,
        Some("24h"),
        "After how long an unfinished upload counts as an orphan, which a sweep deletes.",
    ),
    option(
        "max_artifact_bytes",
        OptionKind::Size,
        None,
        "The size limit of an artifact; at most 10000 parts, and 5TiB.",
    ),
];

/// Whether the storage honours `If-None-Match: *` on the three requests that create an artifact: `PutObject`,
/// `CompleteMultipartUpload`, `CopyObject`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConditionalCreate {
    /// Each request is probed, and the results are recorded in the bucket.
    #[default]
    Probe,
    /// The storage honours `If-None-Match` on all three requests.
    Yes,
    /// The storage honours `If-None-Match` only on `PutObject`.
    Put,
    /// The storage does not honour `If-None-Match` on these requests, or not reliably.
    No,
}

/// Whether a new store has index keys. With index keys, a listing reads fewer records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListingIndex {
    /// Index keys ordered by time. Each put sends one more request, and so does each delete. Without a filter, a page
    /// of one session reads about as many keys and records as it has rows.
    #[default]
    Time,
    /// No index. A listing reads the record of every artifact in its scope.
    None,
}

/// An access key from the options. It is used instead of the default credentials chain.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AccessKey {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) session_token: Option<String>,
}

/// The configuration of an [`S3Store`](crate::S3Store). Its debug output shows no secret.
///
/// # Examples
/// ```
/// use artifact_store_s3::S3Config;
/// use std::time::Duration;
///
/// let config = S3Config::bucket("artifacts")
///     .prefix("staging")
///     .endpoint("http://127.0.0.1:3900")
///     .region("garage")
///     .path_style(true)
///     .keys("GK31c2f218a2e44f485b94239e", "a secret")
///     .request_timeout(Duration::from_secs(10));
/// assert!(!format!("{config:?}").contains("a secret"));
/// ```
#[derive(Clone)]
#[allow(clippy::struct_excessive_bools)] // Each one is an option.
pub struct S3Config {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) region: String,
    pub(crate) path_style: bool,
    pub(crate) access_key_id: Option<String>,
    pub(crate) secret_access_key: Option<String>,
    pub(crate) session_token: Option<String>,
    pub(crate) presign_endpoint: Option<String>,
    pub(crate) allow_http: bool,
    pub(crate) conditional_create: ConditionalCreate,
    pub(crate) single_writer: bool,
    pub(crate) listing_index: ListingIndex,
    pub(crate) presign_put: bool,
    pub(crate) part_size: u64,
    pub(crate) part_concurrency: u64,
    pub(crate) list_concurrency: u64,
    pub(crate) max_scan: u64,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) max_attempts: u64,
    pub(crate) upload_ttl: Duration,
    pub(crate) max_artifact_bytes: u64,
    pub(crate) copy_limit: u64,
    pub(crate) s3_client_only: bool,
    pub(crate) clock: Arc<dyn Clock>,
}

impl S3Config {
    /// The default configuration of a store in `bucket` at AWS. The default credentials chain provides the access key.
    pub fn bucket(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            endpoint: None,
            region: "us-east-1".into(),
            path_style: false,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            presign_endpoint: None,
            allow_http: false,
            conditional_create: ConditionalCreate::default(),
            single_writer: false,
            listing_index: ListingIndex::default(),
            presign_put: true,
            part_size: 8 * MIB,
            part_concurrency: 2,
            list_concurrency: 32,
            max_scan: 10_000,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(30),
            max_attempts: 3,
            upload_ttl: Duration::from_hours(24),
            max_artifact_bytes: MAX_OBJECT_BYTES,
            copy_limit: MAX_COPY_BYTES,
            s3_client_only: false,
            clock: Arc::new(SystemClock),
        }
    }

    /// The configuration that the driver's options describe.
    ///
    /// # Errors
    /// `InvalidArgument` if the bucket is missing, or if a value or a combination of values is not legal.
    pub fn from_options(options: &Options, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let bucket = options
            .text("bucket")
            .ok_or_else(|| StoreError::invalid_option("bucket", "is missing; the driver s3 needs it"))?;
        let defaults = Self::bucket(bucket);
        let text = |name: &str| options.text(name).map(str::to_owned);
        let number = |name: &str, default: u64| options.number(name).unwrap_or(default);
        let duration = |name: &str, default: Duration| options.duration(name).unwrap_or(default);
        let bool = |name: &str, default: bool| options.bool(name).unwrap_or(default);
        let config = Self {
            prefix: text("prefix").unwrap_or_default(),
            endpoint: text("endpoint"),
            region: text("region").unwrap_or_else(|| defaults.region.clone()),
            path_style: bool("path_style", defaults.path_style),
            access_key_id: text("access_key_id"),
            secret_access_key: text("secret_access_key"),
            session_token: text("session_token"),
            presign_endpoint: text("presign_endpoint"),
            allow_http: bool("allow_http", defaults.allow_http),
            conditional_create: match options.text("conditional_create") {
                Some("yes") => ConditionalCreate::Yes,
                Some("put") => ConditionalCreate::Put,
                Some("no") => ConditionalCreate::No,
                // The option is `probe`, or it is not set.
                _ => ConditionalCreate::Probe,
            },
            single_writer: bool("single_writer", defaults.single_writer),
            listing_index: match options.text("listing_index") {
                Some("none") => ListingIndex::None,
                // The option is `time`, or it is not set.
                _ => ListingIndex::Time,
            },
            presign_put: bool("presign_put", defaults.presign_put),
            part_size: number("part_size", defaults.part_size),
            part_concurrency: number("part_concurrency", defaults.part_concurrency),
            list_concurrency: number("list_concurrency", defaults.list_concurrency),
            max_scan: number("max_scan", defaults.max_scan),
            connect_timeout: duration("connect_timeout", defaults.connect_timeout),
            request_timeout: duration("request_timeout", defaults.request_timeout),
            max_attempts: number("max_attempts", defaults.max_attempts),
            upload_ttl: duration("upload_ttl", defaults.upload_ttl),
            max_artifact_bytes: number("max_artifact_bytes", defaults.max_artifact_bytes),
            clock,
            // `defaults` already contains the bucket. `copy_limit` and `s3_client_only` are not options.
            ..defaults
        };
        config.validate()?;
        Ok(config)
    }

    /// Sets the prefix of every key, so that several stores fit into one bucket. If the prefix does not end with a
    /// slash, a slash is appended.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the address of an S3-compatible server, such as `http://127.0.0.1:3900`.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Sets the bucket's region.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// Sets whether the bucket's name is in the path of a request and not in its host.
    #[must_use]
    pub fn path_style(mut self, path_style: bool) -> Self {
        self.path_style = path_style;
        self
    }

    /// Sets the access key. It is used instead of the default credentials chain.
    #[must_use]
    pub fn keys(mut self, access_key_id: impl Into<String>, secret_access_key: impl Into<String>) -> Self {
        self.access_key_id = Some(access_key_id.into());
        self.secret_access_key = Some(secret_access_key.into());
        self
    }

    /// Sets the session token of a temporary access key.
    #[must_use]
    pub fn session_token(mut self, token: impl Into<String>) -> Self {
        self.session_token = Some(token.into());
        self
    }

    /// Sets the address in presigned URLs, for clients that reach the storage at another address than this process.
    #[must_use]
    pub fn presign_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.presign_endpoint = Some(endpoint.into());
        self
    }

    /// Sets whether plain http is also allowed beyond the loopback interface.
    #[must_use]
    pub fn allow_http(mut self, allow: bool) -> Self {
        self.allow_http = allow;
        self
    }

    /// Sets on which requests the storage honours `If-None-Match`. The storage is probed only with
    /// [`ConditionalCreate::Probe`].
    #[must_use]
    pub fn conditional_create(mut self, conditional: ConditionalCreate) -> Self {
        self.conditional_create = conditional;
        self
    }

    /// Sets whether this is the only process that writes the store. If it is, a put does not exclude puts of other
    /// processes. This saves requests if the storage does not honour `If-None-Match`.
    #[must_use]
    pub fn single_writer(mut self, single: bool) -> Self {
        self.single_writer = single;
        self
    }

    /// Sets whether a store that is created by this opening has index keys. In an existing store, this setting has no
    /// effect.
    #[must_use]
    pub fn listing_index(mut self, index: ListingIndex) -> Self {
        self.listing_index = index;
        self
    }

    /// Sets whether uploads can be presigned.
    #[must_use]
    pub fn presign_put(mut self, presign: bool) -> Self {
        self.presign_put = presign;
        self
    }

    /// Sets the size of a part of a long upload: 5 MiB to 64 MiB.
    #[must_use]
    pub fn part_size(mut self, bytes: u64) -> Self {
        self.part_size = bytes;
        self
    }

    /// Sets how many parts of one upload are sent at once: 1 to 16.
    #[must_use]
    pub fn part_concurrency(mut self, parts: u64) -> Self {
        self.part_concurrency = parts;
        self
    }

    /// Sets how many records of a listing are read at once: 1 to 256.
    #[must_use]
    pub fn list_concurrency(mut self, records: u64) -> Self {
        self.list_concurrency = records;
        self
    }

    /// Sets how many records a listing may read. A listing of more records is refused. A listing by the index may look
    /// at 100 times as many keys.
    #[must_use]
    pub fn max_scan(mut self, records: u64) -> Self {
        self.max_scan = records;
        self
    }

    /// Sets how long to wait for a connection.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long to wait for the response to a request, and for each chunk of a body.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Sets the maximum number of attempts for a repeatable request, including the first: 1 to 20.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u64) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets the age from which an unfinished upload is an orphan. A sweep deletes orphans.
    #[must_use]
    pub fn upload_ttl(mut self, ttl: Duration) -> Self {
        self.upload_ttl = ttl;
        self
    }

    /// Sets the size limit of an artifact, in bytes.
    #[must_use]
    pub fn max_artifact_bytes(mut self, bytes: u64) -> Self {
        self.max_artifact_bytes = bytes;
        self
    }

    /// Sets the size in bytes above which objects are copied in parts. The default is 5 GiB, the protocol's limit for a
    /// copy in one request. Tests set a lower size.
    #[doc(hidden)]
    #[must_use]
    pub fn copy_limit(mut self, bytes: u64) -> Self {
        self.copy_limit = bytes;
        self
    }

    /// Sets whether all requests are sent by the S3 client, as for storages that only this client can sign for. Tests
    /// set it.
    #[doc(hidden)]
    #[must_use]
    pub fn s3_client_only(mut self, only: bool) -> Self {
        self.s3_client_only = only;
        self
    }

    /// Sets the clock that gives each record its creation time.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The capabilities of a store opened with this configuration.
    pub fn capabilities(&self) -> Capabilities {
        let capabilities = Capabilities::new()
            .with(Flag::Shared)
            .with(Flag::Durable)
            .with(Flag::PresignGet)
            .max_artifact_bytes(self.max_size())
            .max_presign_expiry(MAX_PRESIGN_EXPIRY);
        if self.presign_put { capabilities.with(Flag::PresignPut) } else { capabilities }
    }

    /// The size limit of an artifact, in bytes: the smallest of the option `max_artifact_bytes`, the size of 10 000
    /// parts, and the protocol's limit.
    pub(crate) fn max_size(&self) -> u64 {
        let by_parts = self.part_size.saturating_mul(MAX_PARTS);
        self.max_artifact_bytes.min(by_parts).min(MAX_OBJECT_BYTES)
    }

    /// The size of a part in bytes. [`validate`](Self::validate) limits it to 64 MiB, so it always fits into `usize`.
    pub(crate) fn part_bytes(&self) -> usize {
        usize::try_from(self.part_size).unwrap_or(usize::MAX)
    }

    /// The access key from the options; `None` if the options contain no key.
    pub(crate) fn access_key(&self) -> Option<AccessKey> {
        let (id, secret) = self.access_key_id.clone().zip(self.secret_access_key.clone())?;
        Some(AccessKey { id, secret, session_token: self.session_token.clone() })
    }

    /// The server's name in errors. It contains no secret, because [`validate`](Self::validate) refuses an endpoint
    /// with a password.
    pub(crate) fn server_name(&self) -> &str {
        self.endpoint.as_deref().unwrap_or("AWS")
    }

    /// Refuses a configuration that cannot work, before any request is sent. Fails with `InvalidArgument`.
    pub(crate) fn validate(&self) -> Result<(), StoreError> {
        // The option's name, its value, the smallest legal value and the largest legal value.
        let number_ranges = [
            ("part_size", self.part_size, 5 * MIB, 64 * MIB),
            ("part_concurrency", self.part_concurrency, 1, 16),
            ("list_concurrency", self.list_concurrency, 1, 256),
            ("max_attempts", self.max_attempts, 1, 20),
            ("max_scan", self.max_scan, 1, u64::MAX),
        ];
        for (name, value, min, max) in number_ranges {
            if !(min..=max).contains(&value) {
                let range =
                    if max == u64::MAX { format!("{min} or more") } else { format!("{min} to {max}") };
                return Err(StoreError::invalid_option(name, format!("must be {range}, not {value}")));
            }
        }
        for (name, value) in
            [("connect_timeout", self.connect_timeout), ("request_timeout", self.request_timeout)]
        {
            if value.is_zero() || value > Duration::from_hours(1) {
                return Err(StoreError::invalid_option(name, "must be more than 0s and at most 1h"));
            }
        }
        validation::check_bucket(&self.bucket)?;
        validation::check_prefix(&self.prefix)?;
        validation::check_region(&self.region)?;
        for (name, value) in [("endpoint", &self.endpoint), ("presign_endpoint", &self.presign_endpoint)] {
            if let Some(value) = value {
                validation::check_endpoint(name, value, self.allow_http)?;
            }
        }
        match (&self.access_key_id, &self.secret_access_key, &self.session_token) {
            (Some(_), None, _) => Err(StoreError::invalid_option(
                "access_key_id",
                "needs its secret; set both, or neither to use the default chain",
            )
            .with_option("secret_access_key")),
            (None, Some(_), _) => Err(StoreError::invalid_option(
                "secret_access_key",
                "needs the id of its key; set both, or neither to use the default chain",
            )
            .with_option("access_key_id")),
            (None, None, Some(_)) => {
                Err(StoreError::invalid_option("session_token", "needs the id of a key and its secret")
                    .with_option("access_key_id")
                    .with_option("secret_access_key"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Config")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("key", if self.access_key_id.is_some() { &"given, redacted" } else { &"default chain" })
            .finish_non_exhaustive()
    }
}
