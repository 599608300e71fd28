//! `artifactd serve`: runs a server with the configuration from a file, the environment and `--set`. This module must
//! never know how a request is served.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use artifact_store::core::{EventLog, Options, StoreError};
use artifact_store::{ArtifactStore, Config, Flag, Registry, StoreFeature};
use artifact_store_identity::{OpenError, Verifier};
use artifact_store_protocol::DriverRow;
use artifact_store_resolver::{Resolver, ResolverOptions, RuntimeDescription};
use artifact_store_server::{App, MeasuredStore, Server, ShutdownOutcome, StoreMetrics};

use super::background_sweep::sweep_at_intervals;
use super::error::CommandError;
use super::reloader::{ConfigReloader, ConfigSources};
use super::signals::{HangupAction, ServerSignals, ShutdownSignals};
use super::stdout;
use crate::config::Settings;
use crate::log;

/// How long the store may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// What to do if the address cannot be listened on.
const BIND_ADVICE: &str = "choose another server.bind_addr";

/// A server that has just begun to listen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listening {
    pub(super) addr: SocketAddr,
    /// The largest artifact that `artifacts.put` accepts, in bytes.
    pub(super) max_request_bytes: u64,
    /// The largest upload that the server accepts, in bytes.
    pub(super) max_upload_bytes: u64,
}

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    /// The configuration file, YAML, TOML or JSON; without it, only the environment and --set are used
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a key of the configuration; the value overrides the file and the environment; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_key_value)]
    set: Vec<(String, String)>,
}

/// Parses `key=value`.
pub(super) fn parse_key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as key=value")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

pub(super) async fn run(args: ServeArgs, registry: &Registry) -> Result<(), CommandError> {
    let ServerSignals { mut shutdown, reload } = ServerSignals::listen(HangupAction::Reload)?;
    let sources = ConfigSources { registry: registry.clone(), file: args.config, key_values: args.set };
    let (settings, values) = sources.load().map_err(CommandError::usage)?;
    // The log is started first, because everything below may log a line.
    start_log(&settings)?;
    let verifier = tokio::select! {
        biased;
        () = shutdown.recv() => return log_stop_during_start(),
        opened = Verifier::open(&settings.identity) => opened.map_err(|error| match error {
            OpenError::Config(error) => CommandError::usage(error),
            OpenError::Provider(reason) => CommandError::failed(reason),
        })?,
    };
    let reloader =
        ConfigReloader { sources, settings: settings.clone(), values, key_refresher: verifier.refresher() };
    let reload_task = reload.map(|hangup| tokio::spawn(reloader.run(hangup)));
    let result = serve(&settings, registry, verifier, shutdown, BIND_ADVICE, |_| Ok(String::new())).await;
    if let Some(task) = reload_task {
        task.abort();
    }
    result
}

fn start_log(settings: &Settings) -> Result<(), CommandError> {
    log::init(&settings.telemetry).map_err(|error| {
        CommandError::failed(format!("cannot start the thread that writes the log: {error}"))
    })
}

/// Logs that a signal arrived before the server listens. The command succeeds, because there is no request to finish.
#[allow(clippy::unnecessary_wraps)] // The callers return this result.
fn log_stop_during_start() -> Result<(), CommandError> {
    tracing::info!("stopped by a signal during the start");
    Ok(())
}

/// Serves until a signal arrives. Once the server listens, `announcement` returns the text that follows the address on
/// standard output. `bind_advice` says what to do if the server cannot listen.
pub(super) async fn serve(
    settings: &Settings,
    registry: &Registry,
    verifier: Verifier,
    mut shutdown: ShutdownSignals,
    bind_advice: &str,
    announcement: impl FnOnce(Listening) -> Result<String, CommandError>,
) -> Result<(), CommandError> {
    // This starts the log of the command `dev`. The command `serve` has started its log before, and a second start
    // changes nothing.
    start_log(settings)?;
    let store = tokio::select! {
        biased;
        () = shutdown.recv() => return log_stop_during_start(),
        opened = artifact_store::open_with(registry, &settings.artifacts.store) => {
            opened.map_err(|error| CommandError::from_open_error(&error, &settings.artifacts.option_names))?
        }
    };
    log_store(registry, &settings.artifacts.store, &*store).await;
    let events = artifact_store::open_event_log_with(registry, &settings.artifacts.store)
        .await
        .map_err(|error| CommandError::from_open_error(&error, &settings.artifacts.option_names))?;
    let measured = MeasuredStore::new(store);
    let metrics = measured.metrics();
    let store: Arc<dyn ArtifactStore> = Arc::new(measured);
    let opened = OpenedStore { store: Arc::clone(&store), events: events.clone(), metrics };
    let sweep_task = start_sweeps(settings, registry, &opened);
    let served = serve_store(settings, registry, verifier, opened, shutdown, bind_advice, announcement).await;
    // A running sweep is aborted. The next sweep deletes the orphans that remain.
    if let Some(task) = sweep_task {
        task.abort();
        let _ = task.await;
    }
    if let Some(events) = events {
        events.close().await;
    }
    let closed = tokio::time::timeout(CLOSE_TIMEOUT, store.close()).await;
    match closed {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            return Err(CommandError::failed(format!("the store did not close cleanly: {error}")));
        }
        Err(_) => return Err(CommandError::failed("the store did not close in 10 s")),
    }
    match served? {
        ShutdownOutcome::Complete => Ok(()),
        ShutdownOutcome::Aborted(requests) => {
            tracing::warn!(requests, "requests were aborted at the end of the grace period");
            Err(CommandError::failed(format!(
                "{requests} requests were aborted; server.shutdown_grace_period may be too short"
            )))
        }
    }
}

/// Starts the task that sweeps the store. Returns `None` if sweeps are turned off, or if the store is in the memory of
/// this process.
fn start_sweeps(
    settings: &Settings,
    registry: &Registry,
    opened: &OpenedStore,
) -> Option<tokio::task::JoinHandle<()>> {
    let interval = settings.artifacts.sweep_interval;
    let capabilities = opened.store.capabilities();
    let outlives_process = capabilities.has(Flag::Durable) || capabilities.has(Flag::Shared);
    if interval.is_zero() || !outlives_process {
        return None;
    }
    let (config, names) = (settings.artifacts.store.clone(), settings.artifacts.option_names.clone());
    let metrics = Arc::clone(&opened.metrics);
    Some(tokio::spawn(sweep_at_intervals(registry.clone(), config, names, interval, metrics)))
}

/// Logs the capabilities of the store and the features of its storage, which contain no secret. Warns if the store is
/// in the memory of the server.
async fn log_store(registry: &Registry, config: &Config, store: &dyn ArtifactStore) {
    let capabilities = store.capabilities();
    let flags: Vec<&str> =
        Flag::ALL.iter().filter(|flag| capabilities.has(**flag)).map(|flag| flag.as_str()).collect();
    let max_artifact_bytes = capabilities.artifact_bytes_limit();
    tracing::info!(driver = store.driver(), flags = flags.join(","), max_artifact_bytes, "the store is open");
    if !capabilities.has(Flag::Durable) && !capabilities.has(Flag::Shared) {
        tracing::warn!(
            driver = store.driver(),
            "this store is in the memory of the server: every artifact is lost when the server ends; to keep artifacts, set \
             another artifacts.driver or a path on a disk"
        );
    }
    match artifact_store::store_features_with(registry, config).await {
        Ok(features) => {
            for StoreFeature { name, value, about } in features {
                tracing::info!(feature = name, value, about, "a feature of the storage behind the store");
            }
        }
        // The store is open, so the server can run without this information.
        Err(error) => tracing::warn!(%error, "the features of the storage behind the store are not known"),
    }
}

/// An open store with its event log and metrics.
struct OpenedStore {
    store: Arc<dyn ArtifactStore>,
    /// Replicates events between the processes on one storage. `None` if the driver has no event log.
    events: Option<Arc<dyn EventLog>>,
    /// Counts the calls of the store.
    metrics: Arc<StoreMetrics>,
}

impl OpenedStore {
    async fn into_resolver(self, options: ResolverOptions) -> Result<Resolver, StoreError> {
        match self.events {
            Some(events) => Resolver::with_event_log(self.store, options, events).await,
            None => Ok(Resolver::new(self.store, options)),
        }
    }
}

/// Listens, announces the address, and serves `opened` until a signal arrives.
async fn serve_store(
    settings: &Settings,
    registry: &Registry,
    verifier: Verifier,
    opened: OpenedStore,
    shutdown: ShutdownSignals,
    bind_advice: &str,
    announcement: impl FnOnce(Listening) -> Result<String, CommandError>,
) -> Result<ShutdownOutcome, CommandError> {
    let options = resolver_options(settings, registry).map_err(CommandError::failed)?;
    let metrics = Arc::clone(&opened.metrics);
    let resolver = opened.into_resolver(options).await.map_err(CommandError::failed)?;
    let (put_limit, upload_limit) = (resolver.put_limit(), resolver.upload_limit());
    let app = App::new(resolver, verifier, &settings.server)
        .with_store_metrics(metrics)
        .with_log_counts(log::counts);
    let bind_addr = settings.server.bind_addr;
    let server = Server::bind(app, settings.server.clone()).await.map_err(|error| {
        CommandError::failed(format!("cannot listen on {bind_addr}: {error}; {bind_advice}"))
    })?;
    let addr = server.local_addr().map_err(CommandError::failed)?;
    let announced = announcement(Listening {
        addr,
        max_request_bytes: put_limit.bytes,
        max_upload_bytes: upload_limit.bytes,
    })?;
    stdout::announce(format!("artifactd listens on http://{addr}\n{announced}")).await;
    tracing::info!(address = addr.to_string(), driver = settings.artifacts.store.driver, "listening");
    Ok(server.run(shutdown.recv_first()).await)
}

/// The options of the resolver: limits from `settings`, and what the method `runtime.info` returns.
fn resolver_options(settings: &Settings, registry: &Registry) -> Result<ResolverOptions, StoreError> {
    let mut drivers = Vec::new();
    for driver in registry.drivers() {
        let info = driver.info();
        let defaults = Options::defaults(info.options)?;
        drivers.push(DriverRow {
            driver: info.name,
            about: info.about,
            // The resolver sets this to true for the driver of its store.
            active: false,
            capabilities: driver.capabilities(&defaults),
        });
    }
    Ok(ResolverOptions {
        max_request_bytes: settings.protocol.max_request_bytes,
        max_upload_bytes: settings.protocol.max_upload_bytes,
        fetch_default_max_bytes: settings.artifacts.fetch_default_max_bytes,
        fetch_hard_max_bytes: settings.artifacts.fetch_hard_max_bytes,
        max_subscribers_per_session: settings.server.event_streams.per_session,
        max_subscribers_per_user: settings.server.event_streams.per_user,
        max_subscribers_per_tenant: settings.server.event_streams.per_tenant,
        max_subscribers: settings.server.event_streams.in_all,
        runtime: RuntimeDescription {
            instance_id: artifact_store_server::random_id(),
            display_name: settings.telemetry.service_name.clone(),
            build_version: env!("CARGO_PKG_VERSION").to_owned(),
            build_commit: env!("ARTIFACTD_COMMIT").to_owned(),
            surfaces: vec!["bytes", "events"],
            drivers,
        },
        ..ResolverOptions::default()
    })
}
