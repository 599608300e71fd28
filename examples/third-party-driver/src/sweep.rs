//! Sweeps: deletes, or only counts, what killed processes left in a database that no store has open.
//!
//! A store that has the database open deleted the orphans when it was opened, and deletes its own. So beside an open
//! store there is nothing to sweep.

use artifact_store_core::{ArtifactStore, StoreError, SweepMode, SweepSummary};
use tokio::runtime::Handle;

use crate::config::RedbConfig;
use crate::database::run_blocking;
use crate::open::count_orphans;
use crate::store::RedbStore;

/// Sweeps the database of `config`.
pub(crate) async fn sweep(config: RedbConfig, mode: SweepMode) -> Result<SweepSummary, StoreError> {
    let path = config.path().to_owned();
    let counted = run_blocking(&Handle::current(), move || count_orphans(&path)).await;
    match counted {
        Ok(None) => Ok(SweepSummary::new(0)),
        counted if !mode.deletes() => counted.map(|orphans| SweepSummary::new(orphans.unwrap_or_default())),
        // After a kill the orphans cannot be counted before the database is opened for writing, which repairs it.
        _ => {
            let store = RedbStore::open(config).await?;
            store.close().await?;
            Ok(SweepSummary::new(store.orphans()))
        }
    }
}
