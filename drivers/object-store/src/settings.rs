//! How a store works on any storage: [`ObjectStoreConfig`].
//!
//! The configurations of the clouds (`config.rs`) end as one of these. This module must never know an option of a cloud,
//! and must never send a request.

use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{Capabilities, Clock, Flag, StoreError, SystemClock};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::client::{Client, Cloud};
use crate::layout::MAX_PREFIX_BYTES;
use crate::presign::MAX_PRESIGN_EXPIRY;

/// The largest number of parts in one upload: Google Cloud Storage allows 10 000, Azure 50 000.
pub(crate) const MAX_PARTS: u64 = 10_000;
/// The largest object that Google Cloud Storage stores.
pub(crate) const MAX_OBJECT_BYTES: u64 = 5 << 40;
const MIB: u64 = 1 << 20;
/// The largest part of an upload. Parts are in memory.
pub(crate) const MAX_PART_BYTES: u64 = 64 * MIB;
/// How much the clocks of the storage and of the processes may differ.
pub(crate) const MAX_CLOCK_SKEW: Duration = Duration::from_mins(15);
/// How long the steps of a put between its requests may take, such as a wait for a thread.
const SETTLE_DELAY: Duration = Duration::from_secs(2);

/// The size limit of an artifact, in bytes: the smallest of the configured limit, the size of 10 000 parts, and 5 TiB.
pub(crate) fn max_size(part_size: u64, max_artifact_bytes: u64) -> u64 {
    max_artifact_bytes.min(part_size.saturating_mul(MAX_PARTS)).min(MAX_OBJECT_BYTES)
}

/// Whether the storage refuses to create an object that exists: `PutMode::Create`, a condition of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConditionalCreate {
    /// The storage is probed at each opening.
    #[default]
    Probe,
    /// The storage honours the condition.
    Yes,
    /// The storage ignores the condition and overwrites, or is not reliable. Puts claim their key first.
    No,
}

/// The configuration of an [`ObjectArtifactStore`](crate::ObjectArtifactStore) on any storage.
///
/// # Examples
/// ```
/// use std::sync::Arc;
///
/// use artifact_store_object_store::{ObjectArtifactStore, ObjectStoreConfig};
/// use object_store::memory::InMemory;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), artifact_store_core::StoreError> {
/// let config = ObjectStoreConfig::new(Arc::new(InMemory::new())).max_artifact_bytes(1 << 30);
/// let store = ObjectArtifactStore::open(config).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ObjectStoreConfig {
    /// The driver's name.
    pub(crate) driver: &'static str,
    pub(crate) client: Client,
    pub(crate) conditional_create: ConditionalCreate,
    /// Whether artifacts outlive the process that stores them.
    pub(crate) durable: bool,
    pub(crate) part_size: u64,
    pub(crate) part_concurrency: u64,
    pub(crate) list_concurrency: u64,
    pub(crate) max_scan: u64,
    /// How long a read waits for each chunk of a body.
    pub(crate) request_timeout: Duration,
    /// How long a request takes at most, with all its attempts.
    pub(crate) retry_timeout: Duration,
    pub(crate) upload_ttl: Duration,
    pub(crate) max_artifact_bytes: u64,
    pub(crate) clock: Arc<dyn Clock>,
}

impl ObjectStoreConfig {
    /// The default configuration of a store on `store`, whose keys have no prefix. The name of its driver is
    /// `object-store`. It is not [durable](Self::durable) and presigns nothing.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        let upload_store = Arc::clone(&store);
        let client =
            Client { store, upload_store, signer: None, prefix: Path::default(), cloud: Cloud::Other };
        Self {
            driver: "object-store",
            client,
            conditional_create: ConditionalCreate::default(),
            durable: false,
            part_size: 8 * MIB,
            part_concurrency: 2,
            list_concurrency: 32,
            max_scan: 10_000,
            request_timeout: Duration::from_secs(30),
            retry_timeout: Duration::from_mins(4),
            upload_ttl: Duration::from_hours(24),
            max_artifact_bytes: MAX_OBJECT_BYTES,
            clock: Arc::new(SystemClock),
        }
    }

    /// Sets the prefix of every key, so that several stores fit into one bucket.
    #[must_use]
    pub fn prefix(mut self, prefix: Path) -> Self {
        self.client.prefix = prefix;
        self
    }

    /// Sets whether the storage refuses to create an object that exists. By default, it is probed.
    #[must_use]
    pub fn conditional_create(mut self, conditional: ConditionalCreate) -> Self {
        self.conditional_create = conditional;
        self
    }

    /// Sets whether artifacts outlive the process that stores them, and the power of its machine: whether the store
    /// promises the flag `durable`.
    #[must_use]
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Sets the size of a part of a long upload, in bytes.
    #[must_use]
    pub fn part_size(mut self, bytes: u64) -> Self {
        self.part_size = bytes;
        self
    }

    /// Sets how many parts of one upload are sent at once.
    #[must_use]
    pub fn part_concurrency(mut self, parts: u64) -> Self {
        self.part_concurrency = parts;
        self
    }

    /// Sets how many records of a listing are read at once.
    #[must_use]
    pub fn list_concurrency(mut self, records: u64) -> Self {
        self.list_concurrency = records;
        self
    }

    /// Sets the maximum number of records that one listing reads. A listing of more records is refused.
    #[must_use]
    pub fn max_scan(mut self, records: u64) -> Self {
        self.max_scan = records;
        self
    }

    /// Sets how long a read waits for each chunk of a body. Timeouts of requests are those of the storage itself.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Sets how long a request of the storage takes at most, with all its attempts. Without
    /// [conditional creates](Self::conditional_create), the claim of a process that died ends after three times this and
    /// [`request_timeout`](Self::request_timeout), and two seconds more.
    #[must_use]
    pub fn retry_timeout(mut self, timeout: Duration) -> Self {
        self.retry_timeout = timeout;
        self
    }

    /// Sets after how long data without a record counts as an orphan, which a sweep deletes. All processes of a store need
    /// the same time. A store that puts refuses a time of less than six times [`retry_timeout`](Self::retry_timeout) and
    /// [`request_timeout`](Self::request_timeout), and about half an hour: 57 minutes with their defaults. On a storage
    /// whose uploads in parts have the time of their beginning, such as S3, half of it must be longer than any upload.
    #[must_use]
    pub fn upload_ttl(mut self, ttl: Duration) -> Self {
        self.upload_ttl = ttl;
        self
    }

    /// Sets the size limit of an artifact, in bytes. An artifact also has at most 10 000 parts, and 5 TiB.
    #[must_use]
    pub fn max_artifact_bytes(mut self, bytes: u64) -> Self {
        self.max_artifact_bytes = bytes;
        self
    }

    /// Sets the clock that gives artifacts their time.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The capabilities of a store opened with this configuration.
    pub fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new().with(Flag::Shared).max_artifact_bytes(self.max_size());
        if self.durable {
            capabilities = capabilities.with(Flag::Durable);
        }
        if self.client.signer.is_some() {
            capabilities = capabilities.with(Flag::PresignGet).max_presign_expiry(MAX_PRESIGN_EXPIRY);
        }
        capabilities
    }

    /// The size limit of an artifact, in bytes: the smallest of the configured limit, the size of 10 000 parts, and
    /// 5 TiB.
    pub(crate) fn max_size(&self) -> u64 {
        max_size(self.part_size, self.max_artifact_bytes)
    }

    /// The size of a part in bytes.
    pub(crate) fn part_bytes(&self) -> usize {
        usize::try_from(self.part_size).unwrap_or(usize::MAX)
    }

    /// How long a request without a body takes at most, with all its attempts.
    fn max_request_time(&self) -> Duration {
        self.retry_timeout.saturating_add(self.request_timeout)
    }

    /// The largest age of a put's claim at which the put may send the request that creates the record: the time of the
    /// claim and the lookup, and of the steps between them.
    pub(crate) fn max_claim_age_to_create(&self) -> Duration {
        self.max_request_time().saturating_mul(2).saturating_add(SETTLE_DELAY)
    }

    /// How long a claim is valid: until the creating request has ended, too. After this time, the process that wrote the
    /// claim is treated as dead.
    pub(crate) fn claim_lease(&self) -> Duration {
        self.max_claim_age_to_create().saturating_add(self.max_request_time())
    }

    /// The shortest `upload_ttl` of a store that puts. A put creates its record within half of `upload_ttl`, and a sweep
    /// of another machine may see objects older than they are. A sweep also deletes claims, which must have ended.
    pub(crate) fn min_upload_ttl(&self) -> Duration {
        self.claim_lease().saturating_add(MAX_CLOCK_SKEW).saturating_mul(2)
    }

    /// Refuses values with which a store cannot work. Fails with `InvalidArgument`.
    pub(crate) fn validate(&self) -> Result<(), StoreError> {
        for (name, value) in [
            ("part_size", self.part_size),
            ("part_concurrency", self.part_concurrency),
            ("list_concurrency", self.list_concurrency),
            ("max_scan", self.max_scan),
        ] {
            if value == 0 {
                return Err(StoreError::invalid_option(name, "must be 1 or more, not 0"));
            }
        }
        if self.part_size > MAX_PART_BYTES {
            return Err(StoreError::invalid_option(
                "part_size",
                "must be at most 64MiB, because parts are in memory",
            ));
        }
        if self.client.prefix.as_ref().len() > MAX_PREFIX_BYTES {
            return Err(StoreError::invalid_option(
                "prefix",
                format!("takes at most {MAX_PREFIX_BYTES} bytes"),
            ));
        }
        Ok(())
    }
}
