//! The methods about the runtime: its description, its drivers and its health.

use artifact_store_protocol::{
    Code, DriversResponse, EventsInfo, HealthResponse, InfoResponse, Method, PROTOCOL_VERSION,
    RuntimeRequest, Status, StoreInfo, SubsystemHealth,
};

use super::Resolver;
use crate::caller::Caller;
use crate::refusal::Refusal;

impl Resolver {
    /// `runtime.info`.
    ///
    /// # Errors
    /// `identity_required` if the body names another identity than the verified one.
    pub fn info(&self, caller: &Caller, request: &RuntimeRequest) -> Result<InfoResponse, Refusal> {
        check_identity(caller, request)?;
        let runtime = &self.options.runtime;
        let mut capabilities: Vec<_> = Method::ALL.iter().map(|method| method.surface()).collect();
        // `Method::ALL` lists the methods of one surface together, so equal names are neighbours, and `dedup` removes
        // all repetitions.
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
            max_request_bytes: self.put_limit().bytes,
            max_upload_bytes: self.upload_limit().bytes,
            artifacts: StoreInfo { driver: self.store.driver(), capabilities: self.store.capabilities() },
            events: EventsInfo { bus: self.bus.reach() },
        })
    }

    /// `runtime.drivers`.
    ///
    /// # Errors
    /// As [`info`](Self::info).
    pub fn drivers(&self, caller: &Caller, request: &RuntimeRequest) -> Result<DriversResponse, Refusal> {
        check_identity(caller, request)?;
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
        check_identity(caller, request)?;
        Ok(self.probe().await)
    }

    /// The health of the runtime, for health probes that send no identity. The store is checked at most once a second,
    /// with a timeout of 2 seconds.
    pub async fn probe(&self) -> HealthResponse {
        let (status, detail) = if self.bus.is_closed() {
            (Status::Unavailable, Some("the bus is closed: the runtime is shutting down"))
        } else if let Some(reason) = self.bus.degraded_reason() {
            (Status::Degraded, Some(reason))
        } else {
            (Status::Ready, None)
        };
        let events = SubsystemHealth { subsystem: "events", status, detail };
        let subsystems = vec![self.health.get().await, events];
        // `Status` is ordered from best to worst, so the maximum is the worst status.
        let status = subsystems.iter().map(|subsystem| subsystem.status).max().unwrap_or(Status::Ready);
        HealthResponse { status, subsystems, protocol_version: PROTOCOL_VERSION }
    }
}

/// Checks the identity in the body of a request. Each part that is not empty must equal the same part of the verified
/// identity.
fn check_identity(caller: &Caller, request: &RuntimeRequest) -> Result<(), Refusal> {
    let identity = &request.identity;
    let parts = [
        (&identity.tenant, caller.tenant()),
        (&identity.user, caller.user()),
        (&identity.session, caller.session()),
    ];
    if parts.iter().all(|(named, verified)| named.is_empty() || named.as_str() == verified.as_str()) {
        return Ok(());
    }
    Err(Refusal::new(Code::IdentityRequired, "the identity in the body contradicts the verified token"))
}
