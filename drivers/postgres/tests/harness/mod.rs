//! Conformance backends for the postgres driver: separate schemas on the server shared by all tests.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use artifact_store_backends::Postgres;
use artifact_store_conformance::{Backend, Harness, StoreOptions};
use artifact_store_core::{ArtifactStore, BoxError, StoreError, async_trait};
use artifact_store_postgres::{PostgresConfig, PostgresStore, audit};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// The one flavour: a PostgreSQL server.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PostgresHarness;

#[async_trait]
impl Harness for PostgresHarness {
    fn flavour(&self) -> String {
        "postgres".into()
    }

    async fn create_backend(&self) -> Result<Box<dyn Backend>, BoxError> {
        let server = Postgres::shared().await?;
        Ok(Box::new(PostgresBackend { url: server.url().to_owned(), schema: unique_schema() }))
    }
}

/// A schema name that was never used on this server.
fn unique_schema() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("t{}_{}_{}", since.as_micros(), std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// One schema. Dropping this value also drops the schema.
pub(crate) struct PostgresBackend {
    url: String,
    schema: String,
}

impl fmt::Debug for PostgresBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresBackend({})", self.schema)
    }
}

#[async_trait]
impl Backend for PostgresBackend {
    async fn open(&self, with: &StoreOptions) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let config = PostgresConfig::new(&self.url)
            .schema(&self.schema)
            .clock(Arc::clone(&with.clock))
            .max_artifact_bytes(with.max_artifact_bytes)
            .acquire_timeout(Duration::from_secs(30));
        Ok(Arc::new(PostgresStore::open(config).await?))
    }

    fn is_persistent(&self) -> bool {
        true
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        Ok(audit(&self.url, &self.schema).await?)
    }
}

impl Drop for PostgresBackend {
    fn drop(&mut self) {
        let (url, schema) = (self.url.clone(), self.schema.clone());
        // This uses a separate runtime, because the value may be dropped while its own runtime is shutting down.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(drop_schema(&url, &schema))
        });
        // If this fails, the schema is deleted with the server.
        let _ = dropping.join();
    }
}

/// Drops a schema and everything in it.
pub(crate) async fn drop_schema(url: &str, schema: &str) -> Result<(), BoxError> {
    run(url, format!("DROP SCHEMA IF EXISTS \"{schema}\" CASCADE")).await
}

/// Deletes every record but no chunk, so that all chunks are orphans.
#[allow(dead_code)] // Each test file uses a part of it.
pub(crate) async fn drop_records(url: &str, schema: &str) -> Result<(), BoxError> {
    run(url, format!("DELETE FROM \"{schema}\".artifact")).await
}

async fn run(url: &str, sql: String) -> Result<(), BoxError> {
    let mut conn = PgConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await?;
    conn.close().await?;
    Ok(())
}
