//! The responses of the methods. Each response contains the version of the protocol.

use artifact_store_core::{ArtifactRef, Bytes, Capabilities, Metadata, Record, Source, Timestamp};
use data_encoding::BASE64;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::method::PROTOCOL_VERSION;
use crate::schema;

/// The response of `artifacts.put` and of an upload.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PutResponse {
    /// The artifact's ref.
    #[serde(rename = "ref")]
    #[schema(value_type = schema::ArtifactRef)]
    pub artifact: ArtifactRef,
    /// The version of the protocol.
    pub protocol_version: &'static str,
}

impl PutResponse {
    /// The response for `record`.
    pub fn new(record: &Record) -> Self {
        Self { artifact: record.artifact_ref(), protocol_version: PROTOCOL_VERSION }
    }
}

/// The response of `artifacts.get`. Its debug output shows the number of bytes, never the bytes.
#[derive(Clone, PartialEq, Serialize, ToSchema)]
pub struct GetResponse {
    /// The artifact's ref.
    #[serde(rename = "ref")]
    #[schema(value_type = schema::ArtifactRef)]
    pub artifact: ArtifactRef,
    /// The returned bytes, in base64.
    #[serde(serialize_with = "base64")]
    #[schema(value_type = schema::Base64)]
    pub content: Bytes,
    /// The requested first byte, counted from 0.
    pub offset: u64,
    /// The number of returned bytes.
    pub returned_bytes: u64,
    /// The size of the artifact in bytes.
    pub total_size_bytes: u64,
    /// Whether the artifact has more bytes after the returned ones.
    pub truncated: bool,
    /// The version of the protocol.
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

/// The response of `artifacts.get_ref`. Anyone who has the URL can use it, so debug output does not show it.
#[derive(Clone, PartialEq, Serialize, ToSchema)]
pub struct GetRefResponse {
    /// The artifact's ref.
    #[serde(rename = "ref")]
    #[schema(value_type = schema::ArtifactRef)]
    pub artifact: ArtifactRef,
    /// The URL that downloads the artifact until it expires.
    pub presigned_url: String,
    /// When the URL expires.
    #[schema(value_type = schema::Moment)]
    pub expires_at: Timestamp,
    /// The version of the protocol.
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
    /// The tags of the artifact.
    pub tags: Vec<String>,
    /// Where the artifact came from.
    #[schema(value_type = schema::SourceSchema)]
    pub source: Source,
    /// The driver that stores the artifact.
    pub driver: &'static str,
    /// When the store created the artifact.
    #[schema(value_type = schema::Moment)]
    pub created_at: Timestamp,
    /// The custom metadata of the artifact; absent if there is none.
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

/// The response of `artifacts.list`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ListResponse {
    /// The rows, newest first, then by id.
    pub rows: Vec<Row>,
    /// The number of matching rows on all pages, when the first page was listed.
    pub total_matched: u64,
    /// The cursor of the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub next_cursor: Option<String>,
    /// The version of the protocol.
    pub protocol_version: &'static str,
}

/// The response of `artifacts.delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeleteResponse {
    /// Always true. For a missing artifact the response is the error `not_found`.
    pub deleted: bool,
    /// The version of the protocol.
    pub protocol_version: &'static str,
}

/// The active store, as `runtime.info` describes it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct StoreInfo {
    /// The driver of the store.
    pub driver: &'static str,
    /// The capabilities of the store.
    #[schema(value_type = schema::CapabilitiesSchema)]
    pub capabilities: Capabilities,
}

/// The response of `runtime.info`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct InfoResponse {
    /// The id of this process. It changes with every start.
    pub instance_id: String,
    /// The name that the operator gave to the runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub display_name: Option<String>,
    /// The version of the program.
    pub build_version: String,
    /// The commit that the program was built from, or `unknown`.
    pub build_commit: String,
    /// The version of the protocol.
    pub protocol_version: &'static str,
    /// The time since the start, in seconds.
    pub uptime_seconds: u64,
    /// The groups of methods and routes that the runtime serves, such as `artifacts` and `events`.
    pub capabilities: Vec<&'static str>,
    /// The largest artifact that `artifacts.put` takes, in bytes.
    pub max_request_bytes: u64,
    /// The largest artifact that an upload of the byte plane may have, in bytes.
    pub max_upload_bytes: u64,
    /// The active store.
    pub artifacts: StoreInfo,
    /// The event stream.
    pub events: EventsInfo,
}

/// The event stream, as `runtime.info` describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct EventsInfo {
    /// The processes whose events a subscriber receives.
    pub bus: BusReach,
}

/// The processes whose events a subscriber receives.
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
    /// A part does not work.
    Degraded,
    /// Nothing works.
    Unavailable,
}

/// The health of a subsystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SubsystemHealth {
    /// The name of the subsystem.
    pub subsystem: &'static str,
    /// The health of the subsystem.
    pub status: Status,
    /// The reason, if the subsystem is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub detail: Option<&'static str>,
}

/// The response of `runtime.health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct HealthResponse {
    /// The worst status of the subsystems.
    pub status: Status,
    /// The health of each subsystem.
    pub subsystems: Vec<SubsystemHealth>,
    /// The version of the protocol.
    pub protocol_version: &'static str,
}

/// A driver that is compiled in.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DriverRow {
    /// The name of the driver.
    pub driver: &'static str,
    /// What the driver is for.
    pub about: &'static str,
    /// Whether the store of this runtime uses the driver.
    pub active: bool,
    /// For the active driver: the capabilities of the open store. For any other driver: its capabilities with default
    /// options.
    #[schema(value_type = schema::CapabilitiesSchema)]
    pub capabilities: Capabilities,
}

/// The response of `runtime.drivers`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DriversResponse {
    /// Every driver, by name.
    pub drivers: Vec<DriverRow>,
    /// The version of the protocol.
    pub protocol_version: &'static str,
}

/// Serializes `bytes` as a base64 string.
fn base64<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&BASE64.encode_display(bytes))
}
