//! [`SortedRows`]: artifacts in listing order. A put of the newest artifact only appends to a vector.
//!
//! This module must never know a scope pattern or a filter.

use std::cmp::Ordering;
use std::slice;
use std::sync::Arc;

use artifact_store_core::{Position, Timestamp};

use crate::layout::ArtifactEntry;

/// The largest number of rows of a chunk. A change that is not at the end moves at most this many rows.
const CHUNK_ROWS: usize = 512;

/// An artifact in a list. The time is a copy, so that a search rarely reads the entry.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) created_at: Timestamp,
    pub(crate) entry: Arc<ArtifactEntry>,
}

impl Row {
    pub(crate) fn new(entry: &Arc<ArtifactEntry>) -> Self {
        Self { created_at: entry.record.created_at, entry: Arc::clone(entry) }
    }

    pub(crate) fn position(&self) -> Position {
        Position::of(&self.entry.record)
    }

    /// Compares two rows in listing order. A position contains a hash of the scope, so positions are computed only if
    /// time and id are equal.
    pub(crate) fn listing_cmp(&self, other: &Self) -> Ordering {
        let newest_first = other.created_at.cmp(&self.created_at);
        newest_first.then_with(|| self.entry.record.id.cmp(&other.entry.record.id)).then_with(|| {
            if self.is_same(other) { Ordering::Equal } else { self.position().cmp(&other.position()) }
        })
    }

    /// Compares the row with a position in listing order.
    pub(crate) fn cmp_position(&self, position: &Position) -> Ordering {
        let newest_first = position.created_at.cmp(&self.created_at);
        newest_first
            .then_with(|| self.entry.record.id.cmp(&position.id))
            .then_with(|| self.position().cmp(position))
    }

    /// Whether both rows are the same entry.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entry, &other.entry)
    }
}

/// Rows, stored in the opposite of the listing order: the oldest row is first. So the newest row, which is the usual one
/// to be inserted, is appended.
#[derive(Debug, Default)]
pub(crate) struct SortedRows {
    /// The newest rows. Empty only if there are no rows.
    newest: Vec<Row>,
    /// All other rows. No chunk is empty.
    older: Vec<Vec<Row>>,
    len: usize,
}

impl SortedRows {
    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Inserts `row`, unless it is there.
    pub(crate) fn insert(&mut self, row: Row) {
        let is_newest = self.newest.last().is_none_or(|newest| row.listing_cmp(newest) == Ordering::Less);
        if is_newest {
            self.len += 1;
            if self.newest.len() == CHUNK_ROWS {
                // Most lists that have become this long become longer.
                let next_chunk = Vec::with_capacity(CHUNK_ROWS);
                self.older.push(std::mem::replace(&mut self.newest, next_chunk));
            }
            self.newest.push(row);
            return;
        }
        let (chunk_index, index) = self.split_at(|other| other.listing_cmp(&row) == Ordering::Greater);
        let chunk = self.chunk_mut(chunk_index);
        if chunk.get(index).is_some_and(|other| other.is_same(&row)) {
            return;
        }
        chunk.insert(index, row);
        if chunk.len() > CHUNK_ROWS {
            let newer_half = chunk.split_off(CHUNK_ROWS / 2);
            let is_last_chunk = chunk_index == self.older.len();
            if is_last_chunk {
                self.older.push(std::mem::replace(&mut self.newest, newer_half));
            } else {
                self.older.insert(chunk_index + 1, newer_half);
            }
        }
        self.len += 1;
    }

    /// Removes `row`. Returns whether it was there.
    pub(crate) fn remove(&mut self, row: &Row) -> bool {
        let (chunk_index, index) = self.split_at(|other| other.listing_cmp(row) == Ordering::Greater);
        let chunk = self.chunk_mut(chunk_index);
        if !chunk.get(index).is_some_and(|other| other.is_same(row)) {
            return false;
        }
        chunk.remove(index);
        if chunk.is_empty() {
            if chunk_index == self.older.len() {
                self.newest = self.older.pop().unwrap_or_default();
            } else {
                self.older.remove(chunk_index);
            }
        }
        self.len -= 1;
        true
    }

    /// Whether `row` is there.
    pub(crate) fn contains(&self, row: &Row) -> bool {
        let (chunk_index, index) = self.split_at(|other| other.listing_cmp(row) == Ordering::Greater);
        self.chunk(chunk_index).get(index).is_some_and(|other| other.is_same(row))
    }

    /// The rows that `is_listed` accepts, in listing order. If it accepts a row, it must accept every row that is listed
    /// later.
    pub(crate) fn listed_from(&self, is_listed: impl Fn(&Row) -> bool) -> RowsInListingOrder<'_> {
        let (chunk_index, index) = self.split_at(is_listed);
        RowsInListingOrder {
            current: self.chunk(chunk_index)[..index].iter(),
            older: &self.older[..chunk_index],
        }
    }

    /// The number of rows that `is_listed` accepts. The condition is as for [`listed_from`](Self::listed_from).
    pub(crate) fn count_listed(&self, is_listed: impl Fn(&Row) -> bool) -> usize {
        let (chunk_index, index) = self.split_at(is_listed);
        self.older[..chunk_index].iter().map(Vec::len).sum::<usize>() + index
    }

    /// The rows that are listed before `position`, in the opposite of the listing order. `None` starts at the row that is
    /// listed last.
    pub(crate) fn backwards_before(&self, position: Option<&Position>) -> impl Iterator<Item = &Row> {
        let (chunk_index, index) = match position {
            Some(position) => self.split_at(|row| row.cmp_position(position) != Ordering::Less),
            None => (0, 0),
        };
        let newer_chunks = (chunk_index + 1..=self.older.len()).map(|index| self.chunk(index));
        self.chunk(chunk_index)[index..].iter().chain(newer_chunks.flatten())
    }

    /// The chunk at `index`, where the chunk of the newest rows is the last one.
    fn chunk(&self, index: usize) -> &Vec<Row> {
        self.older.get(index).unwrap_or(&self.newest)
    }

    fn chunk_mut(&mut self, index: usize) -> &mut Vec<Row> {
        self.older.get_mut(index).unwrap_or(&mut self.newest)
    }

    /// The place of the first row that `is_in_front` does not accept: the index of its chunk, and its index in the chunk.
    /// The end of the newest rows if it accepts all rows. If it accepts a row, it must accept all rows in front of it.
    fn split_at(&self, is_in_front: impl Fn(&Row) -> bool) -> (usize, usize) {
        let is_in_front_as_a_whole = |chunk: &Vec<Row>| chunk.last().is_none_or(&is_in_front);
        let chunk_index = match self.older.last() {
            Some(chunk) if !is_in_front_as_a_whole(chunk) => {
                self.older.partition_point(is_in_front_as_a_whole)
            }
            // Most searches end here.
            _ => self.older.len(),
        };
        (chunk_index, self.chunk(chunk_index).partition_point(is_in_front))
    }
}

/// The rows of a [`SortedRows`] in listing order.
#[derive(Debug, Clone)]
pub(crate) struct RowsInListingOrder<'a> {
    current: slice::Iter<'a, Row>,
    older: &'a [Vec<Row>],
}

impl<'a> Iterator for RowsInListingOrder<'a> {
    type Item = &'a Row;

    fn next(&mut self) -> Option<&'a Row> {
        loop {
            if let Some(row) = self.current.next_back() {
                return Some(row);
            }
            let (chunk, older) = self.older.split_last()?;
            self.current = chunk.iter();
            self.older = older;
        }
    }
}
