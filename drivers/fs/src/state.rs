//! The state of an open store: [`StoreState`]. This module must never start a task.

use std::sync::Arc;

use crate::config::SyncPolicy;
use crate::dirs::ScopeDirs;
use crate::root::Root;
use artifact_store_core::Clock;

/// The state that the tasks of a store share.
#[derive(Debug)]
pub(crate) struct StoreState {
    pub(crate) root: Root,
    pub(crate) dirs: Arc<ScopeDirs>,
    pub(crate) sync: SyncPolicy,
    pub(crate) clock: Arc<dyn Clock>,
    /// The maximum number of files that one listing reads.
    pub(crate) max_scan: u64,
}
