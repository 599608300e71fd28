//! Which store and which scope a command works on, and the frame around its work: open, interrupt, close.

use std::env;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use artifact_store::{ArtifactId, ArtifactStore, Config, Flag, Scope, ScopePart, Secret, StoreError};

use super::{Failure, signals};
use crate::config::Settings;

const STORE_VARIABLE: &str = "ARTIFACTD_STORE";

const STORE_HELP: &str = "The store, such as fs:/var/lib/artifacts, sqlite:artifacts.db or s3://bucket/prefix; a URL with a \
                          password belongs into the environment, because arguments show to others on the machine [env: \
                          ARTIFACTD_STORE]";

/// `--store` or `--config`.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub(super) struct StoreArgs {
    // The parser takes every text: its own refusals would repeat the URL, which may hold a secret.
    #[arg(long, value_name = "URL", value_parser = |url: &str| Ok::<_, String>(Secret::new(url)), help = STORE_HELP, help_heading = "Store")]
    store: Option<Secret>,
    /// The server's configuration file, for the store that it names
    #[arg(long, value_name = "FILE", help_heading = "Store")]
    config: Option<PathBuf>,
}

impl StoreArgs {
    fn chosen(&self) -> Result<Config, Failure> {
        let url = match (&self.store, &self.config) {
            (Some(url), _) => url.reveal().to_owned(),
            (None, Some(file)) => {
                let settings = Settings::load(Some(file), &[]).map_err(Failure::usage)?;
                settings.artifacts.need_driver().map_err(Failure::usage)?;
                return Ok(settings.artifacts.store);
            }
            (None, None) => match env::var(STORE_VARIABLE) {
                Ok(url) if !url.is_empty() => url,
                _ => {
                    return Err(Failure::usage(format!(
                        "no store is named; give --store URL or --config FILE, or set {STORE_VARIABLE}"
                    )));
                }
            },
        };
        url.parse().map_err(|error: StoreError| Failure::usage(error))
    }

    /// The store that the arguments name; none where they name none, whatever the environment says.
    pub(super) fn named(&self) -> Result<Option<Config>, Failure> {
        if self.store.is_none() && self.config.is_none() {
            return Ok(None);
        }
        self.chosen().map(Some)
    }

    /// Opens the store, does `work` with it and closes it, whatever comes of the work. A signal drops the work. A store that is
    /// not there is refused: a slip in its path must not make another one.
    pub(super) async fn run(
        &self,
        work: impl AsyncFnOnce(&dyn ArtifactStore) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let config = self.chosen()?;
        with(artifact_store::open_existing(&config), lasting(work)).await
    }

    /// The same to read only: nothing is made or changed, so the place need not be writable.
    pub(super) async fn run_reading(
        &self,
        work: impl AsyncFnOnce(&dyn ArtifactStore) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let config = self.chosen()?;
        with(artifact_store::open_for_reading(&config), lasting(work)).await
    }

    /// The same, making the store where there is none.
    pub(super) async fn run_making(
        &self,
        work: impl AsyncFnOnce(&dyn ArtifactStore) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let config = self.chosen()?;
        with(artifact_store::open(&config), lasting(work)).await
    }
}

/// `work` on a store that is there for others, too.
fn lasting(
    work: impl AsyncFnOnce(&dyn ArtifactStore) -> Result<(), Failure>,
) -> impl AsyncFnOnce(&dyn ArtifactStore) -> Result<(), Failure> {
    async move |store: &dyn ArtifactStore| {
        outlives_this_process(store)?;
        work(store).await
    }
}

/// Opens a store, does `work` with it and closes it, as long as no signal comes.
pub(super) async fn with(
    opening: impl Future<Output = Result<Arc<dyn ArtifactStore>, StoreError>>,
    work: impl AsyncFnOnce(&dyn ArtifactStore) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut signal = pin!(signals::ended());
    let store = tokio::select! {
        biased;
        failure = &mut signal => return Err(failure),
        opened = opening => opened.map_err(|error| Failure::of_open(&error))?,
    };
    let done = tokio::select! {
        biased;
        failure = &mut signal => Err(failure),
        done = work(&*store) => done,
    };
    let closed = store.close().await.map_err(Failure::from);
    done.and(closed)
}

/// A store that is in no other process and in no later one has nothing to show and keeps nothing.
fn outlives_this_process(store: &dyn ArtifactStore) -> Result<(), Failure> {
    let capabilities = store.capabilities();
    if capabilities.has(Flag::Durable) || capabilities.has(Flag::Shared) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "this {} store lives in the memory of one process, so nothing is there and nothing would stay; name one that \
         stays, such as sqlite:artifacts.db or fs:artifacts",
        store.driver()
    )))
}

/// The one scope that a command works in.
#[derive(Debug, clap::Args)]
pub(super) struct ScopeArgs {
    /// The tenant
    #[arg(long, value_parser = part, help_heading = "Scope")]
    tenant: ScopePart,
    /// The user within the tenant
    #[arg(long, value_parser = part, help_heading = "Scope")]
    user: ScopePart,
    /// The session of the user
    #[arg(long, value_parser = part, help_heading = "Scope")]
    session: ScopePart,
    /// The task within the session; without it, the artifacts that belong to no task
    #[arg(long, value_parser = part, help_heading = "Scope")]
    task: Option<ScopePart>,
}

impl ScopeArgs {
    pub(super) fn scope(&self) -> Scope {
        let Self { tenant, user, session, task } = self;
        Scope::from_parts(tenant.clone(), user.clone(), session.clone(), task.clone())
    }
}

/// A part of a scope from the command line.
pub(super) fn part(text: &str) -> Result<ScopePart, StoreError> {
    ScopePart::new(text)
}

/// The id that a command names. What is no id at all is not there, like any other that is missing.
pub(super) fn asked_id(text: &str) -> Result<ArtifactId, Failure> {
    text.parse().map_err(|_| no_such_artifact())
}

pub(super) fn no_such_artifact() -> Failure {
    Failure::not_found("there is no such artifact in this scope")
}
