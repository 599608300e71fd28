//! The arguments that select a store, and the steps around the work of a command: open, run until a signal, close. This
//! module must never know what a command does with the store.

use std::env;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use artifact_store::{ArtifactStore, Config, Flag, OpenOptions, Registry, Secret, StoreError};

use super::error::CommandError;
use super::signals;
use crate::config::{OptionNames, Purpose, Settings};

const STORE_VARIABLE: &str = "ARTIFACTD_STORE";

const STORE_HELP: &str = "The store, such as fs:/var/lib/artifacts, sqlite:artifacts.db or s3://bucket/prefix; set a URL with a \
                          password in the environment, because other users of this machine can see arguments [env: \
                          ARTIFACTD_STORE]";

/// `--store` or `--config`.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub(super) struct StoreArgs {
    // The parser accepts every text: an error of clap would repeat the URL, which may contain a secret.
    #[arg(long, value_name = "URL", value_parser = |url: &str| Ok::<_, String>(Secret::new(url)), help = STORE_HELP, help_heading = "Store")]
    store: Option<Secret>,
    /// The server's configuration file, for the store that it names
    #[arg(long, value_name = "FILE", help_heading = "Store")]
    config: Option<PathBuf>,
}

impl StoreArgs {
    /// The store that the arguments or the environment name, with the drivers of `registry`.
    ///
    /// # Errors
    /// No store is named in the arguments or the environment, or the configuration is wrong.
    pub(super) fn select(&self, registry: &Registry) -> Result<SelectedStore, CommandError> {
        let (url, source) = match (&self.store, &self.config) {
            (Some(url), _) => (url.reveal().to_owned(), "--store"),
            (None, Some(file)) => {
                let (settings, _) = Settings::load_for(Purpose::OpenStore, registry, Some(file), &[])
                    .map_err(CommandError::usage)?;
                return Ok(SelectedStore {
                    registry: registry.clone(),
                    config: settings.artifacts.store,
                    option_names: settings.artifacts.option_names,
                });
            }
            (None, None) => match env::var(STORE_VARIABLE) {
                Ok(url) if !url.is_empty() => (url, STORE_VARIABLE),
                _ => {
                    return Err(CommandError::usage(format!(
                        "no store is named; give --store URL or --config FILE, or set {STORE_VARIABLE}"
                    )));
                }
            },
        };
        let config: Config = url.parse().map_err(|error: StoreError| CommandError::usage(error))?;
        let option_names = OptionNames::from_url(registry, &config.driver, source);
        Ok(SelectedStore { registry: registry.clone(), config, option_names })
    }

    /// Like [`select`](Self::select), but returns `None` if no store is named in the arguments or the environment.
    pub(super) fn select_optional(&self, registry: &Registry) -> Result<Option<SelectedStore>, CommandError> {
        let is_in_environment = env::var_os(STORE_VARIABLE).is_some_and(|url| !url.is_empty());
        if self.store.is_none() && self.config.is_none() && !is_in_environment {
            return Ok(None);
        }
        self.select(registry).map(Some)
    }

    /// Opens an existing store, does `work` with the store and closes the store. It is an error if the store does not
    /// exist, because a typing error in the path must not create another store. It is also an error if the store is
    /// only in the memory of this process.
    pub(super) async fn run_on_existing(
        &self,
        registry: &Registry,
        work: impl AsyncFnOnce(&Arc<dyn ArtifactStore>) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let store = self.select(registry)?;
        store.run(&OpenOptions::new().create(false), with_persistence_check(work)).await
    }

    /// Like [`run_on_existing`](Self::run_on_existing), but opens the store as [`artifact_store::open_read_only`] does.
    pub(super) async fn run_on_read_only(
        &self,
        registry: &Registry,
        work: impl AsyncFnOnce(&Arc<dyn ArtifactStore>) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let store = self.select(registry)?;
        store.run(&OpenOptions::new().read_only(true), with_persistence_check(work)).await
    }

    /// Like [`run_on_existing`](Self::run_on_existing), but creates the store if it does not exist.
    pub(super) async fn run_creating(
        &self,
        registry: &Registry,
        work: impl AsyncFnOnce(&Arc<dyn ArtifactStore>) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let store = self.select(registry)?;
        store.run(&OpenOptions::new(), with_persistence_check(work)).await
    }
}

/// Wraps `work` in a function that first checks that the store outlives this process.
fn with_persistence_check(
    work: impl AsyncFnOnce(&Arc<dyn ArtifactStore>) -> Result<(), CommandError>,
) -> impl AsyncFnOnce(&Arc<dyn ArtifactStore>) -> Result<(), CommandError> {
    async move |store: &Arc<dyn ArtifactStore>| {
        require_persistent(&**store)?;
        work(store).await
    }
}

/// The store that a command works on.
pub(super) struct SelectedStore {
    /// The drivers to open the store with.
    pub(super) registry: Registry,
    pub(super) config: Config,
    /// The name of each option in error messages: the key, variable or part of a URL that sets the option.
    option_names: OptionNames,
}

impl SelectedStore {
    /// The error of the command if the store cannot be opened.
    pub(super) fn open_error(&self, error: &StoreError) -> CommandError {
        CommandError::from_open_error(error, &self.option_names)
    }

    /// Opens the store as `options` say, does `work` with the store and closes the store, even if the work fails or a
    /// signal interrupts the work. A signal during the opening ends the command at once.
    pub(super) async fn run(
        &self,
        options: &OpenOptions,
        work: impl AsyncFnOnce(&Arc<dyn ArtifactStore>) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let mut signal = pin!(signals::wait_for_signal());
        let options = options.clone().registry(self.registry.clone());
        let store = tokio::select! {
            biased;
            error = &mut signal => return Err(error),
            opened = options.open(&self.config) => opened.map_err(|error| self.open_error(&error))?,
        };
        let result = tokio::select! {
            biased;
            error = &mut signal => Err(error),
            result = work(&store) => result,
        };
        let closed = store.close().await.map_err(CommandError::from);
        result.and(closed)
    }
}

/// Refuses a store that exists only in the memory of this process. Such a store is empty when the command starts, and
/// everything that is put is lost when the command ends.
fn require_persistent(store: &dyn ArtifactStore) -> Result<(), CommandError> {
    let capabilities = store.capabilities();
    if capabilities.has(Flag::Durable) || capabilities.has(Flag::Shared) {
        return Ok(());
    }
    Err(CommandError::usage(format!(
        "this {} store is in the memory of one process: it is empty, and what is put is lost when the command ends; name a \
         store on a disk or server, such as sqlite:artifacts.db or fs:artifacts",
        store.driver()
    )))
}
