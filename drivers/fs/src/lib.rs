//! The fs driver of artifact-store: artifacts as files under one directory.
//!
//! # Layout
//! ```text
//! <root>/FORMAT                                             "artifact-store-fs 1"
//! <root>/tmp/put-<32 hex digits>                            files that are being written
//! <root>/artifacts/<tenant>/<user>/<session>/<task>/<id>    one file an artifact
//! ```
//! Each component is a [`KeyToken`](artifact_store_core::KeyToken): at most 45 bytes that every file system takes, whatever
//! the scope is called. An artifact's file holds its bytes from offset 0, so `head` shows them; then its record as JSON;
//! then a footer of 48 bytes: the SHA-256 of the record and its length, the record's length, the format version and a
//! magic word. Bytes and record are one file, so nothing can have the one without the other. Reading a record is an open
//! and one read of the file's end. A file that is not exactly as long as its record says, a footer or record that was
//! altered, and a record of another scope or id than the name's are `Corrupt`. The bytes themselves are checked by the
//! [`Gate`](artifact_store_core::Gate), while they flow.
//!
//! Directories are made with mode 0700 and files with 0600. A directory is opened relative to the handle of its parent,
//! or by a path whose links the kernel refuses, so no link is followed below the root and nothing leaves it. The root
//! itself must not be a link. A directory that holds anything but a store is refused, so a typo harms nothing.
//!
//! # Commit point
//! A put writes into `tmp`, syncs the file, makes the scope's directories and syncs them, and then gives the file its
//! final name by one rename that never replaces (or, where the file system has none, a hard link, which never replaces
//! either). That is the commit point. Then it syncs the leaf directory and answers. Under `sync = always` everything
//! that an acknowledged put needs is on the disk: bytes, record, name, and the entry of each directory above. A put that
//! finds its artifact standing syncs it too before it says so, because the one that put it may not have come to it.
//! Where that last sync fails the put fails although the artifact may stand, whole: a second put says so.
//!
//! A delete unlinks the file, syncs the directory and removes the directories that this left empty.
//!
//! A kill at any moment leaves the whole artifact or none, and perhaps a file in `tmp` or an empty directory.
//! [`FsStore::open`] removes the former, [`FsStore::sweep`] both. A temporary file is locked (`flock`) by the put that
//! writes it; the system drops that lock with the process, so a sweep in any process tells orphans from the living.
//!
//! # Concurrency
//! Racing puts of one artifact are decided by the publish: one is `Created`, the rest read its record. A delete may
//! remove a directory under a put that is about to publish into it: the publish fails and is tried again. Nothing here
//! depends on one process, so several may open one root. Reads take no lock; a file that is open stays readable after
//! its delete.
//!
//! All disk work runs on the runtime's blocking pool in jobs that never wait for a body: a slow upload holds no
//! thread. A store runs at most 64 of them at once (fewer where the process may open fewer than 1024 files), at most 4 of
//! them listings, so that these cannot take every slot; the chunks of a flowing read come on top. A body that flows is
//! hashed by one batch of 512 KiB while the batch before is written; a long read has one chunk of 512 KiB in flight while
//! the one before is consumed. A put holds about 1.5 MiB at most besides what the body's source holds, a get 1 MiB.
//!
//! [`close`](artifact_store_core::ArtifactStore::close) waits for the jobs that run. A put whose body still flows then
//! ends as `Closed` with its next batch; a listing ends as `Closed` at once; a stream that is being read may end.
//!
//! # Flags and limits
//! `SHARED` always. `DURABLE` under `sync = always`; with `sync = never` a kill of the process still loses nothing, a
//! power cut may. No presigning. `max_artifact_bytes` as configured.
//!
//! A listing has no index: it reads the end of every file in the directories that its scope covers, and keeps no more
//! rows in memory than the page has. Past `max_scan` files it is refused and says so. Each page scans anew.
//!
//! One open file an active get, up to ten a job, and up to 256 for directories that puts use again and again (at most
//! an eighth of the limit of open files).
//!
//! # Not done here
//! - No defence against who may write in the root: whoever can may also alter a file together with its record. What
//!   is found altered by accident or by half is `Corrupt`.
//! - Directories of the tree must not be moved while a store is open on them: a put that has one open goes with it.
//! - No encryption, compression, quota, expiry or replication; put them below (the file system) or above (a wrapper).
//! - File systems without `flock` work, but their orphans are never swept; ones with neither a rename that does not
//!   replace nor hard links do not work, and opening says so: it tries to publish a file, and to sync a directory where
//!   `sync = always`.
//! - Network file systems are as linearizable as their caching makes them.

#[cfg(not(unix))]
compile_error!("the fs driver needs a Unix: it relies on handles of directories, flock and atomic links");

mod config;
mod dirs;
mod error;
mod jobs;
mod layout;
mod probe;
mod put;
mod read;
mod root;
mod scan;
mod store;
mod sweep;
mod temp;

use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, Capabilities, Clock, Driver, DriverInfo, Options, StoreError, Swept, async_trait,
};

pub use config::{DEFAULT_MAX_SCAN, FsConfig, SyncPolicy};
pub use store::FsStore;
pub use sweep::SweepReport;

/// The driver as a registry knows it: `fs`, with the options `root`, `sync`, `max_scan` and `max_artifact_bytes`.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use artifact_store_core::Registry;
/// use artifact_store_fs::FsDriver;
///
/// let mut registry = Registry::new();
/// registry.register(Arc::new(FsDriver))?;
/// assert_eq!(registry.driver("fs")?.info().url.path_option(), Some("root"));
/// # Ok::<(), artifact_store_core::StoreError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct FsDriver;

#[async_trait]
impl Driver for FsDriver {
    fn info(&self) -> &'static DriverInfo {
        &config::INFO
    }

    fn capabilities(&self, options: &Options) -> Capabilities {
        FsConfig::from_options(options).map(|config| config.capabilities()).unwrap_or_default()
    }

    async fn open(
        &self,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let config = FsConfig::from_options(options)?.clock(clock);
        Ok(Arc::new(FsStore::open(config).await?))
    }

    async fn sweep(&self, options: &Options) -> Result<Swept, StoreError> {
        let store = FsStore::open(FsConfig::from_options(options)?).await?;
        let SweepReport { files, directories, live, bytes: _ } = store.sweep().await?;
        store.close().await?;
        Ok(Swept { removed: files + directories, spared: live })
    }
}
