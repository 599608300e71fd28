//! One call for each method: [`Resolver`]. Every call asks in one order: shape of the request, tenant, user and session, bounds
//! of the payload and size, existence, capability.

use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, ByteStream, Cursor, EventLog, Flag, Get, ListQuery,
    PresignIntent, PutOutcome, Record, StoreError,
};
use artifact_store_protocol as wire;
use artifact_store_protocol::{
    Code, DeleteRequest, DeleteResponse, DriverRow, DriversResponse, EventKind, EventPayload, EventsInfo,
    GetRefRequest, GetRefResponse, GetRequest, GetResponse, HealthResponse, InfoResponse, ListRequest,
    ListResponse, Method, PROTOCOL_VERSION, PutOpts, PutRequest, PutResponse, RequestScope, Row,
    RuntimeRequest, Status, StoreInfo, SubsystemHealth,
};
use futures_util::{StreamExt as _, stream};

use crate::bus::{BusBounds, EventBus, EventCounts, SubscriberBounds, Subscription};
use crate::caller::Caller;
use crate::health::StoreHealth;
use crate::inspect::{Inspector, Upload, inspected};
use crate::policy::{self, Allowed, allow};
use crate::refusal::{During, Refusal, presign_unsupported};

/// What a [`Resolver`] is told beside its store.
#[derive(Debug, Clone)]
pub struct ResolverOptions {
    /// The largest artifact that is taken, in bytes (`protocol.max_request_bytes`; 4 MiB).
    pub max_request_bytes: u64,
    /// The window of `artifacts.get` that asks for none, in bytes (`artifacts.fetch_default_max_bytes`; 64 KiB).
    pub fetch_default_max_bytes: u64,
    /// The largest window of `artifacts.get`, in bytes (`artifacts.fetch_hard_max_bytes`; 1 MiB).
    pub fetch_hard_max_bytes: u64,
    /// How many events of each tenant are kept for subscribers that come back (1024).
    pub events_kept: usize,
    /// What the kept events of all tenants take together, in bytes, about (64 MiB). Past it those of the tenant that holds the
    /// most go first.
    pub events_kept_bytes: usize,
    /// How many subscriptions a session may have at once (16).
    pub subscribers_per_session: usize,
    /// How many subscriptions a user may have at once, in all its sessions (64).
    pub subscribers_per_user: usize,
    /// How many subscriptions a tenant may have at once, of all its users (256).
    pub subscribers_per_tenant: usize,
    /// How many subscriptions there may be at once (512).
    pub subscribers: usize,
    /// Who looks at uploads before they are stored; nobody by default.
    pub inspector: Option<Arc<dyn Inspector>>,
    /// What `runtime.info` and `runtime.drivers` say.
    pub runtime: RuntimeDescription,
}

impl Default for ResolverOptions {
    fn default() -> Self {
        Self {
            max_request_bytes: 4 * 1024 * 1024,
            fetch_default_max_bytes: 64 * 1024,
            fetch_hard_max_bytes: 1024 * 1024,
            events_kept: 1024,
            events_kept_bytes: 64 * 1024 * 1024,
            subscribers_per_session: 16,
            subscribers_per_user: 64,
            subscribers_per_tenant: 256,
            subscribers: 512,
            inspector: None,
            runtime: RuntimeDescription::default(),
        }
    }
}

impl ResolverOptions {
    fn bus_bounds(&self) -> BusBounds {
        BusBounds {
            events_per_tenant: self.events_kept,
            events_bytes: self.events_kept_bytes,
            subscribers: SubscriberBounds {
                per_session: self.subscribers_per_session,
                per_user: self.subscribers_per_user,
                per_tenant: self.subscribers_per_tenant,
                in_all: self.subscribers,
            },
        }
    }
}

/// Which runtime this is.
#[derive(Debug, Clone, Default)]
pub struct RuntimeDescription {
    /// This process: another after every start.
    pub instance_id: String,
    /// The operator's name for it.
    pub display_name: Option<String>,
    /// The program's version.
    pub build_version: String,
    /// The commit that it was built from.
    pub build_commit: String,
    /// The surfaces that are served beside the methods': `bytes`, `events`.
    pub surfaces: Vec<&'static str>,
    /// Every driver that could be opened, as it is by default; which one is active is the resolver's to say.
    pub drivers: Vec<DriverRow>,
}

/// The answer to an upload.
#[derive(Debug, Clone, PartialEq)]
pub struct Uploaded {
    /// The artifact's record: the new one, or the one that stood.
    pub record: Record,
    /// Whether it is new.
    pub created: bool,
}

/// The answer to a download.
#[derive(Debug)]
pub struct Download {
    /// The artifact's record.
    pub record: Record,
    /// The bytes served.
    pub range: std::ops::Range<u64>,
    /// Exactly these bytes.
    pub stream: ByteStream,
}

/// What a subscriber asks for.
#[derive(Debug, Clone, Default)]
pub struct Subscribe {
    /// Whether events of every tenant are asked for.
    pub admin: bool,
    /// Only these types; empty: all.
    pub kinds: Vec<EventKind>,
    /// The last event that was read before.
    pub last_event_id: Option<String>,
}

/// The policy over a store: who may do what, within which limits, and which code says no.
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
/// // `store` is what `artifact_store::open` gives.
/// let resolver = Resolver::new(store, ResolverOptions::default());
/// let ada = Caller::new(&Scope::new("acme", "ada", "session-1")?);
/// let put = resolver.put(&ada, PutRequest { bytes: "a report".into(), ..PutRequest::default() }).await?;
/// let id = put.artifact.id.to_string();
///
/// let get = resolver.get(&ada, GetRequest { id: id.clone(), ..GetRequest::default() }).await?;
/// assert_eq!(get.content, "a report");
///
/// // This store cannot presign; and for bob there is no such artifact at all.
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
    /// A resolver over `store`, which should stand behind its Gate, as the facade opens it. Its subscribers hear what goes
    /// through it.
    pub fn new(store: Arc<dyn ArtifactStore>, options: ResolverOptions) -> Self {
        let bus = EventBus::new(options.bus_bounds());
        Self::with_bus(store, options, bus)
    }

    /// The same, whose subscribers hear what goes through every resolver on `log`, in one order: the log that the facade opens
    /// for the place of `store`. Uploads and deletes wait until their event is in the log and was read from it, for a second at most; while the log
    /// cannot be written, events wait in memory, 8192 at most, and are told later. Needs a Tokio runtime; `log` is its
    /// opener's to close, after [`close_events`](Self::close_events).
    ///
    /// # Errors
    /// Where the log cannot be read now.
    pub async fn with_event_log(
        store: Arc<dyn ArtifactStore>,
        options: ResolverOptions,
        log: Arc<dyn EventLog>,
    ) -> Result<Self, StoreError> {
        let bus = EventBus::across(options.bus_bounds(), log).await?;
        Ok(Self::with_bus(store, options, bus))
    }

    fn with_bus(store: Arc<dyn ArtifactStore>, options: ResolverOptions, bus: EventBus) -> Self {
        let health = StoreHealth::new(Arc::clone(&store));
        Self { store, options, bus, started: Instant::now(), health }
    }

    /// The largest artifact that is taken, in bytes: the smaller of the configured one and the store's.
    pub fn max_request_bytes(&self) -> u64 {
        self.options.max_request_bytes.min(self.store.capabilities().artifact_bytes_limit())
    }

    /// `artifacts.put`.
    ///
    /// # Errors
    /// `invalid_request`, `identity_required`, `scope_mismatch`, `payload_invalid`, `request_too_large`, `runtime_error`.
    pub async fn put(&self, caller: &Caller, request: PutRequest) -> Result<PutResponse, Refusal> {
        let PutRequest { scope, bytes, opts } = request;
        let uploaded = self.store_body(caller, &scope, opts, Body::from_bytes(bytes)).await?;
        Ok(PutResponse::new(&uploaded.record))
    }

    /// Stores a body that flows, in the caller's own session, perhaps under a task.
    ///
    /// Atomic: on any refusal nothing is visible and nothing stays. When the future is dropped, the whole artifact stands or
    /// nothing of it does; where it stands, no event may have told of it.
    ///
    /// # Errors
    /// As [`put`](Self::put); `invalid_request` also where the body fails, ends early or is not the one announced.
    pub async fn upload(
        &self,
        caller: &Caller,
        task: &str,
        opts: PutOpts,
        body: Body,
    ) -> Result<Uploaded, Refusal> {
        self.store_body(caller, &RequestScope::of_task(task), opts, body).await
    }

    async fn store_body(
        &self,
        caller: &Caller,
        scope: &RequestScope,
        opts: PutOpts,
        body: Body,
    ) -> Result<Uploaded, Refusal> {
        let asked = scope.parts()?;
        opts.namespace()?;
        opts.media_type()?;
        let allowed: Allowed<policy::Put> = allow(caller, asked)?;
        let options = opts.into_options()?;
        let limit = self.max_request_bytes();
        if body.length().is_some_and(|length| length > limit) {
            return Err(wire::too_large(limit).into());
        }
        let mut body = body.with_limit(limit);
        let scope = allowed.consume(&self.bus);
        if let Some(inspector) = &self.options.inspector {
            let upload = Upload { scope: &scope, options: &options, length: body.length() };
            let seen = inspector.begin(upload).await;
            let seen = seen.map_err(|no| Refusal::new(Code::PayloadInvalid, no.message().clone()))?;
            if let Some(inspection) = seen {
                body = inspected(body, inspection).map_err(|error| Refusal::of_store(error, During::Put))?;
            }
        }
        let put = self.store.put(&scope, body, options).await;
        let put = put.map_err(|error| Refusal::of_store(error, During::Put))?;
        let created = put.outcome == PutOutcome::Created;
        if created {
            let record = &put.record;
            let payload = EventPayload::Uploaded {
                artifact: record.artifact_ref(),
                tags: record.options.tags.clone(),
                source: record.options.source,
                created_at: record.created_at,
            };
            self.bus.publish(scope, payload);
            self.bus.settled().await;
        }
        Ok(Uploaded { record: put.record, created })
    }

    /// `artifacts.get`.
    ///
    /// # Errors
    /// `invalid_request`, `identity_required`, `not_found`, `runtime_error`.
    pub async fn get(&self, caller: &Caller, request: GetRequest) -> Result<GetResponse, Refusal> {
        let id = asked_id(&request.id)?;
        let allowed: Allowed<policy::Get> = allow(caller, request.scope.parts()?)?;
        let hard = self.options.fetch_hard_max_bytes;
        let window = match request.max_bytes.unwrap_or_default() {
            0 => self.options.fetch_default_max_bytes.min(hard),
            asked => asked.min(hard),
        };
        let offset = request.offset.unwrap_or_default();
        let range = ByteRange::Bounded { start: offset, end: offset.saturating_add(window) };
        let Download { record, range, stream } = self.read(allowed, id, Some(range)).await?;
        let content = stream.collect_bytes(hard).await;
        let content = content.map_err(|error| Refusal::of_store(error, During::Read))?;
        Ok(GetResponse {
            artifact: record.artifact_ref(),
            offset,
            returned_bytes: content.len() as u64,
            total_size_bytes: record.size,
            truncated: range.end < record.size,
            content,
            protocol_version: PROTOCOL_VERSION,
        })
    }

    /// Reads an artifact of the caller's own session, whole or by range, as a stream. Its first bytes are waited for: a store
    /// that fails before them is a refusal, where later the answer can only be broken off.
    ///
    /// # Errors
    /// `invalid_request`, `not_found`, `runtime_error`; the stream may end with the store's error, and never short as if
    /// complete.
    pub async fn download(
        &self,
        caller: &Caller,
        task: &str,
        id: &str,
        range: Option<ByteRange>,
    ) -> Result<Download, Refusal> {
        let id = asked_id(id)?;
        let allowed: Allowed<policy::Get> = allow(caller, RequestScope::of_task(task).parts()?)?;
        let Download { record, range, mut stream } = self.read(allowed, id, range).await?;
        let first = stream.next().await.transpose();
        let first = first.map_err(|error| Refusal::of_store(error, During::Read))?;
        let stream = ByteStream::new(stream::iter(first.map(Ok)).chain(stream));
        Ok(Download { record, range, stream })
    }

    /// The record of an artifact of the caller's own session.
    ///
    /// # Errors
    /// `invalid_request`, `not_found`, `runtime_error`.
    pub async fn stat(&self, caller: &Caller, task: &str, id: &str) -> Result<Record, Refusal> {
        let id = asked_id(id)?;
        let allowed: Allowed<policy::Get> = allow(caller, RequestScope::of_task(task).parts()?)?;
        let scope = allowed.consume(&self.bus);
        let Some(id) = id else { return Err(Refusal::not_found()) };
        let record = self.store.stat(&scope, &id).await;
        record.map_err(|error| Refusal::of_store(error, During::Read))?.ok_or_else(Refusal::not_found)
    }

    async fn read(
        &self,
        allowed: Allowed<policy::Get>,
        id: Option<ArtifactId>,
        range: Option<ByteRange>,
    ) -> Result<Download, Refusal> {
        let scope = allowed.consume(&self.bus);
        let Some(id) = id else { return Err(Refusal::not_found()) };
        let get = self.store.get(&scope, &id, range).await;
        let get = get.map_err(|error| Refusal::of_store(error, During::Read))?;
        let Get { record, range, stream } = get.ok_or_else(Refusal::not_found)?;
        Ok(Download { record, range, stream })
    }

    /// `artifacts.get_ref`.
    ///
    /// # Errors
    /// `invalid_request`, `identity_required`, `not_found`, and only then `presign_unsupported`; `runtime_error`.
    pub async fn get_ref(&self, caller: &Caller, request: GetRefRequest) -> Result<GetRefResponse, Refusal> {
        let id = asked_id(&request.id)?;
        let expiry = request.expiry_nanos()?.map(Duration::from_nanos);
        let allowed: Allowed<policy::GetRef> = allow(caller, request.scope.parts()?)?;
        let scope = allowed.consume(&self.bus);
        let Some(id) = id else { return Err(Refusal::not_found()) };
        let record = self.store.stat(&scope, &id).await;
        let record = record.map_err(|error| Refusal::of_store(error, During::Read))?;
        let record = record.ok_or_else(Refusal::not_found)?;
        let capabilities = self.store.capabilities();
        if !capabilities.has(Flag::PresignGet) {
            return Err(presign_unsupported());
        }
        // A store may presign for less than the default; who names a span gets that span or a refusal.
        let expiry = expiry.unwrap_or_else(|| {
            Duration::from_nanos(wire::DEFAULT_EXPIRY_NANOS).min(capabilities.presign_expiry_limit())
        });
        let presigned = self.store.presign(&scope, &PresignIntent::Get { id }, expiry).await;
        let presigned = presigned.map_err(|error| Refusal::of_store(error, During::Presign))?;
        let presigned = presigned.ok_or_else(Refusal::not_found)?;
        Ok(GetRefResponse {
            artifact: record.artifact_ref(),
            presigned_url: presigned.url.reveal().to_owned(),
            expires_at: presigned.expires_at,
            protocol_version: PROTOCOL_VERSION,
        })
    }

    /// `artifacts.list`.
    ///
    /// # Errors
    /// `invalid_request` (an altered or foreign cursor, too wide a filter or scan), `identity_required`,
    /// `identity_scope_required`, `runtime_error`.
    pub async fn list(&self, caller: &Caller, request: ListRequest) -> Result<ListResponse, Refusal> {
        let allowed: Allowed<policy::List> = allow(caller, request.scope.parts()?)?;
        let pattern = allowed.consume(&self.bus);
        let mut query = ListQuery::new(pattern).with_filter(request.filter()).with_total();
        if let Some(limit) = request.limit.filter(|limit| *limit > 0) {
            query = query.with_limit(u32::try_from(limit).unwrap_or(u32::MAX));
        }
        let cursor = request.cursor.filter(|cursor| !cursor.is_empty()).map(Cursor::from_text);
        let page = self.store.list(&query.with_cursor(cursor)).await;
        let page = page.map_err(|error| Refusal::of_store(error, During::List))?;
        let driver = self.store.driver();
        Ok(ListResponse {
            next_cursor: page.next.as_ref().and_then(Cursor::as_text).map(ToOwned::to_owned),
            total_matched: page.total.unwrap_or_default(),
            rows: page.rows.into_iter().map(|record| Row::new(record, driver)).collect(),
            protocol_version: PROTOCOL_VERSION,
        })
    }

    /// `artifacts.delete`.
    ///
    /// # Errors
    /// `invalid_request`, `identity_scope_required`, `identity_required`, `not_found`, `runtime_error`.
    pub async fn delete(&self, caller: &Caller, request: DeleteRequest) -> Result<DeleteResponse, Refusal> {
        let id = asked_id(&request.id)?;
        let allowed: Allowed<policy::Delete> = allow(caller, request.scope.parts()?)?;
        let scope = allowed.consume(&self.bus);
        let Some(id) = id else { return Err(Refusal::not_found()) };
        let deleted = self.store.delete(&scope, &id).await;
        if !deleted.map_err(|error| Refusal::of_store(error, During::Delete))? {
            return Err(Refusal::not_found());
        }
        self.bus.publish(scope, EventPayload::Deleted { id });
        self.bus.settled().await;
        Ok(DeleteResponse { deleted: true, protocol_version: PROTOCOL_VERSION })
    }

    /// `runtime.info`.
    ///
    /// # Errors
    /// `identity_required` where the body names another identity than the verified one.
    pub fn info(&self, caller: &Caller, request: &RuntimeRequest) -> Result<InfoResponse, Refusal> {
        agree(caller, request)?;
        let runtime = &self.options.runtime;
        let mut capabilities: Vec<_> = Method::ALL.iter().map(|method| method.surface()).collect();
        capabilities.dedup();
        capabilities.extend(&runtime.surfaces);
        Ok(InfoResponse {
            instance_id: runtime.instance_id.clone(),
            display_name: runtime.display_name.clone(),
            build_version: runtime.build_version.clone(),
            build_commit: runtime.build_commit.clone(),
            protocol_version: PROTOCOL_VERSION,
            uptime_seconds: self.started.elapsed().as_secs(),
            capabilities,
            max_request_bytes: self.max_request_bytes(),
            artifacts: StoreInfo { driver: self.store.driver(), capabilities: self.store.capabilities() },
            events: EventsInfo { bus: self.bus.reach() },
        })
    }

    /// `runtime.drivers`.
    ///
    /// # Errors
    /// As [`info`](Self::info).
    pub fn drivers(&self, caller: &Caller, request: &RuntimeRequest) -> Result<DriversResponse, Refusal> {
        agree(caller, request)?;
        let active = self.store.driver();
        let mut drivers = self.options.runtime.drivers.clone();
        for row in &mut drivers {
            row.active = row.driver == active;
            if row.active {
                row.capabilities = self.store.capabilities();
            }
        }
        Ok(DriversResponse { drivers, protocol_version: PROTOCOL_VERSION })
    }

    /// `runtime.health`.
    ///
    /// # Errors
    /// As [`info`](Self::info).
    pub async fn health(&self, caller: &Caller, request: &RuntimeRequest) -> Result<HealthResponse, Refusal> {
        agree(caller, request)?;
        Ok(self.probe().await)
    }

    /// How well the runtime is, for probes without an identity. The store is asked at most once a second, and has two seconds
    /// to answer.
    pub async fn probe(&self) -> HealthResponse {
        let events = if self.bus.is_closed() {
            (Status::Unavailable, Some("the bus is closed: the runtime is shutting down"))
        } else if let Some(trouble) = self.bus.trouble() {
            (Status::Degraded, Some(trouble))
        } else {
            (Status::Ready, None)
        };
        let events = SubsystemHealth { subsystem: "events", status: events.0, detail: events.1 };
        let subsystems = vec![self.health.get().await, events];
        let status = subsystems.iter().map(|subsystem| subsystem.status).max().unwrap_or(Status::Ready);
        HealthResponse { status, subsystems, protocol_version: PROTOCOL_VERSION }
    }

    /// Subscribes to events: those of the caller's session, or of every tenant, which is told to the bus.
    ///
    /// # Errors
    /// `identity_scope_required`; `runtime_error` with status 429 (the session, the user, the tenant or the process has
    /// too many) or 503 (the bus is closed).
    pub fn subscribe(&self, caller: &Caller, subscribe: Subscribe) -> Result<Subscription, Refusal> {
        let Subscribe { admin, kinds, last_event_id } = subscribe;
        let allowed = policy::allow_events(caller, admin)?;
        let session = caller.session_scope();
        let subscription = self.bus.subscribe(session, *allowed.target(), kinds, last_event_id.as_deref())?;
        // Only now is the right used; the new subscriber hears of it, too.
        allowed.consume(&self.bus);
        Ok(subscription)
    }

    /// Who subscribes to events now, and what became of subscribers and events so far: for metrics.
    pub fn event_counts(&self) -> EventCounts {
        self.bus.counts()
    }

    /// Ends the event bus: subscriptions end, new ones are refused. Waits for events that are on their way into the log, for a
    /// second at most. Store and log are their opener's to close.
    pub async fn close_events(&self) {
        self.bus.close().await;
    }
}

/// The id that a request names. What is no id at all is not there, like any other that is missing: `None`.
fn asked_id(text: &str) -> Result<Option<ArtifactId>, Refusal> {
    if text.is_empty() {
        return Err(Refusal::new(Code::InvalidRequest, "the member `id` is empty"));
    }
    Ok(text.parse().ok())
}

/// An identity in a body must be the verified one, as far as it says anything.
fn agree(caller: &Caller, request: &RuntimeRequest) -> Result<(), Refusal> {
    let identity = &request.identity;
    let parts = [
        (&identity.tenant, caller.tenant()),
        (&identity.user, caller.user()),
        (&identity.session, caller.session()),
    ];
    if parts.iter().all(|(said, verified)| said.is_empty() || said.as_str() == verified.as_str()) {
        return Ok(());
    }
    Err(Refusal::new(Code::IdentityRequired, "the identity in the body contradicts the verified token"))
}
