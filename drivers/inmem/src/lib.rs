//! The `inmem` driver: artifacts in the memory of one process. They are lost when the process ends.
//!
//! Use this driver for tests, for development, and for runtimes that need their artifacts only while they run.
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
//! A sharded hash table contains the record and the bytes of each artifact. Gets of different artifacts rarely take the
//! same lock. Scope and id are compared, so no text is joined or escaped. Beside the table there are lists in listing
//! order: one for each scope, each session, each user, each tenant, and the whole store. A list is a sequence of chunks
//! of 512 rows, the oldest row first. So a put, which is usually the newest row, appends a time and a reference to five
//! vectors. The length of a list is the total of its listings.
//!
//! A list of more than 1024 rows has an index of a field (tag, source, size or media type) from the first listing that
//! needs it: one whose filter compares this field and matches few rows, or that counts. The index contains the rows of
//! each value in listing order. Puts and deletes keep it up to date. Indexes belong to one list, so the time of a listing
//! does not depend on the tags of other scopes.
//!
//! A body that is already in memory is stored without a copy. So a small slice of a large buffer keeps the whole buffer
//! alive. A streamed body is stored in segments of 1 MiB.
//!
//! # Commit point
//! A put first receives and hashes all bytes. Then it inserts the artifact into the table and the lists, under the
//! shard's lock. Before the insertion, nothing is visible. Dropping an unfinished put frees its memory.
//!
//! # Concurrency
//! There is one lock per shard and one lock over the lists. A call that needs both takes the shard's lock first. No call
//! holds a lock across an `await`. A listing holds the lock over the lists for one page, or for 512 rows at a time if it
//! compares rows with the query. An index is built by 1024 rows at a time, and puts and deletes run in between. If puts of the same bytes race, the first put that takes the lock creates the artifact, and the other puts
//! find this artifact. The stream of a get holds references to the artifact's bytes. So the stream is complete even if
//! the artifact is deleted while it is read.
//!
//! # Flags and limits
//! The driver has no flags. It is not `durable`, because a reopened store is empty. It is not `shared`, because another
//! process cannot open the store. If the option `max_artifact_bytes` is set, it limits the size of an artifact. The
//! time of a page does not grow with the size of the store, except for two kinds of queries, which compare all rows of a
//! list in the worst case: patterns with a gap, such as a session without a user, and filters over several fields each of
//! which alone matches many rows. A filter on the size that matches more than 4096 different sizes is compared, too.
//!
//! # Not done here
//! There is no limit on the sum of all artifacts, no eviction and no spilling to disk. Reads do not compare the bytes
//! with their digest, because the bytes are immutable buffers of this process.

mod blocking;
mod config;
mod field_index;
mod layout;
mod list;
mod lists;
mod put;
mod read;
mod rows;
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
        // When a process ends, its memory is freed. So there are no orphans.
        Ok(SweepSummary::new(0).with_bytes(0))
    }
}
