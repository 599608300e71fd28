//! The test backend of the fs driver: a temporary directory, and a check of its files that does not use the driver.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifact_store_conformance::{Backend, Harness, StoreOptions};
use artifact_store_core::{ArtifactStore, BoxError, StoreError, async_trait};
use artifact_store_fs::{FsConfig, FsStore, SyncPolicy};
use tempfile::TempDir;

/// Creates the backends of one flavour of fs.
#[derive(Debug)]
pub(crate) struct FsHarness {
    sync: SyncPolicy,
}

#[allow(dead_code)] // Not every test that includes this file uses every flavour.
impl FsHarness {
    /// The flavour `fs`: acknowledged writes are synced to the disk.
    pub(crate) fn new() -> Self {
        Self { sync: SyncPolicy::Always }
    }

    /// The flavour `fs sync=never`.
    pub(crate) fn sync_never() -> Self {
        Self { sync: SyncPolicy::Never }
    }
}

/// A directory in which one or more stores may be opened.
#[derive(Debug)]
struct FsBackend {
    // Removed when the backend is dropped.
    temp_dir: TempDir,
    sync: SyncPolicy,
}

impl FsBackend {
    fn root(&self) -> PathBuf {
        self.temp_dir.path().join("store")
    }
}

#[async_trait]
impl Harness for FsHarness {
    fn flavour(&self) -> String {
        match self.sync {
            SyncPolicy::Always => "fs".into(),
            SyncPolicy::Never => "fs sync=never".into(),
        }
    }

    async fn create_backend(&self) -> Result<Box<dyn Backend>, BoxError> {
        Ok(Box::new(FsBackend { temp_dir: TempDir::new()?, sync: self.sync }))
    }
}

#[async_trait]
impl Backend for FsBackend {
    async fn open(&self, options: &StoreOptions) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let config = FsConfig::new(self.root())
            .sync(self.sync)
            .max_artifact_bytes(options.max_artifact_bytes)
            .clock(Arc::clone(&options.clock));
        Ok(Arc::new(FsStore::open(config).await?))
    }

    fn is_persistent(&self) -> bool {
        true
    }

    async fn residue(&self) -> Result<Vec<String>, BoxError> {
        let mut found = Vec::new();
        if self.root().exists() {
            residue(&self.root(), &mut found)?;
        }
        Ok(found)
    }
}

/// Appends to `found` a line for each thing in the store at `root` that belongs to no visible artifact.
///
/// # Errors
/// If the directory cannot be read.
pub(crate) fn residue(root: &Path, found: &mut Vec<String>) -> std::io::Result<()> {
    for entry in list_dir(root)? {
        match entry.file_name().and_then(|name| name.to_str()) {
            Some("FORMAT") => {}
            Some("tmp") => {
                for path in list_dir(&entry)? {
                    found.push(format!("temporary file {}", path.display()));
                }
            }
            Some("artifacts") => check_tree(&entry, 0, found)?,
            _ => found.push(format!("stray name {}", entry.display())),
        }
    }
    Ok(())
}

fn check_tree(dir: &Path, depth: usize, found: &mut Vec<String>) -> std::io::Result<()> {
    let entries = list_dir(dir)?;
    if depth > 0 && entries.is_empty() {
        found.push(format!("empty directory {}", dir.display()));
    }
    for entry in entries {
        // An open store may have removed the entry since it was listed.
        let Ok(metadata) = fs::symlink_metadata(&entry) else { continue };
        let mode = metadata.permissions().mode() & 0o777;
        if depth < 4 && metadata.is_dir() {
            if mode != 0o700 {
                found.push(format!("directory with mode {mode:o} {}", entry.display()));
            }
            check_tree(&entry, depth + 1, found)?;
        } else if depth == 4 && metadata.is_file() {
            if mode != 0o600 {
                found.push(format!("file with mode {mode:o} {}", entry.display()));
            }
            if let Some(problem) = fs::read(&entry).ok().and_then(|file| format_error(&file)) {
                found.push(format!("{problem}: {}", entry.display()));
            }
        } else {
            found.push(format!("stray name {}", entry.display()));
        }
    }
    Ok(())
}

/// Why `file` is not a whole artifact, or `None` if it is one.
///
/// A whole artifact has its bytes, the hashes of their tree, its record, then a footer of SHA-256 (32 bytes), record length
/// (4), version (4) and magic word (8).
fn format_error(file: &[u8]) -> Option<&'static str> {
    let Some(footer_offset) = file.len().checked_sub(48) else { return Some("file without a footer") };
    let (rest, footer) = file.split_at(footer_offset);
    if &footer[40..] != b"ARTSTORE" {
        return Some("file without the magic word");
    }
    let length = u32::from_le_bytes([footer[32], footer[33], footer[34], footer[35]]) as usize;
    let Some(record_offset) = rest.len().checked_sub(length) else { return Some("file without its record") };
    let Ok(record) = serde_json::from_slice::<serde_json::Value>(&rest[record_offset..]) else {
        return Some("file whose record is not JSON");
    };
    let Some(size) = record["size"].as_u64() else { return Some("file whose record has no size") };
    // Of artifacts up to 512 MiB: a hash for each block of 16 KiB, and for each 64 blocks unless that is only one.
    let blocks = size.div_ceil(16 * 1024);
    let groups = blocks.div_ceil(64);
    let has_tree = record.get("blake3").is_some();
    let hashes = if has_tree { 32 * (blocks + if groups > 1 { groups } else { 0 }) } else { 0 };
    (size + hashes != record_offset as u64).then_some("file with more or fewer bytes than its record says")
}

fn list_dir(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        // An open store may have removed the directory since it was listed.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
