//! Artifact storage for runtimes.
//!
//! A runtime produces artifacts (tool outputs, uploads, reports, images) that are too large to pass inline. It opens a
//! store, puts each artifact into a [`Scope`] (tenant, user, session, task) and passes on a small [`ArtifactRef`]:
//!
//! ```
//! use artifact_store::prelude::*;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! // Or "fs:/var/lib/artifacts", "sqlite:artifacts.db", "postgres://…", "s3://bucket/prefix", or a `Config` from your own
//! // configuration file.
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
//! [`open`] selects the driver by name and wraps its store in the [`Gate`], which checks limits, the isolation of
//! scopes, digests and cursors in the same way for all drivers. The traits and types of the contract are in the crate
//! [`artifact_store_core`]. To use your own driver, register it and call [`open_with`].
//!
//! # Features
//! One feature per driver, all enabled by default: `inmem`, `fs`, `sqlite`, `postgres`, `s3`.

mod config;
mod open;
mod url;

pub use artifact_store_core as core;
pub use artifact_store_core::{
    ArtifactId, ArtifactRef, ArtifactStore, ArtifactStoreExt, Body, ByteRange, ByteStream, Capabilities,
    Clock, Cursor, CursorKey, Digest, Driver, DriverInfo, ErrorKind, Filter, Flag, Gate, GetResult, Health,
    ListQuery, Namespace, Page, PutOptions, PutOutcome, PutResult, Record, Registry, Scope, ScopePart,
    ScopePattern, ScopedStore, Source, StoreError, StoreFeature, SweepMode, SweepSummary, SystemClock,
    TaskPattern, TenantPattern, Timestamp, UrlForm, VerifyReads,
};

pub use config::{Config, OptionValues, Secret};
pub use open::{
    drivers, open, open_event_log, open_event_log_with, open_existing, open_read_only, open_with, probe,
    probe_with, store_features, store_features_with, sweep, sweep_with,
};

/// The most common types and traits: `use artifact_store::prelude::*`.
pub mod prelude {
    pub use artifact_store_core::{
        ArtifactId, ArtifactRef, ArtifactStore, ArtifactStoreExt, Body, ByteRange, ErrorKind, Filter,
        ListQuery, Namespace, PutOptions, PutOutcome, Record, Scope, ScopePart, ScopePattern, Source,
        StoreError,
    };

    pub use crate::Config;
}
