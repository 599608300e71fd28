//! The Harbor Protocol's words for artifacts: pure data, no I/O.
//!
//! - [`Code`]: the registry of the eleven codes. One row holds a code's word, status, when it fires and whether to retry;
//!   wire, documentation and tests read it.
//! - [`Envelope`]: the one body of every failing response.
//! - [`Method`] and the requests and responses of each. [`decode`] reads a request and refuses unknown members by name;
//!   [`PutDecoder`] reads the one request that may be large while it flows.
//! - [`PAYLOAD_BOUNDS`]: what a control payload may hold.
//! - [`EventKind`] and [`EventData`]: what the event stream tells.
//!
//! The types of the wire describe themselves for the OpenAPI document (`utoipa::ToSchema`).
//!
//! This crate must never know who may do what, a store, or a server.
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

mod bounds;
mod code;
mod decode;
mod envelope;
mod event;
mod method;
mod opts;
mod put;
mod requests;
mod responses;
mod schema;
mod scope;

pub use bounds::{PAYLOAD_BOUNDS, PayloadBounds};
pub use code::{BUS_CLOSED_STATUS, Code, CodeDescriptor, Repeat, SUBSCRIBER_LIMIT_STATUS, UnknownCode};
pub use decode::decode;
pub use envelope::Envelope;
pub use event::{EventData, EventKind, EventPayload};
pub use method::{Method, PROTOCOL_VERSION};
pub use opts::{PutOpts, RawMetadata};
pub use put::{ENVELOPE_ALLOWANCE, PutDecoder, PutRequest, around_too_large, max_put_json, too_large};
pub use requests::{
    CreatedRange, DEFAULT_EXPIRY_NANOS, DeleteRequest, GetRefRequest, GetRequest, ListRequest,
    MAX_EXPIRY_NANOS, MIN_EXPIRY_NANOS, RequestIdentity, RuntimeRequest, SizeRange,
};
pub use responses::{
    BusReach, DeleteResponse, DriverRow, DriversResponse, EventsInfo, GetRefResponse, GetResponse,
    HealthResponse, InfoResponse, ListResponse, PutResponse, Row, Status, StoreInfo, SubsystemHealth,
};
pub use scope::{RequestScope, ScopeParts};
