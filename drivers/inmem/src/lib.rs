//! The `inmem` driver: artifacts in the memory of one process. They are lost when the process ends.
//!
//! Use it for tests, for development, and for runtimes whose artifacts need not outlive them.
//!
//! ```
//! use artifact_store_core::{ArtifactStoreExt, PutOptions, Scope};
//! use artifact_store_inmem::{InmemConfig, InmemStore};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let store = InmemStore::new(InmemConfig::new());
//! let scope = Scope::new("acme", "ada", "s-1")?;
//! let put = store.put_text(&scope, "hello", PutOptions::default()).await?;
//! assert_eq!(store.get_text(&scope, &put.record.id, 1024).await?.as_deref(), Some("hello"));
//! # Ok::<(), artifact_store_core::StoreError>(())
//! # }).unwrap();
//! ```
//!
//! # Layout
//! A sharded map contains record and bytes by (scope, id), so gets of different artifacts rarely take the same lock.
//! Beside the map there are sorted entries in listing order: one sequence for every session, user and tenant, and one
//! for the whole store. A body that is already in memory is stored without a copy, so a small slice of a large buffer
//! keeps the whole buffer alive. A streamed body is copied into segments of its own. The keys of the map are structs of
//! scope and id, so no text is joined or escaped.
//!
//! # Commit point
//! A put inserts the artifact into the map and the sorted entries, under the shard's lock. It does so after all bytes
//! are received and hashed. Before the insertion, nothing is visible. Dropping an unfinished put frees its memory.
//!
//! # Concurrency
//! There is one lock per shard and one lock over the sorted entries. A call that needs both takes the shard's lock
//! first. No call holds a lock across an `await`. A listing holds the lock over the sorted entries for 512 rows at a
//! time. If puts of the same bytes race, the first put that takes the lock creates the artifact, and the other puts
//! find it. The stream of a get has references to the artifact's bytes. So the stream is complete even if the artifact
//! is deleted meanwhile.
//!
//! # Flags and limits
//! None: not `durable` (a reopened store is empty), not `shared` (another process cannot open the store). If set,
//! `max_artifact_bytes` limits the size of an artifact. A listing continues from its position in the sorted entries of
//! its scope. Its cost grows with the rows that it scans, not with the size of the store.
//!
//! # Not done here
//! There is no limit on the sum of all artifacts, no eviction and no spilling to disk. Reads do not compare the bytes
//! with their digest, because the bytes are immutable buffers of this process.

mod blocking;
mod config;
mod layout;
mod list;
mod put;
mod read;
mod store;

use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, Capabilities, Clock, Driver, DriverInfo, Options, StoreError, SweepMode, SweepSummary,
    UrlForm, async_trait,
};

pub use config::InmemConfig;
pub use store::InmemStore;

/// The driver, for a [`Registry`](artifact_store_core::Registry).
#[derive(Debug, Clone, Copy, Default)]
pub struct InmemDriver;

#[async_trait]
impl Driver for InmemDriver {
    fn info(&self) -> &'static DriverInfo {
        &DriverInfo {
            name: config::NAME,
            about: "Artifacts in the memory of one process, gone with it: for tests and development.",
            options: config::OPTIONS,
            url: UrlForm::SchemeOnly,
            bytes_cannot_change: true,
        }
    }

    fn capabilities(&self, options: &Options) -> Capabilities {
        InmemConfig::from_options(options).capabilities()
    }

    async fn open(
        &self,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        Ok(Arc::new(InmemStore::new(InmemConfig::from_options(options).clock(clock))))
    }

    async fn sweep(&self, _: &Options, _: SweepMode) -> Result<SweepSummary, StoreError> {
        // The memory of a process is freed when it ends, so there are no orphans.
        Ok(SweepSummary::new(0).with_bytes(0))
    }
}
