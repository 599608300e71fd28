//! From a [`Config`] to a store that is ready to use: [`open`].

use std::path::Path;
use std::sync::Arc;

use artifact_store_core::{
    Ability, ArtifactStore, CursorKey, Driver, ErrorContext, EventLog, Flag, Gate, GateOptions, Options,
    Registry, StoreError, Swept, SystemClock, Verb, VerifyReads,
};

use crate::config::Config;
use crate::url;

/// The drivers compiled in, by the crate's features.
///
/// # Errors
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where two have one name: a mistake of this crate.
pub fn drivers() -> Result<Registry, StoreError> {
    #[allow(unused_mut)] // Without any driver's feature nothing is added.
    let mut registry = Registry::new();
    #[cfg(feature = "inmem")]
    registry.register(Arc::new(artifact_store_inmem::InmemDriver))?;
    #[cfg(feature = "fs")]
    registry.register(Arc::new(artifact_store_fs::FsDriver))?;
    #[cfg(feature = "sqlite")]
    registry.register(Arc::new(artifact_store_sqlite::SqliteDriver))?;
    #[cfg(feature = "postgres")]
    registry.register(Arc::new(artifact_store_postgres::PostgresDriver))?;
    #[cfg(feature = "s3")]
    registry.register(Arc::new(artifact_store_s3::S3Driver))?;
    Ok(registry)
}

/// Opens the store that `config` names, with a compiled-in driver, behind the [`Gate`].
///
/// Needs a Tokio runtime. The store lives until [`close`](ArtifactStore::close); close it before the process ends, so that
/// nothing that runs in the background is cut off. Never falls back to another driver.
///
/// # Errors
/// - `InvalidArgument`: an unknown driver (the known ones are listed) or option, an illegal value, a place that is not this
///   driver's (another program's directory or database, a newer version's, a missing parent folder).
/// - `Unavailable`: the place is held by another process or cannot be reached now.
/// - `Corrupt`, `Backend`: the place is damaged, or may not be used (read-only, no permission).
///
/// # Examples
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let url = format!("fs:{}/artifacts", folder.path().display());
/// let store = artifact_store::open(&url.parse()?).await?;
/// assert_eq!(store.driver(), "fs");
/// store.close().await?;
/// # Ok::<(), artifact_store::StoreError>(())
/// # }).unwrap();
/// ```
pub async fn open(config: &Config) -> Result<Arc<dyn ArtifactStore>, StoreError> {
    open_with(&drivers()?, config).await
}

/// As [`open`], with the drivers of `registry`: the compiled-in ones of [`drivers`], some of your own, or both.
///
/// # Errors
/// As [`open`].
pub async fn open_with(registry: &Registry, config: &Config) -> Result<Arc<dyn ArtifactStore>, StoreError> {
    opened(registry, config, Access::Change).await
}

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Change,
    Read,
}

async fn opened(
    registry: &Registry,
    config: &Config,
    access: Access,
) -> Result<Arc<dyn ArtifactStore>, StoreError> {
    let (driver, options) = resolve(registry, config)?;
    let info = driver.info();
    // Everything that can be refused is refused before the place is touched.
    let gate = GateOptions {
        verify_reads: if info.bytes_cannot_change { VerifyReads::Never } else { config.verify_reads },
        max_artifact_bytes: config.max_artifact_bytes.unwrap_or(u64::MAX),
        cursor_key: Some(match &config.cursor_secret {
            Some(secret) => CursorKey::from_secret(secret.reveal().as_bytes())?,
            None => CursorKey::random()?,
        }),
    };
    let clock = Arc::new(SystemClock);
    let store = match access {
        Access::Change => driver.open(&options, clock).await,
        Access::Read => driver.open_for_reading(&options, clock).await,
    };
    let store = store.map_err(|error| {
        error.with_context(|| ErrorContext { driver: info.name, verb: Verb::Open, id: None })
    })?;
    Ok(Arc::new(Gate::new(store, gate)?))
}

/// As [`open`], but refuses a place that is not there yet, where a path on the disk names it and what is put there stays: for
/// tools that look into a store, so that a slip in its path is told and does not make another one. A place on a server is
/// opened as [`open`] does it.
///
/// # Errors
/// As [`open`]; `InvalidArgument` where nothing is at the path.
pub async fn open_existing(config: &Config) -> Result<Arc<dyn ArtifactStore>, StoreError> {
    let registry = drivers()?;
    refuse_missing(&registry, config)?;
    open_with(&registry, config).await
}

/// As [`open_existing`], to read only: a sqlite store is opened without making a file, bringing its schema up to date or
/// recovering its log, so also from media and by users that cannot write. Its puts and deletes are refused. Other drivers open as
/// they always do.
///
/// # Errors
/// As [`open_existing`]; `InvalidArgument` and `Unavailable` where the store has to be opened for writing first, which the message
/// says.
pub async fn open_for_reading(config: &Config) -> Result<Arc<dyn ArtifactStore>, StoreError> {
    let registry = drivers()?;
    refuse_missing(&registry, config)?;
    opened(&registry, config, Access::Read).await
}

/// Refuses a path at which there is no store, where a store at a path would stay.
fn refuse_missing(registry: &Registry, config: &Config) -> Result<(), StoreError> {
    let (driver, options) = resolve(registry, config)?;
    let (info, capabilities) = (driver.info(), driver.capabilities(&options));
    let stays = capabilities.has(Flag::Durable) || capabilities.has(Flag::Shared);
    let path = info.url.path_option().and_then(|name| options.text(name)).filter(|_| stays);
    // Where it cannot be seen whether something is there, opening says why.
    if let Some(path) = path.filter(|path| Path::new(path).try_exists().is_ok_and(|there| !there)) {
        return Err(StoreError::invalid(format!(
            "there is no {} store at {path}; check the path",
            info.name
        )));
    }
    Ok(())
}

/// Removes what processes that died have left in the place that `config` names: temporary files, orphan bytes, empty
/// folders. Opening a store removes most of it, too; this removes all, and may run beside live stores.
///
/// # Errors
/// As [`open`]; nothing that an artifact needs is touched in any case.
pub async fn sweep(config: &Config) -> Result<Swept, StoreError> {
    sweep_with(&drivers()?, config).await
}

/// As [`sweep`], with the drivers of `registry`.
///
/// # Errors
/// As [`sweep`].
pub async fn sweep_with(registry: &Registry, config: &Config) -> Result<Swept, StoreError> {
    let (driver, options) = resolve(registry, config)?;
    driver.sweep(&options).await.map_err(|error| {
        error.with_context(|| ErrorContext { driver: driver.info().name, verb: Verb::Open, id: None })
    })
}

/// What the storage behind the place that `config` names can do, as far as storages of its driver differ; empty where they do
/// not. Opens the place for it and lets go of it again.
///
/// # Errors
/// As [`open`].
pub async fn abilities(config: &Config) -> Result<Vec<Ability>, StoreError> {
    abilities_with(&drivers()?, config).await
}

/// As [`abilities`], with the drivers of `registry`.
///
/// # Errors
/// As [`open`].
pub async fn abilities_with(registry: &Registry, config: &Config) -> Result<Vec<Ability>, StoreError> {
    let (driver, options) = resolve(registry, config)?;
    driver.abilities(&options).await.map_err(|error| {
        error.with_context(|| ErrorContext { driver: driver.info().name, verb: Verb::Open, id: None })
    })
}

/// Opens the log by which processes on the place that `config` names tell each other what happens; nothing where its driver has
/// none. It is a handle of its own, with connections of its own: close it, too.
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
    let (driver, options) = resolve(registry, config)?;
    driver.event_log(&options).await.map_err(|error| {
        error.with_context(|| ErrorContext { driver: driver.info().name, verb: Verb::Open, id: None })
    })
}

/// The driver that `config` names, and its options, checked.
fn resolve<'a>(
    registry: &'a Registry,
    config: &Config,
) -> Result<(&'a Arc<dyn Driver>, Options), StoreError> {
    let driver = registry.driver(&config.driver)?;
    let info = driver.info();
    let mut given = config.options.0.clone();
    url::settle(info, &mut given)?;
    Ok((driver, Options::parse(info.name, info.options, given)?))
}
