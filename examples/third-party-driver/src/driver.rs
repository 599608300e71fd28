//! Opens a store by name: [`RedbDriver`].

use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, Capabilities, Clock, Driver, DriverInfo, Options, StoreError, SweepMode, SweepSummary,
    UrlForm, async_trait,
};

use crate::config::{NAME, OPTIONS, RedbConfig};
use crate::store::RedbStore;
use crate::sweep::sweep;

/// The `redb` driver, for a [`Registry`](artifact_store_core::Registry).
#[derive(Debug, Clone, Copy, Default)]
pub struct RedbDriver;

static INFO: DriverInfo = DriverInfo {
    name: NAME,
    about: "Artifacts in one redb database, a file that one process opens.",
    options: OPTIONS,
    url: UrlForm::Path("path"),
    bytes_cannot_change: false,
};

#[async_trait]
impl Driver for RedbDriver {
    fn info(&self) -> &'static DriverInfo {
        &INFO
    }

    fn capabilities(&self, options: &Options) -> Capabilities {
        match RedbConfig::from_options(options) {
            Ok(config) => config.capabilities(),
            // `open` reports the missing option.
            Err(_) => Capabilities::new(),
        }
    }

    async fn open(
        &self,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        Ok(Arc::new(RedbStore::open(RedbConfig::from_options(options)?.clock(clock)).await?))
    }

    async fn sweep(&self, options: &Options, mode: SweepMode) -> Result<SweepSummary, StoreError> {
        sweep(RedbConfig::from_options(options)?, mode).await
    }
}
