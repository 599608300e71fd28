//! The log of events: [`PostgresEventLog`].
//!
//! This module must never know an artifact.

use std::fmt;
use std::time::Duration;

use artifact_store_core::{EventLog, LogEntry, LogPage, NewEntry, StoreError, async_trait};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::config::PostgresConfig;
use crate::connect::{self, Prepared};
use crate::pool::Pool;
use crate::{error, row};

/// One for appending, one for reading; listening has its own.
const CONNECTIONS: u32 = 2;
/// What everybody listens on; the payload is the schema's name.
const CHANNEL: &str = "artifact_store_event";
/// Whoever hears nothing looks so often all the same: a notification can be lost with its connection.
const LOOK: Duration = Duration::from_secs(5);
/// A connection that brought nothing for so long is made anew: it may be dead without anybody having said so.
const QUIET: Duration = Duration::from_mins(1);
/// So many entries are kept at least.
const KEPT: i64 = 16_384;
/// So many numbers lie between two clean-ups.
const CLEANUP: i64 = 1024;

/// The log of events in a store's schema. Open it through the facade's `open_event_log`.
pub struct PostgresEventLog {
    pool: Pool,
    options: PgConnectOptions,
    schema: String,
    ears: Mutex<Option<Ears>>,
}

/// A connection that listens.
struct Ears {
    listener: PgListener,
    heard: Instant,
}

impl PostgresEventLog {
    /// Opens the log of the store that `config` describes, which is made where there is none.
    ///
    /// # Errors
    /// As [`PostgresStore::open`](crate::PostgresStore::open).
    pub async fn open(config: PostgresConfig) -> Result<Self, StoreError> {
        let Prepared { options, .. } = connect::prepare(&config).await?;
        let pool = Pool::new(options.clone(), CONNECTIONS, &config);
        Ok(Self { pool, options, schema: config.schema, ears: Mutex::default() })
    }

    async fn listen(&self) -> Result<Ears, StoreError> {
        let connecting = async {
            let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(self.options.clone());
            let mut listener = PgListener::connect_with(&pool).await?;
            // What is lost while nobody listens is found by reading: a new connection is made by us, who then read.
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        let limit = self.pool.acquire_timeout();
        let listener = timeout(limit, connecting).await.map_err(|_| error::never_connected(None))?;
        Ok(Ears { listener: listener.map_err(error::of_connecting)?, heard: Instant::now() })
    }

    async fn hear(&self) -> Result<(), StoreError> {
        let mut place = self.ears.lock().await;
        let Some(ears) = place.as_mut().filter(|ears| ears.heard.elapsed() < QUIET) else {
            *place = None;
            // Whatever came before this is there to be read now.
            *place = Some(self.listen().await?);
            return Ok(());
        };
        let hearing = async {
            while let Some(notification) = ears.listener.try_recv().await? {
                ears.heard = Instant::now();
                if notification.payload() == self.schema {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        match timeout(LOOK, hearing).await {
            // A burst of appends is one piece of news.
            Ok(Ok(true)) => while ears.listener.next_buffered().is_some() {},
            // The connection is gone.
            Ok(Ok(false)) => *place = None,
            Ok(Err(error)) => {
                *place = None;
                return Err(error::of(error));
            }
            Err(_) => {}
        }
        Ok(())
    }

    async fn add(&self, entries: &[NewEntry]) -> Result<i64, StoreError> {
        const SQL: &str = "WITH fresh AS (
                 SELECT key, data, row_number() OVER (ORDER BY place) AS number
                 FROM unnest($1::bytea[], $2::bytea[]) WITH ORDINALITY AS given (key, data, place)
                 WHERE NOT EXISTS (SELECT 1 FROM event WHERE event.key = given.key)),
             counted AS (UPDATE event_count SET last = last + (SELECT count(*) FROM fresh) RETURNING last),
             added AS (INSERT INTO event (sequence, key, data)
                 SELECT counted.last - (SELECT count(*) FROM fresh) + fresh.number, fresh.key, fresh.data FROM fresh, counted)
             SELECT last, pg_notify($3, $4) FROM counted";
        let keys: Vec<&[u8]> = entries.iter().map(|entry| &entry.key[..]).collect();
        let data: Vec<&[u8]> = entries.iter().map(|entry| &entry.bytes[..]).collect();
        let answer = self
            .pool
            .ask(|| {
                sqlx::query(SQL)
                    .bind(keys.clone())
                    .bind(data.clone())
                    .bind(CHANNEL)
                    .bind(self.schema.as_str())
            })
            .await?;
        answer.rows.first().map_or_else(|| Err(lost()), |row| row::get(row, "last"))
    }

    /// Drops what nobody has to read any more.
    async fn clean_up(&self, last: i64) {
        const SQL: &str = "DELETE FROM event WHERE sequence <= $1";
        // The next one tries again.
        let _ = self.pool.ask(|| sqlx::query(SQL).bind(last - KEPT)).await;
    }
}

#[async_trait]
impl EventLog for PostgresEventLog {
    async fn append(&self, entries: &[NewEntry]) -> Result<u64, StoreError> {
        let last = self.add(entries).await?;
        let before = last.saturating_sub(i64::try_from(entries.len()).unwrap_or(i64::MAX));
        if last / CLEANUP != before / CLEANUP {
            self.clean_up(last).await;
        }
        number(last)
    }

    async fn read(&self, after: u64, limit: u32) -> Result<LogPage, StoreError> {
        const SQL: &str = "SELECT counted.last, entry.sequence, entry.data FROM event_count AS counted
             LEFT JOIN LATERAL (SELECT sequence, data FROM event WHERE sequence > $1 ORDER BY sequence LIMIT $2) AS entry ON true
             ORDER BY entry.sequence";
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let answer = self.pool.ask(|| sqlx::query(SQL).bind(after).bind(i64::from(limit))).await?;
        let mut page = LogPage { last: 0, entries: Vec::with_capacity(answer.rows.len()) };
        if answer.rows.is_empty() {
            return Err(lost());
        }
        for row in &answer.rows {
            page.last = number(row::get(row, "last")?)?;
            if let Some(sequence) = row::get::<Option<i64>>(row, "sequence")? {
                let bytes = row::get::<Vec<u8>>(row, "data")?.into();
                page.entries.push(LogEntry { sequence: number(sequence)?, bytes });
            }
        }
        Ok(page)
    }

    async fn news(&self) -> Result<(), StoreError> {
        self.pool.check_open()?;
        tokio::select! {
            heard = self.hear() => heard,
            closed = self.pool.closes() => Err(closed),
        }
    }

    async fn close(&self) {
        self.pool.close().await;
        *self.ears.lock().await = None;
    }
}

impl fmt::Debug for PostgresEventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresEventLog").field("schema", &self.schema).finish_non_exhaustive()
    }
}

fn lost() -> StoreError {
    StoreError::corrupt("the log of events has lost its count")
}

fn number(column: i64) -> Result<u64, StoreError> {
    u64::try_from(column).map_err(|_| StoreError::corrupt("the log of events has a negative number"))
}
