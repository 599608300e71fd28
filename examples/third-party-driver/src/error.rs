//! Errors of redb and of the file system as errors of the contract, by code and never by text.

use std::io;

use artifact_store_core::StoreError;

/// The error of a read or write. Whoever opens the database handles the errors of opening first.
pub(crate) fn map_redb_error(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(error) => map_io_error(error),
        error @ (redb::Error::Corrupted(_)
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. }) => {
            StoreError::corrupt("the database is damaged; restore it from a backup").with_source(error)
        }
        error @ (redb::Error::PreviousIo | redb::Error::LockPoisoned(_)) => StoreError::unavailable(
            "an earlier read or write of the database failed; close the store and open it again",
        )
        .with_source(error),
        redb::Error::DatabaseClosed => StoreError::closed(),
        error => StoreError::backend("the database returned an error; see the cause").with_source(error),
    }
}

/// The error of the file system.
pub(crate) fn map_io_error(error: io::Error) -> StoreError {
    let mapped = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::unavailable(
            "the disk or its quota is full; free some space, then open the store again",
        ),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreError::backend(
            "the database file cannot be written; give the user of this process the right to write it",
        ),
        _ => StoreError::backend("the database file cannot be read or written; see the cause"),
    };
    mapped.with_source(error)
}

#[cfg(test)]
mod tests {
    use artifact_store_core::ErrorKind;

    use super::*;

    #[test]
    fn the_code_of_an_error_decides_its_kind() {
        for (error, kind) in [
            (redb::Error::Io(io::ErrorKind::StorageFull.into()), ErrorKind::Unavailable),
            (redb::Error::Io(io::ErrorKind::PermissionDenied.into()), ErrorKind::Backend),
            (redb::Error::PreviousIo, ErrorKind::Unavailable),
            (redb::Error::Corrupted("no table".into()), ErrorKind::Corrupt),
            (redb::Error::DatabaseClosed, ErrorKind::Closed),
            (redb::Error::TransactionPoisoned, ErrorKind::Backend),
        ] {
            let shown = error.to_string();
            assert_eq!(map_redb_error(error).kind(), kind, "{shown}");
        }
    }
}
