//! Errors of the server and of the way to it, turned into the store's own: by SQLSTATE and by kind, never by text.
//!
//! This is the one place where they are mapped. It must never know which verb failed.

use std::io;

use artifact_store_core::StoreError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// How a statement failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server or the way to it said so.
    Said(sqlx::Error),
    /// Nobody said anything for longer than a statement may take.
    Silent,
}

impl Failure {
    /// Whether the connection cannot be used any more, and another one may do better.
    pub(crate) fn is_of_connection(&self) -> bool {
        match self {
            Self::Said(error) => breaks_connection(error),
            Self::Silent => true,
        }
    }

    /// Whether the same statement may be sent again at once: the connection was gone, as after a restart of the server.
    /// Silence has taken the call's time already.
    pub(crate) fn may_repeat(&self) -> bool {
        matches!(self, Self::Said(error) if breaks_connection(error))
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Said(error) => of(error),
            Failure::Silent => StoreError::unavailable(
                "the server gave no answer within statement_timeout; look at the network and at the server's load",
            ),
        }
    }
}

/// What a failing statement means for the store.
pub(crate) fn of(error: sqlx::Error) -> StoreError {
    let store_error = match &error {
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::TypeNotFound { .. } => {
            StoreError::corrupt("a row of the database does not hold what the schema says")
        }
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => {
            StoreError::unavailable("the connection to the server broke")
        }
        other => sqlstate(other).map_or_else(|| StoreError::backend("the server's client failed"), by_code),
    };
    store_error.with_source(error)
}

/// What it means that the answer to a commit was lost, and that what was to be committed is not seen.
pub(crate) fn of_commit(failure: Failure) -> StoreError {
    if !failure.is_of_connection() {
        return failure.into();
    }
    let error = StoreError::unavailable(
        "the connection broke while the change was being committed; all of it came about, or nothing: try again",
    );
    match failure {
        Failure::Said(source) => error.with_source(source),
        Failure::Silent => error,
    }
}

/// What a connection that did not come about means for the store.
pub(crate) fn of_connecting(error: sqlx::Error) -> StoreError {
    let store_error = match &error {
        sqlx::Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => StoreError::unavailable(
                "nobody listens at the host and port of the URL; start the server, or correct the URL",
            ),
            _ => StoreError::unavailable(
                "the server cannot be reached; check the URL's host and port, the network, and whether it runs",
            ),
        },
        sqlx::Error::Protocol(_) => StoreError::unavailable(
            "who answers at the URL's host and port does not speak as PostgreSQL does",
        ),
        sqlx::Error::Tls(_) => StoreError::backend(
            "no secure connection came about; check sslmode, and sslrootcert where the certificate is not of a public authority",
        ),
        sqlx::Error::Configuration(_) => {
            StoreError::invalid("a certificate or key that the URL names cannot be used")
        }
        _ => return of(error),
    };
    store_error.with_source(error)
}

/// No connection came about in time, and this is why where it is known.
pub(crate) fn never_connected(last: Option<sqlx::Error>) -> StoreError {
    last.map_or_else(
        || {
            StoreError::unavailable(
                "the server did not accept a connection within acquire_timeout; check the network and the server's load",
            )
        },
        of_connecting,
    )
}

/// The URL cannot be understood. The client's own words may repeat parts of it, so they are not kept.
pub(crate) fn of_url(_: &sqlx::Error) -> StoreError {
    StoreError::invalid(
        "the option 'url' cannot be understood; it takes the form postgres://user:password@host:5432/name?sslmode=verify-full, with special characters in a name or password percent-encoded",
    )
}

/// Whether a server that refuses now may accept a connection in a moment: it is starting, or full, or not there yet.
pub(crate) fn may_connect_later(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::UnexpectedEof
                | io::ErrorKind::BrokenPipe
        ),
        // Where the way breaks off before the first answer, the client takes that for a wrong one.
        sqlx::Error::Protocol(_) => true,
        other => sqlstate(other).is_some_and(|code| {
            matches!(code, "53300" | "57P01" | "57P02" | "57P03") || code.starts_with("08")
        }),
    }
}

fn breaks_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            let fatal = error
                .try_downcast_ref::<PgDatabaseError>()
                .is_some_and(|error| matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic));
            // 26000, 0A000: what was prepared is gone or of an older schema; a fresh connection prepares it again.
            fatal
                || error
                    .code()
                    .is_some_and(|code| code.starts_with("08") || matches!(&*code, "26000" | "0A000"))
        }
        // A row that cannot be decoded was received all the same.
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::RowNotFound => false,
        _ => true,
    }
}

fn sqlstate(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error()?.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::code)
}

/// Whether the server refused for want of room on its disk.
pub(crate) fn is_disk_full(error: &StoreError) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<sqlx::Error>());
    source.and_then(sqlstate) == Some("53100")
}

// https://www.postgresql.org/docs/current/errcodes-appendix.html
fn by_code(code: &str) -> StoreError {
    match code {
        "28P01" | "28000" => StoreError::backend(
            "the server refuses the user or the password of the URL; correct them, or the server's pg_hba.conf",
        ),
        "3D000" => StoreError::backend(
            "the database that the URL names does not exist; create it (CREATE DATABASE), or correct the URL",
        ),
        "42501" => StoreError::backend(
            "the URL's user lacks a right; make it the owner of the schema (CREATE SCHEMA … AUTHORIZATION …), or let it create one (GRANT CREATE ON DATABASE …)",
        ),
        "42P01" | "3F000" | "42703" => StoreError::backend(
            "a table of the store is gone or altered; restore it, or open the store again to begin with an empty one",
        ),
        "25006" => StoreError::unavailable(
            "the server is read-only at present; let the URL name the primary, or end default_transaction_read_only",
        ),
        "25P03" => StoreError::unavailable("the upload paused for too long; send it again"),
        "57014" => {
            StoreError::unavailable("a statement took longer than statement_timeout, or was cancelled")
        }
        "55P03" => StoreError::unavailable("another transaction held a lock for too long"),
        "40001" | "40P01" => StoreError::unavailable("the server gave way to another transaction"),
        "53100" => StoreError::unavailable("no space left on the server's disk"),
        "53200" => StoreError::unavailable("the server is out of memory"),
        "53300" => StoreError::unavailable(
            "the server has no connection left; raise its max_connections, or lower the store's",
        ),
        "57P01" | "57P02" | "57P05" => StoreError::unavailable("the server ended the connection"),
        "57P03" => StoreError::unavailable("the server is starting or stopping"),
        "58030" => StoreError::backend("the server's disk fails; look at the server's log"),
        "XX001" | "XX002" => StoreError::corrupt("the server's files are damaged; restore them from a copy"),
        "0A000" => StoreError::backend(
            "the server cannot do what the store needs; it takes PostgreSQL 13 or newer, not something like it",
        ),
        _ if code.starts_with("08") => StoreError::unavailable("the connection to the server broke"),
        _ if code.starts_with("53") => StoreError::unavailable("the server is short of something"),
        _ => StoreError::backend(format!("the server refused with SQLSTATE {code}")),
    }
}
