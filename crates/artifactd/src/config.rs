//! The configuration of the server: one file, the environment over it, flags over that.
//!
//! [`keys::KEYS`] is the table of what there is. Whatever is wrong is one line that says where, what and what would be legal;
//! a secret is never in it, nor in debug output.

mod build;
mod environment;
mod file;
mod given;
pub mod keys;
mod layers;
mod store;
mod value;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use given::Given;

/// Everything that is configured, checked.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Settings {
    pub server: ServerSettings,
    pub identity: IdentitySettings,
    pub artifacts: ArtifactsSettings,
    pub protocol: ProtocolSettings,
    pub telemetry: TelemetrySettings,
}

#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ServerSettings {
    pub bind_addr: SocketAddr,
    pub shutdown_grace_period: Duration,
    /// Exact origins such as `https://console.example`.
    pub allowed_origins: Vec<String>,
    /// How long a client may take to send a request's head (and an idle connection may wait for the next one).
    pub header_timeout: Duration,
    /// How long a body may stand still, in either direction.
    pub body_timeout: Duration,
    pub max_connections: usize,
    /// Connections beyond those, on which probes are answered and other requests wait.
    pub reserved_connections: usize,
    /// Of one client address; `None`: no bound of their own.
    pub max_connections_per_client: Option<usize>,
    /// How long a request waits where all connections are taken.
    pub queue_timeout: Duration,
    pub event_streams: EventStreamSettings,
    /// Requests of one user that are served at once, event streams aside; by default half of the connections.
    pub max_requests_per_user: usize,
    /// The same of one tenant; by default three quarters of the connections.
    pub max_requests_per_tenant: usize,
}

/// How many event streams there may be at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct EventStreamSettings {
    pub per_session: usize,
    pub per_user: usize,
    pub per_tenant: usize,
    /// Of all tenants: at most as many as connections, by default half.
    pub in_all: usize,
}

#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct IdentitySettings {
    /// At most one of this and the next is set.
    pub jwks_file: Option<PathBuf>,
    pub jwks_url: Option<crate::identity::JwksUrl>,
    /// How often the URL is asked at least, and how much time lies between two attempts at least.
    pub jwks_refresh_interval: Duration,
    pub jwks_refresh_min_interval: Duration,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub jwt_algorithms: Vec<crate::identity::Algorithm>,
    /// Types of tokens that are taken beside the usual ones.
    pub jwt_types: Vec<String>,
    /// Whether a request is of its token's session and of no other.
    pub session_bound: bool,
    pub clock_skew: Duration,
}

#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ArtifactsSettings {
    /// What the facade opens.
    pub store: artifact_store::Config,
    /// Whether a driver was named; otherwise it is the one that runtimes which embed the store have, and it keeps nothing.
    pub driver_given: bool,
    pub fetch_default_max_bytes: u64,
    pub fetch_hard_max_bytes: u64,
    pub heavy_output_threshold_bytes: u64,
}

#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ProtocolSettings {
    pub max_request_bytes: u64,
}

#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct TelemetrySettings {
    pub log_format: LogFormat,
    pub log_level: tracing::Level,
    /// What `runtime.info` gives as `display_name`; unset: none.
    pub service_name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogFormat {
    Json,
    Text,
}

/// Why a configuration was refused: one line that names file (or environment variable, or flag), key, value and what is legal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub(crate) String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl ArtifactsSettings {
    /// Refuses settings that name no driver: what is put would be forgotten.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn need_driver(&self) -> Result<(), ConfigError> {
        if self.driver_given {
            return Ok(());
        }
        let drivers = artifact_store::drivers().map_err(|error| ConfigError(error.to_string()))?;
        let names: Vec<&str> = drivers.drivers().map(|driver| driver.info().name).collect();
        Err(ConfigError(format!(
            "artifacts.driver is not set, and a server does not choose where artifacts are kept; set it to one of {}",
            names.join(", ")
        )))
    }
}

impl Settings {
    /// Reads `file` (YAML or TOML by its ending; none: defaults), the environment (`ARTIFACTD__SERVER__BIND_ADDR=…`) over it,
    /// and `flags` (dotted key, value) over that.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(file: Option<&Path>, flags: &[(String, String)]) -> Result<Self, ConfigError> {
        Self::load_given(file, flags).map(|(settings, _)| settings)
    }

    /// As [`load`](Self::load), with what was given for each key.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load_given(file: Option<&Path>, flags: &[(String, String)]) -> Result<(Self, Given), ConfigError> {
        let layers = layers(file, std::env::vars_os(), flags)?;
        Ok((build::settings(&layers)?, layers.given()))
    }

    /// As [`load`](Self::load), with an environment at hand.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_layers(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        build::settings(&layers(file, environment, flags)?)
    }
}

fn layers(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    flags: &[(String, String)],
) -> Result<layers::Layers, ConfigError> {
    let mut layers = layers::Layers::default();
    if let Some(file) = file {
        layers.file(file)?;
    }
    layers.environment(environment)?;
    layers.flags(flags)?;
    Ok(layers)
}
