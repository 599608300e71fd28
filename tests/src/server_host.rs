//! Servers in this process, over a store of the test's choice: with a manual clock, with a store that fails on
//! purpose, or with two stores to compare. Connections, routes and policy are those of the program, so the wire is
//! the same.
//!
//! This module must never know what is tested with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Test code: a failed setup fails the test.
#![allow(clippy::missing_panics_doc)]

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use artifact_store_core::{ArtifactStore, Clock, Timestamp};
use artifact_store_identity::{Rules, Verifier};
use artifact_store_resolver::{Resolver, ResolverOptions};
use artifact_store_server::App;
use artifact_store_server::MeasuredStore;
use artifact_store_server::Server;
use artifactd::config::Settings;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tracing::Dispatch;
use tracing::level_filters::LevelFilter;

use crate::wire::signing_key;

/// How long stores and tasks may take to shut down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs servers. Dropping it shuts them down.
#[derive(Debug)]
pub struct ServerHost {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    stores: Mutex<Vec<Arc<dyn ArtifactStore>>>,
}

impl Default for ServerHost {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerHost {
    /// A host whose servers do not log.
    pub fn new() -> Self {
        Self::from_builder(Builder::new_multi_thread().enable_all().worker_threads(2))
    }

    /// A host whose servers log into `log`.
    pub fn with_log(log: &CapturedLog) -> Self {
        let dispatch = log.dispatch();
        let mut builder = Builder::new_multi_thread();
        // The subscriber of a thread stays for the life of that thread: other tests of this process have their own.
        builder.on_thread_start(move || std::mem::forget(tracing::dispatcher::set_default(&dispatch)));
        Self::from_builder(builder.enable_all().worker_threads(2))
    }

    fn from_builder(builder: &mut Builder) -> Self {
        Self { runtime: Some(builder.build().unwrap()), stores: Mutex::default() }
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("the host is not dropped")
    }

    /// Runs a future to completion, from a thread that may block.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime().block_on(future)
    }

    /// Serves `store`, which should be behind its gate, to tokens of [`signing_key`]. Returns the address. The store
    /// is closed when the host is dropped.
    pub fn serve(&self, store: Arc<dyn ArtifactStore>, options: ResolverOptions) -> SocketAddr {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&store));
        // Idle connections are kept, because a test may be busy elsewhere.
        let flags = [("server.bind_addr", "127.0.0.1:0"), ("server.header_timeout", "10m")];
        let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let settings = Settings::from_layers(None, [], &flags).unwrap().server;
        let verifier =
            Verifier::from_jwks(&fs::read_to_string(signing_key().jwks()).unwrap(), Rules::default())
                .unwrap();
        self.block_on(async {
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

impl Drop for ServerHost {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        let stores = std::mem::take(&mut *self.stores.lock().unwrap_or_else(PoisonError::into_inner));
        runtime.block_on(async {
            for store in stores {
                // The tests of closing report a failed close. Here it is ignored.
                let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, store.close()).await;
            }
        });
        runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    }
}

/// The log output of a host's servers.
#[derive(Debug, Clone, Default)]
pub struct CapturedLog(Arc<Mutex<Vec<u8>>>);

impl CapturedLog {
    fn dispatch(&self) -> Dispatch {
        let log = self.clone();
        let json = tracing_subscriber::fmt().json().flatten_event(true);
        Dispatch::new(json.with_max_level(LevelFilter::DEBUG).with_writer(move || log.clone()).finish())
    }

    /// The output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// The output as JSON, line by line.
    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

impl io::Write for CapturedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A clock that only moves when a test moves it.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that starts at this number of microseconds since 1970.
    pub const fn new(micros: i64) -> Self {
        Self(AtomicI64::new(micros))
    }

    /// Moves the clock forward.
    pub fn advance(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}
