//! A server in this process, over a store of the test's own making: with a clock that is set by hand, a store that fails on
//! purpose, or two stores to compare. What goes over the wire is what the program sends: connections, routes and policy are its
//! own.
//!
//! This module must never know what is tested with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A kit of tests: what cannot be set up ends the test.
#![allow(clippy::missing_panics_doc)]

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use artifact_store_core::{ArtifactStore, Clock, Timestamp};
use artifact_store_resolver::{Resolver, ResolverOptions};
use artifactd::config::Settings;
use artifactd::http::App;
use artifactd::identity::{Rules, Verifier};
use artifactd::metrics::MeasuredStore;
use artifactd::server::Server;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tracing::Dispatch;
use tracing::level_filters::LevelFilter;

use crate::wire::keys;

/// How long stores and tasks may take to end.
const FAREWELL: Duration = Duration::from_secs(10);

/// Runs servers, which end with the value.
#[derive(Debug)]
pub struct Host {
    /// Only `None` while it is dropped.
    runtime: Option<Runtime>,
    stores: Mutex<Vec<Arc<dyn ArtifactStore>>>,
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    /// A host whose servers log nothing.
    pub fn new() -> Self {
        Self::of(Builder::new_multi_thread().enable_all().worker_threads(2))
    }

    /// A host whose servers log into `log`.
    pub fn logging(log: &Log) -> Self {
        let dispatch = log.dispatch();
        let mut builder = Builder::new_multi_thread();
        // The logs of a thread stay that thread's for its life: other tests of this process have their own.
        builder.on_thread_start(move || std::mem::forget(tracing::dispatcher::set_default(&dispatch)));
        Self::of(builder.enable_all().worker_threads(2))
    }

    fn of(builder: &mut Builder) -> Self {
        Self { runtime: Some(builder.build().unwrap()), stores: Mutex::default() }
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("the host is not dropped")
    }

    /// Waits for a future, from a thread that may wait.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime().block_on(future)
    }

    /// Serves `store`, which should stand behind its Gate, to tokens of the kit's [`keys`]. Says where. The store is closed when
    /// the host is dropped.
    pub fn serve(&self, store: Arc<dyn ArtifactStore>, options: ResolverOptions) -> SocketAddr {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&store));
        // Idle connections are kept: a test may be busy elsewhere.
        let flags = [("server.bind_addr", "127.0.0.1:0"), ("server.header_timeout", "10m")];
        let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let settings = Settings::from_layers(None, [], &flags).unwrap().server;
        let verifier =
            Verifier::from_jwks(&fs::read_to_string(keys().jwks()).unwrap(), Rules::default()).unwrap();
        self.wait(async {
            // As the program does it.
            let measured = MeasuredStore::new(store);
            let metrics = measured.metrics();
            let resolver = Resolver::new(Arc::new(measured), options);
            let app = App::new(resolver, verifier, &settings).with_store_metrics(metrics);
            let server = Server::bind(app, settings).await.unwrap();
            let addr = server.local_addr().unwrap();
            self.runtime().spawn(server.run(std::future::pending()));
            addr
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        let stores = std::mem::take(&mut *self.stores.lock().unwrap_or_else(PoisonError::into_inner));
        runtime.block_on(async {
            for store in stores {
                // What does not close well is for the tests of closing to say.
                let _ = tokio::time::timeout(FAREWELL, store.close()).await;
            }
        });
        runtime.shutdown_timeout(FAREWELL);
    }
}

/// What a host's servers have logged.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn dispatch(&self) -> Dispatch {
        let log = self.clone();
        let json = tracing_subscriber::fmt().json().flatten_event(true);
        Dispatch::new(json.with_max_level(LevelFilter::DEBUG).with_writer(move || log.clone()).finish())
    }

    /// As text, line by line.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Its lines.
    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct HandClock(AtomicI64);

impl HandClock {
    /// A clock that stands at so many microseconds since 1970.
    pub const fn new(micros: i64) -> Self {
        Self(AtomicI64::new(micros))
    }

    /// Moves it on.
    pub fn advance(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}
