//! Places for the postgres driver: a schema of their own in the server that the tests share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use artifact_store_backends::Postgres;
use artifact_store_conformance::{Harness, OpenWith, Place};
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

    async fn place(&self) -> Result<Box<dyn Place>, BoxError> {
        let server = Postgres::shared().await?;
        Ok(Box::new(PostgresPlace { url: server.url().to_owned(), schema: fresh_schema() }))
    }
}

/// A name that no schema of this server has had.
fn fresh_schema() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("t{}_{}_{}", since.as_micros(), std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// One schema, dropped with this value.
pub(crate) struct PostgresPlace {
    url: String,
    schema: String,
}

impl fmt::Debug for PostgresPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresPlace({})", self.schema)
    }
}

#[async_trait]
impl Place for PostgresPlace {
    async fn open(&self, with: &OpenWith) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let config = PostgresConfig::new(&self.url)
            .schema(&self.schema)
            .clock(Arc::clone(&with.clock))
            .max_artifact_bytes(with.max_artifact_bytes)
            .acquire_timeout(Duration::from_secs(30));
        Ok(Arc::new(PostgresStore::open(config).await?))
    }

    fn outlives_stores(&self) -> bool {
        true
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        Ok(audit(&self.url, &self.schema).await?)
    }
}

impl Drop for PostgresPlace {
    fn drop(&mut self) {
        let (url, schema) = (self.url.clone(), self.schema.clone());
        // A runtime of its own: this value may be dropped within one that is ending.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(drop_schema(&url, &schema))
        });
        // What is left goes with the server.
        let _ = dropping.join();
    }
}

/// Removes a schema and all that is in it.
pub(crate) async fn drop_schema(url: &str, schema: &str) -> Result<(), BoxError> {
    let mut conn = PgConnection::connect(url).await?;
    let sql = format!("DROP SCHEMA IF EXISTS \"{schema}\" CASCADE");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await?;
    conn.close().await?;
    Ok(())
}
