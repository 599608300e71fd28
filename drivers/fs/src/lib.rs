//! The `fs` driver: artifacts as files under one directory.
//!
//! # Layout
//! ```text
//! <root>/FORMAT                                             "artifact-store-fs 1"
//! <root>/tmp/put-<32 hex digits>                            files that are being written
//! <root>/artifacts/<tenant>/<user>/<session>/<task>/<id>    one file per artifact
//! ```
//! Each path component is a [`KeyToken`](artifact_store_core::KeyToken): at most 45 bytes, valid on every file system,
//! whatever the names in the scope are. An artifact's file holds its bytes from offset 0, so `head` shows them. Then
//! comes its record as JSON, then a footer of 48 bytes: the SHA-256 of the record and its length, the record's length,
//! the format version and a magic word. Bytes and record are one file, so neither can exist without the other. Reading
//! a record takes one open and one read of the file's end.
//!
//! Each of the following is `Corrupt`: a file whose length differs from what its record says, an altered footer or
//! record, and a record whose scope or id does not match the file's name. The [`Gate`](artifact_store_core::Gate)
//! verifies the bytes themselves while they are streamed.
//!
//! Directories are created with mode 0700 and files with 0600. A directory is opened relative to the handle of its
//! parent, or by a path in which the kernel refuses symbolic links. So no link below the root is followed, and nothing
//! outside the root is touched. The root itself must not be a link. A directory that holds anything other than a store
//! is refused, so a wrong path does no harm.
//!
//! # Commit point
//! A put writes into `tmp`, syncs the file, and creates and syncs the scope's directories. Then one rename gives the
//! file its final name. The rename never replaces a file. If the file system has no such rename, a hard link is used,
//! which never replaces a file either. This is the commit point. Then the put syncs the leaf directory and returns.
//!
//! Under `sync = always` everything that an acknowledged put needs is on the disk: bytes, record, name, and the entry
//! of each directory above. A put that finds its artifact existing syncs it too before it returns, because the put that
//! created it may not have synced it yet. If the last sync fails, the put fails although the whole artifact may exist.
//! A second put then returns it as existing.
//!
//! A delete unlinks the file, syncs the directory and removes the directories that became empty.
//!
//! Killing the process at any moment leaves either the whole artifact or none, and perhaps a file in `tmp` or an empty
//! directory. [`FsStore::open`] removes such files, [`FsStore::sweep`] removes both. A put locks (`flock`) the
//! temporary file that it writes. The operating system releases the lock when the process ends. So a sweep in any
//! process can distinguish orphans from files in use. A sweep holds a lock on the file `FORMAT`, so that only one runs
//! at a time.
//!
//! # Concurrency
//! The rename or link decides between racing puts of one artifact: one put is `Created`, the others return its record.
//! A delete may remove a directory into which a put is about to publish. Then the rename fails and the put retries it.
//! The file system decides all races, so several processes may open one root. Reads take no lock. A file that is open
//! stays readable after its delete.
//!
//! All disk access runs on the runtime's blocking pool, in tasks that never wait for a body: a slow upload holds no
//! thread. A store runs at most 64 tasks at once, or fewer if the process may open fewer than 1024 files. At most 4 of
//! them are listings, so that listings cannot take every permit. The reads of a streamed get are not part of this
//! limit.
//!
//! A streamed body is hashed in batches of 512 KiB, each while the previous one is written. A long read has one read of
//! 512 KiB in flight while the previous one is consumed. A put holds at most about 1.5 MiB besides what the body's
//! source holds; a get holds 1 MiB.
//!
//! [`close`](artifact_store_core::ArtifactStore::close) waits for the running tasks. A put whose body is still being
//! received ends as `Closed` with its next batch. A listing ends as `Closed` at once. A stream that is being read may
//! finish.
//!
//! # Flags and limits
//! `SHARED` always. `DURABLE` under `sync = always`. With `sync = never`, killing the process still loses nothing, but
//! a power failure may. No presigning. `max_artifact_bytes` as configured.
//!
//! A listing has no index. It reads the end of every file in the directories that its scope covers, and keeps no more
//! rows in memory than the page has. A listing of more than `max_scan` files is refused with a message. Each page is a
//! new scan.
//!
//! Open files: one per active get, up to 10 per task, and up to 256 for directories that puts use repeatedly (at most
//! one eighth of the process's limit of open files).
//!
//! # Not done here
//! - No defence against users who can write in the root: they can also alter a file together with its record.
//!   Accidental or partial changes are `Corrupt`.
//! - Directories of the tree must not be moved while a store is open: a put that has a directory open would
//!   publish into it at its new place.
//! - No encryption, compression, quota, expiry or replication. Add them below (the file system) or above (a wrapper).
//! - File systems without `flock` work, but their orphans are never swept. A file system needs a rename that does not
//!   replace, or hard links. To check this, opening tries to publish a file and, under `sync = always`, to sync a
//!   directory. It fails with a message if one of them does not work.
//! - On a network file system the store is only as linearizable as the caching of that file system allows.

#[cfg(not(unix))]
compile_error!("the fs driver needs Unix: it relies on directory handles, flock and atomic links");

mod blocking;
mod config;
mod delete;
mod dirs;
mod error;
mod layout;
mod list;
mod probe;
mod put;
mod read;
mod root;
mod state;
mod store;
mod sweep;
mod temp;

use std::sync::Arc;

use artifact_store_core::{
    ArtifactStore, Capabilities, Clock, Driver, DriverInfo, Options, StoreError, SweepMode, SweepSummary,
    UrlForm, async_trait,
};

pub use config::{DEFAULT_MAX_SCAN, FsConfig, SyncPolicy};
pub use store::FsStore;
pub use sweep::SweepReport;

/// The driver, for a [`Registry`](artifact_store_core::Registry).
///
/// Its name is `fs`. Its options are `root`, `sync`, `max_scan` and `max_artifact_bytes`.
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
        &DriverInfo {
            name: config::NAME,
            about: "Artifacts as files under one directory.",
            options: config::OPTIONS,
            url: UrlForm::Path("root"),
            bytes_cannot_change: false,
        }
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

    async fn sweep(&self, options: &Options, mode: SweepMode) -> Result<SweepSummary, StoreError> {
        let config = FsConfig::from_options(options)?;
        if !mode.deletes() {
            return Ok(FsStore::count_orphans(config).await?.summary());
        }
        // Opens without a sweep, so that the sweep below counts the temporary files too.
        let store = FsStore::open_without_sweep(config).await?;
        let report = store.sweep().await;
        store.close().await?;
        Ok(report?.summary())
    }
}
