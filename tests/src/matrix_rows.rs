//! The rows of the matrix: each is a driver with one set of options on one kind of storage.

use std::path::Path;
use std::sync::Arc;

use artifact_store_backends::{Conditions, S3Kind};
use artifact_store_conformance::Harness;
use artifact_store_core::BoxError;

use crate::flavour::{Flavour, matrix_flavours};
use object_store::harness::{ObjectsHarness, Storage};
use object_store::servers::{ServerHarness, StorageServer};

#[path = "../../drivers/fs/tests/harness/mod.rs"]
mod fs;
#[path = "../../drivers/inmem/tests/harness/mod.rs"]
mod inmem;
pub(crate) mod object_store;
#[path = "../../drivers/postgres/tests/harness/mod.rs"]
pub(crate) mod postgres;
#[path = "../../drivers/s3/tests/harness/mod.rs"]
pub(crate) mod s3;
#[path = "../../drivers/sqlite/tests/harness/mod.rs"]
mod sqlite;

/// One row of the matrix.
#[derive(Debug, Clone)]
pub struct MatrixRow {
    /// The flavour that `--only` selects by.
    pub flavour: Flavour,
    /// Creates the backends of this row.
    pub harness: Arc<dyn Harness>,
}

/// All rows of the selected flavours.
pub fn matrix_rows() -> Vec<MatrixRow> {
    let harnesses = |flavour| -> Vec<Arc<dyn Harness>> {
        match flavour {
            Flavour::Inmem => vec![Arc::new(inmem::InmemHarness)],
            Flavour::Fs => vec![Arc::new(fs::FsHarness::new()), Arc::new(fs::FsHarness::sync_never())],
            Flavour::Sqlite => {
                vec![Arc::new(sqlite::SqliteHarness::File), Arc::new(sqlite::SqliteHarness::Memory)]
            }
            Flavour::Postgres => vec![Arc::new(postgres::PostgresHarness)],
            Flavour::Garage => vec![Arc::new(s3::S3Harness::new(S3Kind::Garage))],
            Flavour::S3sFs => vec![Arc::new(s3::S3Harness::new(S3Kind::S3sFs))],
            Flavour::Moto => vec![Arc::new(s3::S3Harness::new(S3Kind::Moto))],
            Flavour::FakeGcs => vec![
                Arc::new(ServerHarness(StorageServer::FakeGcs(Conditions::Honoured))),
                Arc::new(ServerHarness(StorageServer::FakeGcs(Conditions::Ignored))),
            ],
            Flavour::AzureStandIn => vec![Arc::new(ServerHarness(StorageServer::AzureStandIn))],
            Flavour::ObjectStore => vec![
                Arc::new(ObjectsHarness(Storage::InMemory)),
                Arc::new(ObjectsHarness(Storage::LocalFiles)),
                Arc::new(ObjectsHarness(Storage::WithoutConditions)),
                Arc::new(ServerHarness(StorageServer::S3(S3Kind::Garage))),
                Arc::new(ServerHarness(StorageServer::S3(S3Kind::S3sFs))),
            ],
        }
    };
    let row = |flavour| harnesses(flavour).into_iter().map(move |harness| MatrixRow { flavour, harness });
    matrix_flavours().into_iter().flat_map(row).collect()
}

/// What the raw storage of a local store holds that belongs to no visible artifact, one line each.
///
/// # Errors
/// If the storage cannot be read, or if the URL is neither fs nor sqlite.
pub async fn residue(url: &str) -> Result<Vec<String>, BoxError> {
    match url.split_once(':') {
        Some(("fs", path)) => {
            let mut found = Vec::new();
            fs::residue(Path::new(path), &mut found)?;
            Ok(found)
        }
        Some(("sqlite", path)) => Ok(artifact_store_sqlite::audit_file(Path::new(path)).await?),
        _ => Err(format!("cannot read the raw storage of {url}").into()),
    }
}
