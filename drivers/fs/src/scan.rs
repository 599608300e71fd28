//! Listing: a walk over the directories that a query covers.
//!
//! There is no index: each file's record is read. What bounds a walk is the number of files it may look at; what bounds
//! its memory is the page. This module must never answer with a part of what it should have looked at.

use std::collections::BinaryHeap;
use std::fmt;
use std::os::fd::OwnedFd;

use artifact_store_core::{
    KeyToken, ListQuery, Page, Position, Record, Scope, ScopePattern, StoreError, TaskPattern, TenantPattern,
};
use rustix::io::Errno;

use crate::dirs::{names, open_dir, open_file};
use crate::error::failed;
use crate::jobs::Job;
use crate::layout::{ARTIFACTS_DIR, DEPTH, is_token, read_record};
use crate::store::Shared;

/// The page of `query`.
///
/// # Errors
/// `InvalidArgument` for the cursor, or past the store's bound on listings; `Corrupt` for a file that is no whole
/// artifact; `Closed` where the store is closed meanwhile; `Unavailable`, `Backend`.
pub(crate) fn list(shared: &Shared, job: &Job, query: &ListQuery) -> Result<Page, StoreError> {
    let keep = query.limit() as usize + 1;
    let mut scan = Scan {
        query,
        after: query.position()?,
        only: covered(query.pattern()),
        job,
        bound: shared.max_scan,
        scanned: 0,
        matches: 0,
        keep,
        rows: BinaryHeap::with_capacity(keep + 1),
        trail: Vec::with_capacity(DEPTH),
        buffer: Vec::new(),
        leaf_scope: None,
    };
    scan.level(shared.dirs.top())?;
    let total = query.counts_total().then_some(scan.matches);
    let mut rows: Vec<Record> = scan.rows.into_sorted_vec().into_iter().map(|row| row.record).collect();
    let more = rows.len() == keep;
    rows.truncate(query.limit() as usize);
    Ok(Page::new(query, rows, total, more))
}

/// The one directory to look into at each level, or `None` for all.
fn covered(pattern: &ScopePattern) -> [Option<KeyToken>; DEPTH] {
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

/// A row that is ordered as listings are, so that the top of a heap is the one to let go first.
struct Row {
    position: Position,
    record: Record,
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.position.cmp(&other.position)
    }
}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.position == other.position
    }
}

impl Eq for Row {}

struct Scan<'a> {
    query: &'a ListQuery,
    after: Option<&'a Position>,
    only: [Option<KeyToken>; DEPTH],
    job: &'a Job,
    bound: u64,
    scanned: u64,
    matches: u64,
    keep: usize,
    rows: BinaryHeap<Row>,
    trail: Vec<String>,
    buffer: Vec<u8>,
    /// The scope that the present leaf was found to belong to.
    leaf_scope: Option<Scope>,
}

impl Scan<'_> {
    fn level(&mut self, dir: &OwnedFd) -> Result<(), StoreError> {
        self.job.may_go_on()?;
        let Some(only) = self.only.get(self.trail.len()).cloned() else { return self.leaf(dir) };
        if let Some(token) = only {
            return self.below(dir, token.as_str().to_owned());
        }
        for name in names(dir).map_err(|error| self.failed("listing", "", error))? {
            let name = name.map_err(|error| self.failed("listing", "", error))?;
            if is_token(&name) {
                self.below(dir, name)?;
            }
        }
        Ok(())
    }

    fn below(&mut self, dir: &OwnedFd, name: String) -> Result<(), StoreError> {
        match open_dir(dir, &name) {
            Ok(below) => {
                self.trail.push(name);
                self.level(&below)?;
                self.trail.pop();
                Ok(())
            }
            // There is none, or it became empty and was removed.
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.failed("opening", &name, error)),
        }
    }

    fn leaf(&mut self, dir: &OwnedFd) -> Result<(), StoreError> {
        self.leaf_scope = None;
        for name in names(dir).map_err(|error| self.failed("listing", "", error))? {
            let name = name.map_err(|error| self.failed("listing", "", error))?;
            if is_token(&name) {
                self.file(dir, &name)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, dir: &OwnedFd, name: &str) -> Result<(), StoreError> {
        self.job.may_go_on()?;
        let file = match open_file(dir, name) {
            Ok(file) => file,
            // Deleted since its name was read.
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(self.failed("opening", name, error)),
        };
        self.scanned += 1;
        if self.scanned > self.bound {
            return Err(StoreError::invalid(format!(
                "the listing covers more than {} files, which is the bound of this store; \
                 narrow the scope, or raise the option max_scan",
                self.bound
            )));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let record = read_record(&file, &self.place(name), &mut buffer)?;
        self.buffer = buffer;
        self.check_place(&record, name)?;
        if !self.query.matches(&record) {
            return Ok(());
        }
        self.matches += 1;
        let position = Position::of(&record);
        if self.after.is_some_and(|after| position <= *after) {
            return Ok(());
        }
        if self.rows.len() == self.keep {
            if self.rows.peek().is_some_and(|last| last.position <= position) {
                return Ok(());
            }
            self.rows.pop();
        }
        self.rows.push(Row { position, record });
        Ok(())
    }

    /// A file that was copied elsewhere is not listed as if it had been put there.
    fn check_place(&mut self, record: &Record, name: &str) -> Result<(), StoreError> {
        if self.leaf_scope.as_ref() != Some(&record.scope) {
            let tokens = KeyToken::of_scope(&record.scope);
            if !tokens.iter().map(KeyToken::as_str).eq(self.trail.iter().map(String::as_str)) {
                return Err(StoreError::corrupt(format!(
                    "{}: this artifact is of another scope",
                    self.place(name)
                )));
            }
            self.leaf_scope = Some(record.scope.clone());
        }
        if KeyToken::of_id(&record.id).as_str() != name {
            return Err(StoreError::corrupt(format!("{}: this artifact has another id", self.place(name))));
        }
        Ok(())
    }

    fn failed(&self, doing: &str, name: &str, error: Errno) -> StoreError {
        failed(format_args!("{doing} {}", self.place(name)), error)
    }

    fn place<'b>(&'b self, name: &'b str) -> Place<'b> {
        Place { trail: &self.trail, name }
    }
}

/// Where the scan is, for an operator.
struct Place<'a> {
    trail: &'a [String],
    name: &'a str,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ARTIFACTS_DIR)?;
        for token in self.trail {
            write!(f, "/{token}")?;
        }
        write!(f, "/{}", self.name)
    }
}
