//! How connections are made: what the URL may say, what every session is set to, and what the server turns out to be.
//!
//! This module must never know a table.

use std::str::FromStr;
use std::time::Duration;

use artifact_store_core::{Capabilities, Flag, StoreError};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, Row};
use tokio::time::{Instant, timeout};

use crate::config::{PostgresConfig, SynchronousCommit};
use crate::{error, pool, schema};

/// What the URL may say after the question mark.
const PARAMETERS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];
/// A caller that sends nothing for so long loses the put: its transaction keeps the server from clearing up.
const UPLOAD_PAUSE: Duration = Duration::from_mins(5);
/// So often the server looks whether anybody waits for a statement still, where it can.
const LOOK: &str = "2s";
const OLDEST_SERVER: i32 = 130_000;

/// How the sessions of an open store are made, and what the server makes of the store's promises.
pub(crate) struct Prepared {
    pub(crate) options: PgConnectOptions,
    pub(crate) capabilities: Capabilities,
}

/// Looks at the server, brings the schema up to date, and says how to go on.
pub(crate) async fn prepare(config: &PostgresConfig) -> Result<Prepared, StoreError> {
    config.check()?;
    let options = options(config)?;
    let mut conn = pool::connect(&options, Instant::now() + config.acquire_timeout).await?;
    // Each statement is bounded by the server; this bounds a server that says nothing.
    let prepared = timeout(config.statement_timeout * 2, async {
        let server = Server::of(&mut conn).await?;
        server.check()?;
        schema::migrate(&mut conn, &config.schema).await?;
        let looks = server.looks_for_clients(&mut conn).await;
        Ok(server.prepared(config, options, looks))
    })
    .await
    .map_err(|_| StoreError::unavailable("the server gave no answer within statement_timeout"))?;
    let _ = timeout(config.acquire_timeout, conn.close()).await;
    prepared
}

fn options(config: &PostgresConfig) -> Result<PgConnectOptions, StoreError> {
    let named = check_url(&config.url)?;
    let options = PgConnectOptions::from_str(&config.url).map_err(|error| error::of_url(&error))?;
    let options = if named { options } else { options.application_name("artifact-store") };
    let millis = |time: Duration| time.as_millis().to_string();
    Ok(options.disable_statement_logging().options([
        ("search_path", format!("\"{}\"", config.schema)),
        ("statement_timeout", millis(config.statement_timeout)),
        ("lock_timeout", millis(config.statement_timeout * 3 / 4)),
        ("idle_in_transaction_session_timeout", millis(UPLOAD_PAUSE)),
        ("default_transaction_isolation", "read committed".to_owned()),
        ("client_min_messages", "warning".to_owned()),
        // A page of a listing walks one index, whatever the statistics say; compiling short statements gains nothing.
        ("enable_seqscan", "off".to_owned()),
        ("enable_bitmapscan", "off".to_owned()),
        ("enable_sort", "off".to_owned()),
        ("enable_incremental_sort", "off".to_owned()),
        ("jit", "off".to_owned()),
    ]))
}

/// Refuses a URL of another kind, or with a parameter that would be ignored or would change what the store relies on.
/// Answers whether it names the application. Its text is never repeated: it may hold a password.
fn check_url(url: &str) -> Result<bool, StoreError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(StoreError::invalid(
            "the option 'url' takes the form postgres://user:password@host:5432/name",
        ));
    }
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    let mut named = false;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        if !PARAMETERS.contains(&name) {
            return Err(StoreError::invalid(format!(
                "the option 'url' has a parameter that is not known; known: {}",
                PARAMETERS.join(", ")
            )));
        }
        named |= name == "application_name";
    }
    Ok(named)
}

/// What a server is and how it is set.
struct Server {
    version: i32,
    encoding: String,
    synchronous_commit: String,
    keeps_its_word: bool,
    is_standby: bool,
}

impl Server {
    async fn of(conn: &mut PgConnection) -> Result<Self, StoreError> {
        let row = sqlx::query(
            "SELECT current_setting('server_version_num')::integer AS version,
                    current_setting('server_encoding') AS encoding,
                    current_setting('synchronous_commit') AS synchronous_commit,
                    current_setting('fsync')::boolean AND current_setting('full_page_writes')::boolean AS keeps_its_word,
                    pg_is_in_recovery() AS is_standby",
        )
        .fetch_one(conn)
        .await
        .map_err(error::of)?;
        Ok(Self {
            version: row.try_get("version").map_err(error::of)?,
            encoding: row.try_get("encoding").map_err(error::of)?,
            synchronous_commit: row.try_get("synchronous_commit").map_err(error::of)?,
            keeps_its_word: row.try_get("keeps_its_word").map_err(error::of)?,
            is_standby: row.try_get("is_standby").map_err(error::of)?,
        })
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.version < OLDEST_SERVER {
            return Err(StoreError::invalid("the server is older than PostgreSQL 13; upgrade it"));
        }
        if self.encoding != "UTF8" {
            return Err(StoreError::invalid(format!(
                "the database keeps its texts as {}; create one with ENCODING 'UTF8'",
                self.encoding
            )));
        }
        if self.is_standby {
            return Err(StoreError::unavailable(
                "the server is a standby, which lags behind and takes no puts; let the URL name the primary",
            ));
        }
        Ok(())
    }

    /// Whether the server can end statements whose client has gone: PostgreSQL 14, on most systems.
    async fn looks_for_clients(&self, conn: &mut PgConnection) -> bool {
        const SET: &str = "SELECT set_config('client_connection_check_interval', $1, false)";
        self.version >= 140_000 && sqlx::query(SET).bind(LOOK).execute(conn).await.is_ok()
    }

    fn prepared(&self, config: &PostgresConfig, options: PgConnectOptions, looks: bool) -> Prepared {
        let commit = match config.synchronous_commit {
            SynchronousCommit::Off => "off",
            // Whatever else the server is set to is no weaker for one server, and perhaps stronger for several.
            SynchronousCommit::On if self.synchronous_commit == "off" => "on",
            SynchronousCommit::On => &self.synchronous_commit,
        };
        let mut options = options.options([("synchronous_commit", commit)]);
        if looks {
            options = options.options([("client_connection_check_interval", LOOK)]);
        }
        let promised = config.capabilities();
        Prepared {
            options,
            capabilities: if self.keeps_its_word { promised } else { promised.without(Flag::Durable) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_refused_without_being_repeated() {
        for url in [
            "mysql://ada:hush@h/d",
            "ada:hush@h/d",
            "postgres://ada:hush@h/d?optoins=x",
            "postgres://ada:hush@h/d?options=-c%20fsync%3Doff",
            "postgres://ada:hush@h/d?sslmode=require&hush",
            "postgres://ada:hush@h:port/d",
            "postgres://ada:hush@h/d?sslmode=hush",
        ] {
            let refused = options(&PostgresConfig::new(url)).expect_err(url);
            assert!(!format!("{refused} {refused:?}").contains("hush"), "{refused:?}");
        }
    }

    #[test]
    fn the_parameters_that_people_know_are_taken() {
        for parameters in
            ["", "?sslmode=verify-full&sslrootcert=/ca.pem", "?application_name=x", "?host=/run/pg&"]
        {
            options(&PostgresConfig::new(format!("postgresql://ada@h/d{parameters}"))).expect(parameters);
        }
    }
}
