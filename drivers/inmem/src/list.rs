//! Listings: the rows of a page, and the total if the query asks for it.
//!
//! This module must never lock the index. The methods of [`ArtifactIndex`] take the locks.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::Arc;

use artifact_store_core::{Filter, ListQuery, Page, Position, StoreError};

use crate::blocking::run_blocking;
use crate::layout::{ArtifactEntry, ArtifactIndex};
use crate::lists::List;
use crate::rows::{Row, RowsInListingOrder, SortedRows};

/// The number of rows that a listing reads before it releases the lock. So puts and deletes wait for one step at most,
/// not for the whole listing.
const STEP_ROWS: usize = 512;
/// The number of steps that run on the async thread. The steps of a longer listing run on the blocking pool. On the
/// async thread, they would delay other tasks.
const INLINE_STEPS: usize = 8;
/// The number of rows that a listing compares with its filter before it asks for indexes. So a filter that matches many
/// rows needs none.
const MAX_ROWS_BEFORE_INDEXES: usize = 1024;
/// The number of rows by which a step continues to build indexes.
const BUILD_ROWS: usize = 1024;

/// Returns one page of `query`, and the total if the query asks for it.
pub(crate) async fn list(index: &Arc<ArtifactIndex>, query: &ListQuery) -> Result<Page, StoreError> {
    let mut listing = Listing::new(query)?;
    for _ in 0..INLINE_STEPS {
        if listing.work == Work::BuildIndexes {
            break;
        }
        listing.step(index, query)?;
        if listing.work == Work::Done {
            return Ok(listing.into_page(query));
        }
    }
    let (index, query) = (Arc::clone(index), query.clone());
    run_blocking(move || {
        while listing.work != Work::Done {
            listing.step(&index, &query)?;
        }
        Ok(listing.into_page(&query))
    })
    .await
}

/// What a listing does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Read rows until the page is full.
    ReadPage,
    /// Build the indexes that the filter needs, then continue to read the page.
    BuildIndexes,
    /// Count the rows.
    Count,
    Done,
}

/// A listing in steps. Each step locks the lists for a short time. The next step continues after the position of the
/// last row. So a put or delete between two steps never makes the listing skip or repeat another row.
struct Listing {
    work: Work,
    /// Where the next step continues to read the page.
    after: Option<Position>,
    /// The rows of the page, and perhaps one more, which shows that another page follows.
    rows: Vec<Arc<ArtifactEntry>>,
    /// The number of rows that were compared with the filter because the list has no indexes.
    compared: usize,
    /// Where the next step continues to count.
    counted_to: Option<Position>,
    total: u64,
}

impl Listing {
    fn new(query: &ListQuery) -> Result<Self, StoreError> {
        let after = query.position()?.cloned();
        Ok(Self { work: Work::ReadPage, after, rows: Vec::new(), compared: 0, counted_to: None, total: 0 })
    }

    fn step(&mut self, index: &ArtifactIndex, query: &ListQuery) -> Result<(), StoreError> {
        match self.work {
            Work::ReadPage => index.read_list(query, |found| self.read_page(query, found)),
            Work::BuildIndexes => {
                if index.build_indexes(query, BUILD_ROWS)? {
                    self.work = Work::ReadPage;
                }
                Ok(())
            }
            Work::Count => index.read_list(query, |found| self.count(query, found)),
            Work::Done => Ok(()),
        }
    }

    /// Reads the next rows of the page. `found` is the list that contains them, and whether it has no rows outside the
    /// pattern of the query.
    fn read_page(&mut self, query: &ListQuery, found: Option<(&List, bool)>) {
        let next_work = if query.counts_total() { Work::Count } else { Work::Done };
        let Some((list, is_exact)) = found else {
            self.work = next_work;
            return;
        };
        let needs_indexes = list.needs_indexes(query.filter());
        // A count needs the indexes in any case.
        if needs_indexes && (self.compared >= MAX_ROWS_BEFORE_INDEXES || query.counts_total()) {
            self.work = Work::BuildIndexes;
            return;
        }
        let candidates = list.candidates(query.filter());
        let all_match = is_exact && candidates.are_exact;
        let limit = query.limit() as usize;
        self.rows.reserve(if all_match { limit + 1 } else { 0 });
        let mut last_of_step = None;
        // A page in which every row matches is read in one step.
        let max_rows = if all_match { usize::MAX } else { STEP_ROWS };
        for (number, row) in merge(&candidates.lists, query.filter(), self.after.as_ref()).enumerate() {
            if all_match || query.matches(&row.entry.record) {
                self.rows.push(Arc::clone(&row.entry));
                if self.rows.len() > limit {
                    self.work = next_work;
                    return;
                }
            }
            if number + 1 == max_rows {
                last_of_step = Some(row);
                break;
            }
        }
        match last_of_step {
            Some(row) => {
                self.after = Some(row.position());
                self.compared += if needs_indexes { STEP_ROWS } else { 0 };
            }
            None => self.work = next_work,
        }
    }

    /// Counts all rows, or the next of them if each must be compared with the query.
    fn count(&mut self, query: &ListQuery, found: Option<(&List, bool)>) {
        let Some((list, is_exact)) = found else {
            self.work = Work::Done;
            return;
        };
        let candidates = list.candidates(query.filter());
        if is_exact && candidates.are_exact {
            let counts = candidates.lists.iter().map(|rows| count_in_time(rows, query.filter()));
            self.total = counts.sum::<usize>() as u64;
            self.work = Work::Done;
            return;
        }
        let mut last_of_step = None;
        for (number, row) in merge(&candidates.lists, query.filter(), self.counted_to.as_ref()).enumerate() {
            self.total += u64::from(query.matches(&row.entry.record));
            if number + 1 == STEP_ROWS {
                last_of_step = Some(row);
                break;
            }
        }
        match last_of_step {
            Some(row) => self.counted_to = Some(row.position()),
            None => self.work = Work::Done,
        }
    }

    fn into_page(mut self, query: &ListQuery) -> Page {
        let limit = query.limit() as usize;
        let has_more = self.rows.len() > limit;
        self.rows.truncate(limit);
        // The records are copied here and not in a step, which has the lock.
        let records = self.rows.iter().map(|entry| entry.record.clone()).collect();
        Page::new(query, records, query.counts_total().then_some(self.total), has_more)
    }
}

/// Whether `filter` allows the time of `row` or an older one.
fn is_old_enough(row: &Row, filter: &Filter) -> bool {
    filter.created_before.is_none_or(|before| row.created_at <= before)
}

/// Whether `filter` allows the time of `row` or a newer one.
fn is_new_enough(row: &Row, filter: &Filter) -> bool {
    filter.created_after.is_none_or(|after| row.created_at >= after)
}

/// The number of rows in the times of `filter`.
fn count_in_time(rows: &SortedRows, filter: &Filter) -> usize {
    if filter.created_before.is_none() && filter.created_after.is_none() {
        return rows.len();
    }
    let up_to_newest = rows.count_listed(|row| is_old_enough(row, filter));
    let too_old = rows.count_listed(|row| !is_new_enough(row, filter));
    up_to_newest.saturating_sub(too_old)
}

/// The rows of all `lists` in listing order: those after the position `after` whose times `filter` allows. A row that is
/// in several lists is returned once.
fn merge<'a>(
    lists: &[&'a SortedRows],
    filter: &'a Filter,
    after: Option<&Position>,
) -> impl Iterator<Item = &'a Row> {
    let is_listed = |row: &Row| {
        is_old_enough(row, filter) && after.is_none_or(|after| row.cmp_position(after) == Ordering::Greater)
    };
    let mut heads: BinaryHeap<Head<'a>> =
        lists.iter().filter_map(|rows| Head::first(rows.listed_from(is_listed))).collect();
    let mut previous: Option<&'a Row> = None;
    let rows = std::iter::from_fn(move || {
        loop {
            let mut head = heads.peek_mut()?;
            let row = head.row;
            match head.rest.next() {
                Some(next) => head.row = next,
                None => _ = PeekMut::pop(head),
            }
            if previous.is_none_or(|previous| !previous.is_same(row)) {
                previous = Some(row);
                return Some(row);
            }
        }
    });
    rows.take_while(|row| is_new_enough(row, filter))
}

/// The next row of one list in a merge. The greatest head has the row that is listed first.
struct Head<'a> {
    row: &'a Row,
    rest: RowsInListingOrder<'a>,
}

impl<'a> Head<'a> {
    fn first(mut rows: RowsInListingOrder<'a>) -> Option<Self> {
        rows.next().map(|row| Self { row, rest: rows })
    }
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.row.listing_cmp(self.row)
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head<'_> {}
