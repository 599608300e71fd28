//! The settings of a resolver: [`ResolverOptions`] and [`RuntimeDescription`].

use std::sync::Arc;

use artifact_store_protocol::{
    DEFAULT_MAX_REQUEST_BYTES, DEFAULT_MAX_UPLOAD_BYTES, DriverRow, LimitSource, SizeLimit,
};

use crate::bus::{BusLimits, SubscriberLimits};
use crate::inspect::Inspector;

/// The settings of a [`Resolver`](crate::Resolver).
#[derive(Debug, Clone)]
pub struct ResolverOptions {
    /// The largest artifact, in bytes, that `artifacts.put` and uploads accept (`protocol.max_request_bytes`). `None`
    /// means 4 MiB for `artifacts.put`. Uploads are then limited by `max_upload_bytes` only.
    pub max_request_bytes: Option<u64>,
    /// The largest upload, in bytes, that is accepted (`protocol.max_upload_bytes`). `None` means
    /// `max_request_bytes` if that is set, otherwise 1 GiB. If both are set, the smaller limit holds for uploads.
    pub max_upload_bytes: Option<u64>,
    /// The maximum number of bytes that `artifacts.get` returns if the request does not set a number
    /// (`artifacts.fetch_default_max_bytes`); 64 KiB by default.
    pub fetch_default_max_bytes: u64,
    /// The maximum number of bytes that `artifacts.get` returns, even if the request sets a higher number
    /// (`artifacts.fetch_hard_max_bytes`); 1 MiB by default.
    pub fetch_hard_max_bytes: u64,
    /// The number of events kept for each tenant, for subscribers that connect again; 1024 by default.
    pub events_kept: usize,
    /// The approximate memory for the kept events of all tenants together, in bytes; 64 MiB by default. Above this
    /// limit, events of the tenant with the most bytes are dropped first.
    pub events_kept_bytes: usize,
    /// The maximum number of open subscriptions of a session; 16 by default.
    pub max_subscribers_per_session: usize,
    /// The maximum number of open subscriptions of a user, over all its sessions; 64 by default.
    pub max_subscribers_per_user: usize,
    /// The maximum number of open subscriptions of a tenant, over all its users; 256 by default.
    pub max_subscribers_per_tenant: usize,
    /// The maximum number of open subscriptions in total; 512 by default.
    pub max_subscribers: usize,
    /// Inspects uploads before they are stored. `None`, the default, accepts every upload.
    pub inspector: Option<Arc<dyn Inspector>>,
    /// The data for `runtime.info` and `runtime.drivers`.
    pub runtime: RuntimeDescription,
}

impl Default for ResolverOptions {
    fn default() -> Self {
        Self {
            max_request_bytes: None,
            max_upload_bytes: None,
            fetch_default_max_bytes: 64 * 1024,
            fetch_hard_max_bytes: 1024 * 1024,
            events_kept: 1024,
            events_kept_bytes: 64 * 1024 * 1024,
            max_subscribers_per_session: 16,
            max_subscribers_per_user: 64,
            max_subscribers_per_tenant: 256,
            max_subscribers: 512,
            inspector: None,
            runtime: RuntimeDescription::default(),
        }
    }
}

impl ResolverOptions {
    /// The configured limit of `artifacts.put`. The limit of the store, which may be lower, is not applied here.
    pub(crate) fn put_limit(&self) -> SizeLimit {
        let bytes = self.max_request_bytes.unwrap_or(DEFAULT_MAX_REQUEST_BYTES);
        // The source selects the error message. If an upload may be larger than a put, the message says so.
        let source = if self.upload_limit().bytes > bytes {
            LimitSource::MaxRequestBytesOfPut
        } else {
            LimitSource::MaxRequestBytes
        };
        SizeLimit { bytes, source }
    }

    /// The configured limit of uploads. The limit of the store, which may be lower, is not applied here.
    pub(crate) fn upload_limit(&self) -> SizeLimit {
        let max_upload = self.max_upload_bytes.or(self.max_request_bytes).unwrap_or(DEFAULT_MAX_UPLOAD_BYTES);
        // If both options are set, the smaller one is the limit of uploads.
        match self.max_request_bytes {
            Some(max_request) if max_request <= max_upload => {
                SizeLimit { bytes: max_request, source: LimitSource::MaxRequestBytes }
            }
            _ => SizeLimit { bytes: max_upload, source: LimitSource::MaxUploadBytes },
        }
    }

    /// The limits of the event bus.
    pub(crate) fn bus_limits(&self) -> BusLimits {
        BusLimits {
            events_per_tenant: self.events_kept,
            events_bytes: self.events_kept_bytes,
            subscribers: SubscriberLimits {
                per_session: self.max_subscribers_per_session,
                per_user: self.max_subscribers_per_user,
                per_tenant: self.max_subscribers_per_tenant,
                total: self.max_subscribers,
            },
        }
    }
}

/// The description of a runtime.
#[derive(Debug, Clone, Default)]
pub struct RuntimeDescription {
    /// The id of this process. It changes with every start.
    pub instance_id: String,
    /// The name that the operator gave to the runtime; `None` if it has no name.
    pub display_name: Option<String>,
    /// The version of the program.
    pub build_version: String,
    /// The commit that the program was built from.
    pub build_commit: String,
    /// The parts of the HTTP interface that are served in addition to the methods: `bytes` (upload and download) and
    /// `events` (the event stream).
    pub surfaces: Vec<&'static str>,
    /// Every driver in this build, with its default capabilities. The resolver marks the driver of its store as active.
    pub drivers: Vec<DriverRow>,
}
