//! The `fs` driver: artifacts as files under one directory.
//!
//! # Layout
//! ```text
//! <root>/FORMAT                                             "artifact-store-fs 1"
//! <root>/tmp/put-<32 hex digits>                            files that are being written
//! <root>/artifacts/<tenant>/<user>/<session>/<task>/<id>    one file per artifact
//! ```
//! Each path component is a [`KeyToken`](artifact_store_core::KeyToken): at most 45 bytes, valid on every file system,
//! whatever the names in the scope are. An artifact's file begins with the artifact's bytes, so `head` shows them. The
//! record follows as JSON. The file ends with a footer of 48 bytes: the SHA-256 of the record and the record's length,
//! this length itself, the format version and a magic word. Bytes and record are in one file, so neither can exist
//! without the other. Reading a record takes one open and one read of the file's end.
//!
//! Each of the following is `Corrupt`: a file whose length differs from what its record says, an altered footer or
//! record, and a record whose scope or id does not match the file's name. The [`Gate`](artifact_store_core::Gate)
//! verifies the bytes themselves while they are streamed.
//!
//! Directories are created with mode 0700 and files with 0600. A directory is opened relative to the handle of its
//! parent, or by a path in which the kernel refuses symbolic links. So no link below the root is followed, and nothing
//! outside the root is touched. The root itself must not be a link. A directory that contains anything other than a
//! store is refused, so a wrong path does no harm.
//!
//! # Commit point
//! A put writes into `tmp`, syncs the file, and creates and syncs the scope's directories. Then one rename gives the
//! file its final name. This rename is the commit point. It never replaces a file. If the file system has no such
//! rename, the put creates a hard link instead, which never replaces a file either. After the commit point the put
//! syncs the leaf directory and returns.
//!
//! Under `sync = always` everything that an acknowledged put needs is on the disk: bytes, record, name, and the entry
//! of each directory above. If a put finds that its artifact exists, this put syncs the artifact before it returns. The
//! put that created the artifact may not have synced it yet. If the sync after the commit point fails, the put fails
//! although the whole artifact may exist. A second put of the same bytes then returns `AlreadyExists`.
//!
//! A delete unlinks the file, syncs the directory and removes the directories that became empty.
//!
//! If the process is killed at any moment, an artifact exists either whole or not at all. A file in `tmp` or an empty
//! directory may remain. [`FsStore::open`] removes such files. [`FsStore::sweep`] removes such files and directories. A
//! put locks (`flock`) the temporary file that it writes. The operating system releases the lock when the process ends.
//! So a sweep in any process can distinguish orphans from files in use. A sweep holds a lock on the file `FORMAT`, so
//! that only one sweep runs at a time.
//!
//! # Concurrency
//! If several puts of one artifact race, only one rename or link succeeds. This put returns `Created`. The other puts
//! return the record that it created. A delete may remove a directory into which a put is about to publish. Then the
//! rename fails, and the put creates the directory again and retries. All races are resolved in the file system, so
//! several processes may open one root. Reads take no lock. A file that is open stays readable after its delete.
//!
//! All disk access runs on the runtime's blocking pool, in tasks that never wait for a body: a slow upload holds no
//! thread. A store runs at most 64 tasks at once, or fewer if the process may open fewer than 1024 files. At most 4
//! listings run at once, so that listings do not use all tasks. The reads of a streamed get are not included in this
//! limit.
//!
//! A streamed body is stored in batches of 512 KiB. One batch is hashed while the previous batch is written. A long get
//! reads blocks of 512 KiB. One block is read while the previous block is consumed. A put uses at most about 1.5 MiB of
//! memory, besides the memory of the body's source. A get uses 1 MiB.
//!
//! [`close`](artifact_store_core::ArtifactStore::close) waits for the running tasks. A put that is still receiving its
//! body returns `Closed` when it writes the next batch. A running listing returns `Closed` at once. A stream that is
//! being read can still be read to its end.
//!
//! # Flags and limits
//! The flag `SHARED` is always set. The flag `DURABLE` is set under `sync = always`. With `sync = never`, a power
//! failure may lose acknowledged artifacts, but killing the process loses nothing. Presigning is not supported.
//! `max_artifact_bytes` is as configured.
//!
//! A listing has no index. It reads the end of every file in the directories that the query covers. It keeps only the
//! rows of one page in memory. A listing of more than `max_scan` files is refused with `InvalidArgument`. Each page is
//! a new scan.
//!
//! A store has open: one file per active get, up to 10 files per task, and up to 256 cached directories for puts. The
//! cache is limited to one eighth of the files that the process may open.
//!
//! # Not done here
//! - The driver does not defend against users who can write in the root: they can alter a file together with its
//!   record. Accidental or partial changes are detected as `Corrupt`.
//! - Directories of the tree must not be moved while a store is open: a put that has a directory open would
//!   publish into it at its new place.
//! - No encryption, compression, quota, expiry or replication. The file system or a wrapper around the store can add
//!   these.
//! - On a file system without `flock` the store works, but a sweep never removes temporary files. The file system must
//!   support hard links or a rename that never replaces a file. To check this, opening a store publishes a file and,
//!   under `sync = always`, syncs a directory. Opening fails with a message if one of these steps does not work.
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
