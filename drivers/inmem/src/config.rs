//! The configuration of an inmem store: [`InmemConfig`] and the driver options that set it.
//!
//! This module must never read or write an artifact.

use std::sync::Arc;

use artifact_store_core::{Capabilities, Clock, OptionKind, OptionSpec, Options, SystemClock};

/// The driver's name.
pub(crate) const NAME: &str = "inmem";

/// The driver's options.
pub(crate) const OPTIONS: &[OptionSpec] = &[OptionSpec {
    name: "max_artifact_bytes",
    kind: OptionKind::Size,
    default: None,
    required: false,
    about: "The largest artifact. If unset, memory is the only limit.",
}];

/// The configuration of an inmem store.
#[derive(Debug, Clone)]
pub struct InmemConfig {
    pub(crate) max_artifact_bytes: u64,
    pub(crate) clock: Arc<dyn Clock>,
}

impl InmemConfig {
    /// A configuration with the system clock and without a limit on the size of an artifact.
    pub fn new() -> Self {
        Self { max_artifact_bytes: u64::MAX, clock: Arc::new(SystemClock) }
    }

    /// Sets the size limit of an artifact, in bytes.
    #[must_use]
    pub fn max_artifact_bytes(mut self, bytes: u64) -> Self {
        self.max_artifact_bytes = bytes;
        self
    }

    /// Sets the clock that gives each record its `created_at`.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        Capabilities::new().max_artifact_bytes(self.max_artifact_bytes)
    }

    pub(crate) fn from_options(options: &Options) -> Self {
        Self::new().max_artifact_bytes(options.number("max_artifact_bytes").unwrap_or(u64::MAX))
    }
}

impl Default for InmemConfig {
    fn default() -> Self {
        Self::new()
    }
}
