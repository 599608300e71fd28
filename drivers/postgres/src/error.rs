//! Maps errors of the server and the connection to [`StoreError`], by SQLSTATE and by kind, never by message text.
//!
//! No other module maps these errors. This module must never know which verb failed.

use std::io;

use artifact_store_core::StoreError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// How a statement failed.
#[derive(Debug)]
pub(crate) enum StatementError {
    /// The server or the connection reported an error.
    Sqlx(sqlx::Error),
    /// The server did not respond within the time limit of a statement.
    Timeout,
}

impl StatementError {
    /// Returns `true` if the connection cannot be used any more. A new connection may work.
    pub(crate) fn is_connection_lost(&self) -> bool {
        match self {
            Self::Sqlx(error) => is_connection_error(error),
            Self::Timeout => true,
        }
    }

    /// Returns `true` if the connection was lost, for example by a restart of the server. The statement may then be
    /// sent again at once. Returns `false` for a timeout, which has already used up the time of the call.
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self, Self::Sqlx(error) if is_connection_error(error))
    }
}

impl From<StatementError> for StoreError {
    fn from(error: StatementError) -> Self {
        match error {
            StatementError::Sqlx(error) => from_sqlx(error),
            StatementError::Timeout => StoreError::unavailable(
                "the server did not respond within statement_timeout; check the network and the server's load",
            ),
        }
    }
}

/// Maps the error of a statement.
pub(crate) fn from_sqlx(error: sqlx::Error) -> StoreError {
    let store_error = match &error {
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::TypeNotFound { .. } => {
            StoreError::corrupt("a row of the database does not match the schema")
        }
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => {
            StoreError::unavailable("the connection to the server broke")
        }
        other => {
            sqlstate(other).map_or_else(|| StoreError::backend("the database client failed"), from_sqlstate)
        }
    };
    store_error.with_source(error)
}

/// Maps the error of a failed commit. If the response was lost, it is unknown whether the server committed.
pub(crate) fn from_commit(error: StatementError) -> StoreError {
    if !error.is_connection_lost() {
        return error.into();
    }
    let store_error = StoreError::unavailable(
        "the connection broke during the commit; the change was applied completely or not at all: try again",
    );
    match error {
        StatementError::Sqlx(source) => store_error.with_source(source),
        StatementError::Timeout => store_error,
    }
}

/// Maps the error of a failed attempt to connect.
pub(crate) fn from_connect(error: sqlx::Error) -> StoreError {
    let store_error = match &error {
        sqlx::Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => StoreError::unavailable(
                "no server listens on the host and port of the URL; start the server, or correct the URL",
            ),
            _ => StoreError::unavailable(
                "the server cannot be reached; check the URL's host and port, the network, and that the server is running",
            ),
        },
        sqlx::Error::Protocol(_) => StoreError::unavailable(
            "the server at the URL's host and port does not speak the PostgreSQL protocol",
        ),
        sqlx::Error::Tls(_) => StoreError::backend(
            "the TLS connection failed; check sslmode, and set sslrootcert if the certificate is not from a public authority",
        ),
        sqlx::Error::Configuration(_) => {
            StoreError::invalid("a certificate or key file in the URL cannot be used")
        }
        _ => return from_sqlx(error),
    };
    store_error.with_source(error)
}

/// The error if no connection was established before `acquire_timeout`. `last` is the error of the last attempt, or
/// `None` if no attempt has failed.
pub(crate) fn connect_timeout(last: Option<sqlx::Error>) -> StoreError {
    last.map_or_else(
        || {
            StoreError::unavailable(
                "the server did not accept a connection within acquire_timeout; check the network and the server's load",
            )
        },
        from_connect,
    )
}

/// The error of a URL that cannot be parsed. The message of sqlx is dropped, because it may contain parts of the URL.
pub(crate) fn invalid_url(_: &sqlx::Error) -> StoreError {
    StoreError::invalid_option(
        "url",
        "cannot be parsed; it must have the form postgres://user:password@host:5432/name?sslmode=verify-full, with special characters in a name or password percent-encoded",
    )
}

/// Whether a later connection attempt may succeed: the server is starting, has no free connection, or does not listen
/// yet.
pub(crate) fn is_connect_retryable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::UnexpectedEof
                | io::ErrorKind::BrokenPipe
        ),
        // sqlx reports a protocol error if the connection breaks before the first response.
        sqlx::Error::Protocol(_) => true,
        // 53300: no free connection. 57P01 to 57P03: the server is stopping or starting. 08: connection errors.
        other => sqlstate(other).is_some_and(|code| {
            matches!(code, "53300" | "57P01" | "57P02" | "57P03") || code.starts_with("08")
        }),
    }
}

/// Whether the connection cannot be used any more after `error`.
fn is_connection_error(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            let fatal = error
                .try_downcast_ref::<PgDatabaseError>()
                .is_some_and(|error| matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic));
            // 08: connection errors. 26000, 0A000: the prepared statement no longer exists or belongs to an older
            // schema. A new connection prepares the statement again.
            fatal
                || error
                    .code()
                    .is_some_and(|code| code.starts_with("08") || matches!(&*code, "26000" | "0A000"))
        }
        // The row was received, and only its decoding failed. So the connection still works.
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::RowNotFound => false,
        _ => true,
    }
}

/// The SQLSTATE of an error that the server reported. `None` for an error of sqlx itself.
fn sqlstate(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error()?.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::code)
}

/// Whether the server reported a full disk: SQLSTATE 53100.
pub(crate) fn is_disk_full(error: &StoreError) -> bool {
    has_sqlstate(error, "53100")
}

/// Whether the server reported that a unique key exists already: SQLSTATE 23505.
pub(crate) fn is_unique_violation(error: &StoreError) -> bool {
    has_sqlstate(error, "23505")
}

fn has_sqlstate(error: &StoreError, code: &str) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<sqlx::Error>());
    source.and_then(sqlstate) == Some(code)
}

/// Maps the SQLSTATE of a server's error. The codes are from
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn from_sqlstate(code: &str) -> StoreError {
    match code {
        "28P01" | "28000" => StoreError::backend(
            "the server rejects the user or the password of the URL; correct them, or the server's pg_hba.conf",
        ),
        "3D000" => StoreError::backend(
            "the database in the URL does not exist; create it (CREATE DATABASE), or correct the URL",
        ),
        "42501" => StoreError::backend(
            "the user in the URL lacks a privilege; make it the owner of the schema (CREATE SCHEMA … AUTHORIZATION …), or let it create one (GRANT CREATE ON DATABASE …)",
        ),
        "42P01" | "3F000" | "42703" => StoreError::backend(
            "a table of the store is missing or altered; restore it, or reopen the store to create an empty one",
        ),
        "25006" => StoreError::unavailable(
            "the server is read-only; use the primary in the URL, or turn default_transaction_read_only off",
        ),
        "25P03" => StoreError::unavailable("the upload was too slow or stopped; send it again"),
        "57014" => StoreError::unavailable("a statement took longer than statement_timeout, or was canceled"),
        "55P03" => StoreError::unavailable("another transaction held a lock for too long"),
        "40001" | "40P01" => StoreError::unavailable(
            "the server aborted the transaction because of a conflict with another one",
        ),
        "53100" => StoreError::unavailable("no space left on the server's disk"),
        "53200" => StoreError::unavailable("the server is out of memory"),
        "53300" => StoreError::unavailable(
            "the server has no free connection; raise its max_connections, or lower that of the store",
        ),
        "57P01" | "57P02" | "57P05" => StoreError::unavailable("the server closed the connection"),
        "57P03" => StoreError::unavailable("the server is starting or stopping"),
        "58030" => StoreError::backend("the server's disk reports errors; check the server's log"),
        "XX001" | "XX002" => {
            StoreError::corrupt("the server's files are damaged; restore them from a backup")
        }
        "0A000" => StoreError::backend(
            "the server lacks a feature that the store needs; use PostgreSQL 13 or newer, not a compatible product",
        ),
        _ if code.starts_with("08") => StoreError::unavailable("the connection to the server broke"),
        _ if code.starts_with("53") => StoreError::unavailable("the server is out of a resource"),
        _ => StoreError::backend(format!("the server reported SQLSTATE {code}")),
    }
}
