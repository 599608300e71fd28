//! [`Settings`]: the whole configuration after all checks. This module must never know where a value comes from.

use std::time::Duration;

use artifact_store_identity::IdentitySettings;
use artifact_store_server::ServerSettings;

use super::option_names::OptionNames;

/// The whole configuration after all checks.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Settings {
    pub server: ServerSettings,
    pub identity: IdentitySettings,
    pub artifacts: ArtifactsSettings,
    pub protocol: ProtocolSettings,
    pub telemetry: TelemetrySettings,
}

/// The section `artifacts`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ArtifactsSettings {
    /// The configuration that is passed to `artifact_store::open`.
    pub store: artifact_store::Config,
    /// For each option of the driver, the key, variable or part of a URL that sets the option. Error
    /// messages name the options in this way.
    pub option_names: OptionNames,
    pub fetch_default_max_bytes: u64,
    pub fetch_hard_max_bytes: u64,
    pub heavy_output_threshold_bytes: u64,
    /// The time between two sweeps of a running server. Zero turns sweeps off.
    pub sweep_interval: Duration,
}

/// The section `protocol`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ProtocolSettings {
    /// The largest artifact in bytes, for `artifacts.put` and for uploads. `None`: `artifacts.put` is limited to 4 MiB,
    /// and uploads are limited by `max_upload_bytes` alone.
    pub max_request_bytes: Option<u64>,
    /// The largest upload (`PUT /v1/artifacts`), in bytes; at most `max_request_bytes` if both are set. `None`: uploads
    /// are limited by `max_request_bytes` if that is set, otherwise to 1 GiB.
    pub max_upload_bytes: Option<u64>,
}

/// The section `telemetry`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct TelemetrySettings {
    pub log_format: LogFormat,
    pub log_level: tracing::Level,
    /// The `display_name` that `runtime.info` returns. `None`: `runtime.info` returns no name.
    pub service_name: Option<String>,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogFormat {
    Json,
    Text,
}
