//! Artifact storage for runtimes.
//!
//! A runtime produces artifacts (tool outputs, uploads, reports, images) too heavy to carry inline. It opens a store,
//! puts each artifact under a [`Scope`] (tenant, user, session, task) and hands on a small [`ArtifactRef`]:
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
//! [`open`] picks the driver by name and puts the [`Gate`] before it: limits, isolation of scopes, digests and cursors
//! are checked in one place, whatever the driver. The contract itself, trait and types, is the crate
//! [`artifact_store_core`]; drivers of your own are registered with [`open_with`].
//!
//! # Features
//! One a driver, all on by default: `inmem`, `fs`, `sqlite`, `postgres`, `s3`.

mod config;
mod open;
mod url;

pub use artifact_store_core as core;
pub use artifact_store_core::{
    Ability, ArtifactId, ArtifactRef, ArtifactStore, ArtifactStoreExt, Body, ByteRange, ByteStream,
    Capabilities, Clock, Cursor, CursorKey, Digest, Driver, DriverInfo, ErrorKind, Filter, Flag, Gate, Get,
    Health, ListQuery, Namespace, Page, Put, PutOptions, PutOutcome, Record, Registry, Scope, ScopePart,
    ScopePattern, ScopedStore, Source, StoreError, Swept, SystemClock, TaskPattern, TenantPattern, Timestamp,
    UrlForm, VerifyReads,
};

pub use config::{Config, OptionValues, Secret};
pub use open::{
    abilities, abilities_with, drivers, open, open_event_log, open_event_log_with, open_existing,
    open_for_reading, open_with, sweep, sweep_with,
};

/// What a runtime's module usually needs: `use artifact_store::prelude::*`.
pub mod prelude {
    pub use artifact_store_core::{
        ArtifactId, ArtifactRef, ArtifactStore, ArtifactStoreExt, Body, ByteRange, ErrorKind, Filter,
        ListQuery, Namespace, PutOptions, PutOutcome, Record, Scope, ScopePart, ScopePattern, Source,
        StoreError,
    };

    pub use crate::Config;
}
