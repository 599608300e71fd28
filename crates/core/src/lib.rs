//! The contract of artifact-store: what a store of artifacts promises, as types.
//!
//! Read this page as a short book. It leads from what a caller holds to what a driver's author writes.
//!
//! # 1. What a caller does
//!
//! A caller holds an `Arc<dyn `[`ArtifactStore`]`>`. It puts bytes under a [`Scope`], hands on a small [`ArtifactRef`],
//! and whoever holds the ref and the right to the scope reads the bytes back.
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
//! assert_eq!((again.outcome, &again.record.id), (PutOutcome::StoodAlready, &put.record.id));
//!
//! // In another scope there is no such artifact: absence is an answer, not an error.
//! let other = Scope::new("acme", "bob", "session-1")?;
//! assert!(store.stat(&other, &put.record.id).await?.is_none());
//! # Ok::<(), artifact_store_core::StoreError>(())
//! # }).unwrap();
//! ```
//!
//! Comforts such as `put_text`, `get_bytes` and `list_all` are on [`ArtifactStoreExt`], written once over the verbs;
//! [`ScopedStore`] is a handle that can reach nothing outside one scope.
//!
//! # 2. The words
//!
//! | word | type | what it is |
//! |---|---|---|
//! | scope | [`Scope`] | who an artifact belongs to: tenant, user, session, perhaps a task. Valid by construction |
//! | body | [`Body`] | the bytes on their way in: at hand, or a stream with optional length and digest |
//! | id | [`ArtifactId`] | `{namespace}_{32 hex digits of the SHA-256}`: the same bytes, the same id |
//! | record | [`Record`] | all that is known of an artifact; the commit point of a put |
//! | ref | [`ArtifactRef`] | the small part of a record that is handed on |
//! | range | [`ByteRange`] | which bytes a get asks for |
//! | query, page | [`ListQuery`], [`Page`] | what a listing asks, and a part of the answer |
//! | cursor | [`Cursor`] | where the next page starts; callers hold it sealed, drivers see a [`Position`] |
//! | flag | [`Flag`] | a promise that not every store makes; [`Capabilities`] say which ones this one makes |
//! | error | [`StoreError`] | why a verb failed; [`ErrorKind`] is the closed list to match on |
//!
//! # 3. What every store promises
//!
//! All or nothing on put; nothing found outside its scope; one artifact for the same scope, namespace and bytes, however
//! many race; constant memory per operation; what a put or delete has answered, every later read sees; nothing left
//! behind by an error or a dropped future. The list, with what the driver owes for it, is on [`ArtifactStore`].
//! Streaming, ranges, filters and order are no flags: every driver owes them.
//!
//! # 4. The Gate
//!
//! Between callers and drivers stands one wrapper, the [`Gate`]. Whatever holds for every store alike is checked there and
//! nowhere else: closed state, flags, limits, answers that match their questions, the SHA-256 of whole reads, cursors,
//! the context of errors. So a driver is bare storage, and a mistake in one driver does not become another tenant's
//! artifact in a caller's hands.
//!
//! # 5. A driver
//!
//! Implement the verbs; the two that stand for flags have default bodies that say `Unsupported`. Take the body through
//! [`Body::open`], which hashes and limits while the bytes flow. Name your keys with [`KeyToken`]. Answer lists with
//! [`Page::new`]. This one is complete, if not fast: it keeps everything in a vector.
//!
//! ```
#![doc = include_str!("../doc/vec_store.rs")]
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let store = VecStore::new(u64::MAX, Arc::new(SystemClock));
//! let store = Gate::new(Arc::new(store), GateOptions::default())?;
//! let scope = Scope::new("acme", "ada", "session-1")?;
//! let put = store.put_text(&scope, "hello", PutOptions::default()).await?;
//! let get = store.get(&scope, &put.record.id, Some((1..3).into())).await?.expect("it is there");
//! assert_eq!(get.stream.collect_bytes(10).await?, "el");
//! # Ok::<(), StoreError>(())
//! # }).unwrap();
//! ```
//!
//! # 6. The proof
//!
//! The conformance crate holds the contract as named checks. A driver's test gives it a harness and gets all of them; each
//! flag is proved both ways. A driver that passes bare and gated is a driver.
//!
//! # 7. Opening by name
//!
//! A [`Driver`] opens stores from [`Options`], which a table of [`OptionSpec`]s describes; a [`Registry`] finds it by
//! name. Nothing registers itself. The facade crate, `artifact-store`, reads a configuration or a URL, opens the driver and
//! puts the Gate before it.

mod body;
mod capability;
mod cursor;
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
pub use disposition::{content_disposition, content_type};
pub use error::{BoxError, ErrorContext, ErrorKind, StoreError, Verb};
pub use event_log::{EventLog, LogEntry, LogPage, NewEntry};
pub use ext::{ArtifactStoreExt, ScopedStore, TEXT_MEDIA_TYPE};
pub use gate::{Gate, GateOptions, VerifyReads};
pub use id::{ArtifactId, DEFAULT_NAMESPACE, Digest, Hasher, ID_HEX_DIGITS, MAX_NAMESPACE_BYTES, Namespace};
pub use key::{KeyToken, MAX_KEY_TOKEN_BYTES};
pub use list::{
    DEFAULT_LIST_LIMIT, Filter, ListQuery, MAX_FILTER_VALUE_BYTES, MAX_FILTER_VALUES, MAX_LIST_LIMIT, Page,
};
pub use media_range::MediaRange;
pub use media_type::MediaType;
pub use options::{OptionKind, OptionSpec, Options, parse_duration, parse_size};
pub use presign::{PresignIntent, Presigned, PresignedUrl, UploadIntent};
pub use range::ByteRange;
pub use record::{ArtifactRef, MAX_METADATA_DEPTH, MAX_OPTIONS_BYTES, Metadata, PutOptions, Record, Source};
pub use registry::{Ability, Driver, DriverInfo, Registry, Swept, UrlForm};
pub use scope::{MAX_SCOPE_PART_BYTES, Scope, ScopePart, ScopePattern, TaskPattern, TenantPattern};
pub use store::{ArtifactStore, Get, Health, HealthStatus, Put, PutOutcome};
pub use stream::ByteStream;
pub use time::{Clock, SystemClock, Timestamp};
