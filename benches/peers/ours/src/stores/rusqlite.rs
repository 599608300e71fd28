//! A reference on SQLite: one thread writes, and commits all puts that wait in one transaction. Reads have connections of
//! their own. A page is a walk over the key of its table.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};

use artifact_store_bench_load::{Case, Error, Kind, PAGE_ROWS, Rows, Store, Work};
use bytes::Bytes;
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

/// The largest number of puts of one transaction.
const BATCH: usize = 256;
const SCHEMA: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS bodies (name TEXT PRIMARY KEY, size INTEGER, body BLOB) STRICT;
    CREATE TABLE IF NOT EXISTS records (total INTEGER, created INTEGER, record TEXT, PRIMARY KEY (total, created))
        STRICT, WITHOUT ROWID;";
/// Rows as long as a small record.
const FILL: &str = "WITH RECURSIVE row(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM row WHERE n < ?1)
    INSERT INTO records SELECT ?1, n, printf('{\"id\":\"default_%032d\",\"filler\":\"%0300d\"}', n, n) FROM row";
const PAGE: &str =
    "SELECT record FROM records WHERE total = ?1 AND created <= ?2 ORDER BY created DESC LIMIT ?3";

/// A change, and where its result goes.
type Job = (Change, oneshot::Sender<Result<(), String>>);

enum Change {
    Put(String, Bytes),
    Delete(String),
    Fill(u64),
}

pub(crate) struct Sqlite {
    path: PathBuf,
    writer: mpsc::Sender<Job>,
    readers: Arc<Mutex<Vec<Connection>>>,
}

impl Sqlite {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let mut connection = Connection::open(path)?;
        connection.execute_batch(SCHEMA)?;
        let (writer, jobs) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            while let Ok(first) = jobs.recv() {
                let batch: Vec<Job> = std::iter::once(first).chain(jobs.try_iter().take(BATCH - 1)).collect();
                let result = commit(&mut connection, &batch).map_err(|error| error.to_string());
                for (_, reply) in batch {
                    reply.send(result.clone()).unwrap_or_default();
                }
            }
        });
        Ok(Self { path: path.to_owned(), writer, readers: Arc::default() })
    }

    async fn write(&self, change: Change) -> Result<(), Error> {
        let (reply, result) = oneshot::channel();
        self.writer.send((change, reply)).map_err(|_| "the writer has ended")?;
        Ok(result.await??)
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (readers, path) = (Arc::clone(&self.readers), self.path.clone());
        let read = tokio::task::spawn_blocking(move || {
            let idle = readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = idle.map_or_else(|| Connection::open(path), Ok)?;
            let result = work(&connection);
            readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            result
        });
        Ok(read.await??)
    }
}

fn commit(connection: &mut Connection, batch: &[Job]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for (change, _) in batch {
        match change {
            Change::Put(name, body) => transaction
                .prepare_cached("INSERT INTO bodies VALUES (?1, ?2, ?3)")?
                .execute(params![name, body.len() as i64, &body[..]])?,
            Change::Delete(name) => {
                transaction.prepare_cached("DELETE FROM bodies WHERE name = ?1")?.execute([name])?
            }
            Change::Fill(rows) => transaction.execute(FILL, [*rows as i64])?,
        };
    }
    transaction.commit()
}

impl Store for Sqlite {
    type Key = String;

    fn name(&self) -> &'static str {
        "rusqlite"
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
        self.write(Change::Put(name.clone(), body)).await?;
        Ok(name)
    }

    async fn get(&self, key: &String, range: Option<Range<u64>>) -> Result<u64, Error> {
        let key = key.clone();
        self.read(move |connection| {
            let (sql, start, length) = match range {
                None => ("SELECT body, ?2, ?3 FROM bodies WHERE name = ?1", 0, 0),
                Some(range) => (
                    "SELECT substr(body, ?2, ?3) FROM bodies WHERE name = ?1",
                    range.start as i64 + 1,
                    (range.end - range.start) as i64,
                ),
            };
            let mut statement = connection.prepare_cached(sql)?;
            let body: Vec<u8> = statement.query_row(params![key, start, length], |row| row.get(0))?;
            Ok(body.len() as u64)
        })
        .await
    }

    async fn stat(&self, key: &String) -> Result<u64, Error> {
        let key = key.clone();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("SELECT size FROM bodies WHERE name = ?1")?;
            statement.query_row([key], |row| row.get::<_, i64>(0))
        })
        .await
        .map(i64::unsigned_abs)
    }

    async fn delete(&self, key: &String) -> Result<(), Error> {
        self.write(Change::Delete(key.clone())).await
    }

    async fn fill(&self, rows: u64) -> Result<(), Error> {
        if self.page(rows, Rows::First).await? == 0 { self.write(Change::Fill(rows)).await } else { Ok(()) }
    }

    async fn page(&self, rows: u64, page: Rows) -> Result<usize, Error> {
        let start = if page == Rows::Deep { rows - rows / 10 } else { rows };
        self.read(move |connection| {
            if page == Rows::Total {
                let mut count = connection.prepare_cached("SELECT count(*) FROM records WHERE total = ?1")?;
                count.query_row([rows as i64], |row| row.get::<_, i64>(0))?;
            }
            let mut statement = connection.prepare_cached(PAGE)?;
            let bounds = [rows as i64, start as i64, PAGE_ROWS as i64];
            let records = statement.query_map(bounds, |row| row.get::<_, String>(0))?;
            records.collect::<rusqlite::Result<Vec<_>>>().map(|records| records.len())
        })
        .await
    }
}
