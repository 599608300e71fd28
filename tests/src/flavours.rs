//! The rows of the matrix: each is a driver with one set of options on one kind of storage.

use std::path::Path;
use std::sync::Arc;

use artifact_store_backends::S3Kind;
use artifact_store_conformance::Harness;
use artifact_store_core::BoxError;

use crate::place::{Flavour, flavours};

#[path = "../../drivers/fs/tests/harness/mod.rs"]
mod fs;
#[path = "../../drivers/inmem/tests/harness/mod.rs"]
mod inmem;
#[path = "../../drivers/postgres/tests/harness/mod.rs"]
pub(crate) mod postgres;
#[path = "../../drivers/s3/tests/harness/mod.rs"]
pub(crate) mod s3;
#[path = "../../drivers/sqlite/tests/harness/mod.rs"]
mod sqlite;

/// One row of the matrix.
#[derive(Debug, Clone)]
pub struct Row {
    /// By which `--only` selects.
    pub flavour: Flavour,
    /// How it makes its places.
    pub harness: Arc<dyn Harness>,
}

/// Every row of the flavours that are chosen.
pub fn rows() -> Vec<Row> {
    let rows = |flavour| -> Vec<Arc<dyn Harness>> {
        match flavour {
            Flavour::Inmem => vec![Arc::new(inmem::InmemHarness)],
            Flavour::Fs => vec![Arc::new(fs::FsHarness::new()), Arc::new(fs::FsHarness::sync_never())],
            Flavour::Sqlite => {
                vec![Arc::new(sqlite::SqliteHarness::File), Arc::new(sqlite::SqliteHarness::Memory)]
            }
            Flavour::Postgres => vec![Arc::new(postgres::PostgresHarness)],
            Flavour::Garage => vec![Arc::new(s3::S3Harness::new(S3Kind::Garage))],
            Flavour::S3sFs => vec![Arc::new(s3::S3Harness::new(S3Kind::S3sFs))],
        }
    };
    let row = |flavour| rows(flavour).into_iter().map(move |harness| Row { flavour, harness });
    flavours().into_iter().flat_map(row).collect()
}

/// What the raw storage behind a store on this machine's disk holds that belongs to no visible artifact, one line each.
///
/// # Errors
/// Where the place cannot be looked at, or the URL is neither fs nor sqlite.
pub async fn residue(url: &str) -> Result<Vec<String>, BoxError> {
    match url.split_once(':') {
        Some(("fs", path)) => {
            let mut found = Vec::new();
            fs::residue(Path::new(path), &mut found)?;
            Ok(found)
        }
        Some(("sqlite", path)) => Ok(artifact_store_sqlite::audit_file(Path::new(path)).await?),
        _ => Err(format!("there is no raw storage to look at behind {url}").into()),
    }
}
