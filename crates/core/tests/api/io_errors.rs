//! An error of a store as an error of `std::io`.

use std::error::Error;
use std::io;

use artifact_store_core::{Digest, ErrorKind, Flag, StoreError};

fn caused_by(kind: io::ErrorKind) -> StoreError {
    StoreError::backend("writing an artifact").with_source(io::Error::from(kind))
}

#[test]
fn every_kind_of_error_has_a_kind_of_io() {
    let digest = Digest::of(b"");
    for (error, kind) in [
        (StoreError::too_large(10), io::ErrorKind::FileTooLarge),
        (StoreError::digest_mismatch(digest, digest), io::ErrorKind::InvalidData),
        (StoreError::unsupported(Flag::PresignGet), io::ErrorKind::Unsupported),
        (StoreError::invalid("no"), io::ErrorKind::InvalidInput),
        (StoreError::conflict("taken"), io::ErrorKind::AlreadyExists),
        (StoreError::unavailable("busy"), io::ErrorKind::ResourceBusy),
        (StoreError::corrupt("altered"), io::ErrorKind::InvalidData),
        (StoreError::closed(), io::ErrorKind::NotConnected),
        (StoreError::backend("broken"), io::ErrorKind::Other),
        (caused_by(io::ErrorKind::PermissionDenied), io::ErrorKind::PermissionDenied),
        (caused_by(io::ErrorKind::ReadOnlyFilesystem), io::ErrorKind::ReadOnlyFilesystem),
        (caused_by(io::ErrorKind::NotFound), io::ErrorKind::NotFound),
        (
            StoreError::unavailable("slow").with_source(caused_by(io::ErrorKind::TimedOut)),
            io::ErrorKind::TimedOut,
        ),
        (
            StoreError::unavailable("full").with_source(io::Error::from(io::ErrorKind::StorageFull)),
            io::ErrorKind::StorageFull,
        ),
        // For `Corrupt`, the kind of the system's error is not used.
        (StoreError::corrupt("short").with_source(io::Error::other("x")), io::ErrorKind::InvalidData),
    ] {
        let text = error.to_string();
        let error = io::Error::from(error);
        assert_eq!(error.kind(), kind, "{text}");
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn a_reader_is_never_told_to_repeat_or_suspend_its_call() {
    for kind in [io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock] {
        assert_eq!(io::Error::from(caused_by(kind)).kind(), io::ErrorKind::Other);
    }
}

#[test]
fn a_broken_connection_of_the_store_is_never_the_end_of_the_input_or_output() {
    for kind in [io::ErrorKind::UnexpectedEof, io::ErrorKind::BrokenPipe, io::ErrorKind::WriteZero] {
        let broken = StoreError::unavailable("the connection broke").with_source(io::Error::from(kind));
        assert_eq!(io::Error::from(broken).kind(), io::ErrorKind::ResourceBusy);
    }
}

#[test]
fn the_error_of_the_store_and_its_source_are_kept() {
    let error = io::Error::from(caused_by(io::ErrorKind::PermissionDenied));
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::PermissionDenied));
    let inner = error.into_inner().and_then(|inner| inner.downcast::<StoreError>().ok());
    assert_eq!(inner.map(|error| error.kind()), Some(ErrorKind::Backend));
}
