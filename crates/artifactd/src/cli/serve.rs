//! `artifactd serve`: the server as a configuration file says.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use artifact_store::core::{EventLog, Options, StoreError};
use artifact_store::{Ability, ArtifactStore, Config, Flag};
use artifact_store_protocol::DriverRow;
use artifact_store_resolver::{Resolver, ResolverOptions, RuntimeDescription};

use super::reload::{Origin, Running};
use super::signals::{End, Hangup, Signals};
use super::{Failure, out};
use crate::config::Settings;
use crate::http::App;
use crate::identity::{NoKeys, Verifier};
use crate::log;
use crate::metrics::{MeasuredStore, StoreMetrics};
use crate::server::{Ended, Server};

/// How long the store may take to close.
const CLOSING: Duration = Duration::from_secs(10);

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    /// The configuration file, YAML or TOML; none: only the environment and --set
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a key over file and environment; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

/// Reads `key=value`.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as key=value")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

pub(super) async fn run(args: ServeArgs) -> Result<(), Failure> {
    let Signals { mut end, reload } = Signals::listen(Hangup::Reloads)?;
    let origin = Origin { file: args.config, flags: args.set };
    let (settings, given) = origin.load().map_err(Failure::usage)?;
    // Before anything that may have to be told to the operator.
    start_log(&settings)?;
    let verifier = tokio::select! {
        biased;
        () = end.next() => return ended_early(),
        opened = Verifier::open(&settings.identity) => opened.map_err(|error| match error {
            NoKeys::Config(error) => Failure::usage(error),
            NoKeys::Provider(why) => Failure::failed(why),
        })?,
    };
    let running = Running { origin, settings: settings.clone(), given, keys: verifier.refresher() };
    let reloading = reload.map(|hangup| tokio::spawn(running.reload_at(hangup)));
    let done = serve(&settings, verifier, end, |_| Ok(String::new())).await;
    if let Some(reloading) = reloading {
        reloading.abort();
    }
    done
}

fn start_log(settings: &Settings) -> Result<(), Failure> {
    log::init(&settings.telemetry)
        .map_err(|error| Failure::failed(format!("the thread that writes the log does not start: {error}")))
}

/// A server that is asked to end while it starts has nothing to finish.
#[allow(clippy::unnecessary_wraps)] // What whoever starts a server gives back.
fn ended_early() -> Result<(), Failure> {
    tracing::info!("told to end before it served");
    Ok(())
}

/// Serves until a signal. `announce` is told the address once the server listens, and says what follows it on standard output.
pub(super) async fn serve(
    settings: &Settings,
    verifier: Verifier,
    mut end: End,
    announce: impl FnOnce(std::net::SocketAddr) -> Result<String, Failure>,
) -> Result<(), Failure> {
    start_log(settings)?;
    let store = tokio::select! {
        biased;
        () = end.next() => return ended_early(),
        opened = artifact_store::open(&settings.artifacts.store) => opened.map_err(Failure::failed)?,
    };
    log_store(&settings.artifacts.store, &*store).await;
    let events = artifact_store::open_event_log(&settings.artifacts.store).await.map_err(Failure::failed)?;
    let measured = MeasuredStore::new(store);
    let metrics = measured.metrics();
    let store: Arc<dyn ArtifactStore> = Arc::new(measured);
    let opened = Opened { store: Arc::clone(&store), events: events.clone(), metrics };
    let ended = serve_store(settings, verifier, opened, end, announce).await;
    if let Some(events) = events {
        events.close().await;
    }
    let closed = tokio::time::timeout(CLOSING, store.close()).await;
    match closed {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(Failure::failed(format!("the store did not close well: {error}"))),
        Err(_) => return Err(Failure::failed("the store did not close in time")),
    }
    match ended? {
        Ended::Whole => Ok(()),
        Ended::Cut(requests) => {
            tracing::warn!(requests, "requests were cut off by the end of the grace period");
            Err(Failure::failed(format!(
                "{requests} requests were cut off; server.shutdown_grace_period may be too short"
            )))
        }
    }
}

/// Says what the store promises and what the storage behind it can do. Neither holds a secret.
async fn log_store(config: &Config, store: &dyn ArtifactStore) {
    let capabilities = store.capabilities();
    let flags: Vec<&str> =
        Flag::ALL.iter().filter(|flag| capabilities.has(**flag)).map(|flag| flag.word()).collect();
    let max_artifact_bytes = capabilities.artifact_bytes_limit();
    tracing::info!(driver = store.driver(), flags = flags.join(","), max_artifact_bytes, "the store is open");
    if !capabilities.has(Flag::Durable) && !capabilities.has(Flag::Shared) {
        tracing::warn!(
            driver = store.driver(),
            "this store lives in the memory of this server: every artifact in it is lost when the server ends; to keep them, \
             choose another artifacts.driver or place"
        );
    }
    match artifact_store::abilities(config).await {
        Ok(abilities) => {
            for Ability { name, value, about } in abilities {
                tracing::info!(ability = name, value, about, "the storage behind the store");
            }
        }
        // The store itself is open: not to know this is no reason not to serve.
        Err(error) => tracing::warn!(%error, "what the storage behind the store can do is not known"),
    }
}

/// A store, and the log by which the processes on it tell each other what happens, where there is one.
struct Opened {
    store: Arc<dyn ArtifactStore>,
    events: Option<Arc<dyn EventLog>>,
    /// What the store's calls are counted in.
    metrics: Arc<StoreMetrics>,
}

impl Opened {
    async fn resolver(self, options: ResolverOptions) -> Result<Resolver, StoreError> {
        match self.events {
            Some(events) => Resolver::with_event_log(self.store, options, events).await,
            None => Ok(Resolver::new(self.store, options)),
        }
    }
}

async fn serve_store(
    settings: &Settings,
    verifier: Verifier,
    opened: Opened,
    end: End,
    announce: impl FnOnce(std::net::SocketAddr) -> Result<String, Failure>,
) -> Result<Ended, Failure> {
    let options = resolver_options(settings).map_err(Failure::failed)?;
    let metrics = Arc::clone(&opened.metrics);
    let resolver = opened.resolver(options).await.map_err(Failure::failed)?;
    let app = App::new(resolver, verifier, &settings.server).with_store_metrics(metrics);
    let at = settings.server.bind_addr;
    let server = Server::bind(app, settings.server.clone()).await.map_err(|error| {
        Failure::failed(format!("cannot listen on {at}: {error}; choose another server.bind_addr"))
    })?;
    let at = server.local_addr().map_err(Failure::failed)?;
    let more = announce(at)?;
    out::announce(format!("artifactd listens on http://{at}\n{more}")).await;
    tracing::info!(address = at.to_string(), driver = settings.artifacts.store.driver, "listening");
    Ok(server.run(end.first()).await)
}

fn resolver_options(settings: &Settings) -> Result<ResolverOptions, StoreError> {
    let registry = artifact_store::drivers()?;
    let mut drivers = Vec::new();
    for driver in registry.drivers() {
        let info = driver.info();
        let defaults = Options::defaults(info.name, info.options)?;
        drivers.push(DriverRow {
            driver: info.name,
            about: info.about,
            active: false,
            capabilities: driver.capabilities(&defaults),
        });
    }
    Ok(ResolverOptions {
        max_request_bytes: settings.protocol.max_request_bytes,
        fetch_default_max_bytes: settings.artifacts.fetch_default_max_bytes,
        fetch_hard_max_bytes: settings.artifacts.fetch_hard_max_bytes,
        subscribers_per_session: settings.server.event_streams.per_session,
        subscribers_per_user: settings.server.event_streams.per_user,
        subscribers_per_tenant: settings.server.event_streams.per_tenant,
        subscribers: settings.server.event_streams.in_all,
        runtime: RuntimeDescription {
            instance_id: crate::http::random_id(),
            display_name: settings.telemetry.service_name.clone(),
            build_version: env!("CARGO_PKG_VERSION").to_owned(),
            build_commit: env!("ARTIFACTD_COMMIT").to_owned(),
            surfaces: vec!["bytes", "events"],
            drivers,
        },
        ..ResolverOptions::default()
    })
}
