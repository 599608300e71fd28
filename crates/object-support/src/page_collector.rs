//! The page of a scan: [`PageCollector`].
//!
//! A scan reads all records that a listing may cover, in any order. This module must never know how records are read.

use std::collections::BinaryHeap;

use artifact_store_core::{ListQuery, Page, Position, Record, StoreError};

/// A row, ordered by its position in the listing. So the top of a heap of rows is the row that comes last.
#[derive(Debug)]
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

/// Collects the rows of one page from all records of a scan, in any order. Keeps only the rows of the page in memory, and
/// one more row, which shows whether another page follows.
#[derive(Debug)]
pub struct PageCollector<'a> {
    query: &'a ListQuery,
    /// The position of the cursor; `None` for the first page.
    after: Option<&'a Position>,
    /// The number of rows to keep: the page and one more.
    capacity: usize,
    /// The number of all rows that match the query, including the rows before the cursor.
    matches: u64,
    heap: BinaryHeap<Row>,
}

impl<'a> PageCollector<'a> {
    /// A collector of the page that `query` selects.
    ///
    /// # Errors
    /// `InvalidArgument` if the cursor of the query is invalid.
    pub fn new(query: &'a ListQuery) -> Result<Self, StoreError> {
        let capacity = query.limit() as usize + 1;
        Ok(Self { query, after: query.position()?, capacity, matches: 0, heap: BinaryHeap::new() })
    }

    /// Counts the record if it matches the query, and keeps it if it is one of the first rows after the cursor.
    pub fn push(&mut self, record: Record) {
        if !self.query.matches(&record) {
            return;
        }
        self.matches += 1;
        let position = Position::of(&record);
        if self.after.is_some_and(|after| position <= *after) {
            return;
        }
        if self.heap.len() == self.capacity {
            // The heap is full. The new row is kept only if it comes before the heap's last row, which is then dropped.
            if self.heap.peek().is_some_and(|last| last.position <= position) {
                return;
            }
            self.heap.pop();
        }
        self.heap.push(Row { position, record });
    }

    /// The page. Its total is set if the query requests it.
    pub fn into_page(self) -> Page {
        let total = self.query.counts_total().then_some(self.matches);
        let mut rows: Vec<Record> = self.heap.into_sorted_vec().into_iter().map(|row| row.record).collect();
        let has_more = rows.len() == self.capacity;
        rows.truncate(self.query.limit() as usize);
        Page::new(self.query, rows, total, has_more)
    }
}
