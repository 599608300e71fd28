//! Connection setup: checks the URL, sets the options of every session, and checks the server.
//!
//! This module must never name a table.

use std::str::FromStr;
use std::time::Duration;

use artifact_store_core::{Capabilities, Flag, StoreError};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, Row};
use tokio::time::{Instant, timeout};

use crate::config::{PostgresConfig, SynchronousCommit};
use crate::{error, pool, schema};

/// The names of the query parameters that the URL may have.
const URL_PARAMETERS: &[&str] = &[
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
/// A streamed put fails if its caller needs longer than this to send the bytes of the next statement. The limit exists
/// because the server's vacuum cannot remove dead rows while the transaction of the put is open.
const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_mins(5);
/// While the server executes a statement, it checks at this interval whether the client is still connected. Some
/// servers do not support this check.
const CLIENT_CHECK_INTERVAL: &str = "2s";
/// How long opening waits for the migration of an older schema, by this process or another one.
const MIGRATION_TIMEOUT: Duration = Duration::from_hours(1);
/// PostgreSQL 13, in the form of the server's setting `server_version_num`.
const MIN_SERVER_VERSION: i32 = 130_000;

/// The connect options of a store's sessions, and the capabilities that the server's settings allow.
pub(crate) struct SessionSetup {
    pub(crate) options: PgConnectOptions,
    pub(crate) capabilities: Capabilities,
}

/// Whether opening may create or migrate the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SchemaUpgrade {
    Allowed,
    Denied,
}

/// Checks the server, creates or migrates the schema if `upgrade` allows it, and returns the setup of the sessions.
pub(crate) async fn prepare(
    config: &PostgresConfig,
    upgrade: SchemaUpgrade,
) -> Result<SessionSetup, StoreError> {
    config.validate()?;
    let options = connect_options(config)?;
    let mut conn = pool::connect(&options, Instant::now() + config.acquire_timeout).await?;
    // The server ends each statement at `statement_timeout`. The timeout here is for all statements together, and also
    // ends the wait for a server that does not respond.
    let setup = timeout(config.statement_timeout * 2, async {
        let server = ServerSettings::query(&mut conn).await?;
        server.check()?;
        let is_current = match upgrade {
            SchemaUpgrade::Allowed => schema::is_current(&mut conn, &config.schema).await?,
            SchemaUpgrade::Denied => {
                schema::require_current(&mut conn, &config.schema).await?;
                true
            }
        };
        let supports_client_checks = server.supports_client_checks(&mut conn).await;
        Ok::<_, StoreError>((server.session_setup(config, options, supports_client_checks), is_current))
    })
    .await
    .map_err(|_| StoreError::unavailable("the server did not respond within statement_timeout"))??;
    let (setup, is_current) = setup;
    if !is_current {
        timeout(MIGRATION_TIMEOUT, schema::migrate(&mut conn, &config.schema)).await.map_err(|_| {
            StoreError::unavailable("the migration of the schema took too long, and was rolled back")
        })??;
    }
    // If closing fails, the connection is dropped, and the server notices the closed socket.
    let _ = timeout(config.acquire_timeout, conn.close()).await;
    Ok(setup)
}

/// The connect options of every session of the store. The caller may add options that depend on the server.
fn connect_options(config: &PostgresConfig) -> Result<PgConnectOptions, StoreError> {
    let has_application_name = check_url(&config.url)?;
    let options = PgConnectOptions::from_str(&config.url).map_err(|error| error::invalid_url(&error))?;
    let options = if has_application_name { options } else { options.application_name("artifact-store") };
    let millis = |time: Duration| time.as_millis().to_string();
    Ok(options.disable_statement_logging().options([
        ("search_path", format!("\"{}\"", config.schema)),
        ("statement_timeout", millis(config.statement_timeout)),
        // Shorter than `statement_timeout`, so that the error says that the statement waited for a lock.
        ("lock_timeout", millis(config.statement_timeout * 3 / 4)),
        ("idle_in_transaction_session_timeout", millis(IDLE_IN_TRANSACTION_TIMEOUT)),
        ("default_transaction_isolation", "read committed".to_owned()),
        ("client_min_messages", "warning".to_owned()),
        // With the next three settings, a page of a listing is a scan of one index, whatever the server's statistics
        // are, and candidates come from the filter index.
        ("enable_seqscan", "off".to_owned()),
        ("enable_sort", "off".to_owned()),
        ("enable_incremental_sort", "off".to_owned()),
        // All plans are the same for all values, so no statement is planned twice on a connection.
        ("plan_cache_mode", "force_generic_plan".to_owned()),
        // For short statements, JIT compilation costs more time than it saves.
        ("jit", "off".to_owned()),
    ]))
}

/// Checks the scheme and the query parameters of the URL. Returns whether the URL has the parameter `application_name`.
///
/// Rejects every parameter that is not in [`URL_PARAMETERS`]. sqlx would ignore some of these parameters. Others would
/// change settings that the store needs.
///
/// # Errors
/// `InvalidArgument`. The message never repeats the URL, because the URL may contain a password.
fn check_url(url: &str) -> Result<bool, StoreError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(StoreError::invalid_option(
            "url",
            "must have the form postgres://user:password@host:5432/name",
        ));
    }
    let query = url.split_once('?').map_or("", |(_, query)| query);
    // A fragment after the query is not part of the query.
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    let mut has_application_name = false;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        if !URL_PARAMETERS.contains(&name) {
            return Err(StoreError::invalid_option(
                "url",
                format!("has an unknown parameter; known parameters: {}", URL_PARAMETERS.join(", ")),
            ));
        }
        if name == "application_name" {
            has_application_name = true;
        }
    }
    Ok(has_application_name)
}

/// The properties and settings of a server that matter to the store.
struct ServerSettings {
    /// The setting `server_version_num`: 130004 means version 13.4.
    version: i32,
    encoding: String,
    synchronous_commit: String,
    /// Whether the settings `fsync` and `full_page_writes` are on.
    is_crash_safe: bool,
    is_standby: bool,
}

impl ServerSettings {
    async fn query(conn: &mut PgConnection) -> Result<Self, StoreError> {
        let row = sqlx::query(
            "SELECT current_setting('server_version_num')::integer AS version,
                    current_setting('server_encoding') AS encoding,
                    current_setting('synchronous_commit') AS synchronous_commit,
                    current_setting('fsync')::boolean AND current_setting('full_page_writes')::boolean AS is_crash_safe,
                    pg_is_in_recovery() AS is_standby",
        )
        .fetch_one(conn)
        .await
        .map_err(error::from_sqlx)?;
        Ok(Self {
            version: row.try_get("version").map_err(error::from_sqlx)?,
            encoding: row.try_get("encoding").map_err(error::from_sqlx)?,
            synchronous_commit: row.try_get("synchronous_commit").map_err(error::from_sqlx)?,
            is_crash_safe: row.try_get("is_crash_safe").map_err(error::from_sqlx)?,
            is_standby: row.try_get("is_standby").map_err(error::from_sqlx)?,
        })
    }

    /// Returns an error if the store does not support this server.
    fn check(&self) -> Result<(), StoreError> {
        if self.version < MIN_SERVER_VERSION {
            return Err(StoreError::invalid(
                "the server is older than PostgreSQL 13, the minimum; upgrade it",
            ));
        }
        if self.encoding != "UTF8" {
            return Err(StoreError::invalid(format!(
                "the encoding of the database is {}; create a database with ENCODING 'UTF8'",
                self.encoding
            )));
        }
        if self.is_standby {
            return Err(StoreError::unavailable(
                "the server is a standby, which lags behind and accepts no puts; use the primary in the URL",
            ));
        }
        Ok(())
    }

    /// Returns whether the server can cancel the statements of disconnected clients: PostgreSQL 14 and newer on most
    /// operating systems. On other systems the server refuses the setting.
    async fn supports_client_checks(&self, conn: &mut PgConnection) -> bool {
        const SET: &str = "SELECT set_config('client_connection_check_interval', $1, false)";
        self.version >= 140_000 && sqlx::query(SET).bind(CLIENT_CHECK_INTERVAL).execute(conn).await.is_ok()
    }

    /// Returns the setup of the store's sessions. To `options`, this function adds the options that depend on the
    /// server. `supports_client_checks` is the result of the method of this name.
    fn session_setup(
        &self,
        config: &PostgresConfig,
        options: PgConnectOptions,
        supports_client_checks: bool,
    ) -> SessionSetup {
        let synchronous_commit = match config.synchronous_commit {
            SynchronousCommit::Off => "off",
            SynchronousCommit::On if self.synchronous_commit == "off" => "on",
            // With any value except `off`, a commit waits at least for the server's own disk.
            SynchronousCommit::On => &self.synchronous_commit,
        };
        let mut options = options.options([("synchronous_commit", synchronous_commit)]);
        if supports_client_checks {
            options = options.options([("client_connection_check_interval", CLIENT_CHECK_INTERVAL)]);
        }
        let configured = config.capabilities();
        SessionSetup {
            options,
            capabilities: if self.is_crash_safe { configured } else { configured.without(Flag::Durable) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_a_refused_url_does_not_repeat_the_url() {
        // In every URL, `hush` is the secret.
        for url in [
            // Another scheme, and no scheme.
            "mysql://ada:hush@h/d",
            "ada:hush@h/d",
            // Parameters that are not in `URL_PARAMETERS`.
            "postgres://ada:hush@h/d?optoins=x",
            "postgres://ada:hush@h/d?options=-c%20fsync%3Doff",
            "postgres://ada:hush@h/d?sslmode=require&hush",
            // A port and an `sslmode` that sqlx cannot parse.
            "postgres://ada:hush@h:port/d",
            "postgres://ada:hush@h/d?sslmode=hush",
        ] {
            let refused = connect_options(&PostgresConfig::new(url)).expect_err(url);
            assert!(!format!("{refused} {refused:?}").contains("hush"), "{refused:?}");
        }
    }

    #[test]
    fn common_url_parameters_are_accepted() {
        for parameters in
            ["", "?sslmode=verify-full&sslrootcert=/ca.pem", "?application_name=x", "?host=/run/pg&"]
        {
            connect_options(&PostgresConfig::new(format!("postgresql://ada@h/d{parameters}")))
                .expect(parameters);
        }
    }
}
