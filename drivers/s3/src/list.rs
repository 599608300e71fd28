//! Listing: a walk over the keys that a query covers, and a HEAD for each record.
//!
//! There is no index. What bounds a walk is the number of keys it may look at; what bounds its memory is a page of keys
//! and the page of rows. This module must never answer with a part of what it should have looked at.

use std::collections::BinaryHeap;

use artifact_store_core::{Filter, ListQuery, Page, Position, Record, StoreError};
use aws_sdk_s3::types::Object;
use futures_util::stream::{self, StreamExt};

use crate::inner::{Inner, Standing};
use crate::layout::Covered;

/// Keys of one answer; the protocol's own bound.
const PAGE_KEYS: i32 = 1000;

/// The page of `query`.
///
/// # Errors
/// `InvalidArgument` for the cursor, or past the store's bound on listings; `Corrupt` for an artifact that is none;
/// `Unavailable`, `Backend`.
pub(crate) async fn list(inner: &Inner, query: &ListQuery) -> Result<Page, StoreError> {
    let mut rows = Rows::new(query)?;
    let covered = inner.layout.covered(query.pattern());
    let at_once = usize::try_from(inner.config.list_concurrency).unwrap_or(1);
    let (mut scanned, mut after) = (0_u64, None);
    loop {
        inner.may_go_on()?;
        let page = inner.keys(&covered.prefix, after).await?;
        scanned = scanned.saturating_add(page.objects.len() as u64);
        if scanned > inner.config.max_scan {
            return Err(StoreError::invalid(format!(
                "the listing covers more than {} keys, which is the bound of this store; \
                 narrow the scope, or raise the option max_scan",
                inner.config.max_scan
            )));
        }
        let keys =
            page.objects.into_iter().filter_map(|object| wanted(inner, &covered, query.filter(), object));
        let mut records = stream::iter(keys)
            .map(|key| async move { inner.standing_at(&key).await })
            .buffer_unordered(at_once);
        while let Some(standing) = records.next().await {
            // What is not there any more was deleted since its key was read.
            if let Standing::Ours(stands) = standing? {
                rows.take(stands.record);
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(rows.page());
        }
    }
}

/// The key of an object that may be a row.
fn wanted(inner: &Inner, covered: &Covered, filter: &Filter, object: Object) -> Option<String> {
    let key = object.key?;
    let components = inner.layout.artifact_components(&key)?;
    // An artifact's size is its object's.
    let size = object.size.and_then(|size| u64::try_from(size).ok());
    let fits = size.is_none_or(|size| {
        filter.min_bytes.is_none_or(|min| size >= min) && filter.max_bytes.is_none_or(|max| size <= max)
    });
    (covered.takes(&components) && fits).then_some(key)
}

/// Some of the keys that start with a prefix.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) objects: Vec<Object>,
    /// Where the next ones start; `None` where there are none.
    pub(crate) next: Option<String>,
}

impl Inner {
    /// The keys that start with `prefix`, a page of them from `after` on.
    pub(crate) async fn keys(&self, prefix: &str, after: Option<String>) -> Result<Keys, StoreError> {
        let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).max_keys(PAGE_KEYS);
        let answer = list.set_continuation_token(after).send().await;
        let answer = answer.map_err(|error| self.failed("listing keys", error))?;
        let more = answer.is_truncated().unwrap_or(false);
        let next = answer.next_continuation_token().filter(|_| more).map(str::to_owned);
        if more && next.is_none() {
            return Err(StoreError::backend("the store says that there are more keys, but not where"));
        }
        Ok(Keys { objects: answer.contents.unwrap_or_default(), next })
    }
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

/// The best rows so far: one more than the page has.
struct Rows<'a> {
    query: &'a ListQuery,
    after: Option<&'a Position>,
    keep: usize,
    matches: u64,
    best: BinaryHeap<Row>,
}

impl<'a> Rows<'a> {
    fn new(query: &'a ListQuery) -> Result<Self, StoreError> {
        let keep = query.limit() as usize + 1;
        Ok(Self { query, after: query.position()?, keep, matches: 0, best: BinaryHeap::new() })
    }

    fn take(&mut self, record: Record) {
        if !self.query.matches(&record) {
            return;
        }
        self.matches += 1;
        let position = Position::of(&record);
        if self.after.is_some_and(|after| position <= *after) {
            return;
        }
        if self.best.len() == self.keep {
            if self.best.peek().is_some_and(|last| last.position <= position) {
                return;
            }
            self.best.pop();
        }
        self.best.push(Row { position, record });
    }

    fn page(self) -> Page {
        let total = self.query.counts_total().then_some(self.matches);
        let mut rows: Vec<Record> = self.best.into_sorted_vec().into_iter().map(|row| row.record).collect();
        let more = rows.len() == self.keep;
        rows.truncate(self.query.limit() as usize);
        Page::new(self.query, rows, total, more)
    }
}
