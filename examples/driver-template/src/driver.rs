//! Opens the store by name: the table of options, and [`TemplateDriver`].

use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, Capabilities, Clock, Driver, DriverInfo, OptionKind, OptionSpec, Options, StoreError,
    SweepMode, SweepSummary, UrlForm, async_trait,
};

use crate::config::{TemplateConfig, capabilities};
use crate::error::unwritten;
use crate::name::NAME;
use crate::store::TemplateStore;

/// Opens stores of this kind.
#[derive(Debug)]
pub struct TemplateDriver;

static INFO: DriverInfo = DriverInfo {
    name: NAME,
    about: "Where it stores artifacts, in one sentence.",
    options: &[
        OptionSpec {
            name: "path",
            kind: OptionKind::Text,
            default: None,
            required: true,
            about: "Where the storage is.",
        },
        OptionSpec {
            name: "max_artifact_bytes",
            kind: OptionKind::Size,
            default: None,
            required: false,
            about: "The largest artifact; unset: no limit of the driver.",
        },
    ],
    url: UrlForm::Path("path"),
    // Whole reads are compared with their digest.
    bytes_cannot_change: false,
};

fn max_artifact_bytes(options: &Options) -> u64 {
    options.number("max_artifact_bytes").unwrap_or(u64::MAX)
}

#[async_trait]
impl Driver for TemplateDriver {
    fn info(&self) -> &'static DriverInfo {
        &INFO
    }

    fn capabilities(&self, options: &Options) -> Capabilities {
        capabilities(max_artifact_bytes(options))
    }

    async fn open(
        &self,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let path = options.text("path").unwrap_or_default().into();
        let config = TemplateConfig { path, max_artifact_bytes: max_artifact_bytes(options), clock };
        Ok(Arc::new(TemplateStore::open(config).await?))
    }

    async fn sweep(&self, _: &Options, _: SweepMode) -> Result<SweepSummary, StoreError> {
        Err(unwritten("sweep", "src/driver.rs", "delete, or only count, what killed processes left behind"))
    }
}
