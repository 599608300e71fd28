//! The contract of artifact-store.
//!
//! (The book is below; it is written with the modules.)

mod body;
mod capability;
mod cursor;
mod error;
mod ext;
mod gate;
mod id;
mod key;
mod list;
mod options;
mod presign;
mod range;
mod record;
mod registry;
mod scope;
mod store;
mod stream;
mod time;

pub use async_trait::async_trait;
pub use bytes::Bytes;

pub use body::{AtHand, Body, BodyStream, MAX_PIECE_BYTES, OpenBody, Sealed};
pub use capability::{Capabilities, Flag, FlagKind};
pub use cursor::{Cursor, CursorKey, Position, ScopeMark};
pub use error::{BoxError, ErrorContext, ErrorKind, StoreError, Verb};
pub use ext::{ArtifactStoreExt, ScopedStore, TEXT_MEDIA_TYPE};
pub use gate::{Gate, GateOptions, VerifyReads};
pub use id::{ArtifactId, DEFAULT_NAMESPACE, Digest, Hasher, ID_HEX_DIGITS, MAX_NAMESPACE_BYTES, Namespace};
pub use key::{KeyToken, MAX_KEY_TOKEN_BYTES};
pub use list::{DEFAULT_LIST_LIMIT, Filter, ListQuery, MAX_LIST_LIMIT, Page};
pub use options::{OptionKind, OptionSpec, Options, parse_duration, parse_size};
pub use presign::{PresignIntent, Presigned, PresignedUrl, UploadIntent};
pub use range::ByteRange;
pub use record::{ArtifactRef, MAX_OPTIONS_BYTES, Metadata, PutOptions, Record, Source};
pub use registry::{Driver, DriverInfo, Registry};
pub use scope::{MAX_SCOPE_PART_BYTES, Scope, ScopePart, ScopePattern, TaskPattern, TenantPattern};
pub use store::{ArtifactStore, Get, Health, HealthStatus, Put, PutOutcome};
pub use stream::ByteStream;
pub use time::{Clock, SystemClock, Timestamp};
