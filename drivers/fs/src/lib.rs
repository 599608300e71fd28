//! The `fs` driver: artifacts as files under one directory.
//!
//! # Layout
//! ```text
//! <root>/FORMAT                                             "artifact-store-fs 2"
//! <root>/tmp/put-<32 hex digits>                            files that are being written
//! <root>/artifacts/<tenant>/<user>/<session>/<task>/<id>    one file per artifact
//! ```
//! Each path component is a [`KeyToken`](artifact_store_core::KeyToken): at most 45 bytes, valid on every file system,
//! whatever the names in the scope are. An artifact's file begins with the artifact's bytes, so the command `head`
//! shows them. The record follows as JSON. The file ends with a footer of 48 bytes. The footer contains the record's
//! length, a SHA-256 of the record and this length, the format version and a magic word. Bytes and record are in one
//! file, so a record never exists without its bytes. Reading a record takes one read of the file's last 4 KiB, and a
//! second read only if the record is longer.
//!
//! A read returns the error `Corrupt` in these cases:
//! - The length of the file differs from the length that its record states.
//! - The footer or the record was altered.
//! - The scope or the id in the record does not match the path of the file.
//!
//! The [`Gate`](artifact_store_core::Gate) verifies the artifact's bytes while they are streamed.
//!
//! Directories are created with mode 0700 and files with 0600. A directory or file is opened relative to the handle of
//! its parent, without following a symbolic link. On Linux, a read opens the whole path of a file with `openat2`, which
//! refuses symbolic links. So nothing outside the root is touched. The root itself must not be a symbolic link. If the
//! root contains anything other than a store, [`FsStore::open`] fails. So a wrong path does no harm.
//!
//! # Commit point
//! A put writes into `tmp`, syncs the file, and creates and syncs the scope's directories. Then one rename gives the
//! file its final name. This rename is the commit point. The rename fails if the name exists, so it never replaces a
//! file. If the file system does not support such a rename, the put creates a hard link instead. Creating a hard link
//! never replaces a file either. After the commit point the put syncs the leaf directory, which contains the file, and
//! returns.
//!
//! Under `sync = always`, after a put is acknowledged, everything that a later read needs is on the disk: bytes,
//! record, name, and the entry of each directory above. A put may find that its artifact exists, while the put that
//! created the artifact has not synced it yet. So this second put syncs the artifact too before it returns. If the sync
//! after the commit point fails, the put fails although the whole artifact may exist. A second put of the same bytes
//! then returns `AlreadyExists`.
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
//! If several puts of one artifact race, only the rename or link of one put succeeds. That put returns `Created`. The
//! other puts return `AlreadyExists` with the record that already exists. A delete may remove a directory into which a
//! put is about to publish. Then the rename fails, and the put creates the directory again and retries. All races are
//! resolved in the file system, so several processes may open one root. Reads take no lock. A file that is open stays
//! readable after its delete.
//!
//! All disk access runs on tokio's blocking pool, with one exception. On ext4, XFS and Btrfs, a record or a short range
//! is read on the calling thread if the path and the bytes are in the memory of the operating system. This is faster
//! than to wait for another thread. Linux is asked to fail instead of waiting (`RESOLVE_CACHED`, `RWF_NOWAIT`), and after
//! a failure the pool reads.
//!
//! A blocking task never waits for a body, so a slow upload holds no thread. A store runs at most 64 tasks at once, or
//! fewer if the process may open fewer than 1024 files. The reads of a streamed get do not count towards these 64 tasks.
//! At most 4 listings run at once, so that listings do not use all tasks.
//!
//! A body in memory is stored by one task. From 256 KiB on it is hashed while it is written. If no other task runs,
//! another thread computes the SHA-256. A streamed body is stored in batches of 512 KiB. The SHA-256 is computed while a
//! batch arrives, and the tree while the batch is written. A long get reads and checks two parts of 256 KiB in parallel,
//! into buffers that are used again. A streamed put uses at most about 1.5 MiB of memory, in addition to the memory of
//! the body's source. A get uses 768 KiB, and up to 3 MiB for an artifact of more than 8 GiB, whose blocks are longer.
//!
//! The hashes of blocks that a read has compared with the record are kept, at most 4 MiB. So later reads of the same
//! part of an artifact compare only the blocks.
//!
//! [`close`](artifact_store_core::ArtifactStore::close) waits for the running tasks. A put that is still receiving its
//! body returns `Closed` when it writes the next batch. A running listing or sweep ends at the next file or directory
//! and returns `Closed`. A stream that is being read can still be read to its end.
//!
//! # Flags and limits
//! The flag `shared` is always set. The flag `durable` is set under `sync = always`. With `sync = never`, a power
//! failure may lose acknowledged artifacts, but killing the process loses nothing. Presigning is not supported.
//! `max_artifact_bytes` is as configured.
//!
//! A listing has no index. It reads the end of every file in the directories that the query covers. It keeps only the
//! rows of one page in memory. A listing of more than `max_scan` files is refused with `InvalidArgument`. Each page is
//! a new scan.
//!
//! A store has these files open: the root, `tmp` and `artifacts`, one file per streamed get, up to 10 files per task,
//! and up to 256 cached directories for puts. The cache uses at most one eighth of the files that the process may open.
//!
//! [`open_read_only`](artifact_store_core::Driver::open_read_only) opens a store for inspection. It needs only the
//! marker file and the directory `artifacts`, and changes nothing. So the store can be on read-only media.
//!
//! # Not done here
//! - The driver does not defend against users who can write in the root: they can alter a file together with its
//!   record. Accidental or partial changes are detected as `Corrupt`.
//! - Scope directories must not be moved while a store is open. A put may still have the handle of the moved directory.
//!   Then it publishes its file in this directory, at the new path.
//! - No encryption, compression, quota, expiry or replication. The file system or a wrapper around the store can add
//!   these.
//! - On a file system without `flock` the store works, but a sweep never removes temporary files. The file system must
//!   support hard links or a rename that never replaces a file. [`FsStore::open`] checks this: it publishes a file and,
//!   under `sync = always`, syncs a directory. If the file system does not support one of these steps, opening fails
//!   with a message.
//! - On a network file system, a client may read from its cache. Then a read may not see a change that another machine
//!   made shortly before.

#[cfg(not(unix))]
compile_error!("the fs driver needs Unix: it relies on directory handles, flock and atomic links");

mod blocking;
mod buffers;
mod config;
mod delete;
mod dirs;
mod error;
mod layout;
mod list;
mod probe;
mod put;
mod read;
mod read_ahead;
mod read_only;
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
        // If `options` are not valid, no store can be opened, so no flag is set.
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

    async fn open_read_only(
        &self,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn ArtifactStore>, StoreError> {
        let config = FsConfig::from_options(options)?.clock(clock);
        Ok(Arc::new(read_only::ReadOnlyStore::open(config).await?))
    }

    async fn sweep(&self, options: &Options, mode: SweepMode) -> Result<SweepSummary, StoreError> {
        let config = FsConfig::from_options(options)?;
        if !mode.deletes() {
            return Ok(FsStore::count_orphans(config).await?.summary());
        }
        // `FsStore::open` would remove the temporary files first. Then the report below would not count these files.
        let store = FsStore::open_without_sweep(config).await?;
        let report = store.sweep().await;
        store.close().await?;
        Ok(report?.summary())
    }
}
