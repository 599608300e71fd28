//! The `inmem` driver: artifacts in the memory of one process, gone with it.
//!
//! For tests, for development, and for runtimes whose artifacts need not outlive them.
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
//! A map from (scope, id) to record and bytes, in shards so that gets of different artifacts do not meet. Beside it, for
//! every session, user and tenant and for the whole store, the records in listing order. Bytes at hand are kept as they
//! came, without a copy, so a small slice of a large buffer keeps the buffer alive; streamed bytes are copied into
//! segments of their own. Keys are structs of the clear scope: nothing is joined or escaped.
//!
//! # Commit point
//! The insertion into map and orders under the shard's lock, once all bytes are here and hashed. Before it nothing is
//! visible; a dropped put is dropped memory.
//!
//! # Concurrency
//! One lock per shard, one over the orders, taken in that sequence and never across an `await`. A listing holds the orders
//! for some hundred rows at a time. Of racing puts of the same
//! bytes the first to take the lock creates, the others find it. A stream holds its artifact's bytes, so it ends whole even
//! if the artifact is deleted meanwhile.
//!
//! # Flags and limits
//! None: not `durable` (reopening finds nothing), not `shared` (there is no place that another process could open).
//! `max_artifact_bytes` bounds an artifact where it is set. A listing reads on from its position in the order that its
//! scope has; what it costs grows with the rows it passes over, not with the store.
//!
//! # Not done here
//! No bound on the sum of all artifacts, no eviction, no spilling to disk. Reads are not compared with their digest: the
//! bytes are immutable buffers of this process.

mod config;
mod index;
mod store;

pub use config::{InmemConfig, InmemDriver};
pub use store::InmemStore;
