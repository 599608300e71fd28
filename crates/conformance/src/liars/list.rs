//! The lies of `list`.

use artifact_store_core::{ListQuery, Page, Position, Record, StoreError, TaskPattern, TenantPattern};

use super::lie::Lie;
use super::lock;
use super::store::LyingStore;

impl LyingStore {
    /// Returns all rows of `query` in the order of the listing, with the lie of this store.
    async fn rows_with_lie(&self, query: &ListQuery) -> Result<Vec<Record>, StoreError> {
        let mut pattern = query.pattern().clone();
        let mut filter = query.filter().clone();
        match (self.lie, &mut pattern.tenant) {
            (Lie::ListIgnoresTask, _) => pattern.task = TaskPattern::Any,
            (Lie::TenantByPrefix, TenantPattern::One(tenant)) => {
                let prefix = tenant.as_str().to_owned();
                pattern.tenant = TenantPattern::AllTenants;
                let mut rows = self.rows(pattern, filter).await?;
                rows.retain(|row| row.scope.tenant().as_str().starts_with(&prefix));
                return Ok(rows);
            }
            (Lie::IgnoresTagFilter, _) => filter.tags.clear(),
            _ => {}
        }
        let mut rows = self.rows(pattern, filter.clone()).await?;
        match self.lie {
            Lie::ComparesMediaTypesExactly => rows.retain(|row| {
                let media_type = row.options.media_type.as_deref();
                filter.media_types.is_empty()
                    || filter.media_types.iter().any(|range| Some(range.as_str()) == media_type)
            }),
            Lie::SizeBoundsExclusive => rows.retain(|row| {
                filter.min_bytes.is_none_or(|min| row.size > min)
                    && filter.max_bytes.is_none_or(|max| row.size < max)
            }),
            Lie::OldestFirst => rows.reverse(),
            Lie::TiesBackwards => {
                rows.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| b.id.cmp(&a.id)));
            }
            // After a reopening, lists records whose bytes no longer exist.
            Lie::RemembersHalf if rows.is_empty() => rows.clone_from(&lock(&self.shared.records)),
            _ => {}
        }
        Ok(rows)
    }

    /// Returns one page of `query`, with the lie of this store.
    pub(super) async fn list_with_lie(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let rows = self.rows_with_lie(query).await?;
        let position = match query.position() {
            Err(_) if self.has_lie(Lie::TakesAnyCursor) => None,
            // A cursor without a text was created by a store and is not altered. So `position` refuses such a cursor
            // only if it belongs to another query.
            Err(_)
                if self.has_lie(Lie::CursorOfAnyQuery)
                    && query.cursor().is_some_and(|cursor| cursor.as_text().is_none()) =>
            {
                None
            }
            position => position?,
        };
        // The index of the first row after the cursor. The liars with a wrong order search for the row at the cursor.
        // The other liars count all rows up to the position of the cursor, because the row at the cursor may have been
        // deleted.
        let index_after = |position: &Position| match self.lie {
            Lie::OldestFirst | Lie::TiesBackwards => {
                let pointed_at = rows.iter().position(|row| Position::of(row) == *position);
                pointed_at.map_or(rows.len(), |index| index + 1)
            }
            _ => rows.iter().filter(|row| Position::of(row) <= *position).count(),
        };
        let mut start = position.map_or(0, index_after);
        match (self.lie, position) {
            (Lie::SkipsARowBetweenPages, Some(_)) => start = (start + 1).min(rows.len()),
            (Lie::RepeatsARowBetweenPages, Some(_)) => start -= 1,
            (Lie::CursorIsAnOffset, Some(position)) => {
                start = lock(&self.offsets).get(position).copied().unwrap_or(start).min(rows.len());
            }
            _ => {}
        }
        let limit = if self.has_lie(Lie::IgnoresLimit) { rows.len() } else { query.limit() as usize };
        let end = (start + limit).min(rows.len());
        let page = rows[start..end].to_vec();
        if let Some(last) = page.last() {
            lock(&self.offsets).insert(Position::of(last), end);
        }
        let total = if self.has_lie(Lie::TotalOfThePage) { page.len() } else { rows.len() } as u64;
        Ok(Page::new(query, page, query.counts_total().then_some(total), end < rows.len()))
    }
}
