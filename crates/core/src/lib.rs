//! The contract of artifact-store: the traits and types that stores of artifacts implement.
//!
//! The sections below start with what a caller uses and end with what a driver author implements.
//!
//! # 1. Using a store
//!
//! A caller uses an `Arc<dyn `[`ArtifactStore`]`>`. The caller puts bytes into a [`Scope`] and passes on a small
//! [`ArtifactRef`]. Anyone who has the ref and permission for the scope can read the bytes.
//!
//! ```
//! use artifact_store_core::{ArtifactStore, ArtifactStoreExt, PutOptions, PutOutcome, Scope};
//! # use artifact_store_inmem::{InmemConfig, InmemStore};
//! # use std::sync::Arc;
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! # let store: Arc<dyn ArtifactStore> = Arc::new(InmemStore::new(InmemConfig::new()));
//! let scope = Scope::new("acme", "ada", "session-1")?;
//! let put = store.put_text(&scope, "a long report", PutOptions::default()).await?;
//! assert_eq!(put.outcome, PutOutcome::Created);
//!
//! // The same bytes in the same scope are the same artifact.
//! let again = store.put_text(&scope, "a long report", PutOptions::default()).await?;
//! assert_eq!((again.outcome, &again.record.id), (PutOutcome::AlreadyExists, &put.record.id));
//!
//! // In another scope the artifact does not exist. This is not an error.
//! let other = Scope::new("acme", "bob", "session-1")?;
//! assert!(store.stat(&other, &put.record.id).await?.is_none());
//! # Ok::<(), artifact_store_core::StoreError>(())
//! # }).unwrap();
//! ```
//!
//! Convenience methods such as `put_text`, `get_bytes` and `list_all` are on [`ArtifactStoreExt`]. [`ScopedStore`] is a
//! handle that can access only one scope.
//!
//! # 2. Terms
//!
//! | term | type | meaning |
//! |---|---|---|
//! | scope | [`Scope`] | the owner of an artifact: tenant, user, session and optionally a task. Always valid |
//! | body | [`Body`] | the bytes of a put: in memory, or a stream with an optional length and digest |
//! | id | [`ArtifactId`] | `{namespace}_{32 hex digits of the SHA-256}`: the same bytes in a namespace, the same id |
//! | record | [`Record`] | the metadata of an artifact; a put is complete when its record is visible |
//! | ref | [`ArtifactRef`] | the small part of a record that is passed on |
//! | range | [`ByteRange`] | the bytes that a get requests |
//! | query, page | [`ListQuery`], [`Page`] | a listing request, and one page of its result |
//! | cursor | [`Cursor`] | where the next page starts; callers get it signed, drivers get a [`Position`] |
//! | verb | [`ArtifactStore`] | a method of this trait, such as `put` |
//! | flag | [`Flag`] | a verb or a guarantee that not every store has; [`Capabilities`] lists the flags of a store |
//! | error | [`StoreError`] | the error of every verb; [`ErrorKind`] is the closed list to match on |
//!
//! # 3. Guarantees of every store
//!
//! - A put stores the whole artifact or nothing.
//! - An artifact is never found outside its scope.
//! - Puts of the same bytes into the same scope and namespace make one artifact, even if they run concurrently.
//! - The memory of an operation does not grow with the size of the artifact.
//! - After a put or delete returns, every later read sees its effect.
//! - An error or a dropped future leaves no part of an artifact and no lock behind.
//!
//! The full list, with the duties of the driver, is on [`ArtifactStore`]. Streaming, ranges, filters and the order of
//! listings are not flags, because every driver must support them.
//!
//! # 4. The Gate
//!
//! The [`Gate`] is the wrapper between callers and drivers. It implements everything that is the same for all stores:
//! the closed state, flags, limits, cursors and the context of errors. It checks that each result belongs to its
//! request. By default it also compares the SHA-256 of each read of a whole artifact with the record. So a driver is
//! only storage. If a driver returns a record of another scope because of a bug, the caller gets an error and not the
//! record.
//!
//! # 5. A driver
//!
//! A driver implements the verbs. `presign` and `commit_upload` are optional: each belongs to a flag, and its default
//! implementation returns `Unsupported`. Read the body of a put through [`Body::open`], which hashes and limits the
//! bytes while they are read. Build storage keys from [`KeyToken`]s. Build the result of a listing with [`Page::new`].
//! The following driver is complete but slow: it stores everything in a vector.
//!
//! ```
#![doc = include_str!("../doc/vec_store.rs")]
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let store = VecStore::new(u64::MAX, Arc::new(SystemClock));
//! let store = Gate::new(Arc::new(store), GateOptions::default())?;
//! let scope = Scope::new("acme", "ada", "session-1")?;
//! let put = store.put_text(&scope, "hello", PutOptions::default()).await?;
//! let get = store.get(&scope, &put.record.id, Some((1..3).into())).await?.expect("the artifact exists");
//! assert_eq!(get.stream.collect_bytes(10).await?, "el");
//! # Ok::<(), StoreError>(())
//! # }).unwrap();
//! ```
//!
//! # 6. Conformance
//!
//! The conformance crate tests the contract with named checks. A driver's test provides a harness and runs all checks.
//! Each flag has checks for stores that advertise it and for stores that do not. A driver must pass with and without
//! the Gate.
//!
//! # 7. Opening by name
//!
//! A [`Driver`] opens stores from [`Options`]. A table of [`OptionSpec`]s describes these options. A [`Registry`] finds
//! drivers by name; drivers do not register themselves. The facade crate `artifact-store` parses a configuration or a
//! URL, opens the driver's store and wraps it in the Gate.

mod body;
mod capability;
mod cursor;
mod digest;
mod disposition;
mod error;
mod event_log;
mod ext;
mod gate;
mod id;
mod key;
mod list;
mod media_range;
mod media_type;
mod options;
mod presign;
mod range;
mod record;
mod record_stream;
mod registry;
mod scope;
mod scoped;
mod store;
mod stream;
mod time;
mod tree;

pub use async_trait::async_trait;
pub use bytes::Bytes;

pub use body::{Body, BodyStream, CompletedBody, InMemoryBody, MAX_PIECE_BYTES, OpenBody};
pub use capability::{Capabilities, Flag, FlagKind};
pub use cursor::{Cursor, CursorKey, Position, ScopeMark};
pub use digest::{Blake3Digest, Digest, Hasher};
pub use disposition::{content_disposition, content_type};
pub use error::{BoxError, ErrorContext, ErrorKind, StoreError, Verb};
pub use event_log::{EventLog, LogEntry, LogPage, NewEntry};
pub use ext::{ArtifactStoreExt, TEXT_MEDIA_TYPE};
pub use gate::{Gate, GateOptions, VerifyReads};
pub use id::{ArtifactId, DEFAULT_NAMESPACE, ID_HEX_DIGITS, MAX_NAMESPACE_BYTES, Namespace};
pub use key::{KeyToken, MAX_KEY_TOKEN_BYTES};
pub use list::{
    DEFAULT_LIST_LIMIT, Filter, ListQuery, MAX_FILTER_VALUE_BYTES, MAX_FILTER_VALUES, MAX_LIST_LIMIT, Page,
};
pub use media_range::MediaRange;
pub use media_type::MediaType;
pub use options::{OptionKind, OptionSpec, Options, parse_duration, parse_size};
pub use presign::{PresignIntent, PresignedRequest, PresignedUrl, UploadIntent};
pub use range::ByteRange;
pub use record::{ArtifactRef, MAX_METADATA_DEPTH, MAX_OPTIONS_BYTES, Metadata, PutOptions, Record, Source};
pub use record_stream::RecordStream;
pub use registry::{Driver, DriverInfo, Registry, StoreFeature, SweepMode, SweepSummary, UrlForm};
pub use scope::{MAX_SCOPE_PART_BYTES, Scope, ScopePart, ScopePattern, TaskPattern, TenantPattern};
pub use scoped::ScopedStore;
pub use store::{ArtifactStore, GetResult, Health, HealthStatus, PutOutcome, PutResult};
pub use stream::ByteStream;
pub use time::{Clock, SystemClock, Timestamp};
pub use tree::{
    BlockChecker, HashTree, MAX_BYTES_WITHOUT_TREE, RangeRead, ReadBlocks, TreeCache, TreeHasher,
};
