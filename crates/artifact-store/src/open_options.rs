//! [`OpenOptions`]: how a store is opened. The [`Config`] says which store is opened.
//!
//! This module must never know a particular driver.

use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, Clock, CursorKey, ErrorContext, Gate, GateOptions, Registry, StoreError, SystemClock,
    Verb, VerifyReads,
};

use crate::config::Config;
use crate::open::{check_path_exists, driver_and_options, drivers};

/// How a store is opened: with which drivers, clock and gate options, and whether it may be created or written.
///
/// A [`Config`] says which store is opened, and comes from a file or a URL. `OpenOptions` are set by the program. The
/// functions [`open`](crate::open), [`open_with`](crate::open_with), [`open_existing`](crate::open_existing) and
/// [`open_read_only`](crate::open_read_only) are short forms.
///
/// # Examples
/// ```
/// use artifact_store::prelude::*;
/// use artifact_store::testing::ManualClock;
/// use artifact_store::{OpenOptions, Timestamp};
/// use std::sync::Arc;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let noon: Timestamp = "2026-01-02T12:00:00Z".parse()?;
/// let clock = Arc::new(ManualClock::new(noon));
/// let store = OpenOptions::new().clock(clock.clone()).open(&"inmem:".parse()?).await?;
/// let scope = Scope::new("acme", "ada", "session-1")?;
/// let put = store.put_text(&scope, "a report", PutOptions::default()).await?;
/// assert_eq!(put.record.created_at, noon);
/// # Ok::<(), StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing until a store is opened with them"]
pub struct OpenOptions {
    /// `None` for the compiled-in drivers.
    registry: Option<Registry>,
    clock: Arc<dyn Clock>,
    /// `None` for the options in the configuration.
    gate_options: Option<GateOptions>,
    create: bool,
    read_only: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenOptions {
    /// The compiled-in drivers, the system's clock, and the gate options of the configuration. A missing location is
    /// created.
    pub fn new() -> Self {
        Self {
            registry: None,
            clock: Arc::new(SystemClock),
            gate_options: None,
            create: true,
            read_only: false,
        }
    }

    /// Opens with the drivers of `registry`: the compiled-in [`drivers`](crate::drivers), your own drivers, or both.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Takes the creation time of records from `clock`.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the options of the [`Gate`]. They override the options of the configuration, with two exceptions:
    /// - If `options` and the configuration both limit the size of artifacts, the smaller limit applies.
    /// - If `options` has no cursor key, the configuration's cursor secret is used.
    ///
    /// Reads from a driver whose bytes cannot change, such as `inmem`, are never verified, whatever the options are.
    pub fn gate(mut self, options: GateOptions) -> Self {
        self.gate_options = Some(options);
        self
    }

    /// Sets whether a missing location is created; true by default. If `create` is false and the path of a store on the
    /// local disk does not exist, [`open`](Self::open) returns an error. For a store on a server or in memory, this
    /// setting has no effect.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Sets whether the store is opened for reading only, as by [`open_read_only`](crate::open_read_only); false by
    /// default. If true, a missing location is not created, whatever [`create`](Self::create) says.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Opens the store that `config` names.
    ///
    /// # Errors
    /// As [`open`](crate::open); `InvalidArgument` if the path does not exist and these options do not allow the store
    /// to be created.
    pub async fn open(&self, config: &Config) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let registry = match &self.registry {
            Some(registry) => registry.clone(),
            None => drivers()?,
        };
        if self.read_only || !self.create {
            check_path_exists(&registry, config)?;
        }
        let (driver, options) = driver_and_options(&registry, config)?;
        let info = driver.info();
        // The gate's options are validated before the driver opens the store.
        let gate_options = self.merge_gate_options(config, info.bytes_cannot_change)?;
        let clock = Arc::clone(&self.clock);
        let store = if self.read_only {
            driver.open_read_only(&options, clock).await
        } else {
            driver.open(&options, clock).await
        };
        let store = store.map_err(|error| {
            error.with_context(|| ErrorContext { driver: info.name, verb: Verb::Open, id: None })
        })?;
        Ok(Arc::new(Gate::new(store, gate_options)?))
    }

    /// Returns the options of the gate. The options that the program has set override the options of `config`, as
    /// [`gate`](Self::gate) describes.
    fn merge_gate_options(
        &self,
        config: &Config,
        bytes_cannot_change: bool,
    ) -> Result<GateOptions, StoreError> {
        let configured_key = match &config.cursor_secret {
            Some(secret) => Some(CursorKey::from_secret(secret.reveal().as_bytes())?),
            None => None,
        };
        // A limit of `u64::MAX` means that there is no limit.
        let configured_limit = config.max_artifact_bytes.unwrap_or(u64::MAX);
        // The options that the program set with `gate`; `None` if it set no options.
        let program_options = self.gate_options.as_ref();
        let program_key = program_options.and_then(|options| options.cursor_key.clone());
        let program_limit = program_options.map_or(u64::MAX, |options| options.max_artifact_bytes);
        let verify_reads = if bytes_cannot_change {
            VerifyReads::Never
        } else {
            program_options.map_or(config.verify_reads, |options| options.verify_reads)
        };
        let cursor_key = match program_key.or(configured_key) {
            Some(key) => key,
            None => CursorKey::random()?,
        };
        Ok(GateOptions::default()
            .with_verify_reads(verify_reads)
            .with_max_artifact_bytes(configured_limit.min(program_limit))
            .with_cursor_key(cursor_key))
    }
}
