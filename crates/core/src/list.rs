//! Listings: [`ListQuery`], its [`Filter`] and the resulting [`Page`].
//!
//! The order is fixed: newest first, then by id, then by [`ScopeMark`](crate::ScopeMark). This module must never know
//! how a driver finds rows.

use serde::Serialize;

use crate::cursor::{Cursor, Position};
use crate::digest::{Digest, Hasher};
use crate::error::StoreError;
use crate::media_range::MediaRange;
use crate::record::{Record, Source};
use crate::scope::ScopePattern;
use crate::time::Timestamp;

/// The largest number of rows of a page if the query sets no limit.
pub const DEFAULT_LIST_LIMIT: u32 = 100;
/// The largest number of rows of a page.
pub const MAX_LIST_LIMIT: u32 = 1000;

/// The largest number of values of one field of a filter.
pub const MAX_FILTER_VALUES: usize = 256;
/// The longest value of a filter, in bytes.
pub const MAX_FILTER_VALUE_BYTES: usize = 4096;

/// Conditions on rows. A row must match every field. If a field has several values, the row must match at least one of
/// the values. A field without a value (`None` or an empty list) matches every row.
///
/// # Examples
/// ```
/// use artifact_store_core::{Filter, Source};
///
/// let filter = Filter { sources: vec![Source::Tool], min_bytes: Some(1), ..Filter::default() };
/// // The same as a chain of calls.
/// assert_eq!(Filter::new().with_source(Source::Tool).with_min_bytes(1), filter);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Filter {
    /// The media type is in one of these ranges.
    pub media_types: Vec<MediaRange>,
    /// The source is one of these sources.
    pub sources: Vec<Source>,
    /// The smallest size in bytes.
    pub min_bytes: Option<u64>,
    /// The largest size in bytes.
    pub max_bytes: Option<u64>,
    /// Created at this time or later.
    pub created_after: Option<Timestamp>,
    /// Created at this time or earlier.
    pub created_before: Option<Timestamp>,
    /// The row has one of these tags.
    pub tags: Vec<String>,
}

impl Filter {
    /// A filter that matches every row.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a range of media types.
    #[must_use]
    pub fn with_media_type(mut self, range: MediaRange) -> Self {
        self.media_types.push(range);
        self
    }

    /// Adds a source.
    #[must_use]
    pub fn with_source(mut self, source: Source) -> Self {
        self.sources.push(source);
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn with_tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Only rows of at least `bytes` bytes.
    #[must_use]
    pub fn with_min_bytes(mut self, bytes: u64) -> Self {
        self.min_bytes = Some(bytes);
        self
    }

    /// Only rows of at most `bytes` bytes.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Only rows created at `time` or later.
    #[must_use]
    pub fn with_created_after(mut self, time: impl Into<Timestamp>) -> Self {
        self.created_after = Some(time.into());
        self
    }

    /// Only rows created at `time` or earlier.
    #[must_use]
    pub fn with_created_before(mut self, time: impl Into<Timestamp>) -> Self {
        self.created_before = Some(time.into());
        self
    }

    /// Whether `record` matches every field of the filter.
    pub fn matches(&self, record: &Record) -> bool {
        let Self { media_types, sources, min_bytes, max_bytes, created_after, created_before, tags } = self;
        let media_type = record.options.media_type.as_deref();
        (media_types.is_empty()
            || media_type.is_some_and(|media_type| MediaRange::any_matches(media_types, media_type)))
            && (sources.is_empty() || sources.contains(&record.options.source))
            && min_bytes.is_none_or(|min| record.size >= min)
            && max_bytes.is_none_or(|max| record.size <= max)
            && created_after.is_none_or(|after| record.created_at >= after)
            && created_before.is_none_or(|before| record.created_at <= before)
            && (tags.is_empty() || record.options.tags.iter().any(|tag| tags.contains(tag)))
    }
}

/// A request for a page of a listing: scopes, filter, limit and cursor.
///
/// # Examples
/// ```
/// use artifact_store_core::{Filter, ListQuery, Scope, ScopePattern, Source};
///
/// let scope = Scope::new("acme", "ada", "s-1")?;
/// let query = ListQuery::new(ScopePattern::session_of(&scope))
///     .with_filter(Filter { sources: vec![Source::Tool], ..Filter::default() })
///     .with_limit(20);
/// assert_eq!(query.limit(), 20);
/// # Ok::<(), artifact_store_core::StoreError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    pattern: ScopePattern,
    filter: Filter,
    limit: u32,
    cursor: Option<Cursor>,
    /// Whether the page must contain the total number of matching rows.
    counts_total: bool,
}

impl ListQuery {
    /// Requests the first page of all rows in the scopes of `pattern`, with at most [`DEFAULT_LIST_LIMIT`] rows.
    pub fn new(pattern: ScopePattern) -> Self {
        Self {
            pattern,
            filter: Filter::default(),
            limit: DEFAULT_LIST_LIMIT,
            cursor: None,
            counts_total: false,
        }
    }

    /// Sets the filter.
    #[must_use]
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Sets the largest number of rows per page, clamped to the range from 1 to [`MAX_LIST_LIMIT`].
    #[must_use]
    pub fn with_limit(mut self, rows: u32) -> Self {
        self.limit = rows.clamp(1, MAX_LIST_LIMIT);
        self
    }

    /// Starts after the page that returned `cursor`; `None` starts at the first row. The pattern and the filter must be
    /// the same as in the query of that page. The limit may differ.
    #[must_use]
    pub fn with_cursor(mut self, cursor: Option<Cursor>) -> Self {
        self.cursor = cursor;
        self
    }

    /// Requests the total number of matching rows: [`Page::total`]. By default no total is requested, because the store
    /// has to count all matching rows for it.
    ///
    /// Behind a [`Gate`](crate::Gate), the rows are counted once for a listing: for the first page whose query requests
    /// the total. The cursors carry this number to the following pages.
    #[must_use]
    pub fn with_total(mut self) -> Self {
        self.counts_total = true;
        self
    }

    /// The same query, but it does not request the total.
    #[must_use]
    pub(crate) fn without_total(mut self) -> Self {
        self.counts_total = false;
        self
    }

    /// The requested scopes.
    pub fn pattern(&self) -> &ScopePattern {
        &self.pattern
    }

    /// The filter.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The largest number of rows of the page: 1 to [`MAX_LIST_LIMIT`].
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Whether [`Page::total`] is requested.
    pub fn counts_total(&self) -> bool {
        self.counts_total
    }

    /// The cursor where the page starts; `None` for the first page.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// For drivers: the page starts with the first row after this position. `None` for the first page.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a cursor of another query, or for a signed cursor,
    /// which only a [`Gate`](crate::Gate) can decode.
    pub fn position(&self) -> Result<Option<&Position>, StoreError> {
        self.cursor.as_ref().map(|cursor| cursor.position(&self.fingerprint())).transpose()
    }

    /// Returns an error if a field of the filter has more than [`MAX_FILTER_VALUES`] values, or if a value is longer
    /// than [`MAX_FILTER_VALUE_BYTES`]. The limits exist because every row is compared with every value.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    pub fn validate(&self) -> Result<(), StoreError> {
        let Filter { media_types, sources, tags, .. } = &self.filter;
        if [media_types.len(), sources.len(), tags.len()].into_iter().any(|count| count > MAX_FILTER_VALUES) {
            return Err(StoreError::invalid(format!(
                "a filter takes at most {MAX_FILTER_VALUES} values a field"
            )));
        }
        let mut values = media_types.iter().map(MediaRange::as_str).chain(tags.iter().map(String::as_str));
        if values.any(|value| value.len() > MAX_FILTER_VALUE_BYTES) {
            return Err(StoreError::invalid(format!(
                "a filter's value has at most {MAX_FILTER_VALUE_BYTES} bytes"
            )));
        }
        Ok(())
    }

    /// Whether `record` is in a requested scope and matches the filter.
    pub fn matches(&self, record: &Record) -> bool {
        self.pattern.matches(&record.scope) && self.filter.matches(record)
    }

    /// The digest of the pattern and the filter. A cursor is valid only for queries with the same digest.
    pub(crate) fn fingerprint(&self) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(b"artifact-store query v1\0");
        // The pattern and the filter are plain data with string keys, so serializing them into memory cannot fail.
        hasher.update(&serde_json::to_vec(&(&self.pattern, &self.filter)).unwrap_or_default());
        hasher.finish()
    }
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The rows: newest first, then by id, then by [`ScopeMark`](crate::ScopeMark).
    pub rows: Vec<Record>,
    /// The number of matching rows on all pages; `None` if the query did not request the total.
    ///
    /// Behind a [`Gate`](crate::Gate), this is the number at the time of the first page whose query requested it. It
    /// stays the same on the following pages, whatever is put or deleted meanwhile. A bare driver counts again for every
    /// page that requests the total.
    pub total: Option<u64>,
    /// The cursor of the next page; `None` on the last page.
    pub next: Option<Cursor>,
}

impl Page {
    /// For drivers: the page for `query`. `total` is `None` if the query does not request it. `has_more` says whether
    /// the listing has more rows after the last row of `rows`.
    pub fn new(query: &ListQuery, rows: Vec<Record>, total: Option<u64>, has_more: bool) -> Self {
        let next = match rows.last() {
            Some(last) if has_more => Some(Cursor::decoded(Position::of(last), query.fingerprint())),
            _ => None,
        };
        Self { rows, total, next }
    }
}
