//! [`Tuning`]: the options that the drivers gcs and azure both have, without the location and the credentials.
//!
//! This module must never know a cloud, and must never send a request.

use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{Clock, Options, StoreError, SystemClock};
use object_store::{ClientOptions, RetryConfig};

use crate::client::Client;
use crate::settings::{self, ConditionalCreate, MAX_OBJECT_BYTES, MAX_PART_BYTES, ObjectStoreConfig};

/// The slowest upload that does not fail: a request that sends bytes has one second more for each of these.
const MIN_UPLOAD_BYTES_PER_SECOND: u64 = 256 * 1024;

const MIB: u64 = 1 << 20;

/// The options that both drivers have, without the location and the credentials.
#[derive(Debug, Clone)]
pub(crate) struct Tuning {
    pub(crate) allow_http: bool,
    pub(crate) conditional_create: ConditionalCreate,
    pub(crate) part_size: u64,
    pub(crate) part_concurrency: u64,
    pub(crate) list_concurrency: u64,
    pub(crate) max_scan: u64,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) max_attempts: u64,
    pub(crate) retry_timeout: Duration,
    pub(crate) upload_ttl: Duration,
    pub(crate) max_artifact_bytes: u64,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            allow_http: false,
            conditional_create: ConditionalCreate::default(),
            part_size: 8 * MIB,
            part_concurrency: 2,
            list_concurrency: 32,
            max_scan: 10_000,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(30),
            max_attempts: 3,
            retry_timeout: Duration::from_mins(1),
            upload_ttl: Duration::from_hours(24),
            max_artifact_bytes: MAX_OBJECT_BYTES,
            clock: Arc::new(SystemClock),
        }
    }
}

impl Tuning {
    /// The values in `options`. They are not validated.
    pub(crate) fn from_options(options: &Options, clock: Arc<dyn Clock>) -> Self {
        let defaults = Self::default();
        let number = |name: &str, default: u64| options.number(name).unwrap_or(default);
        let duration = |name: &str, default: Duration| options.duration(name).unwrap_or(default);
        Self {
            allow_http: options.bool("allow_http").unwrap_or(defaults.allow_http),
            conditional_create: match options.text("conditional_create") {
                Some("yes") => ConditionalCreate::Yes,
                Some("no") => ConditionalCreate::No,
                // The option is `probe`, or it is not set.
                _ => ConditionalCreate::Probe,
            },
            part_size: number("part_size", defaults.part_size),
            part_concurrency: number("part_concurrency", defaults.part_concurrency),
            list_concurrency: number("list_concurrency", defaults.list_concurrency),
            max_scan: number("max_scan", defaults.max_scan),
            connect_timeout: duration("connect_timeout", defaults.connect_timeout),
            request_timeout: duration("request_timeout", defaults.request_timeout),
            max_attempts: number("max_attempts", defaults.max_attempts),
            retry_timeout: duration("retry_timeout", defaults.retry_timeout),
            upload_ttl: duration("upload_ttl", defaults.upload_ttl),
            max_artifact_bytes: number("max_artifact_bytes", defaults.max_artifact_bytes),
            clock,
        }
    }

    /// Refuses values that cannot work. Fails with `InvalidArgument`.
    pub(crate) fn validate(&self) -> Result<(), StoreError> {
        // The option's name, its value, the smallest legal value and the largest legal value.
        let number_ranges = [
            ("part_size", self.part_size, 5 * MIB, MAX_PART_BYTES),
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
        for (name, value, max, max_text) in [
            ("connect_timeout", self.connect_timeout, Duration::from_hours(1), "1h"),
            ("request_timeout", self.request_timeout, Duration::from_hours(1), "1h"),
            // A request is repeated with the same credentials, which expire after five minutes at the earliest.
            ("retry_timeout", self.retry_timeout, Duration::from_mins(4), "4m"),
        ] {
            if value.is_zero() || value > max {
                let range = format!("must be more than 0s and at most {max_text}");
                return Err(StoreError::invalid_option(name, range));
            }
        }
        Ok(())
    }

    /// The size limit of an artifact, in bytes.
    pub(crate) fn max_size(&self) -> u64 {
        settings::max_size(self.part_size, self.max_artifact_bytes)
    }

    /// What a store of the driver `driver` on `client` works with.
    pub(crate) fn store_config(&self, driver: &'static str, client: Client) -> ObjectStoreConfig {
        ObjectStoreConfig {
            driver,
            client,
            conditional_create: self.conditional_create,
            durable: true,
            part_size: self.part_size,
            part_concurrency: self.part_concurrency,
            list_concurrency: self.list_concurrency,
            max_scan: self.max_scan,
            request_timeout: self.request_timeout,
            retry_timeout: self.retry_timeout,
            upload_ttl: self.upload_ttl,
            max_artifact_bytes: self.max_size(),
            clock: Arc::clone(&self.clock),
        }
    }

    /// How connections to `endpoint` are made, for requests without a body or with a small one. An attempt has
    /// `request_timeout` to receive the response, and then for each chunk of its body.
    pub(crate) fn client_options(&self, endpoint: &str) -> ClientOptions {
        self.client_options_with(endpoint, self.request_timeout)
    }

    /// How connections to `endpoint` are made for requests that send the bytes of artifacts. The time until the response
    /// includes that of sending the body, so an attempt has one second more for each 256 KiB that are sent at once.
    pub(crate) fn upload_client_options(&self, endpoint: &str) -> ClientOptions {
        let in_flight = self.part_size.saturating_mul(self.part_concurrency);
        let send_time = Duration::from_secs(in_flight / MIN_UPLOAD_BYTES_PER_SECOND);
        self.client_options_with(endpoint, self.request_timeout.saturating_add(send_time))
    }

    fn client_options_with(&self, endpoint: &str, read_timeout: Duration) -> ClientOptions {
        ClientOptions::new()
            .with_allow_http(endpoint.starts_with("http://"))
            .with_connect_timeout(self.connect_timeout)
            .with_read_timeout(read_timeout)
            .with_timeout_disabled()
    }

    /// How often and for how long a request is repeated.
    pub(crate) fn retry_config(&self) -> RetryConfig {
        RetryConfig {
            max_retries: usize::try_from(self.max_attempts.saturating_sub(1)).unwrap_or(usize::MAX),
            retry_timeout: self.retry_timeout,
            ..RetryConfig::default()
        }
    }
}

/// The setters of [`Tuning`], for a configuration with a field `tuning`.
macro_rules! tuning_setters {
    () => {
        /// Sets whether plain http is also allowed beyond the loopback interface.
        #[must_use]
        pub fn allow_http(mut self, allow: bool) -> Self {
            self.tuning.allow_http = allow;
            self
        }

        /// Sets whether the storage refuses to create an object that exists. The storage is probed only with
        /// [`ConditionalCreate::Probe`](crate::ConditionalCreate::Probe).
        #[must_use]
        pub fn conditional_create(mut self, conditional: crate::ConditionalCreate) -> Self {
            self.tuning.conditional_create = conditional;
            self
        }

        /// Sets the size of a part of a long upload: 5 MiB to 64 MiB.
        #[must_use]
        pub fn part_size(mut self, bytes: u64) -> Self {
            self.tuning.part_size = bytes;
            self
        }

        /// Sets how many parts of one upload are sent at once: 1 to 16.
        #[must_use]
        pub fn part_concurrency(mut self, parts: u64) -> Self {
            self.tuning.part_concurrency = parts;
            self
        }

        /// Sets how many records of a listing are read at once: 1 to 256.
        #[must_use]
        pub fn list_concurrency(mut self, records: u64) -> Self {
            self.tuning.list_concurrency = records;
            self
        }

        /// Sets how many records a listing may read. A listing of more records is refused.
        #[must_use]
        pub fn max_scan(mut self, records: u64) -> Self {
            self.tuning.max_scan = records;
            self
        }

        /// Sets how long to wait for a connection.
        #[must_use]
        pub fn connect_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.tuning.connect_timeout = timeout;
            self
        }

        /// Sets how long to wait for the response to a request, and for each chunk of a body.
        #[must_use]
        pub fn request_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.tuning.request_timeout = timeout;
            self
        }

        /// Sets the maximum number of attempts for a repeatable request, including the first: 1 to 20.
        #[must_use]
        pub fn max_attempts(mut self, attempts: u64) -> Self {
            self.tuning.max_attempts = attempts;
            self
        }

        /// Sets how long after its first attempt a request may be sent again: at most 4 minutes.
        #[must_use]
        pub fn retry_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.tuning.retry_timeout = timeout;
            self
        }

        /// Sets the age from which an unfinished upload is an orphan. A sweep deletes orphans.
        #[must_use]
        pub fn upload_ttl(mut self, ttl: std::time::Duration) -> Self {
            self.tuning.upload_ttl = ttl;
            self
        }

        /// Sets the size limit of an artifact, in bytes.
        #[must_use]
        pub fn max_artifact_bytes(mut self, bytes: u64) -> Self {
            self.tuning.max_artifact_bytes = bytes;
            self
        }

        /// Sets the clock that gives each record its creation time.
        #[must_use]
        pub fn clock(mut self, clock: std::sync::Arc<dyn artifact_store_core::Clock>) -> Self {
            self.tuning.clock = clock;
            self
        }
    };
}

pub(crate) use tuning_setters;
