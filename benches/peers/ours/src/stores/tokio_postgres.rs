//! A reference on PostgreSQL: statements prepared once on held connections, one row for each body.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use artifact_store_bench_load::{Case, Error, Kind, PAGE_ROWS, Rows, Store, Work};
use bytes::Bytes;
use tokio_postgres::{Client, NoTls, Statement};

/// As many as the pools of the other stores have by default.
const CONNECTIONS: usize = 10;

/// The schema of this store; that of artifact-store has a suffix.
pub(crate) const fn schema(lists: bool) -> &'static str {
    if lists { "bench_lists" } else { "bench" }
}

pub(crate) struct Postgres {
    connections: Vec<Connection>,
    next: AtomicUsize,
    schema: &'static str,
}

struct Connection {
    client: Client,
    put: Statement,
    get: Statement,
    range: Statement,
    stat: Statement,
    delete: Statement,
    page: Statement,
    count: Statement,
}

impl Postgres {
    pub(crate) async fn open(url: &str, schema: &'static str) -> Result<Self, Error> {
        // Not compressed, so that a range is read without reading the whole body.
        let tables = format!(
            "CREATE SCHEMA IF NOT EXISTS {schema};
             CREATE TABLE IF NOT EXISTS {schema}.bodies (name text PRIMARY KEY, size bigint, body bytea);
             ALTER TABLE {schema}.bodies ALTER COLUMN body SET STORAGE EXTERNAL;
             CREATE TABLE IF NOT EXISTS {schema}.records
                (total bigint, created bigint, record text, PRIMARY KEY (total, created))"
        );
        connect(url).await?.batch_execute(&tables).await?;
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let client = connect(url).await?;
            client.batch_execute(&format!("SET search_path = {schema}")).await?;
            connections.push(Connection {
                put: client.prepare("INSERT INTO bodies VALUES ($1, $2, $3)").await?,
                get: client.prepare("SELECT body FROM bodies WHERE name = $1").await?,
                range: client.prepare("SELECT substr(body, $2, $3) FROM bodies WHERE name = $1").await?,
                stat: client.prepare("SELECT size FROM bodies WHERE name = $1").await?,
                delete: client.prepare("DELETE FROM bodies WHERE name = $1").await?,
                page: client
                    .prepare(
                        "SELECT record FROM records WHERE total = $1 AND created <= $2 ORDER BY created DESC LIMIT $3",
                    )
                    .await?,
                count: client.prepare("SELECT count(*) FROM records WHERE total = $1").await?,
                client,
            });
        }
        Ok(Self { connections, next: AtomicUsize::new(0), schema })
    }

    /// A connection may send the statements of several tasks one after the other.
    fn connection(&self) -> &Connection {
        &self.connections[self.next.fetch_add(1, Ordering::Relaxed) % CONNECTIONS]
    }
}

async fn connect(url: &str) -> Result<Client, Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // Its error is the error of the statement, too.
    tokio::spawn(async move { connection.await.unwrap_or_default() });
    Ok(client)
}

/// Drops the schemas of all groups.
pub(crate) async fn drop_schemas() -> Result<(), Error> {
    let client = connect(&std::env::var("BENCH_POSTGRES_URL")?).await?;
    for schema in [schema(false), schema(true)] {
        let drop = format!("DROP SCHEMA IF EXISTS {schema}, {schema}_ours CASCADE");
        client.batch_execute(&drop).await?;
    }
    Ok(())
}

impl Store for Postgres {
    type Key = String;

    fn name(&self) -> &'static str {
        "tokio-postgres"
    }

    fn kind(&self) -> Kind {
        Kind::Raw
    }

    fn supports(&self, case: &Case) -> bool {
        match case.work {
            Work::List(page) => matches!(page, Rows::First | Rows::Deep | Rows::Total),
            _ => case.work != Work::Presign,
        }
    }

    async fn put(&self, name: String, body: Bytes) -> Result<String, Error> {
        let connection = self.connection();
        connection.client.execute(&connection.put, &[&name, &(body.len() as i64), &&body[..]]).await?;
        Ok(name)
    }

    async fn get(&self, key: &String, range: Option<Range<u64>>) -> Result<u64, Error> {
        let connection = self.connection();
        let row = match range {
            None => connection.client.query_one(&connection.get, &[key]).await?,
            Some(range) => {
                let (start, length) =
                    (i32::try_from(range.start)? + 1, i32::try_from(range.end - range.start)?);
                connection.client.query_one(&connection.range, &[key, &start, &length]).await?
            }
        };
        Ok(row.try_get::<_, &[u8]>(0)?.len() as u64)
    }

    async fn stat(&self, key: &String) -> Result<u64, Error> {
        let connection = self.connection();
        let row = connection.client.query_one(&connection.stat, &[key]).await?;
        Ok(row.try_get::<_, i64>(0)?.unsigned_abs())
    }

    async fn delete(&self, key: &String) -> Result<(), Error> {
        let connection = self.connection();
        connection.client.execute(&connection.delete, &[key]).await?;
        Ok(())
    }

    async fn fill(&self, rows: u64) -> Result<(), Error> {
        if self.page(rows, Rows::First).await? > 0 {
            return Ok(());
        }
        // Rows as long as a small record.
        let fill = format!(
            "INSERT INTO {}.records SELECT {rows}, n, '{{\"id\":\"default_' || lpad(n::text, 332, '0') || '\"}}'
             FROM generate_series(1, {rows}) n; ANALYZE {0}.records",
            self.schema
        );
        Ok(self.connection().client.batch_execute(&fill).await?)
    }

    async fn page(&self, rows: u64, page: Rows) -> Result<usize, Error> {
        let (connection, total) = (self.connection(), rows as i64);
        if page == Rows::Total {
            connection.client.query_one(&connection.count, &[&total]).await?;
        }
        let start = if page == Rows::Deep { total - total / 10 } else { total };
        let rows = connection.client.query(&connection.page, &[&total, &start, &(PAGE_ROWS as i64)]).await?;
        Ok(rows.len())
    }
}
