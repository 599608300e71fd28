//! How a store is to be opened: [`S3Config`], and the table of options that configurations are read by.
//!
//! This module must never send a request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{Capabilities, Clock, Flag, Options, StoreError, SystemClock};

use crate::address;
use crate::presign::MAX_EXPIRY;

/// Parts that one upload may have; the protocol's own bound.
pub(crate) const MAX_PARTS: u64 = 10_000;
/// The largest object; the protocol's own bound.
pub(crate) const MAX_OBJECT_BYTES: u64 = 5 << 40;
/// The largest object that one request copies; the protocol's own bound.
const MAX_COPY_BYTES: u64 = 5 << 30;
const MIB: u64 = 1 << 20;

/// Whether the store honours `If-None-Match: *` on a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConditionalCreate {
    /// The store is asked once, and its answer is recorded beside the artifacts.
    #[default]
    Probe,
    /// It does.
    Yes,
    /// It does not, or is not to be relied on.
    No,
}

/// A key of one's own, instead of the default chain's.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) session_token: Option<String>,
}

/// What an [`S3Store`](crate::S3Store) is opened with. Its debug output shows no secret.
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
    pub(crate) clock: Arc<dyn Clock>,
}

impl S3Config {
    /// A store in `bucket` of AWS, with the credentials of the default chain; everything else at its default.
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
            clock: Arc::new(SystemClock),
        }
    }

    /// The same as the options of the driver's table say.
    ///
    /// # Errors
    /// `InvalidArgument` where the bucket is missing, or a value is out of its bounds.
    pub fn from_options(options: &Options, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let bucket = options
            .text("bucket")
            .ok_or_else(|| StoreError::invalid("the driver s3 needs the option 'bucket'"))?;
        let defaults = Self::bucket(bucket);
        let text = |name: &str| options.text(name).map(str::to_owned);
        let number = |name: &str, default: u64| options.number(name).unwrap_or(default);
        let duration = |name: &str, default: Duration| options.duration(name).unwrap_or(default);
        let switch = |name: &str, default: bool| options.switch(name).unwrap_or(default);
        let config = Self {
            prefix: text("prefix").unwrap_or_default(),
            endpoint: text("endpoint"),
            region: text("region").unwrap_or_else(|| defaults.region.clone()),
            path_style: switch("path_style", defaults.path_style),
            access_key_id: text("access_key_id"),
            secret_access_key: text("secret_access_key"),
            session_token: text("session_token"),
            presign_endpoint: text("presign_endpoint"),
            allow_http: switch("allow_http", defaults.allow_http),
            conditional_create: match options.text("conditional_create") {
                Some("yes") => ConditionalCreate::Yes,
                Some("no") => ConditionalCreate::No,
                _ => ConditionalCreate::Probe,
            },
            presign_put: switch("presign_put", defaults.presign_put),
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
            ..defaults
        };
        config.check()?;
        Ok(config)
    }

    /// The same, with keys that start with `prefix`, so that several stores fit into one bucket. A slash is put behind
    /// it where there is none.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The same, at a store that speaks the protocol at this address, such as `http://127.0.0.1:3900`.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// The same, with the bucket in this region.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// The same, with the bucket's name in the path of a request and not in its host.
    #[must_use]
    pub fn path_style(mut self, path_style: bool) -> Self {
        self.path_style = path_style;
        self
    }

    /// The same, with this key instead of the default chain's.
    #[must_use]
    pub fn keys(mut self, access_key_id: impl Into<String>, secret_access_key: impl Into<String>) -> Self {
        self.access_key_id = Some(access_key_id.into());
        self.secret_access_key = Some(secret_access_key.into());
        self
    }

    /// The same, with the token that temporary keys come with.
    #[must_use]
    pub fn session_token(mut self, token: impl Into<String>) -> Self {
        self.session_token = Some(token.into());
        self
    }

    /// The same, with presigned URLs that name this address.
    #[must_use]
    pub fn presign_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.presign_endpoint = Some(endpoint.into());
        self
    }

    /// The same, taking plain http beyond the loopback interface too.
    #[must_use]
    pub fn allow_http(mut self, allow: bool) -> Self {
        self.allow_http = allow;
        self
    }

    /// The same, told what the store can do instead of asking it.
    #[must_use]
    pub fn conditional_create(mut self, conditional: ConditionalCreate) -> Self {
        self.conditional_create = conditional;
        self
    }

    /// The same, with or without presigned uploads.
    #[must_use]
    pub fn presign_put(mut self, presign: bool) -> Self {
        self.presign_put = presign;
        self
    }

    /// The same, with long uploads cut into parts of `bytes`: 5 MiB to 64 MiB.
    #[must_use]
    pub fn part_size(mut self, bytes: u64) -> Self {
        self.part_size = bytes;
        self
    }

    /// The same, with `parts` of one upload under way at once: 1 to 16.
    #[must_use]
    pub fn part_concurrency(mut self, parts: u64) -> Self {
        self.part_concurrency = parts;
        self
    }

    /// The same, with `records` of a listing read at once: 1 to 256.
    #[must_use]
    pub fn list_concurrency(mut self, records: u64) -> Self {
        self.list_concurrency = records;
        self
    }

    /// The same, with listings that look at `keys` keys at most.
    #[must_use]
    pub fn max_scan(mut self, keys: u64) -> Self {
        self.max_scan = keys;
        self
    }

    /// The same, waiting `timeout` for a connection.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The same, waiting `timeout` for the answer to a request, and for each piece of a body.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// The same, sending a request that may be repeated at most so many times: 1 to 20.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u64) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// The same, taking uploads that did not end within `ttl` as abandoned.
    #[must_use]
    pub fn upload_ttl(mut self, ttl: Duration) -> Self {
        self.upload_ttl = ttl;
        self
    }

    /// The same, taking artifacts of at most `bytes`.
    #[must_use]
    pub fn max_artifact_bytes(mut self, bytes: u64) -> Self {
        self.max_artifact_bytes = bytes;
        self
    }

    /// The same, copying objects of more than `bytes` in parts. The protocol's own bound is the default; tests lower it.
    #[doc(hidden)]
    #[must_use]
    pub fn copy_limit(mut self, bytes: u64) -> Self {
        self.copy_limit = bytes;
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
        let capabilities = Capabilities::new()
            .with(Flag::Shared)
            .with(Flag::Durable)
            .with(Flag::PresignGet)
            .max_artifact_bytes(self.limit())
            .max_presign_expiry(MAX_EXPIRY);
        if self.presign_put { capabilities.with(Flag::PresignPut) } else { capabilities }
    }

    /// The largest artifact.
    pub(crate) fn limit(&self) -> u64 {
        let by_parts = self.part_size.saturating_mul(MAX_PARTS);
        self.max_artifact_bytes.min(by_parts).min(MAX_OBJECT_BYTES)
    }

    /// The size of a part, which [`check`](Self::check) bounds.
    pub(crate) fn part_bytes(&self) -> usize {
        usize::try_from(self.part_size).unwrap_or(usize::MAX)
    }

    /// The key that was given, where one was.
    pub(crate) fn key(&self) -> Option<Key> {
        let (id, secret) = self.access_key_id.clone().zip(self.secret_access_key.clone())?;
        Some(Key { id, secret, session_token: self.session_token.clone() })
    }

    /// What the store is called in errors: no secret stands in it.
    pub(crate) fn place(&self) -> &str {
        self.endpoint.as_deref().unwrap_or("AWS")
    }

    /// Refuses what cannot work, before anything is sent.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let bounds = [
            ("part_size", self.part_size, 5 * MIB, 64 * MIB),
            ("part_concurrency", self.part_concurrency, 1, 16),
            ("list_concurrency", self.list_concurrency, 1, 256),
            ("max_attempts", self.max_attempts, 1, 20),
            ("max_scan", self.max_scan, 1, u64::MAX),
        ];
        for (name, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                let most = if most == u64::MAX { "more".to_owned() } else { most.to_string() };
                return Err(StoreError::invalid(format!(
                    "the option '{name}' is {least} to {most}, not {value}"
                )));
            }
        }
        for (name, value) in
            [("connect_timeout", self.connect_timeout), ("request_timeout", self.request_timeout)]
        {
            if value.is_zero() || value > Duration::from_hours(1) {
                return Err(StoreError::invalid(format!("the option '{name}' is more than 0s, at most 1h")));
            }
        }
        address::check_bucket(&self.bucket)?;
        address::check_prefix(&self.prefix)?;
        address::check_region(&self.region)?;
        for (name, value) in [("endpoint", &self.endpoint), ("presign_endpoint", &self.presign_endpoint)] {
            if let Some(value) = value {
                address::check_endpoint(name, value, self.allow_http)?;
            }
        }
        match (&self.access_key_id, &self.secret_access_key, &self.session_token) {
            (Some(_), None, _) => Err(StoreError::invalid(
                "the option 'access_key_id' comes with 'secret_access_key'; give both, or neither to use the default chain",
            )),
            (None, Some(_), _) => Err(StoreError::invalid(
                "the option 'secret_access_key' comes with 'access_key_id'; give both, or neither to use the default chain",
            )),
            (None, None, Some(_)) => Err(StoreError::invalid(
                "the option 'session_token' comes with 'access_key_id' and 'secret_access_key'",
            )),
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
