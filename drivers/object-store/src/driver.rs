//! How a store is opened by name: [`GcsDriver`] and [`AzureDriver`].
//!
//! This module must never send a request.

use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, Capabilities, Clock, Driver, DriverInfo, Options, StoreError, StoreFeature, SweepMode,
    SweepSummary, SystemClock, UrlForm, async_trait,
};

use crate::settings::ObjectStoreConfig;
use crate::store::ObjectArtifactStore;
use crate::sweep::SweepReport;

/// Implements [`Driver`] for a cloud, whose options make a configuration of the type `$config`.
macro_rules! cloud_driver {
    ($driver:ident, $config:ty, $info:expr) => {
        #[async_trait]
        impl Driver for $driver {
            fn info(&self) -> &'static DriverInfo {
                static INFO: DriverInfo = $info;
                &INFO
            }

            fn capabilities(&self, options: &Options) -> Capabilities {
                // With invalid options, no store can be opened, so there are no capabilities.
                <$config>::from_options(options, Arc::new(SystemClock))
                    .map_or_else(|_| Capabilities::new(), |config| config.capabilities())
            }

            async fn open(
                &self,
                options: &Options,
                clock: Arc<dyn Clock>,
            ) -> Result<Arc<dyn ArtifactStore>, StoreError> {
                let config = <$config>::from_options(options, clock)?.store_config()?;
                Ok(Arc::new(ObjectArtifactStore::open(config).await?))
            }

            async fn store_features(&self, options: &Options) -> Result<Vec<StoreFeature>, StoreError> {
                store_features(<$config>::from_options(options, Arc::new(SystemClock))?.store_config()?).await
            }

            async fn probe(&self, options: &Options) -> Result<Vec<StoreFeature>, StoreError> {
                // Each opening probes the storage.
                self.store_features(options).await
            }

            async fn sweep(&self, options: &Options, mode: SweepMode) -> Result<SweepSummary, StoreError> {
                let config = <$config>::from_options(options, Arc::new(SystemClock))?.store_config()?;
                sweep(config, mode).await
            }
        }
    };
}

/// The driver gcs, for a [`Registry`](artifact_store_core::Registry).
#[cfg(feature = "gcs")]
#[derive(Debug, Clone, Copy, Default)]
pub struct GcsDriver;

#[cfg(feature = "gcs")]
cloud_driver!(
    GcsDriver,
    crate::config::GcsConfig,
    DriverInfo {
        name: crate::config::GCS_NAME,
        about: "Artifacts as objects in a bucket of Google Cloud Storage.",
        options: crate::options::GCS_OPTIONS,
        url: UrlForm::HostAndPath { scheme: Some("gs"), host: "bucket", path: "prefix" },
        bytes_cannot_change: false,
    }
);

/// The driver azure, for a [`Registry`](artifact_store_core::Registry).
#[cfg(feature = "azure")]
#[derive(Debug, Clone, Copy, Default)]
pub struct AzureDriver;

#[cfg(feature = "azure")]
cloud_driver!(
    AzureDriver,
    crate::config::AzureConfig,
    DriverInfo {
        name: crate::config::AZURE_NAME,
        about: "Artifacts as blobs in a container of Azure Blob Storage.",
        options: crate::options::AZURE_OPTIONS,
        url: UrlForm::HostAndPath { scheme: Some("az"), host: "container", path: "prefix" },
        bytes_cannot_change: false,
    }
);

/// Opens the store and says what its storage honours.
async fn store_features(config: ObjectStoreConfig) -> Result<Vec<StoreFeature>, StoreError> {
    let store = ObjectArtifactStore::open(config).await?;
    let features = store.store_features()?;
    store.close().await?;
    Ok(features)
}

/// Sweeps an existing store.
async fn sweep(config: ObjectStoreConfig, mode: SweepMode) -> Result<SweepSummary, StoreError> {
    // A sweep must not create a store, and a dry run must write nothing. `open_existing` does neither.
    let store = ObjectArtifactStore::open_existing(config).await?;
    let report = if mode.deletes() { store.sweep().await } else { store.count_orphans().await };
    store.close().await?;
    let SweepReport { objects, bytes, young, busy } = report?;
    if busy {
        return Ok(SweepSummary::busy());
    }
    Ok(SweepSummary::new(objects).with_bytes(bytes).with_spared(young))
}
