//! Tools that this driver's tests share: a root to open stores in, and ways to its raw files.

#![allow(dead_code)] // Not every test that includes this file wants each tool.
#![allow(clippy::unwrap_used, clippy::panic)] // A tool that fails fails its test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, BoxError, Bytes, Digest, ErrorKind, Gate, GateOptions, Get, Namespace,
    Put, PutOptions, Scope, StoreError,
};
use artifact_store_fs::{FsConfig, FsStore, SyncPolicy};
use futures_util::stream;
use tempfile::TempDir;

pub(crate) const MIB: usize = 1024 * 1024;

/// A directory for a store, removed when dropped.
#[derive(Debug)]
pub(crate) struct Home {
    dir: TempDir,
}

impl Home {
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

    /// For tests of many files.
    pub(crate) async fn open_fast(&self) -> FsStore {
        FsStore::open(self.config().sync(SyncPolicy::Never)).await.unwrap()
    }

    pub(crate) async fn open_gated(&self) -> Gate {
        Gate::new(Arc::new(self.open().await), GateOptions::default()).unwrap()
    }

    /// The files of all artifacts.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        walk(&self.root().join("artifacts"), &mut files);
        files
    }

    /// The file of the only artifact.
    pub(crate) fn file(&self) -> PathBuf {
        let [file] = &self.files()[..] else { panic!("not one file: {:?}", self.files()) };
        file.clone()
    }

    pub(crate) fn temp_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        walk(&self.root().join("tmp"), &mut files);
        files
    }

    pub(crate) fn residue(&self) -> Vec<String> {
        let mut found = Vec::new();
        crate::harness::residue(&self.root(), &mut found).unwrap();
        found
    }
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), files);
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

/// `length` bytes in which no two stretches are alike for long.
pub(crate) fn bytes(length: usize) -> Bytes {
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

pub(crate) async fn put(store: &dyn ArtifactStore, bytes: impl Into<Bytes>) -> Put {
    store.put(&scope(), Body::from_bytes(bytes), PutOptions::default()).await.unwrap()
}

pub(crate) async fn drain(get: Get) -> Result<Bytes, StoreError> {
    get.stream.collect_bytes(u64::MAX).await
}

/// A body that flows `first` and then waits for ever.
pub(crate) fn stalling(first: Bytes) -> Body {
    use futures_util::StreamExt;
    Body::from_stream(stream::iter([Ok::<_, BoxError>(first)]).chain(stream::pending()))
}

/// A body that flows for ever.
pub(crate) fn endless() -> Body {
    let piece = bytes(65_536);
    Body::from_stream(stream::repeat_with(move || Ok::<_, BoxError>(piece.clone())))
}

#[track_caller]
pub(crate) fn assert_kind<T: std::fmt::Debug>(result: Result<T, StoreError>, kind: ErrorKind, says: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}
