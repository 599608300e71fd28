//! sqlx on SQLite: its pool, with a write-ahead log and `synchronous=FULL`. A page is a walk over the key of its table.

use std::ops::Range;
use std::path::Path;

use artifact_store_bench_load::{Case, Error, Kind, PAGE_ROWS, Rows, Store, Work};
use bytes::Bytes;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Executor, SqlitePool};

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS bodies (name TEXT PRIMARY KEY, size INTEGER, body BLOB) STRICT;
    CREATE TABLE IF NOT EXISTS records (total INTEGER, created INTEGER, record TEXT, PRIMARY KEY (total, created))
        STRICT, WITHOUT ROWID;";
/// Rows as long as a small record.
const FILL: &str = "WITH RECURSIVE row(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM row WHERE n < ?1)
    INSERT INTO records SELECT ?1, n, printf('{\"id\":\"default_%032d\",\"filler\":\"%0300d\"}', n, n) FROM row";
const PAGE: &str =
    "SELECT record FROM records WHERE total = ?1 AND created <= ?2 ORDER BY created DESC LIMIT ?3";

pub(crate) struct Sqlite(SqlitePool);

impl Sqlite {
    pub(crate) async fn open(path: &Path) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePool::connect_with(options).await?;
        pool.execute(SCHEMA).await?;
        Ok(Self(pool))
    }
}

impl Store for Sqlite {
    type Key = String;

    fn name(&self) -> &'static str {
        "sqlx"
    }

    fn kind(&self) -> Kind {
        Kind::Library
    }

    fn supports(&self, case: &Case) -> bool {
        match case.work {
            Work::List(page) => matches!(page, Rows::First | Rows::Deep | Rows::Total),
            _ => case.work != Work::Presign,
        }
    }

    async fn put(&self, name: String, body: Bytes) -> Result<String, Error> {
        let put = sqlx::query("INSERT INTO bodies VALUES (?1, ?2, ?3)").bind(&name).bind(body.len() as i64);
        put.bind(&body[..]).execute(&self.0).await?;
        Ok(name)
    }

    async fn get(&self, key: &String, range: Option<Range<u64>>) -> Result<u64, Error> {
        let body: Vec<u8> = match range {
            None => {
                sqlx::query_scalar("SELECT body FROM bodies WHERE name = ?1")
                    .bind(key)
                    .fetch_one(&self.0)
                    .await?
            }
            Some(range) => {
                let get =
                    sqlx::query_scalar("SELECT substr(body, ?2, ?3) FROM bodies WHERE name = ?1").bind(key);
                let get = get.bind(range.start as i64 + 1).bind((range.end - range.start) as i64);
                get.fetch_one(&self.0).await?
            }
        };
        Ok(body.len() as u64)
    }

    async fn stat(&self, key: &String) -> Result<u64, Error> {
        let size = sqlx::query_scalar("SELECT size FROM bodies WHERE name = ?1").bind(key);
        let size: i64 = size.fetch_one(&self.0).await?;
        Ok(size.unsigned_abs())
    }

    async fn delete(&self, key: &String) -> Result<(), Error> {
        sqlx::query("DELETE FROM bodies WHERE name = ?1").bind(key).execute(&self.0).await?;
        Ok(())
    }

    async fn fill(&self, rows: u64) -> Result<(), Error> {
        if self.page(rows, Rows::First).await? == 0 {
            sqlx::query(FILL).bind(rows as i64).execute(&self.0).await?;
        }
        Ok(())
    }

    async fn page(&self, rows: u64, page: Rows) -> Result<usize, Error> {
        let start = if page == Rows::Deep { rows - rows / 10 } else { rows };
        if page == Rows::Total {
            let count = sqlx::query_scalar("SELECT count(*) FROM records WHERE total = ?1").bind(rows as i64);
            let _: i64 = count.fetch_one(&self.0).await?;
        }
        let records = sqlx::query_scalar(PAGE).bind(rows as i64).bind(start as i64).bind(PAGE_ROWS as i64);
        let records: Vec<String> = records.fetch_all(&self.0).await?;
        Ok(records.len())
    }
}
