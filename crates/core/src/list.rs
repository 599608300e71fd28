//! Listings: the [`ListQuery`] that asks, its [`Filter`], and the [`Page`] that answers.
//!
//! Order is fixed: newest first, ties by id (ascending). This module must never know how a driver finds rows.

use serde::Serialize;

use crate::cursor::{Cursor, Position};
use crate::error::StoreError;
use crate::id::{Digest, Hasher};
use crate::media_range::MediaRange;
use crate::record::{Record, Source};
use crate::scope::ScopePattern;
use crate::time::Timestamp;

/// Rows of a page that asks for no number.
pub const DEFAULT_LIST_LIMIT: u32 = 100;
/// Most rows of a page.
pub const MAX_LIST_LIMIT: u32 = 1000;

/// Most values of one field of a filter.
pub const MAX_FILTER_VALUES: usize = 256;
/// The longest value of a filter, in bytes.
pub const MAX_FILTER_VALUE_BYTES: usize = 4096;

/// What rows must be like: *or* within a field, *and* between fields. An empty field asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Filter {
    /// A media type that one of these ranges covers.
    pub media_types: Vec<MediaRange>,
    /// One of these sources.
    pub sources: Vec<Source>,
    /// At least so many bytes.
    pub min_bytes: Option<u64>,
    /// At most so many bytes.
    pub max_bytes: Option<u64>,
    /// Created at this moment or later.
    pub created_after: Option<Timestamp>,
    /// Created at this moment or earlier.
    pub created_before: Option<Timestamp>,
    /// Tagged with one of these.
    pub tags: Vec<String>,
}

impl Filter {
    /// Whether `record` passes.
    pub fn matches(&self, record: &Record) -> bool {
        let Self { media_types, sources, min_bytes, max_bytes, created_after, created_before, tags } = self;
        let media_type = record.options.media_type.as_deref();
        (media_types.is_empty() || media_type.is_some_and(|it| MediaRange::any_matches(media_types, it)))
            && (sources.is_empty() || sources.contains(&record.options.source))
            && min_bytes.is_none_or(|min| record.size >= min)
            && max_bytes.is_none_or(|max| record.size <= max)
            && created_after.is_none_or(|after| record.created_at >= after)
            && created_before.is_none_or(|before| record.created_at <= before)
            && (tags.is_empty() || record.options.tags.iter().any(|tag| tags.contains(tag)))
    }
}

/// A listing: which scopes, which rows, how many, and from where on.
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
    counts_total: bool,
}

impl ListQuery {
    /// The first page of everything that `pattern` covers, with [`DEFAULT_LIST_LIMIT`] rows at most.
    pub fn new(pattern: ScopePattern) -> Self {
        Self {
            pattern,
            filter: Filter::default(),
            limit: DEFAULT_LIST_LIMIT,
            cursor: None,
            counts_total: false,
        }
    }

    /// The same with a filter.
    #[must_use]
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// The same with at most `rows` rows a page; 0 is taken as 1, more than [`MAX_LIST_LIMIT`] as that.
    #[must_use]
    pub fn with_limit(mut self, rows: u32) -> Self {
        self.limit = rows.clamp(1, MAX_LIST_LIMIT);
        self
    }

    /// The same, going on from where a page ended. The cursor belongs to this pattern and filter; the limit may change.
    #[must_use]
    pub fn with_cursor(mut self, cursor: Option<Cursor>) -> Self {
        self.cursor = cursor;
        self
    }

    /// The same, asking how many rows match in all. Costs a count over the matches, so a page does not ask by itself.
    #[must_use]
    pub fn with_total(mut self) -> Self {
        self.counts_total = true;
        self
    }

    /// The scopes asked for.
    pub fn pattern(&self) -> &ScopePattern {
        &self.pattern
    }

    /// What rows must be like.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Most rows of the page: 1 to [`MAX_LIST_LIMIT`].
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Whether [`Page::total`] is asked for.
    pub fn counts_total(&self) -> bool {
        self.counts_total
    }

    /// Where to go on from, as the caller holds it.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// For drivers: the decoded position after which the page starts.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a cursor of another query, or one that no
    /// [`Gate`](crate::Gate) has opened.
    pub fn position(&self) -> Result<Option<&Position>, StoreError> {
        self.cursor.as_ref().map(|cursor| cursor.position(&self.fingerprint())).transpose()
    }

    /// Refuses a filter with more than [`MAX_FILTER_VALUES`] values in a field, or one longer than
    /// [`MAX_FILTER_VALUE_BYTES`]: every row is held against every value.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    pub fn check(&self) -> Result<(), StoreError> {
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

    /// Whether `record` is in a covered scope and passes the filter.
    pub fn matches(&self, record: &Record) -> bool {
        self.pattern.matches(&record.scope) && self.filter.matches(record)
    }

    /// What a cursor is bound to: the pattern and the filter, not the limit.
    pub(crate) fn fingerprint(&self) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(b"artifact-store query v1\0");
        // Plain data with string keys: serialising it into memory cannot fail.
        hasher.update(&serde_json::to_vec(&(&self.pattern, &self.filter)).unwrap_or_default());
        hasher.finish()
    }
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The rows: newest first, ties by id.
    pub rows: Vec<Record>,
    /// How many rows match in all, this page's and others'; only where the query asked.
    pub total: Option<u64>,
    /// Where the next page starts; `None` where there is none.
    pub next: Option<Cursor>,
}

impl Page {
    /// For drivers: the answer to `query`, `more` where rows stand behind the last of these.
    pub fn new(query: &ListQuery, rows: Vec<Record>, total: Option<u64>, more: bool) -> Self {
        let next =
            rows.last().filter(|_| more).map(|last| Cursor::open_at(Position::of(last), query.fingerprint()));
        Self { rows, total, next }
    }
}
