//! Listings: a scan of the directories that a query covers.
//!
//! There is no index: the scan reads each file's record. The time of a scan grows with the number of files. The memory
//! of a scan grows with the page size. This module must never return a page before it has scanned every file that the
//! query covers.

use std::collections::BinaryHeap;
use std::fmt;
use std::os::fd::OwnedFd;

use artifact_store_core::{
    KeyToken, ListQuery, Page, Position, Record, Scope, ScopePattern, StoreError, TaskPattern, TenantPattern,
};
use rustix::io::Errno;

use crate::blocking::CancellationToken;
use crate::dirs::{ScopeDirs, entry_names, open_dir, open_file};
use crate::error::map_io_error;
use crate::layout::{ARTIFACTS_DIR, DEPTH, is_key_token, read_record};
use crate::read::ReadMode;

/// The maximum number of concurrent listings of a store.
pub(crate) const MAX_LISTINGS: usize = 4;

/// Returns the page of `query`. A scan of more than `max_files` files is refused.
///
/// # Errors
/// `InvalidArgument` for an invalid cursor, or if the listing covers more files than the store allows; `Corrupt` if a
/// file is not a whole artifact; `Closed` if the store is closed during the scan; `Unavailable`, `Backend`.
pub(crate) fn list(
    dirs: &ScopeDirs,
    max_files: u64,
    cancel: &CancellationToken,
    query: &ListQuery,
) -> Result<Page, StoreError> {
    // The scan collects one row more than the page has. This row shows whether another page follows.
    let capacity = query.limit() as usize + 1;
    let mut scan = Scan {
        query,
        after: query.position()?,
        filter: scope_filter(query.pattern()),
        cancel,
        max_files,
        scanned: 0,
        matches: 0,
        capacity,
        rows: BinaryHeap::with_capacity(capacity),
        path: Vec::with_capacity(DEPTH),
        buffer: Vec::new(),
        leaf_scope: None,
    };
    scan.scan_dir(dirs.artifacts_dir())?;
    let total = query.counts_total().then_some(scan.matches);
    let mut rows: Vec<Record> = scan.rows.into_sorted_vec().into_iter().map(|row| row.record).collect();
    let has_next_page = rows.len() == capacity;
    rows.truncate(query.limit() as usize);
    Ok(Page::new(query, rows, total, has_next_page))
}

/// For tenant, user, session and task: the name of the only directory to scan, or `None` to scan all directories of
/// this level.
fn scope_filter(pattern: &ScopePattern) -> [Option<KeyToken>; DEPTH] {
    [
        match &pattern.tenant {
            TenantPattern::One(tenant) => Some(KeyToken::of_tenant(tenant)),
            TenantPattern::AllTenants => None,
        },
        pattern.user.as_ref().map(KeyToken::of_user),
        pattern.session.as_ref().map(KeyToken::of_session),
        match &pattern.task {
            TaskPattern::Any => None,
            TaskPattern::NoTask => Some(KeyToken::of_task(None)),
            TaskPattern::One(task) => Some(KeyToken::of_task(Some(task))),
        },
    ]
}

/// A row, ordered by its position in the listing. The top of a `BinaryHeap` is its greatest element: the row that comes
/// last in the listing.
struct HeapRow {
    position: Position,
    record: Record,
}

impl Ord for HeapRow {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.position.cmp(&other.position)
    }
}

impl PartialOrd for HeapRow {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for HeapRow {
    fn eq(&self, other: &Self) -> bool {
        self.position == other.position
    }
}

impl Eq for HeapRow {}

/// A running scan: what it looks for, where it is, and the rows of the page so far.
struct Scan<'a> {
    query: &'a ListQuery,
    /// The position of the cursor. Only later rows belong to the page. `None` for the first page.
    after: Option<&'a Position>,
    /// The result of [`scope_filter`].
    filter: [Option<KeyToken>; DEPTH],
    cancel: &'a CancellationToken,
    /// The scan fails if it finds more files than this.
    max_files: u64,
    /// The number of files found so far.
    scanned: u64,
    /// The number of records so far that match the query, on this page and on all other pages.
    matches: u64,
    /// The maximum number of elements in `rows`: one more than the page has.
    capacity: usize,
    /// The first rows of the listing after the cursor, among the records read so far.
    rows: BinaryHeap<HeapRow>,
    /// The names of the directories below [`ARTIFACTS_DIR`], down to the current directory.
    path: Vec<String>,
    /// The buffer of [`read_record`].
    buffer: Vec<u8>,
    /// The scope of the current leaf directory. `None` until a record in this directory was read and checked against
    /// the path.
    leaf_scope: Option<Scope>,
}

impl Scan<'_> {
    /// Scans the current directory `dir` and the directories below it.
    fn scan_dir(&mut self, dir: &OwnedFd) -> Result<(), StoreError> {
        self.cancel.check_cancelled_or_closed()?;
        let depth = self.path.len();
        if depth == DEPTH {
            return self.scan_leaf(dir);
        }
        if let Some(only_subdir) = &self.filter[depth] {
            let name = only_subdir.as_str().to_owned();
            return self.scan_subdir(dir, name);
        }
        for name in entry_names(dir).map_err(|error| self.entry_error("listing", "", error))? {
            let name = name.map_err(|error| self.entry_error("listing", "", error))?;
            if is_key_token(&name) {
                self.scan_subdir(dir, name)?;
            }
        }
        Ok(())
    }

    /// Scans the directory `name` in `dir`, if it exists.
    fn scan_subdir(&mut self, dir: &OwnedFd, name: String) -> Result<(), StoreError> {
        match open_dir(dir, &name) {
            Ok(subdir) => {
                self.path.push(name);
                self.scan_dir(&subdir)?;
                self.path.pop();
                Ok(())
            }
            // The directory does not exist, or it became empty and was removed.
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.entry_error("opening", &name, error)),
        }
    }

    /// Scans the files in the leaf directory `dir`.
    fn scan_leaf(&mut self, dir: &OwnedFd) -> Result<(), StoreError> {
        self.leaf_scope = None;
        for name in entry_names(dir).map_err(|error| self.entry_error("listing", "", error))? {
            let name = name.map_err(|error| self.entry_error("listing", "", error))?;
            if is_key_token(&name) {
                self.scan_file(dir, &name)?;
            }
        }
        Ok(())
    }

    /// Reads the record of the file `name` in `dir`, and adds a row if the record belongs to the page.
    fn scan_file(&mut self, dir: &OwnedFd, name: &str) -> Result<(), StoreError> {
        self.cancel.check_cancelled_or_closed()?;
        let file = match open_file(dir, name) {
            Ok(file) => file,
            // The artifact was deleted after its name was read.
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(self.entry_error("opening", name, error)),
        };
        self.scanned += 1;
        if self.scanned > self.max_files {
            return Err(StoreError::invalid(format!(
                "the listing covers more than {} files, which is the limit of this store; \
                 narrow the scope, or raise the option max_scan",
                self.max_files
            )));
        }
        // The buffer is taken out of `self`, because `entry_path` borrows `self` during the call.
        let mut buffer = std::mem::take(&mut self.buffer);
        let (record, _) = read_record(&file, ReadMode::Blocking, &self.entry_path(name), 0, &mut buffer)?;
        self.buffer = buffer;
        self.check_location(&record, name)?;
        if !self.query.matches(&record) {
            return Ok(());
        }
        self.matches += 1;
        self.add_row(record);
        Ok(())
    }

    /// Adds a row for `record` if the row is after the cursor and among the first `capacity` rows found so far.
    fn add_row(&mut self, record: Record) {
        let position = Position::of(&record);
        let is_on_earlier_page = self.after.is_some_and(|after| position <= *after);
        if is_on_earlier_page {
            return;
        }
        if self.rows.len() == self.capacity {
            let is_after_last_row = self.rows.peek().is_some_and(|last| last.position <= position);
            if is_after_last_row {
                return;
            }
            // Removes the last row, because the new row comes before it.
            self.rows.pop();
        }
        self.rows.push(HeapRow { position, record });
    }

    /// Checks that `record` belongs to the file `name` in the current directory. A file that was copied to another path
    /// must not be listed there.
    fn check_location(&mut self, record: &Record, name: &str) -> Result<(), StoreError> {
        // All files of a leaf have the same scope, so the scope is compared with the path only once.
        if self.leaf_scope.as_ref() != Some(&record.scope) {
            let tokens = KeyToken::of_scope(&record.scope);
            if !tokens.iter().map(KeyToken::as_str).eq(self.path.iter().map(String::as_str)) {
                return Err(StoreError::corrupt(format!(
                    "{}: this artifact is of another scope",
                    self.entry_path(name)
                )));
            }
            self.leaf_scope = Some(record.scope.clone());
        }
        if KeyToken::of_id(&record.id).as_str() != name {
            return Err(StoreError::corrupt(format!(
                "{}: this artifact has another id",
                self.entry_path(name)
            )));
        }
        Ok(())
    }

    /// The error of a failed `action` on the entry `name` of the current directory. An empty `name` means the directory
    /// itself.
    fn entry_error(&self, action: &str, name: &str, error: Errno) -> StoreError {
        map_io_error(format_args!("{action} {}", self.entry_path(name)), error)
    }

    fn entry_path<'b>(&'b self, name: &'b str) -> EntryPath<'b> {
        EntryPath { path: &self.path, name }
    }
}

/// The path of an entry below the root, for messages.
struct EntryPath<'a> {
    path: &'a [String],
    name: &'a str,
}

impl fmt::Display for EntryPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ARTIFACTS_DIR)?;
        for token in self.path {
            write!(f, "/{token}")?;
        }
        write!(f, "/{}", self.name)
    }
}
