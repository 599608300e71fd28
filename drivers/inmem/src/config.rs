//! How an inmem store is opened: [`InmemConfig`], and [`InmemDriver`] for registries.

use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, Capabilities, Clock, Driver, DriverInfo, OptionKind, OptionSpec, Options, StoreError,
    Swept, SystemClock, UrlForm, async_trait,
};

use crate::store::InmemStore;

/// The driver's name.
pub(crate) const NAME: &str = "inmem";

static INFO: DriverInfo = DriverInfo {
    name: NAME,
    about: "Artifacts in the memory of one process, gone with it: for tests and development.",
    options: &[OptionSpec {
        name: "max_artifact_bytes",
        kind: OptionKind::Size,
        default: None,
        required: false,
        about: "The largest artifact; unset, as large as memory allows.",
    }],
    url: UrlForm::Nothing,
    bytes_cannot_change: true,
};

/// The options of an inmem store.
#[derive(Debug, Clone)]
pub struct InmemConfig {
    pub(crate) max_artifact_bytes: u64,
    pub(crate) clock: Arc<dyn Clock>,
}

impl InmemConfig {
    /// No bound on an artifact's size, the machine's clock.
    pub fn new() -> Self {
        Self { max_artifact_bytes: u64::MAX, clock: Arc::new(SystemClock) }
    }

    /// The same with artifacts of at most `bytes`.
    #[must_use]
    pub fn max_artifact_bytes(mut self, bytes: u64) -> Self {
        self.max_artifact_bytes = bytes;
        self
    }

    /// The same with another clock to stamp records.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        Capabilities::new().max_artifact_bytes(self.max_artifact_bytes)
    }

    fn from_options(options: &Options) -> Self {
        Self::new().max_artifact_bytes(options.number("max_artifact_bytes").unwrap_or(u64::MAX))
    }
}

impl Default for InmemConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// Opens inmem stores by name.
#[derive(Debug, Clone, Copy, Default)]
pub struct InmemDriver;

#[async_trait]
impl Driver for InmemDriver {
    fn info(&self) -> &'static DriverInfo {
        &INFO
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

    async fn sweep(&self, _options: &Options) -> Result<Swept, StoreError> {
        // There is no place that a process could have left anything in.
        Ok(Swept::default())
    }
}
