//! Lists by the index. Index keys are ordered by time, so only the records of the page are read.
//!
//! The index keys of one session have the order of a listing, with one exception: a listing orders rows of the same
//! time by id, and the index does not. So a page starts with all keys of the time at which the previous page ended. The
//! index keys of a wider scope are ordered only within each session: a listing looks at all of them, 1000 per request,
//! and keeps the newest. An index key is skipped if its artifact is missing or was created by another put. Such a key
//! is left by a put or a delete that did not finish.
//!
//! This module must never return a record that it has not read.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use artifact_store_core::{Filter, ListQuery, Page, Position, Record, StoreError, TaskPattern, Timestamp};
use futures_util::stream::{self, StreamExt};

use crate::key_page::PAGE_KEYS;
use crate::layout::{IndexEntry, IndexKeyFilter};
use crate::list::scan::{scan_limit_exceeded, size_matches};
use crate::lookup::KeyStatus;
use crate::state::StoreState;

/// The number of keys that a listing may look at, for each record that it may read. A key costs much less than a
/// record: a request for keys returns up to 1000 keys, and a request for a record returns one record.
const KEYS_PER_RECORD: u64 = 100;
/// The number of keys that one pass over the keys of a wide scope keeps in memory.
const MAX_KEPT_KEYS: usize = 2000;

/// Whether the matches of `query` can only be counted by reading every record.
pub(crate) fn needs_records_to_count(query: &ListQuery) -> bool {
    let Filter { media_types, sources, min_bytes, max_bytes, created_after, created_before, tags } =
        query.filter();
    let by_size = min_bytes.is_some() || max_bytes.is_some();
    let by_time = created_after.is_some() || created_before.is_some();
    let by_task = query.pattern().task != TaskPattern::Any;
    // A listing of artifacts' keys contains sizes. Index keys contain times and tasks. If the query filters by size and
    // also by time or task, neither kind of keys shows the matches.
    !media_types.is_empty() || !sources.is_empty() || !tags.is_empty() || (by_size && (by_time || by_task))
}

/// The page of rows that `query` selects.
///
/// # Errors
/// `InvalidArgument` for an invalid cursor, or if the query exceeds the store's limit on listings; `Corrupt` for an
/// unreadable artifact; `Unavailable`, `Backend`.
pub(crate) async fn list(state: &StoreState, query: &ListQuery) -> Result<Page, StoreError> {
    let key_filter = state.layout.index_key_filter(query.pattern());
    let total = if query.counts_total() { Some(count(state, query, &key_filter).await?) } else { None };
    let after = query.position()?;
    let limit = query.limit() as usize;
    let mut scan = IndexScan::new(state, query, &key_filter, after);
    let mut rows: Vec<(Position, Record)> = Vec::new();
    let mut records_read = 0_u64;
    let concurrency = usize::try_from(state.config.list_concurrency).unwrap_or(1);
    loop {
        state.ensure_open()?;
        // One row more than fits on the page is read. This row shows whether another page follows.
        let needed = (limit + 1).saturating_sub(rows.len());
        // If the query filters by something that keys do not contain, some records may not match. So at least
        // `list_concurrency` records are read at once.
        let count = if needed > 0 && scan.has_record_filter() { needed.max(concurrency) } else { needed };
        // Rows of the same time are ordered by id, but index keys do not contain the id. So once there are enough rows,
        // all other entries with the time of the last row are read, too.
        let entries = match rows.last() {
            Some((last, _)) if needed == 0 => scan.next_with_time(last.created_at).await?,
            _ => scan.next(count).await?,
        };
        if entries.is_empty() {
            break;
        }
        records_read = records_read.saturating_add(entries.len() as u64);
        if records_read > state.config.max_scan {
            return Err(scan_limit_exceeded(state));
        }
        let mut found = read_rows(state, entries).await?;
        found
            .retain(|(position, record)| query.matches(record) && after.is_none_or(|after| position > after));
        sort_rows(&mut found);
        rows.append(&mut found);
    }
    sort_rows(&mut rows);
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let records = rows.into_iter().map(|(_, record)| record).collect();
    Ok(Page::new(query, records, total, has_more))
}

/// Sorts rows by their position in the listing.
fn sort_rows(rows: &mut [(Position, Record)]) {
    rows.sort_by(|(a, _), (b, _)| a.cmp(b));
}

/// The records of these entries, with their positions. An entry is skipped if its artifact is missing or was created by
/// another put.
async fn read_rows(
    state: &StoreState,
    entries: Vec<IndexEntry>,
) -> Result<Vec<(Position, Record)>, StoreError> {
    let concurrency = usize::try_from(state.config.list_concurrency).unwrap_or(1);
    let mut statuses = stream::iter(entries)
        .map(|entry| async move { (state.status_of_key(&entry.artifact_key).await, entry) })
        .buffer_unordered(concurrency);
    let mut rows = Vec::new();
    while let Some((status, entry)) = statuses.next().await {
        if let KeyStatus::Artifact(existing) = status?
            && entry.is_from_put(existing.mark.as_deref())
        {
            rows.push((Position::of(&existing.record), existing.record));
        }
    }
    Ok(rows)
}

/// The number of artifacts that match `query`. If the query selects only by scope and size, this function counts the
/// keys of artifacts. Otherwise it counts index keys. Their number includes index keys of puts and deletes that did not
/// finish, until a sweep deletes these keys.
async fn count(
    state: &StoreState,
    query: &ListQuery,
    key_filter: &IndexKeyFilter,
) -> Result<u64, StoreError> {
    let filter = query.filter();
    let by_time = filter.created_after.is_some() || filter.created_before.is_some();
    let by_index = by_time || key_filter.filters_task();
    let prefix = if by_index { &key_filter.prefix } else { &key_filter.artifacts.prefix };
    let (mut total, mut scanned, mut token) = (0, 0_u64, None);
    loop {
        state.ensure_open()?;
        let page = state.list_keys(prefix, token).await?;
        scanned = scanned.saturating_add(page.objects.len() as u64);
        if scanned > state.config.max_scan.saturating_mul(KEYS_PER_RECORD) {
            return Err(scan_limit_exceeded(state));
        }
        for object in &page.objects {
            let Some(key) = object.key() else { continue };
            let matches = if by_index {
                state.layout.index_entry(key).is_some_and(|entry| {
                    key_filter.matches(&state.layout, &entry) && time_matches(&entry, filter)
                })
            } else {
                state
                    .layout
                    .artifact_components(key)
                    .is_some_and(|components| key_filter.artifacts.matches(&components))
                    && size_matches(object.size, filter)
            };
            total += u64::from(matches);
        }
        token = page.next;
        if token.is_none() {
            return Ok(total);
        }
    }
}

/// Whether the entry's time is within the filter's limits on times.
fn time_matches(entry: &IndexEntry, filter: &Filter) -> bool {
    filter.created_after.is_none_or(|after| entry.created_at >= after)
        && filter.created_before.is_none_or(|before| entry.created_at <= before)
}

/// The index entries that a query covers, newest first.
struct IndexScan<'a> {
    state: &'a StoreState,
    query: &'a ListQuery,
    key_filter: &'a IndexKeyFilter,
    /// Entries that were listed and not returned yet.
    ready: VecDeque<IndexEntry>,
    /// The newest time that the query or its cursor allows; `None` if there is no such limit.
    newest: Option<Timestamp>,
    progress: ScanProgress,
    /// The number of keys that were looked at.
    scanned: u64,
}

/// How far a scan is.
enum ScanProgress {
    /// The scope is one session, so the keys are in order.
    Ordered {
        /// The token of the next page of keys; `None` for the first page.
        token: Option<String>,
        /// Whether the first page was listed.
        is_started: bool,
    },
    /// The scope is wider than one session.
    Wide {
        /// The time and the key of the last entry that the previous pass kept; `None` before the first pass.
        after: Option<(Timestamp, String)>,
    },
    /// All keys that can match were listed.
    End,
}

/// The time and the text of an index key. Sort keys are ordered by time, newest first, and then by text.
type SortKey = (Reverse<Timestamp>, String);

impl<'a> IndexScan<'a> {
    fn new(
        state: &'a StoreState,
        query: &'a ListQuery,
        key_filter: &'a IndexKeyFilter,
        after: Option<&Position>,
    ) -> Self {
        // Rows come newest first. So the rows after the cursor are not newer than the cursor. The filter may also limit
        // the newest time.
        let newest_times = [after.map(|after| after.created_at), query.filter().created_before];
        let progress = if key_filter.is_ordered(&state.layout) {
            ScanProgress::Ordered { token: None, is_started: false }
        } else {
            ScanProgress::Wide { after: None }
        };
        let newest = newest_times.into_iter().flatten().min();
        Self { state, query, key_filter, ready: VecDeque::new(), newest, progress, scanned: 0 }
    }

    /// The next entries, newest first: `count` entries, and all further entries with the time of the last one. If fewer
    /// than `count` entries are left, returns all of them; at the end, returns an empty list.
    ///
    /// The index does not order entries of the same time by id. So the caller must sort them, and needs all of them.
    async fn next(&mut self, count: usize) -> Result<Vec<IndexEntry>, StoreError> {
        let mut entries = Vec::new();
        while entries.len() < count {
            if self.ready.is_empty() && !self.fill(count).await? {
                break;
            }
            let taken = self.ready.len().min(count - entries.len());
            entries.extend(self.ready.drain(..taken));
        }
        if let Some(time) = entries.last().map(|last| last.created_at) {
            entries.append(&mut self.next_with_time(time).await?);
        }
        Ok(entries)
    }

    /// The next entries that have this time. Stops at the first entry with another time.
    async fn next_with_time(&mut self, time: Timestamp) -> Result<Vec<IndexEntry>, StoreError> {
        let mut entries = Vec::new();
        loop {
            if self.ready.is_empty() && !self.fill(1).await? {
                return Ok(entries);
            }
            match self.ready.pop_front() {
                Some(entry) if entry.created_at == time => entries.push(entry),
                Some(entry) => {
                    self.ready.push_front(entry);
                    return Ok(entries);
                }
                None => {}
            }
        }
    }

    /// Lists keys until an entry is ready. Returns `false` if no entries are left. `count` is the number of entries
    /// that the caller needs: it limits how many keys of a session one request lists.
    async fn fill(&mut self, count: usize) -> Result<bool, StoreError> {
        while self.ready.is_empty() {
            self.state.ensure_open()?;
            // If more keys follow, `fill_ordered` or `fill_wide` sets the progress again.
            match std::mem::replace(&mut self.progress, ScanProgress::End) {
                ScanProgress::End => return Ok(false),
                ScanProgress::Ordered { token, is_started } => {
                    self.fill_ordered(token, is_started, count).await?;
                }
                ScanProgress::Wide { after } => self.fill_wide(after).await?,
            }
        }
        Ok(true)
    }

    /// Lists the next page of keys of one session, and puts its entries into `ready`. The parameters `token` and
    /// `is_started` are the fields of [`ScanProgress::Ordered`].
    async fn fill_ordered(
        &mut self,
        token: Option<String>,
        is_started: bool,
        count: usize,
    ) -> Result<(), StoreError> {
        // Only the first page needs a start: the token says where a later page starts.
        let start = match self.newest {
            Some(time) if !is_started => self.key_filter.start_after(&self.state.layout, time),
            _ => None,
        };
        let max_keys = if self.has_record_filter() || self.key_filter.filters_task() {
            // Not every key leads to a row, so a full page is listed.
            PAGE_KEYS
        } else {
            // One key more than needed is listed. If this key is older than the last needed key, no further key has the
            // time of the last needed key, and no further request is needed.
            i32::try_from(count.saturating_add(1)).unwrap_or(PAGE_KEYS).clamp(2, PAGE_KEYS)
        };
        let page = self.state.list_keys_from(&self.key_filter.prefix, token, start, max_keys).await?;
        self.count_scanned(page.objects.len())?;
        let entries: Vec<_> =
            page.objects.iter().filter_map(|object| self.matching_entry(object.key()?)).collect();
        for entry in entries {
            // This entry and all further ones are too old. `fill` has already set the progress to `End`.
            if self.query.filter().created_after.is_some_and(|after| entry.created_at < after) {
                return Ok(());
            }
            self.ready.push_back(entry);
        }
        if page.next.is_some() {
            self.progress = ScanProgress::Ordered { token: page.next, is_started: true };
        }
        Ok(())
    }

    /// Lists all keys of a scope that is wider than one session. Puts the first entries after `after` into `ready`,
    /// newest first, at most [`MAX_KEPT_KEYS`]. The parameter `after` is the field of [`ScanProgress::Wide`].
    async fn fill_wide(&mut self, after: Option<(Timestamp, String)>) -> Result<(), StoreError> {
        let after: Option<SortKey> = after.map(|(time, key)| (Reverse(time), key));
        let mut kept: BinaryHeap<SortKey> = BinaryHeap::new();
        let (mut token, mut is_truncated) = (None, false);
        loop {
            self.state.ensure_open()?;
            let page = self.state.list_keys(&self.key_filter.prefix, token).await?;
            self.count_scanned(page.objects.len())?;
            for object in page.objects {
                let Some(key) = object.key else { continue };
                let Some(entry) = self.matching_entry(&key) else { continue };
                let sort_key = (Reverse(entry.created_at), key);
                if !time_matches(&entry, self.query.filter())
                    || after.as_ref().is_some_and(|after| sort_key <= *after)
                {
                    continue;
                }
                kept.push(sort_key);
                // The top of the heap is the oldest entry.
                if kept.len() > MAX_KEPT_KEYS {
                    kept.pop();
                    is_truncated = true;
                }
            }
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        let kept = kept.into_sorted_vec();
        if is_truncated && let Some((Reverse(time), key)) = kept.last() {
            self.progress = ScanProgress::Wide { after: Some((*time, key.clone())) };
        }
        self.ready = kept.into_iter().filter_map(|(_, key)| self.state.layout.index_entry(&key)).collect();
        Ok(())
    }

    /// The entry of a key; `None` if the entry cannot match the query.
    ///
    /// Entries with the time of the cursor are included. Some of their rows may come after the cursor, and only the
    /// records show which ones.
    fn matching_entry(&self, key: &str) -> Option<IndexEntry> {
        let entry = self.state.layout.index_entry(key)?;
        let is_not_too_new = self.newest.is_none_or(|newest| entry.created_at <= newest);
        (is_not_too_new && self.key_filter.matches(&self.state.layout, &entry)).then_some(entry)
    }

    /// Counts keys that were looked at. Fails if they exceed the store's limit on listings.
    fn count_scanned(&mut self, keys: usize) -> Result<(), StoreError> {
        self.scanned = self.scanned.saturating_add(keys as u64);
        if self.scanned > self.state.config.max_scan.saturating_mul(KEYS_PER_RECORD) {
            return Err(scan_limit_exceeded(self.state));
        }
        Ok(())
    }

    /// Whether the query filters by something that keys do not contain.
    fn has_record_filter(&self) -> bool {
        let Filter { media_types, sources, min_bytes, max_bytes, tags, .. } = self.query.filter();
        !media_types.is_empty()
            || !sources.is_empty()
            || !tags.is_empty()
            || min_bytes.is_some()
            || max_bytes.is_some()
    }
}
