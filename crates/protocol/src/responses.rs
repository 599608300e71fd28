//! The responses of the methods. Each contains the version of the protocol.

use artifact_store_core::{ArtifactRef, Bytes, Capabilities, Metadata, Record, Source, Timestamp};
use data_encoding::BASE64;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::method::PROTOCOL_VERSION;
use crate::schema;

/// The answer of `artifacts.put` and of an upload.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PutResponse {
    /// The artifact's ref.
    #[serde(rename = "ref")]
    #[schema(value_type = schema::ArtifactRef)]
    pub artifact: ArtifactRef,
    /// The protocol's version.
    pub protocol_version: &'static str,
}

impl PutResponse {
    /// The response for `record`.
    pub fn new(record: &Record) -> Self {
        Self { artifact: record.artifact_ref(), protocol_version: PROTOCOL_VERSION }
    }
}

/// The answer of `artifacts.get`. Its debug output says how many bytes there are and shows none.
#[derive(Clone, PartialEq, Serialize, ToSchema)]
pub struct GetResponse {
    /// The artifact's ref.
    #[serde(rename = "ref")]
    #[schema(value_type = schema::ArtifactRef)]
    pub artifact: ArtifactRef,
    /// The window's bytes; base64 in JSON.
    #[serde(serialize_with = "base64")]
    #[schema(value_type = schema::Base64)]
    pub content: Bytes,
    /// Where the window was asked to start.
    pub offset: u64,
    /// How many bytes it holds.
    pub returned_bytes: u64,
    /// How many the artifact has.
    pub total_size_bytes: u64,
    /// Whether the artifact has more bytes after the window.
    pub truncated: bool,
    /// The protocol's version.
    pub protocol_version: &'static str,
}

impl std::fmt::Debug for GetResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GetResponse")
            .field("artifact", &self.artifact)
            .field("content", &format_args!("{} bytes", self.content.len()))
            .field("offset", &self.offset)
            .field("total_size_bytes", &self.total_size_bytes)
            .field("truncated", &self.truncated)
            .finish_non_exhaustive()
    }
}

/// The answer of `artifacts.get_ref`. The URL is a bearer secret: `Debug` does not show it.
#[derive(Clone, PartialEq, Serialize, ToSchema)]
pub struct GetRefResponse {
    /// The artifact's ref.
    #[serde(rename = "ref")]
    #[schema(value_type = schema::ArtifactRef)]
    pub artifact: ArtifactRef,
    /// Downloads the artifact until it expires.
    pub presigned_url: String,
    /// When the URL ends.
    #[schema(value_type = schema::Moment)]
    pub expires_at: Timestamp,
    /// The protocol's version.
    pub protocol_version: &'static str,
}

impl std::fmt::Debug for GetRefResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GetRefResponse")
            .field("artifact", &self.artifact)
            .field("presigned_url", &"redacted")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// A row of a listing.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Row {
    /// The artifact's ref.
    #[serde(rename = "ref")]
    #[schema(value_type = schema::ArtifactRef)]
    pub artifact: ArtifactRef,
    /// Its tags.
    pub tags: Vec<String>,
    /// Where it came from.
    #[schema(value_type = schema::SourceSchema)]
    pub source: Source,
    /// The driver that holds it.
    pub driver: &'static str,
    /// When the store accepted it.
    #[schema(value_type = schema::Moment)]
    pub created_at: Timestamp,
    /// Further metadata from its first writer.
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    #[schema(schema_with = schema::any_object, required = false)]
    pub metadata: Metadata,
}

impl Row {
    /// The row for `record`, which `driver` stores.
    pub fn new(record: Record, driver: &'static str) -> Self {
        Self {
            artifact: record.artifact_ref(),
            tags: record.options.tags,
            source: record.options.source,
            driver,
            created_at: record.created_at,
            metadata: record.options.metadata,
        }
    }
}

/// The answer of `artifacts.list`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ListResponse {
    /// The rows, newest first, ties by id.
    pub rows: Vec<Row>,
    /// How many rows match in all, this page's and others'.
    pub total_matched: u64,
    /// Where the next page starts; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub next_cursor: Option<String>,
    /// The protocol's version.
    pub protocol_version: &'static str,
}

/// The answer of `artifacts.delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeleteResponse {
    /// Always true: a missing artifact is `not_found`.
    pub deleted: bool,
    /// The protocol's version.
    pub protocol_version: &'static str,
}

/// The active store, as `runtime.info` tells it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct StoreInfo {
    /// Its driver.
    pub driver: &'static str,
    /// What it promises.
    #[schema(value_type = schema::CapabilitiesSchema)]
    pub capabilities: Capabilities,
}

/// The answer of `runtime.info`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct InfoResponse {
    /// This process: another after every start.
    pub instance_id: String,
    /// The operator's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub display_name: Option<String>,
    /// The program's version.
    pub build_version: String,
    /// The commit that it was built from, or `unknown`.
    pub build_commit: String,
    /// The protocol's version.
    pub protocol_version: &'static str,
    /// How long it runs.
    pub uptime_seconds: u64,
    /// The surfaces it serves.
    pub capabilities: Vec<&'static str>,
    /// The largest artifact that it takes, in bytes.
    pub max_request_bytes: u64,
    /// The active store.
    pub artifacts: StoreInfo,
    /// The event stream.
    pub events: EventsInfo,
}

/// The event stream, as `runtime.info` describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct EventsInfo {
    /// Whose events its subscribers hear.
    pub bus: BusReach,
}

/// Whose events the subscribers of a process hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BusReach {
    /// The events of this process.
    Local,
    /// The events of every process on the same store.
    Shared,
}

/// A level of health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Everything works.
    Ready,
    /// Some things work.
    Degraded,
    /// Nothing works.
    Unavailable,
}

/// The health of a subsystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SubsystemHealth {
    /// Its name.
    pub subsystem: &'static str,
    /// Its health.
    pub status: Status,
    /// What to know about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub detail: Option<&'static str>,
}

/// The answer of `runtime.health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct HealthResponse {
    /// The worst of the subsystems.
    pub status: Status,
    /// Each of them.
    pub subsystems: Vec<SubsystemHealth>,
    /// The protocol's version.
    pub protocol_version: &'static str,
}

/// A driver that is compiled in.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DriverRow {
    /// Its name.
    pub driver: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Whether this runtime's store is one of it.
    pub active: bool,
    /// What it promises: the active one as it is opened, the others as they are by default.
    #[schema(value_type = schema::CapabilitiesSchema)]
    pub capabilities: Capabilities,
}

/// The answer of `runtime.drivers`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DriversResponse {
    /// Every driver, by name.
    pub drivers: Vec<DriverRow>,
    /// The protocol's version.
    pub protocol_version: &'static str,
}

fn base64<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&BASE64.encode_display(bytes))
}
