//! Places for the sqlite driver: a database file in a directory of its own, and a database in memory.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use artifact_store_conformance::{Harness, OpenWith, Place};
use artifact_store_core::{ArtifactStore, BoxError, ErrorKind, StoreError, async_trait};
use artifact_store_sqlite::{SqliteConfig, SqliteStore, audit_file};
use tempfile::TempDir;

/// The flavours that are put to the proof.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SqliteHarness {
    /// A database file.
    File,
    /// `:memory:`.
    Memory,
}

#[async_trait]
impl Harness for SqliteHarness {
    fn flavour(&self) -> String {
        match self {
            Self::File => "sqlite".into(),
            Self::Memory => "sqlite :memory:".into(),
        }
    }

    async fn place(&self) -> Result<Box<dyn Place>, BoxError> {
        let directory = match self {
            Self::File => Some(tempfile::tempdir()?),
            Self::Memory => None,
        };
        Ok(Box::new(SqlitePlace { directory, opened: Mutex::default() }))
    }
}

/// One database file, or every database that was opened in memory.
pub(crate) struct SqlitePlace {
    directory: Option<TempDir>,
    /// Only they can look into a database in memory.
    opened: Mutex<Vec<Weak<SqliteStore>>>,
}

impl SqlitePlace {
    fn path(&self) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.path().join("artifacts.db"))
    }
}

impl fmt::Debug for SqlitePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqlitePlace({:?})", self.path())
    }
}

#[async_trait]
impl Place for SqlitePlace {
    async fn open(&self, with: &OpenWith) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let config = self.path().map_or_else(SqliteConfig::memory, SqliteConfig::file);
        let config = config.clock(Arc::clone(&with.clock)).max_artifact_bytes(with.max_artifact_bytes);
        let store = Arc::new(SqliteStore::open(config).await?);
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&store));
        Ok(store)
    }

    fn outlives_stores(&self) -> bool {
        self.directory.is_some()
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        let Some(path) = self.path() else {
            let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mut lines = Vec::new();
            for store in opened.iter().filter_map(Weak::upgrade) {
                match store.audit().await {
                    Ok(found) => lines.extend(found),
                    // A closed database in memory holds nothing any more.
                    Err(error) if error.kind() == ErrorKind::Closed => {}
                    Err(error) => return Err(error.into()),
                }
            }
            return Ok(lines);
        };
        let mut lines = audit_file(&path).await?;
        for entry in std::fs::read_dir(path.parent().unwrap_or(&path))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let known = ["artifacts.db", "artifacts.db-wal", "artifacts.db-shm", "artifacts.db-owners"];
            if !known.contains(&name.as_str()) {
                lines.push(format!("the file {name}"));
            }
        }
        Ok(lines)
    }
}
