//! The test backends of the sqlite driver: a database file in a temporary directory, and a database in memory.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use artifact_store_conformance::{Backend, Harness, StoreOptions};
use artifact_store_core::{ArtifactStore, BoxError, ErrorKind, StoreError, async_trait};
use artifact_store_sqlite::{SqliteConfig, SqliteStore, audit_file};
use tempfile::TempDir;

/// The flavours of sqlite.
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

    async fn create_backend(&self) -> Result<Box<dyn Backend>, BoxError> {
        let directory = match self {
            Self::File => Some(tempfile::tempdir()?),
            Self::Memory => None,
        };
        Ok(Box::new(SqliteBackend { directory, opened: Mutex::default() }))
    }
}

/// One database file, or all databases that were opened in memory.
pub(crate) struct SqliteBackend {
    directory: Option<TempDir>,
    /// The open stores. Only a store itself can audit a database in memory.
    opened: Mutex<Vec<Weak<SqliteStore>>>,
}

impl SqliteBackend {
    fn path(&self) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.path().join("artifacts.db"))
    }
}

impl fmt::Debug for SqliteBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqliteBackend({:?})", self.path())
    }
}

#[async_trait]
impl Backend for SqliteBackend {
    async fn open(&self, with: &StoreOptions) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let config = self.path().map_or_else(SqliteConfig::memory, SqliteConfig::file);
        let config = config.clock(Arc::clone(&with.clock)).max_artifact_bytes(with.max_artifact_bytes);
        let store = Arc::new(SqliteStore::open(config).await?);
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&store));
        Ok(store)
    }

    fn is_persistent(&self) -> bool {
        self.directory.is_some()
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        let Some(path) = self.path() else {
            let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mut lines = Vec::new();
            for store in opened.iter().filter_map(Weak::upgrade) {
                match store.audit().await {
                    Ok(found) => lines.extend(found),
                    // A closed database in memory contains nothing.
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
