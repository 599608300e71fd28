//! Sweeping: [`SweepReport`], the lock that allows one sweep at a time, the count of orphans, and the jobs that mark
//! and delete orphans.
//!
//! An orphan is a blob in `pending` that no running store needs. This module must never delete a blob that has a
//! record.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{StoreError, SweepMode, SweepSummary};
use rusqlite::Row;

use crate::blocking::run_blocking;
use crate::config::SqliteConfig;
use crate::connect::ConnectOptions;
use crate::job::{JobResult, WriteJob};
use crate::owners_lock::OwnersLock;
use crate::pending::lease_clock_now;
use crate::transaction::WriteTransaction;
use crate::{database_file, error, schema};

/// A staged upload that staged no chunk for this long is an orphan, even if its process may still run.
const UPLOAD_LEASE: Duration = Duration::from_hours(1);

/// The result of a [`sweep`](crate::SqliteStore::sweep).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepReport {
    /// Number of deleted orphans: staged uploads that no process continues, and blobs of unfinished deletes.
    pub swept: u64,
    /// Number of staged uploads that were kept, because their process may still run.
    pub spared: u64,
    /// Bytes of the deleted orphans. The database reuses this space. The database file does not shrink.
    pub bytes: u64,
    /// Whether another sweep of the database was running. If `true`, this sweep did nothing.
    pub busy: bool,
}

impl SweepReport {
    /// The report of a sweep that did nothing, because another sweep was running.
    pub(crate) fn busy() -> Self {
        Self { busy: true, ..Self::default() }
    }

    /// Converts the report to the form that all drivers share.
    pub(crate) fn summary(self) -> SweepSummary {
        if self.busy {
            return SweepSummary::busy();
        }
        SweepSummary::new(self.swept).with_bytes(self.bytes).with_spared(self.spared)
    }
}

/// The lock that a sweep of a database holds: an exclusive lock on the file `<path>-sweep`.
///
/// The file is never deleted. Otherwise two processes could lock two different files of the same name.
#[derive(Debug)]
pub(crate) struct SweepLock {
    /// The open file holds the lock until it is dropped. `None` for a dry run that could not open the file and holds no
    /// lock.
    _file: Option<File>,
}

impl SweepLock {
    /// Acquires the lock for a sweep of the database file `database`. Returns `None` if another sweep holds the lock.
    ///
    /// A dry run creates no file. If it cannot open the file, it continues without the lock.
    pub(crate) fn try_acquire(database: &Path, mode: SweepMode) -> Result<Option<Self>, StoreError> {
        let path = database_file::with_suffix(database, "-sweep");
        let file = if mode.deletes() {
            Self::open_or_create(database, &path)?
        } else {
            // If the file does not exist, no sweep is running. If this process has no permission to open the file,
            // a sweep may be running. Counting is safe in both cases.
            let Ok(file) = File::open(&path) else { return Ok(Some(Self { _file: None })) };
            file
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: Some(file) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error::from_io("locking the sweep file", error)),
        }
    }

    /// Opens the sweep file at `path`. A new file gets mode 0600 and the owner of the database file `database`.
    fn open_or_create(database: &Path, path: &Path) -> Result<File, StoreError> {
        if fs::symlink_metadata(path).is_ok() {
            database_file::require_regular_file(path)?;
        }
        let file = database_file::set_owner_only(
            OpenOptions::new().read(true).write(true).create(true).truncate(false),
        )
        .open(path)
        .map_err(|error| error::from_io("creating the sweep file", error))?;
        database_file::copy_owner(&file, database)
            .map_err(|error| error::from_io("setting the owner of the sweep file", error))?;
        Ok(file)
    }
}

/// Counts the orphans that a sweep of the database at `path` would delete. The report has this number in `swept`.
///
/// Creates and changes no file, and does not checkpoint the log.
///
/// # Errors
/// The same as opening the database for reading.
pub(crate) async fn count_orphans(config: &SqliteConfig, path: PathBuf) -> Result<SweepReport, StoreError> {
    config.validate()?;
    let config = config.clone();
    run_blocking(move || {
        let access = database_file::read_only_access_mode(&path)?;
        let Some(_lock) = SweepLock::try_acquire(&path, SweepMode::DryRun)? else {
            return Ok(SweepReport::busy());
        };
        let other_stores =
            if OwnersLock::is_unlocked(&path)? { OtherStores::None } else { OtherStores::Open };
        let options = ConnectOptions::read_only(&config, &path, access)?;
        let conn = options.connect().map_err(error::from_sqlite)?;
        schema::require_current(&conn)?;
        // No store has an empty owner, so the blobs of every store are counted.
        let OrphanCounts { marked, bytes, spared } = conn
            .query_row(COUNT_ORPHANS, (orphan_cutoff(other_stores), &[][..] as &[u8]), OrphanCounts::from_row)
            .map_err(error::from_sqlite)?;
        Ok(SweepReport { swept: marked, spared, bytes, busy: false })
    })
    .await
}

/// Counts orphans, their bytes, and the pending blobs that are not orphans.
///
/// The first parameter is the result of [`orphan_cutoff`]. An orphan is a blob that is marked for deletion or was last
/// renewed before this time. The second parameter is an owner. The blobs of this owner are not counted.
///
/// In a chunk's key, the low 22 bits are the index of the chunk, and the other bits are the blob number. The largest
/// index is 4194303.
const COUNT_ORPHANS: &str = "WITH other AS (
         SELECT blob, renewed_at <= 0 OR renewed_at < ?1 AS is_orphan FROM pending WHERE owner <> ?2)
     SELECT count(*) FILTER (WHERE is_orphan) AS orphans, count(*) FILTER (WHERE NOT is_orphan) AS spared,
         (SELECT coalesce(sum(length(data)), 0) FROM other CROSS JOIN chunk
          WHERE is_orphan AND key BETWEEN blob << 22 AND (blob << 22) + 4194303) AS bytes
     FROM other";

/// Whether other stores have the database open.
#[derive(Debug, Clone, Copy)]
enum OtherStores {
    /// No other store has the database open.
    None,
    /// At least one other store has the database open.
    Open,
}

/// Returns a time in microseconds since the epoch. A pending blob of another store is an orphan if it was last renewed
/// before this time. If no other store is open, the time is `i64::MAX`, so that all these blobs are orphans.
fn orphan_cutoff(other_stores: OtherStores) -> i64 {
    let lease_duration = i64::try_from(UPLOAD_LEASE.as_micros()).unwrap_or(i64::MAX);
    match other_stores {
        OtherStores::None => i64::MAX,
        OtherStores::Open => lease_clock_now().saturating_sub(lease_duration),
    }
}

/// The output of [`MarkOrphansForDeletion`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct OrphanCounts {
    /// Number of blobs of other stores that are marked for deletion.
    pub(crate) marked: u64,
    /// Bytes of the marked blobs.
    pub(crate) bytes: u64,
    /// Number of blobs that were kept, because their store may still run.
    pub(crate) spared: u64,
}

impl OrphanCounts {
    /// The counts in a row of [`COUNT_ORPHANS`].
    fn from_row(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        let count = |column: &str| row.get::<_, i64>(column).map(i64::cast_unsigned);
        Ok(Self { marked: count("orphans")?, bytes: count("bytes")?, spared: count("spared")? })
    }
}

/// Marks the orphans of other stores for deletion. [`DeleteMarkedBlobs`] then deletes them.
pub(crate) struct MarkOrphansForDeletion {
    pub(crate) owners_lock: Arc<OwnersLock>,
}

impl WriteJob for MarkOrphansForDeletion {
    type Output = OrphanCounts;
    const DURABLE: bool = false;

    fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<OrphanCounts> {
        // `is_only_holder` requires the write lock, which this transaction holds. A store that opens after the check
        // inserts its first row into `pending` after this transaction, so this job cannot mark its blobs.
        let other_stores = match self.owners_lock.is_only_holder() {
            Ok(true) => OtherStores::None,
            Ok(false) => OtherStores::Open,
            Err(error) => return Ok(Err(error)),
        };
        let cutoff = orphan_cutoff(other_stores);
        transaction.execute(
            "UPDATE pending SET renewed_at = 0 WHERE owner <> ? AND renewed_at > 0 AND renewed_at < ?",
            (transaction.owner, cutoff),
        )?;
        let counts = transaction
            .conn
            .prepare_cached(COUNT_ORPHANS)?
            .query_row((cutoff, transaction.owner), OrphanCounts::from_row)?;
        Ok(Ok(counts))
    }
}

/// Deletes every blob that is marked for deletion, also those of other stores. If two stores delete the same blob at
/// once, both succeed.
pub(crate) struct DeleteMarkedBlobs;

impl WriteJob for DeleteMarkedBlobs {
    type Output = ();
    const DURABLE: bool = false;

    fn run(&self, transaction: &mut WriteTransaction<'_>) -> JobResult<()> {
        // A blob that is marked for deletion has `renewed_at` 0. Negative values do not occur.
        let mut statement =
            transaction.conn.prepare_cached("SELECT blob FROM pending WHERE renewed_at <= 0")?;
        for blob in statement.query_map([], |row| row.get(0))? {
            transaction.delete_after_commit(blob?);
        }
        Ok(Ok(()))
    }
}
