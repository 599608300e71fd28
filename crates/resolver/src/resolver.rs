//! One call for each method of the protocol: [`Resolver`].
//!
//! Every call makes its checks in this order: the form of the request, the tenant, the user and the session, the
//! payload and its size, the existence of the artifact, the capability of the store.

mod events;
mod read;
mod runtime;
mod write;

use std::sync::Arc;
use std::time::Instant;

use artifact_store_core::{ArtifactId, ArtifactStore, EventLog, StoreError};
use artifact_store_protocol::{Code, LimitSource, SizeLimit};

pub use self::events::SubscribeOptions;
pub use self::read::DownloadResult;
pub use self::write::UploadResult;
use crate::bus::EventBus;
use crate::health::StoreHealth;
use crate::options::{ResolverOptions, RuntimeDescription};
use crate::refusal::Refusal;

/// The policy over a store: who may do what, within which limits, and with which code a request is refused.
///
/// # Examples
/// ```
/// use artifact_store_core::{Gate, GateOptions, Scope};
/// # use artifact_store_inmem::{InmemConfig, InmemStore};
/// use artifact_store_protocol::{Code, GetRefRequest, GetRequest, PutRequest};
/// use artifact_store_resolver::{Caller, Resolver, ResolverOptions};
/// # use std::sync::Arc;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// # let store = Arc::new(Gate::new(Arc::new(InmemStore::new(InmemConfig::new())), GateOptions::default())?);
/// // `store` comes from `artifact_store::open`.
/// let resolver = Resolver::new(store, ResolverOptions::default());
/// let ada = Caller::new(&Scope::new("acme", "ada", "session-1")?);
/// let put = resolver.put(&ada, PutRequest { bytes: "a report".into(), ..PutRequest::default() }).await?;
/// let id = put.artifact.id.to_string();
///
/// let get = resolver.get(&ada, GetRequest { id: id.clone(), ..GetRequest::default() }).await?;
/// assert_eq!(get.content, "a report");
///
/// // This store cannot presign. For bob, the artifact does not exist.
/// let refused = resolver.get_ref(&ada, GetRefRequest { id: id.clone(), ..Default::default() }).await.unwrap_err();
/// assert_eq!(refused.code(), Code::PresignUnsupported);
/// let bob = Caller::new(&Scope::new("acme", "bob", "session-1")?);
/// let refused = resolver.get_ref(&bob, GetRefRequest { id, ..Default::default() }).await.unwrap_err();
/// assert_eq!(refused.code(), Code::NotFound);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Resolver {
    store: Arc<dyn ArtifactStore>,
    options: ResolverOptions,
    bus: EventBus,
    started: Instant,
    health: StoreHealth,
}

impl Resolver {
    /// Creates a resolver over `store`. The store should be behind its gate: `artifact_store::open` opens such a store.
    /// Subscribers receive only the events of this resolver.
    pub fn new(store: Arc<dyn ArtifactStore>, options: ResolverOptions) -> Self {
        let bus = EventBus::new(options.bus_limits());
        Self::with_bus(store, options, bus)
    }

    /// Creates a resolver whose subscribers receive the events of every resolver on `log`, in one order. `log` must be
    /// on the same storage as `store`; `artifact_store::open_event_log` opens such a log. The call needs a Tokio
    /// runtime.
    ///
    /// A put, upload or delete that publishes an event returns when this event was written to the log and read back
    /// from the log. The call waits for this at most 1 second. While the log cannot be written, up to 8192 events wait
    /// in memory and are published later. Further events are lost.
    ///
    /// The resolver does not close `log`. Close `log` after [`close_events`](Self::close_events).
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn with_event_log(
        store: Arc<dyn ArtifactStore>,
        options: ResolverOptions,
        log: Arc<dyn EventLog>,
    ) -> Result<Self, StoreError> {
        let bus = EventBus::replicated(options.bus_limits(), log).await?;
        Ok(Self::with_bus(store, options, bus))
    }

    fn with_bus(store: Arc<dyn ArtifactStore>, options: ResolverOptions, bus: EventBus) -> Self {
        let health = StoreHealth::new(Arc::clone(&store));
        Self { store, options, bus, started: Instant::now(), health }
    }

    /// The configured description of the runtime.
    pub fn runtime(&self) -> &RuntimeDescription {
        &self.options.runtime
    }

    /// The largest artifact that `artifacts.put` accepts: the smaller of the configured limit and the limit of the
    /// store.
    pub fn put_limit(&self) -> SizeLimit {
        self.apply_store_limit(self.options.put_limit())
    }

    /// The largest artifact that an upload accepts: the smaller of the configured limit and the limit of the store.
    pub fn upload_limit(&self) -> SizeLimit {
        self.apply_store_limit(self.options.upload_limit())
    }

    /// The smaller of `configured` and the limit of the store.
    fn apply_store_limit(&self, configured: SizeLimit) -> SizeLimit {
        let store_bytes = self.store.capabilities().artifact_bytes_limit();
        if store_bytes < configured.bytes {
            SizeLimit { bytes: store_bytes, source: LimitSource::Store }
        } else {
            configured
        }
    }
}

/// Parses the id in a request. Returns `None` if the text is not an id. The method of the resolver then refuses the
/// request with `not_found`, as for a missing artifact, but only after the authorization.
///
/// # Errors
/// `invalid_request` if the text is empty.
fn parse_id(text: &str) -> Result<Option<ArtifactId>, Refusal> {
    if text.is_empty() {
        return Err(Refusal::new(Code::InvalidRequest, "the member `id` is empty"));
    }
    Ok(text.parse().ok())
}
