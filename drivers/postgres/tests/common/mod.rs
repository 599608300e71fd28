//! Helpers of the tests: a separate schema on a server, a direct connection to it, and artifacts to put.
#![allow(dead_code)] // Each test file uses only a part of this module.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // All of it is test code.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use artifact_store_backends::{Postgres, Proxy};
use artifact_store_core::{
    ArtifactStore, ArtifactStoreExt, Body, BoxError, Bytes, ErrorKind, Gate, GateOptions, PutOptions, Record,
    Scope, StoreError,
};
use artifact_store_postgres::{PostgresConfig, PostgresStore, audit};
use futures_util::StreamExt;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tokio::sync::oneshot;

pub(crate) const MIB: usize = 1024 * 1024;
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A schema that no other test uses.
pub(crate) struct TestDatabase {
    url: String,
    schema: String,
}

impl TestDatabase {
    /// A schema on the server that all tests share.
    pub(crate) async fn new() -> Self {
        Self::new_on(Postgres::shared().await.unwrap())
    }

    pub(crate) fn new_on(server: &Postgres) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
        let schema = format!("h{since}_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self { url: server.url().to_owned(), schema }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// A configuration with short timeouts, so that tests of timeouts are fast.
    pub(crate) fn config(&self) -> PostgresConfig {
        Self::config_for(&self.url).schema(&self.schema)
    }

    pub(crate) fn config_for(url: &str) -> PostgresConfig {
        PostgresConfig::new(url).acquire_timeout(5 * SECOND).statement_timeout(5 * SECOND)
    }

    /// A configuration that connects through a proxy.
    pub(crate) fn config_through(&self, proxy: &Proxy) -> PostgresConfig {
        let mut url = self.url.clone();
        let at = url.rfind('@').unwrap() + 1;
        let end = at + url[at..].find('/').unwrap();
        url.replace_range(at..end, &proxy.address().to_string());
        Self::config_for(&url).schema(&self.schema).acquire_timeout(SECOND).statement_timeout(SECOND)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let at = self.url.rfind('@').unwrap() + 1;
        self.url[at..].split('/').next().unwrap().parse().unwrap()
    }

    pub(crate) async fn open(&self) -> PostgresStore {
        PostgresStore::open(self.config()).await.unwrap()
    }

    /// Opens a connection that bypasses the driver.
    pub(crate) async fn connect(&self) -> PgConnection {
        let mut conn = PgConnection::connect(&self.url).await.unwrap();
        let path = format!("SET search_path = \"{}\"", self.schema);
        sqlx::raw_sql(AssertSqlSafe(path)).execute(&mut conn).await.unwrap();
        conn
    }

    /// Executes statements, bypassing the driver.
    pub(crate) async fn execute(&self, sql: &str) -> u64 {
        let mut conn = self.connect().await;
        let result = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut conn).await;
        conn.close().await.unwrap();
        result.expect(sql).rows_affected()
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        let mut conn = self.connect().await;
        let row = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(&mut conn).await.expect(sql);
        conn.close().await.unwrap();
        row.get(0)
    }

    pub(crate) async fn residue(&self) -> Vec<String> {
        audit(&self.url, &self.schema).await.unwrap()
    }

    /// Waits until the audit finds nothing. The server needs a moment to notice that a client has disconnected.
    pub(crate) async fn wait_until_clean(&self) {
        let started = Instant::now();
        loop {
            let residue = self.residue().await;
            if residue.is_empty() {
                return;
            }
            assert!(started.elapsed() < 5 * SECOND, "orphans or open transactions remain: {residue:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Drops the schema.
    pub(crate) async fn drop_schema(self) {
        self.execute(&format!(
            "SET client_min_messages = warning; DROP SCHEMA IF EXISTS \"{}\" CASCADE",
            self.schema
        ))
        .await;
    }
}

pub(crate) fn scope() -> Scope {
    Scope::new("acme", "ada", "s-1").unwrap()
}

/// `length` pseudo-random bytes for a seed.
pub(crate) fn bytes(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut all = Vec::with_capacity(length + 8);
    while all.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        all.extend_from_slice(&state.to_le_bytes());
    }
    all.truncate(length);
    all.into()
}

/// A streamed body of `bytes`, in pieces of 100 000 bytes.
pub(crate) fn body_stream(bytes: &Bytes) -> Body {
    Body::from_stream(futures_util::stream::iter(pieces(bytes)))
}

fn pieces(bytes: &Bytes) -> impl Iterator<Item = Result<Bytes, BoxError>> + Send + 'static {
    let bytes = bytes.clone();
    (0..bytes.len()).step_by(100_000).map(move |at| Ok(bytes.slice(at..bytes.len().min(at + 100_000))))
}

/// A streamed body that pauses in the middle. The receiver is notified when the pause begins. The body continues when
/// the sender sends or is dropped.
pub(crate) fn paused_stream(bytes: &Bytes) -> (Body, oneshot::Receiver<()>, oneshot::Sender<()>) {
    let (reached_tx, reached_rx) = oneshot::channel();
    let (resume_tx, resume_rx) = oneshot::channel::<()>();
    let middle = bytes.len() / 2;
    let pause = futures_util::stream::once(async move {
        let _ = reached_tx.send(());
        let _ = resume_rx.await;
        Ok(Bytes::new())
    });
    let head = futures_util::stream::iter(pieces(&bytes.slice(..middle)));
    let tail = futures_util::stream::iter(pieces(&bytes.slice(middle..)));
    (Body::from_stream(head.chain(pause).chain(tail)), reached_rx, resume_tx)
}

pub(crate) async fn put(store: &dyn ArtifactStore, bytes: &Bytes) -> Record {
    store.put(&scope(), Body::from_bytes(bytes.clone()), PutOptions::default()).await.unwrap().record
}

pub(crate) fn gated(store: PostgresStore) -> Arc<Gate> {
    Arc::new(Gate::new(Arc::new(store), GateOptions::default()).unwrap())
}

pub(crate) async fn read(store: &dyn ArtifactStore, record: &Record) -> Result<Option<Bytes>, StoreError> {
    store.get_bytes(&record.scope, &record.id, u64::MAX).await
}

#[track_caller]
pub(crate) fn error_kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> ErrorKind {
    result.expect_err("the call succeeded").kind()
}

/// The kind and the message of an error. Asserts that the error contains no secret.
#[track_caller]
pub(crate) fn error_message<T: std::fmt::Debug>(result: Result<T, StoreError>) -> (ErrorKind, String) {
    let error = result.expect_err("the call succeeded");
    let text = format!("{error} {error:?}");
    assert!(!text.contains("secret"), "{text}");
    (error.kind(), error.detail().unwrap_or_default().to_owned())
}
