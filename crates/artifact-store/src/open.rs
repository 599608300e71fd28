//! Opening the store that a [`Config`] names: [`open`] and its variants. [`OpenOptions`] contains the steps of opening.
//!
//! Only [`drivers`] names particular drivers. The other functions must never know a particular driver.

use std::path::Path;
use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, Driver, ErrorContext, EventLog, Flag, Options, Registry, StoreError, StoreFeature,
    SweepMode, SweepSummary, Verb,
};

use crate::config::Config;
use crate::open_options::OpenOptions;
use crate::url;

macro_rules! register_drivers {
    ($registry:ident: $($feature:literal $(or $scheme:literal)? => $driver:expr;)+) => {
        $(
            #[cfg(feature = $feature)]
            $registry.register(Arc::new($driver))?;
            // The registry shows this text only if the driver is not registered.
            for name in [$feature $(, $scheme)?] {
                $registry.explain_missing(
                    name,
                    concat!("is not compiled in; enable the feature `", $feature, "` of `artifact-store`"),
                );
            }
        )+
    };
}

/// The drivers that are compiled in, according to the crate's features. If a known driver is not compiled in, the error
/// of [`Registry::driver`] names the feature to enable.
///
/// # Errors
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if two drivers have the same name, which is a bug in this
/// crate.
pub fn drivers() -> Result<Registry, StoreError> {
    let mut registry = Registry::new();
    register_drivers! { registry:
        "inmem" => artifact_store_inmem::InmemDriver;
        "fs" => artifact_store_fs::FsDriver;
        "sqlite" => artifact_store_sqlite::SqliteDriver;
        "postgres" => artifact_store_postgres::PostgresDriver;
        "s3" => artifact_store_s3::S3Driver;
        "gcs" or "gs" => artifact_store_object_store::GcsDriver;
        "azure" or "az" => artifact_store_object_store::AzureDriver;
    }
    Ok(registry)
}

/// Opens the store that `config` names, with a compiled-in driver, behind the [`Gate`](crate::Gate).
///
/// This requires a Tokio runtime. [`close`](ArtifactStore::close) the store before the process ends, so that background
/// tasks are not interrupted. There is no fallback to another driver.
///
/// # Errors
/// - `InvalidArgument`: an unknown driver (the message lists the known drivers), an unknown option, or an invalid
///   value. Also a location that the driver cannot use: a directory or database of another program or a newer version,
///   or a path whose parent directory is missing.
/// - `Unavailable`: another process has locked the location, or the location is not reachable at the moment.
/// - `Corrupt`, `Backend`: the location is damaged, or access is denied (read-only, no permission).
///
/// # Examples
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let directory = tempfile::tempdir().unwrap();
/// # let url = format!("fs:{}/artifacts", directory.path().display());
/// let store = artifact_store::open(&url.parse()?).await?;
/// assert_eq!(store.driver(), "fs");
/// store.close().await?;
/// # Ok::<(), artifact_store::StoreError>(())
/// # }).unwrap();
/// ```
pub async fn open(config: &Config) -> Result<Arc<dyn ArtifactStore>, StoreError> {
    OpenOptions::new().open(config).await
}

/// As [`open`], with the drivers of `registry`. A registry can have the compiled-in drivers of [`drivers`], your own
/// drivers, or both. To set more than the registry, use [`OpenOptions`].
///
/// # Errors
/// As [`open`].
pub async fn open_with(registry: &Registry, config: &Config) -> Result<Arc<dyn ArtifactStore>, StoreError> {
    OpenOptions::new().registry(registry.clone()).open(config).await
}

/// As [`open`], but returns an error if the store is on the local disk and its path does not exist. This is for tools
/// that inspect a store: a mistake in the path must not create another store. A store on a server or in memory is
/// opened as by [`open`].
///
/// # Errors
/// As [`open`]; `InvalidArgument` if the path does not exist.
pub async fn open_existing(config: &Config) -> Result<Arc<dyn ArtifactStore>, StoreError> {
    OpenOptions::new().create(false).open(config).await
}

/// As [`open_existing`], but for reading only. This has an effect on an fs store and on a sqlite store in a file: the
/// driver creates no store, changes no data, runs no migration, and refuses puts and deletes. The store can be on
/// read-only media, and the process needs no write permission. If the process has write permission on a sqlite store,
/// SQLite may create and delete the files of its log. All other stores are opened as by [`open_existing`], and accept
/// puts and deletes.
///
/// # Errors
/// As [`open_existing`]; `InvalidArgument` or `Unavailable` if the store has to be opened for writing before it can
/// be read. The message says so.
pub async fn open_read_only(config: &Config) -> Result<Arc<dyn ArtifactStore>, StoreError> {
    OpenOptions::new().read_only(true).open(config).await
}

/// Returns an error if the configuration names a path that does not exist. A store in memory, such as
/// `sqlite::memory:`, has no path on the disk, so it is not checked.
pub(crate) fn check_path_exists(registry: &Registry, config: &Config) -> Result<(), StoreError> {
    let (driver, options) = driver_and_options(registry, config)?;
    let (info, capabilities) = (driver.info(), driver.capabilities(&options));
    // A store that is neither durable nor shared is treated as a store in memory.
    let is_persistent = capabilities.has(Flag::Durable) || capabilities.has(Flag::Shared);
    if !is_persistent {
        return Ok(());
    }
    let Some(path) = info.url.path_option().and_then(|name| options.text(name)) else { return Ok(()) };
    // `try_exists` fails if a parent folder cannot be read. Opening the store then reports the reason.
    let is_missing = matches!(Path::new(path).try_exists(), Ok(false));
    if is_missing {
        return Err(StoreError::invalid(format!(
            "there is no {} store at {path}; check the path",
            info.name
        )));
    }
    Ok(())
}

/// Deletes the orphans of killed processes in the location that `config` names: temporary files, bytes without a
/// record, and empty directories. With [`SweepMode::DryRun`] the sweep only counts the orphans and changes nothing.
///
/// A sweep may run while stores are open. It does not delete what a running process may still use:
/// [`SweepSummary::spared`] counts these items. Only one sweep of a location runs at a time. If another sweep is
/// running, [`SweepSummary::busy`] is true.
///
/// # Errors
/// As [`open`]; `InvalidArgument` if the path does not exist. Data of artifacts is never deleted, even after an error.
///
/// # Examples
/// ```
/// use artifact_store::{SweepMode, open, sweep};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let directory = tempfile::tempdir().unwrap();
/// # let url = format!("fs:{}/artifacts", directory.path().display());
/// let config = url.parse()?;
/// # open(&config).await?.close().await?;
/// let found = sweep(&config, SweepMode::DryRun).await?;
/// let deleted = sweep(&config, SweepMode::Delete).await?;
/// assert_eq!((found.leftovers, deleted.leftovers), (0, 0));
/// # Ok::<(), artifact_store::StoreError>(())
/// # }).unwrap();
/// ```
pub async fn sweep(config: &Config, mode: SweepMode) -> Result<SweepSummary, StoreError> {
    sweep_with(&drivers()?, config, mode).await
}

/// As [`sweep`], with the drivers of `registry`.
///
/// # Errors
/// As [`sweep`].
pub async fn sweep_with(
    registry: &Registry,
    config: &Config,
    mode: SweepMode,
) -> Result<SweepSummary, StoreError> {
    check_path_exists(registry, config)?;
    let (driver, options) = driver_and_options(registry, config)?;
    driver.sweep(&options, mode).await.map_err(|error| {
        error.with_context(|| ErrorContext { driver: driver.info().name, verb: Verb::Open, id: None })
    })
}

/// Returns the features of the storage that `config` names. The list is empty if all storages of the driver have the
/// same features. The function opens the location and closes it again.
///
/// # Errors
/// As [`open`].
pub async fn store_features(config: &Config) -> Result<Vec<StoreFeature>, StoreError> {
    store_features_with(&drivers()?, config).await
}

/// As [`store_features`], with the drivers of `registry`.
///
/// # Errors
/// As [`open`].
pub async fn store_features_with(
    registry: &Registry,
    config: &Config,
) -> Result<Vec<StoreFeature>, StoreError> {
    let (driver, options) = driver_and_options(registry, config)?;
    driver.store_features(&options).await.map_err(|error| {
        error.with_context(|| ErrorContext { driver: driver.info().name, verb: Verb::Open, id: None })
    })
}

/// As [`store_features`], but probes the storage again instead of returning recorded results.
///
/// # Errors
/// As [`open`].
pub async fn probe(config: &Config) -> Result<Vec<StoreFeature>, StoreError> {
    probe_with(&drivers()?, config).await
}

/// As [`probe`], with the drivers of `registry`.
///
/// # Errors
/// As [`open`].
pub async fn probe_with(registry: &Registry, config: &Config) -> Result<Vec<StoreFeature>, StoreError> {
    let (driver, options) = driver_and_options(registry, config)?;
    driver.probe(&options).await.map_err(|error| {
        error.with_context(|| ErrorContext { driver: driver.info().name, verb: Verb::Open, id: None })
    })
}

/// Opens the event log that all processes on the location share; `None` if the driver has no event log. The log has its
/// own connections. Closing a store does not close them, so [`close`](EventLog::close) the log, too.
///
/// # Errors
/// As [`open`].
pub async fn open_event_log(config: &Config) -> Result<Option<Arc<dyn EventLog>>, StoreError> {
    open_event_log_with(&drivers()?, config).await
}

/// As [`open_event_log`], with the drivers of `registry`.
///
/// # Errors
/// As [`open`].
pub async fn open_event_log_with(
    registry: &Registry,
    config: &Config,
) -> Result<Option<Arc<dyn EventLog>>, StoreError> {
    let (driver, options) = driver_and_options(registry, config)?;
    driver.event_log(&options).await.map_err(|error| {
        error.with_context(|| ErrorContext { driver: driver.info().name, verb: Verb::Open, id: None })
    })
}

/// Returns the driver that `config` names, and its parsed options.
pub(crate) fn driver_and_options<'a>(
    registry: &'a Registry,
    config: &Config,
) -> Result<(&'a Arc<dyn Driver>, Options), StoreError> {
    let driver = registry.driver(&config.driver)?;
    let info = driver.info();
    let mut values = config.options.0.clone();
    url::resolve_url_parts(info, &mut values)?;
    Ok((driver, Options::parse(info.name, info.options, values)?))
}
