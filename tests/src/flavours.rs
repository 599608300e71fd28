//! The rows of the matrix: each flavour is a driver with one set of options.

use std::path::Path;
use std::sync::Arc;

use artifact_store_conformance::Harness;

#[path = "../../drivers/fs/tests/harness/mod.rs"]
mod fs;
#[path = "../../drivers/inmem/tests/harness/mod.rs"]
mod inmem;
#[path = "../../drivers/sqlite/tests/harness/mod.rs"]
mod sqlite;

/// One row of the matrix.
#[derive(Debug, Clone)]
pub struct Flavour {
    /// The driver, by which `--only` selects.
    pub driver: &'static str,
    /// How it makes its places.
    pub harness: Arc<dyn Harness>,
}

/// Every flavour there is.
pub fn all() -> Vec<Flavour> {
    let flavour = |driver, harness: Arc<dyn Harness>| Flavour { driver, harness };
    vec![
        flavour("inmem", Arc::new(inmem::InmemHarness)),
        flavour("fs", Arc::new(fs::FsHarness::new())),
        flavour("fs", Arc::new(fs::FsHarness::sync_never())),
        flavour("sqlite", Arc::new(sqlite::SqliteHarness::File)),
        flavour("sqlite", Arc::new(sqlite::SqliteHarness::Memory)),
    ]
}

/// What the raw storage behind a store URL holds that belongs to no visible artifact, one line each.
///
/// # Errors
/// Where the place cannot be looked at, or the URL is neither fs nor sqlite.
pub async fn residue(url: &str) -> Result<Vec<String>, artifact_store_core::BoxError> {
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
