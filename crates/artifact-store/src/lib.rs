//! Artifact storage for runtimes.
//!
//! A runtime produces artifacts (tool outputs, uploads, reports, images) that are too large to pass inline. It opens a
//! store, puts each artifact into a [`Scope`] (tenant, user, session, task) and passes on a small [`ArtifactRef`]:
//!
//! ```
//! use artifact_store::prelude::*;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! // Or "fs:/var/lib/artifacts", "sqlite:artifacts.db", "postgres://…", "s3://bucket/prefix", or a `Config` from
//! // your own configuration file.
//! let store = artifact_store::open(&"inmem:".parse()?).await?;
//!
//! let scope = Scope::new("acme", "ada", "session-1")?;
//! let put = store.put_text(&scope, "a long report", PutOptions::default()).await?;
//! let reference: ArtifactRef = put.record.artifact_ref();
//!
//! let text = store.get_text(&reference.scope, &reference.id, 1 << 20).await?;
//! assert_eq!(text.as_deref(), Some("a long report"));
//! store.close().await?;
//! # Ok::<(), StoreError>(())
//! # }).unwrap();
//! ```
//!
//! [`open`] selects the driver by name and wraps its store in the [`Gate`]. The gate checks limits, the isolation of
//! scopes, digests and cursors in the same way for all drivers. The traits and types of the contract are in the crate
//! [`artifact_store_core`]. To use your own driver, register it and call [`open_with`].
//!
//! To choose the clock or the options of the gate, use [`OpenOptions`].
//!
//! # Features
//! - One feature per driver: `inmem`, `fs`, `sqlite`, `postgres`, `s3`, enabled by default; and `gcs` and `azure`.
//! - `tokio`, enabled by default: [`BodyExt::from_path`], [`GetResultExt::save_to`] and
//!   [`ByteStreamExt::into_reader`].
//! - `http-body`: [`HttpBody`] and [`BodyExt::from_http_body`], for axum, hyper and other HTTP libraries.
//! - `jiff`, `chrono`: conversions of [`Timestamp`] from and into the times of these crates.
//! - `testing`: the module [`testing`], for tests of programs that use a store.

#[cfg(any(feature = "tokio", feature = "http-body"))]
mod body_ext;
mod config;
#[cfg(feature = "http-body")]
mod http;
mod open;
mod open_options;
#[cfg(feature = "tokio")]
mod reader;
#[cfg(feature = "tokio")]
mod save;
#[cfg(feature = "testing")]
pub mod testing;
mod url;

pub use artifact_store_core as core;
pub use artifact_store_core::{
    ArtifactId, ArtifactRef, ArtifactStore, ArtifactStoreExt, Body, BoxError, ByteRange, ByteStream, Bytes,
    Capabilities, Clock, Cursor, CursorKey, DEFAULT_LIST_LIMIT, DEFAULT_NAMESPACE, Digest, Driver,
    DriverInfo, ErrorContext, ErrorKind, EventLog, Filter, Flag, FlagKind, Gate, GateOptions, GetResult,
    Hasher, Health, HealthStatus, ListQuery, LogEntry, LogPage, MAX_FILTER_VALUE_BYTES, MAX_FILTER_VALUES,
    MAX_LIST_LIMIT, MAX_METADATA_DEPTH, MAX_NAMESPACE_BYTES, MAX_OPTIONS_BYTES, MAX_SCOPE_PART_BYTES,
    MediaRange, MediaType, Metadata, Namespace, NewEntry, OptionKind, OptionSpec, Options, Page,
    PresignIntent, PresignedRequest, PresignedUrl, PutOptions, PutOutcome, PutResult, Record, RecordStream,
    Registry, Scope, ScopePart, ScopePattern, ScopedStore, Source, StoreError, StoreFeature, SweepMode,
    SweepSummary, SystemClock, TEXT_MEDIA_TYPE, TaskPattern, TenantPattern, Timestamp, UploadIntent, UrlForm,
    Verb, VerifyReads, async_trait,
};

#[cfg(any(feature = "tokio", feature = "http-body"))]
pub use body_ext::BodyExt;
pub use config::{Config, OptionValues, Secret};
#[cfg(feature = "http-body")]
pub use http::HttpBody;
pub use open::{
    drivers, open, open_event_log, open_event_log_with, open_existing, open_read_only, open_with, probe,
    probe_with, store_features, store_features_with, sweep, sweep_with,
};
pub use open_options::OpenOptions;
#[cfg(feature = "tokio")]
pub use reader::{ByteReader, ByteStreamExt};
#[cfg(feature = "tokio")]
pub use save::GetResultExt;

/// The most common types and traits: `use artifact_store::prelude::*`.
pub mod prelude {
    pub use artifact_store_core::{
        ArtifactId, ArtifactRef, ArtifactStore, ArtifactStoreExt, Body, ByteRange, ErrorKind, Filter,
        ListQuery, Namespace, PutOptions, PutOutcome, Record, Scope, ScopePart, ScopePattern, Source,
        StoreError,
    };

    #[cfg(any(feature = "tokio", feature = "http-body"))]
    pub use crate::BodyExt;
    pub use crate::Config;
    #[cfg(feature = "tokio")]
    pub use crate::{ByteStreamExt, GetResultExt};
}
