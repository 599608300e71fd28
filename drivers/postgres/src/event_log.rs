//! The event log: [`PostgresEventLog`].
//!
//! This module must never touch an artifact.

use std::fmt;
use std::time::Duration;

use artifact_store_core::{EventLog, LogEntry, LogPage, NewEntry, StoreError, async_trait};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::config::PostgresConfig;
use crate::connect::{self, SessionSetup};
use crate::pool::Pool;
use crate::{error, row};

/// The maximum number of connections in the pool. With two connections, an append and a read can run at the same time.
/// The connection of [`ListenConnection`] is not from this pool.
const CONNECTIONS: u32 = 2;
/// The notification channel. All event logs in a database use it, so the payload of a notification is the schema's
/// name.
const CHANNEL: &str = "artifact_store_event";
/// How long a call waits for a notification. A notification is lost if the connection breaks, so readers also poll.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// A listen connection that received nothing for this long is replaced, because it may be broken without an error.
const MAX_SILENCE: Duration = Duration::from_mins(1);
/// The number of newest entries that a cleanup keeps. The trait [`EventLog`] promises this number.
const MIN_KEPT_ENTRIES: i64 = 16_384;
/// An append fails after this many attempts. An attempt fails if another append commits an entry with the same key after
/// the attempt has looked for the key.
const MAX_ATTEMPTS: u32 = 16;
/// The number of appended entries between two cleanups.
const CLEANUP_INTERVAL: i64 = 1024;

/// The event log in a store's schema. Applications open it with `open_event_log` of the crate `artifact-store`.
pub struct PostgresEventLog {
    pool: Pool,
    options: PgConnectOptions,
    schema: String,
    listen_connection: Mutex<Option<ListenConnection>>,
}

/// A connection that receives notifications.
struct ListenConnection {
    listener: PgListener,
    last_received: Instant,
}

impl ListenConnection {
    /// Waits for a notification whose payload is `schema`. Returns `false` if the connection is lost.
    async fn receive(&mut self, schema: &str) -> Result<bool, sqlx::Error> {
        while let Some(notification) = self.listener.try_recv().await? {
            self.last_received = Instant::now();
            if notification.payload() == schema {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl PostgresEventLog {
    /// Opens the event log. The schema is created or migrated if it is not current.
    ///
    /// # Errors
    /// The same as [`PostgresStore::open`](crate::PostgresStore::open).
    pub async fn open(config: PostgresConfig) -> Result<Self, StoreError> {
        let SessionSetup { options, .. } = connect::prepare(&config, connect::SchemaUpgrade::Allowed).await?;
        let pool = Pool::new(options.clone(), CONNECTIONS, &config);
        Ok(Self { pool, options, schema: config.schema, listen_connection: Mutex::default() })
    }

    /// Opens a connection that listens on [`CHANNEL`].
    async fn connect_listener(&self) -> Result<ListenConnection, StoreError> {
        let connect = async {
            // sqlx opens a listener with connect options only through a pool of sqlx.
            let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(self.options.clone());
            let mut listener = PgListener::connect_with(&pool).await?;
            // The listener must not reconnect by itself. While the connection was lost, entries may have been appended
            // without a notification. So the caller must read the log after every new connection.
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        let limit = self.pool.acquire_timeout();
        let listener = timeout(limit, connect).await.map_err(|_| error::connect_timeout(None))?;
        Ok(ListenConnection {
            listener: listener.map_err(error::from_connect)?,
            last_received: Instant::now(),
        })
    }

    /// Waits for a notification of this schema, at most [`POLL_INTERVAL`]. Also returns if the listen connection is
    /// lost during the wait.
    ///
    /// If there is no listen connection, or if it received nothing for [`MAX_SILENCE`], opens a new connection and
    /// returns without waiting for a notification.
    async fn wait_for_notification(&self) -> Result<(), StoreError> {
        let mut current = self.listen_connection.lock().await;
        let Some(connection) =
            current.as_mut().filter(|connection| connection.last_received.elapsed() < MAX_SILENCE)
        else {
            // The old connection is dropped first, even if no new connection can be opened.
            *current = None;
            *current = Some(self.connect_listener().await?);
            // The server sends no notification for entries that were appended before the connection began to listen.
            // So the caller must read the log before it waits again.
            return Ok(());
        };
        match timeout(POLL_INTERVAL, connection.receive(&self.schema)).await {
            // The caller reads all new entries, so further notifications that have arrived already are discarded.
            Ok(Ok(true)) => while connection.listener.next_buffered().is_some() {},
            // The connection is lost.
            Ok(Ok(false)) => *current = None,
            Ok(Err(error)) => {
                *current = None;
                return Err(error::from_sqlx(error));
            }
            // No notification arrived within `POLL_INTERVAL`.
            Err(_) => {}
        }
        Ok(())
    }

    /// Appends the entries whose keys are not in the log yet. If several entries have the same key, appends the first of
    /// them. Returns the sequence number of the last entry in the log.
    async fn insert_entries(&self, entries: &[NewEntry]) -> Result<i64, StoreError> {
        const SQL: &str = "WITH given AS (
                 SELECT DISTINCT ON (key) key, data, position
                 FROM unnest($1::bytea[], $2::bytea[]) WITH ORDINALITY AS entry (key, data, position)
                 ORDER BY key, position),
             fresh AS (
                 SELECT key, data, row_number() OVER (ORDER BY position) AS ordinal FROM given
                 WHERE NOT EXISTS (SELECT 1 FROM event WHERE event.key = given.key)),
             counted AS (UPDATE event_count SET last = last + (SELECT count(*) FROM fresh) RETURNING last AS last_sequence),
             added AS (INSERT INTO event (sequence, key, data)
                 SELECT counted.last_sequence - (SELECT count(*) FROM fresh) + fresh.ordinal, fresh.key, fresh.data FROM fresh, counted)
             SELECT last_sequence, pg_notify($3, $4) FROM counted";
        let keys: Vec<&[u8]> = entries.iter().map(|entry| &entry.key[..]).collect();
        let data: Vec<&[u8]> = entries.iter().map(|entry| &entry.bytes[..]).collect();
        let result = self
            .pool
            .fetch_all(|| {
                sqlx::query(SQL)
                    .bind(keys.clone())
                    .bind(data.clone())
                    .bind(CHANNEL)
                    .bind(self.schema.as_str())
            })
            .await?;
        result.rows.first().map_or_else(|| Err(counter_missing_error()), |row| row::get(row, "last_sequence"))
    }

    /// Deletes all entries except the newest [`MIN_KEPT_ENTRIES`]. `last_sequence` is the sequence number of the last
    /// entry.
    async fn delete_old_entries(&self, last_sequence: i64) {
        const SQL: &str = "DELETE FROM event WHERE sequence <= $1";
        // If this fails, the next cleanup tries again.
        let _ = self.pool.fetch_all(|| sqlx::query(SQL).bind(last_sequence - MIN_KEPT_ENTRIES)).await;
    }
}

#[async_trait]
impl EventLog for PostgresEventLog {
    async fn append(&self, entries: &[NewEntry]) -> Result<u64, StoreError> {
        let mut attempt = 1;
        let last_sequence = loop {
            match self.insert_entries(entries).await {
                // The statement was rolled back. The next attempt sees the entry of the other append.
                Err(error) if attempt < MAX_ATTEMPTS && error::is_unique_violation(&error) => attempt += 1,
                inserted => break inserted?,
            }
        };
        // The sequence number of the last entry before this append. If some keys were already in the log, this number
        // is too low, and the cleanup may run early.
        let previous_last = last_sequence.saturating_sub(i64::try_from(entries.len()).unwrap_or(i64::MAX));
        let passed_interval = last_sequence / CLEANUP_INTERVAL != previous_last / CLEANUP_INTERVAL;
        if passed_interval {
            self.delete_old_entries(last_sequence).await;
        }
        to_sequence(last_sequence)
    }

    async fn read(&self, after: u64, limit: u32) -> Result<LogPage, StoreError> {
        const SQL: &str = "SELECT counter.last AS last_sequence, entry.sequence, entry.data FROM event_count AS counter
             LEFT JOIN LATERAL (SELECT sequence, data FROM event WHERE sequence > $1 ORDER BY sequence LIMIT $2) AS entry ON true
             ORDER BY entry.sequence";
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let result = self.pool.fetch_all(|| sqlx::query(SQL).bind(after).bind(i64::from(limit))).await?;
        if result.rows.is_empty() {
            return Err(counter_missing_error());
        }
        let mut page = LogPage { last: 0, entries: Vec::with_capacity(result.rows.len()) };
        // Every row contains `last_sequence`. If there are no entries after `after`, the only row has no entry.
        for row in &result.rows {
            page.last = to_sequence(row::get(row, "last_sequence")?)?;
            if let Some(sequence) = row::get::<Option<i64>>(row, "sequence")? {
                let bytes = row::get::<Vec<u8>>(row, "data")?.into();
                page.entries.push(LogEntry { sequence: to_sequence(sequence)?, bytes });
            }
        }
        Ok(page)
    }

    async fn wait_for_entries(&self) -> Result<(), StoreError> {
        self.pool.check_open()?;
        tokio::select! {
            notified = self.wait_for_notification() => notified,
            closed = self.pool.closed() => Err(closed),
        }
    }

    async fn close(&self) {
        self.pool.close().await;
        *self.listen_connection.lock().await = None;
    }
}

impl fmt::Debug for PostgresEventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresEventLog").field("schema", &self.schema).finish_non_exhaustive()
    }
}

fn counter_missing_error() -> StoreError {
    StoreError::corrupt("the event log has lost its counter")
}

fn to_sequence(column: i64) -> Result<u64, StoreError> {
    u64::try_from(column).map_err(|_| StoreError::corrupt("the event log has a negative sequence number"))
}
