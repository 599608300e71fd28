//! [`FieldIndex`]: the rows of one list by a field that filters compare, such as the tags.
//!
//! A list gets an index when a filtered listing needs it. This module must never decide when that is.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use artifact_store_core::{Filter, Position, Record, Source};

use crate::rows::{Row, SortedRows};

/// The largest number of values whose rows a listing merges.
const MAX_MERGED_VALUES: usize = 4096;

/// A field of a record that filters compare, apart from the time, in whose order all rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilterField {
    Tags,
    Source,
    Size,
    MediaType,
}

impl FilterField {
    /// The fields that `filter` compares.
    pub(crate) fn used_by(filter: &Filter) -> impl Iterator<Item = Self> {
        [
            (Self::Tags, !filter.tags.is_empty()),
            (Self::Source, !filter.sources.is_empty()),
            (Self::Size, filter.min_bytes.is_some() || filter.max_bytes.is_some()),
            (Self::MediaType, !filter.media_types.is_empty()),
        ]
        .into_iter()
        .filter_map(|(field, is_used)| is_used.then_some(field))
    }
}

/// A value of a field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum FieldValue {
    Tag(String),
    Source(Source),
    Size(u64),
    MediaType(String),
}

/// How many rows of a list are in its index.
#[derive(Debug)]
enum Progress {
    /// None, or all rows from the one that is listed last up to this position.
    UpTo(Option<Position>),
    Complete,
}

/// The rows of a list by the values of one field, each in listing order.
#[derive(Debug)]
pub(crate) struct FieldIndex {
    field: FilterField,
    rows_by_value: BTreeMap<FieldValue, SortedRows>,
    progress: Progress,
}

impl FieldIndex {
    /// An index of no rows yet.
    pub(crate) fn new(field: FilterField) -> Self {
        Self { field, rows_by_value: BTreeMap::new(), progress: Progress::UpTo(None) }
    }

    pub(crate) fn field(&self) -> FilterField {
        self.field
    }

    /// Whether all rows of the list are in the index.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.progress, Progress::Complete)
    }

    /// Puts the next rows of its list into the index, at most `max_rows`. So an index can be built in steps, between
    /// which the list may change.
    pub(crate) fn build(&mut self, list: &SortedRows, max_rows: usize) {
        let Progress::UpTo(position) = &self.progress else { return };
        let rows: Vec<Row> = list.backwards_before(position.as_ref()).take(max_rows).cloned().collect();
        for row in &rows {
            self.insert_values(row);
        }
        self.progress = match rows.last() {
            Some(row) if rows.len() == max_rows => Progress::UpTo(Some(row.position())),
            _ => Progress::Complete,
        };
    }

    /// Whether a row that is or was in the list is in the index.
    fn has_reached(&self, row: &Row) -> bool {
        match &self.progress {
            Progress::Complete => true,
            Progress::UpTo(Some(position)) => row.cmp_position(position) != Ordering::Less,
            Progress::UpTo(None) => false,
        }
    }

    /// Follows the insertion of `row` into the list.
    pub(crate) fn insert(&mut self, row: &Row) {
        if self.has_reached(row) {
            self.insert_values(row);
        }
    }

    fn insert_values(&mut self, row: &Row) {
        for value in values_of(self.field, &row.entry.record) {
            self.rows_by_value.entry(value).or_default().insert(row.clone());
        }
    }

    /// Follows the removal of `row` from the list.
    pub(crate) fn remove(&mut self, row: &Row) {
        if !self.has_reached(row) {
            return;
        }
        for value in values_of(self.field, &row.entry.record) {
            // If a record has a tag twice, the second removal finds nothing.
            let Some(rows) = self.rows_by_value.get_mut(&value) else { continue };
            rows.remove(row);
            if rows.is_empty() {
                self.rows_by_value.remove(&value);
            }
        }
    }

    /// The rows of all values that match this field of `filter`. `None` if there are too many such values, or too many
    /// values to compare.
    pub(crate) fn lists_matching(&self, filter: &Filter) -> Option<Vec<&SortedRows>> {
        let mut lists = Vec::new();
        match self.field {
            FilterField::Tags => {
                let mut tags: Vec<&String> = filter.tags.iter().collect();
                tags.sort_unstable();
                tags.dedup();
                lists.extend(
                    tags.into_iter().filter_map(|tag| self.rows_by_value.get(&FieldValue::Tag(tag.clone()))),
                );
            }
            FilterField::Source => {
                let is_matching = |source: &&Source| filter.sources.contains(source);
                let sources = Source::ALL.iter().filter(is_matching);
                lists.extend(
                    sources.filter_map(|source| self.rows_by_value.get(&FieldValue::Source(*source))),
                );
            }
            FilterField::Size => {
                let min = filter.min_bytes.unwrap_or(0);
                let max = filter.max_bytes.unwrap_or(u64::MAX);
                // `range` panics if the bounds are in the wrong order.
                if min <= max {
                    let sizes = self.rows_by_value.range(FieldValue::Size(min)..=FieldValue::Size(max));
                    lists.extend(sizes.take(MAX_MERGED_VALUES + 1).map(|(_, rows)| rows));
                }
            }
            FilterField::MediaType => {
                if self.rows_by_value.len() > MAX_MERGED_VALUES {
                    return None;
                }
                lists.extend(self.rows_by_value.iter().filter_map(|(value, rows)| match value {
                    FieldValue::MediaType(media_type) => {
                        filter.media_types.iter().any(|range| range.matches(media_type)).then_some(rows)
                    }
                    _ => None,
                }));
            }
        }
        (lists.len() <= MAX_MERGED_VALUES).then_some(lists)
    }

    /// Whether the index has `row` of its list, if it has to.
    pub(crate) fn contains(&self, row: &Row) -> bool {
        !self.has_reached(row)
            || values_of(self.field, &row.entry.record)
                .all(|value| self.rows_by_value.get(&value).is_some_and(|rows| rows.contains(row)))
    }

    /// Describes what is wrong with the index of `list`, for a test.
    pub(crate) fn audit(&self, list: &SortedRows) -> Option<String> {
        let mut rows = self.rows_by_value.values().flat_map(|rows| rows.backwards_before(None));
        let has_foreign_row = rows.any(|row| !list.contains(row));
        let has_empty_value = self.rows_by_value.values().any(SortedRows::is_empty);
        (has_foreign_row || has_empty_value)
            .then(|| format!("the index of the field {:?} has rows that were removed", self.field))
    }
}

/// The values of `field` in `record`.
fn values_of(field: FilterField, record: &Record) -> impl Iterator<Item = FieldValue> {
    let tags = match field {
        FilterField::Tags => record.options.tags.as_slice(),
        _ => &[],
    };
    let other = match field {
        FilterField::Tags => None,
        FilterField::Source => Some(FieldValue::Source(record.options.source)),
        FilterField::Size => Some(FieldValue::Size(record.size)),
        FilterField::MediaType => record.options.media_type.clone().map(FieldValue::MediaType),
    };
    tags.iter().cloned().map(FieldValue::Tag).chain(other)
}
