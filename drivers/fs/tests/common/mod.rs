//! Helpers that the tests share: directories for stores, access to their raw files, and bodies.

#![allow(dead_code)] // Not every test that includes this file uses every helper.
#![allow(clippy::unwrap_used, clippy::panic)] // If a helper panics, its test fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, BoxError, Bytes, Digest, ErrorKind, Gate, GateOptions, GetResult,
    Namespace, PutOptions, PutResult, Scope, StoreError,
};
use artifact_store_fs::{FsConfig, FsStore, SyncPolicy};
use futures_util::stream;
use tempfile::TempDir;

pub(crate) const MIB: usize = 1024 * 1024;

/// A temporary directory for a store. Dropping this value removes the directory.
#[derive(Debug)]
pub(crate) struct TestDir {
    dir: TempDir,
}

impl TestDir {
    pub(crate) fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) fn config(&self) -> FsConfig {
        FsConfig::new(self.root())
    }

    pub(crate) async fn open(&self) -> FsStore {
        FsStore::open(self.config()).await.unwrap()
    }

    /// Opens the store without syncing, for tests with many files.
    pub(crate) async fn open_unsynced(&self) -> FsStore {
        FsStore::open(self.config().sync(SyncPolicy::Never)).await.unwrap()
    }

    pub(crate) async fn open_gated(&self) -> Gate {
        Gate::new(Arc::new(self.open().await), GateOptions::default()).unwrap()
    }

    /// The files of all artifacts.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect_files(&self.root().join("artifacts"), &mut files);
        files
    }

    /// The file of the only artifact.
    pub(crate) fn file(&self) -> PathBuf {
        let [file] = &self.files()[..] else { panic!("expected one file, found {:?}", self.files()) };
        file.clone()
    }

    pub(crate) fn temp_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect_files(&self.root().join("tmp"), &mut files);
        files
    }

    /// The residue after the removal of temporary files in the background. A dropped put removes its file there.
    pub(crate) async fn residue_when_quiet(&self) -> Vec<String> {
        for _ in 0..1000 {
            if self.residue().is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        self.residue()
    }

    pub(crate) fn residue(&self) -> Vec<String> {
        let mut found = Vec::new();
        crate::harness::residue(&self.root(), &mut found).unwrap();
        found
    }
}

fn collect_files(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            collect_files(&entry.path(), files);
        } else {
            files.push(entry.path());
        }
    }
}

pub(crate) fn scope() -> Scope {
    Scope::new("acme", "ada", "s-1").unwrap()
}

pub(crate) fn id_of(bytes: &[u8]) -> ArtifactId {
    ArtifactId::new(&Namespace::default(), &Digest::of(bytes))
}

/// `length` pseudo-random bytes, the same in every call.
pub(crate) fn random_bytes(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_u32;
    let mut all = Vec::with_capacity(length);
    for _ in 0..length {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        all.push(state.to_le_bytes()[0]);
    }
    all.into()
}

pub(crate) async fn put(store: &dyn ArtifactStore, bytes: impl Into<Bytes>) -> PutResult {
    store.put(&scope(), Body::from_bytes(bytes), PutOptions::default()).await.unwrap()
}

pub(crate) async fn drain(get: GetResult) -> Result<Bytes, StoreError> {
    get.stream.collect_bytes(u64::MAX).await
}

/// A body that yields `first`, and then waits forever.
pub(crate) fn stalling_body(first: Bytes) -> Body {
    use futures_util::StreamExt;
    Body::from_stream(stream::iter([Ok::<_, BoxError>(first)]).chain(stream::pending()))
}

/// A body that yields bytes without end.
pub(crate) fn endless_body() -> Body {
    let chunk = random_bytes(65_536);
    Body::from_stream(stream::repeat_with(move || Ok::<_, BoxError>(chunk.clone())))
}

#[track_caller]
pub(crate) fn assert_kind<T: std::fmt::Debug>(result: Result<T, StoreError>, kind: ErrorKind, message: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(message), "{error}");
}
