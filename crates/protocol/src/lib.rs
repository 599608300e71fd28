//! The types of the Harbor Protocol for artifacts: pure data, no I/O.
//!
//! - [`Code`]: the registry of the eleven codes. It has each code's name, its status, when it occurs and whether to
//!   retry. The server, the documentation and the tests read it.
//! - [`Envelope`]: the body of every failing response.
//! - [`Method`], and the request and the response of each method. [`decode`] parses a request and refuses unknown
//!   members by name. [`PutDecoder`] parses the only request that may be large, while it arrives.
//! - [`PAYLOAD_LIMITS`]: the limits of a control payload. [`SizeLimit`]: the limit of an artifact's bytes.
//! - [`EventKind`] and [`EventData`]: the events of the event stream.
//!
//! Each request and response type has a schema for the OpenAPI document (`utoipa::ToSchema`).
//!
//! This crate must never know the policy, a store, or a server.
//!
//! ```
//! use artifact_store_protocol::{Code, ListRequest, Method, decode};
//!
//! assert_eq!(Method::from_name("artifacts.list"), Some(Method::ArtifactsList));
//! let request: ListRequest = decode(br#"{"tags": ["q3"], "limit": 20}"#)?;
//! assert_eq!(request.limit, Some(20));
//! let refused = decode::<ListRequest>(br#"{"limit": -1}"#).unwrap_err();
//! assert_eq!((refused.code, refused.code.status()), (Code::InvalidRequest, 400));
//! # Ok::<(), artifact_store_protocol::Envelope>(())
//! ```

mod code;
mod decode;
mod envelope;
mod event;
mod limits;
mod method;
mod opts;
mod put;
mod requests;
mod responses;
mod schema;
mod scope;
mod size_limit;

pub use code::{BUS_CLOSED_STATUS, Code, CodeDescriptor, RetryPolicy, SUBSCRIBER_LIMIT_STATUS, UnknownCode};
pub use decode::decode;
pub use envelope::Envelope;
pub use event::{EventData, EventKind, EventPayload};
pub use limits::{MAX_EXPIRY_NANOS, MIN_EXPIRY_NANOS, PAYLOAD_LIMITS, PayloadLimits};
pub use method::{Method, PROTOCOL_VERSION};
pub use opts::{PutOpts, RawMetadata};
pub use put::{MAX_JSON_BYTES, PutDecoder, PutRequest, json_too_large, max_put_json_bytes};
pub use requests::{
    CreatedRange, DEFAULT_EXPIRY_NANOS, DeleteRequest, GetRefRequest, GetRequest, ListRequest,
    RequestIdentity, RuntimeRequest, SizeRange,
};
pub use responses::{
    BusReach, DeleteResponse, DriverRow, DriversResponse, EventsInfo, GetRefResponse, GetResponse,
    HealthResponse, InfoResponse, ListResponse, PutResponse, Row, Status, StoreInfo, SubsystemHealth,
};
pub use scope::{RequestScope, ScopeParts};
pub use size_limit::{DEFAULT_MAX_REQUEST_BYTES, DEFAULT_MAX_UPLOAD_BYTES, LimitSource, SizeLimit};
