//! The records of a tenant that may match a filter, found by an index of the filter's fields.
//!
//! The result is a superset of the matching records in all scopes of the tenant. The statement that reads it checks every
//! condition. This module must never write, and never look at the entries of another tenant: the time that it takes would
//! tell what they are.

use artifact_store_core::{Filter, ScopePart, Source};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::DbError;
use crate::row;

/// The largest number of candidates. If there are more, the filter matches so many records that a walk finds them soon.
const MAX_CANDIDATES: usize = 4096;
/// The largest number of media types, counted for each source, that are compared with a filter.
const MAX_MEDIA_TYPES: usize = 256;

const BY_TAG: &str = "SELECT blob FROM tag INDEXED BY tag_by_tenant WHERE tenant = ? AND tag IN (SELECT unhex(value) FROM json_each(?)) LIMIT ?";
const BY_SOURCE: &str =
    "SELECT blob FROM artifact INDEXED BY artifact_by_filter WHERE tenant = ? AND source = ? LIMIT ?";
const BY_SIZE: &str = "SELECT blob FROM artifact INDEXED BY artifact_by_filter
     WHERE tenant = ? AND source = ? AND media_type IS ? AND size BETWEEN ? AND ? LIMIT ?";
const FIRST_MEDIA_TYPE: &str = "SELECT media_type FROM artifact INDEXED BY artifact_by_filter
     WHERE tenant = ? AND source = ? AND media_type IS NOT NULL ORDER BY media_type LIMIT 1";
const NEXT_MEDIA_TYPE: &str = "SELECT media_type FROM artifact INDEXED BY artifact_by_filter
     WHERE tenant = ? AND source = ? AND media_type > ? ORDER BY media_type LIMIT 1";

/// Whether an index can find the records that match `filter`.
pub(crate) fn has_indexed_condition(filter: &Filter) -> bool {
    !filter.tags.is_empty() || has_field_condition(filter)
}

/// Whether `filter` has a condition on a column of the index `artifact_by_filter`.
fn has_field_condition(filter: &Filter) -> bool {
    let Filter { media_types, sources, min_bytes, max_bytes, .. } = filter;
    !media_types.is_empty() || !sources.is_empty() || min_bytes.is_some() || max_bytes.is_some()
}

/// Returns the blobs of the records of `tenant` that may match `filter`, each once. Returns `None` if there are too many.
pub(crate) fn find(
    conn: &Connection,
    tenant: &ScopePart,
    filter: &Filter,
) -> Result<Option<Vec<i64>>, DbError> {
    let mut candidates = Candidates { conn, tenant: tenant.as_str(), blobs: Vec::new() };
    let is_complete = (!filter.tags.is_empty() && candidates.add_tagged(&filter.tags)?)
        || (has_field_condition(filter) && candidates.add_fields(filter)?);
    let mut blobs = candidates.blobs;
    blobs.sort_unstable();
    blobs.dedup();
    Ok(is_complete.then_some(blobs))
}

/// The candidates that were found so far.
struct Candidates<'a> {
    conn: &'a Connection,
    tenant: &'a str,
    blobs: Vec<i64>,
}

impl Candidates<'_> {
    /// Adds the results of a statement whose last parameter is [`limit`](Self::limit). Returns `false` if there are too
    /// many candidates now.
    fn extend(&mut self, blobs: impl Iterator<Item = Result<i64, rusqlite::Error>>) -> Result<bool, DbError> {
        for blob in blobs {
            self.blobs.push(blob?);
        }
        Ok(self.blobs.len() <= MAX_CANDIDATES)
    }

    /// The number of further candidates that shows whether there are too many.
    fn limit(&self) -> i64 {
        i64::try_from(MAX_CANDIDATES + 1 - self.blobs.len().min(MAX_CANDIDATES)).unwrap_or(1)
    }

    /// Finds the records with one of these tags. Returns `false` if there are too many.
    fn add_tagged(&mut self, tags: &[String]) -> Result<bool, DbError> {
        self.blobs.clear();
        let mut statement = self.conn.prepare_cached(BY_TAG)?;
        let tags = row::hex_json_array(tags.iter().map(String::as_bytes));
        self.extend(statement.query_map((self.tenant, tags, self.limit()), |row| row.get(0))?)
    }

    /// Finds the records by source, media type and size. Returns `false` if there are too many.
    fn add_fields(&mut self, filter: &Filter) -> Result<bool, DbError> {
        self.blobs.clear();
        let sources = if filter.sources.is_empty() { Source::ALL } else { &filter.sources };
        let has_further_condition =
            !filter.media_types.is_empty() || filter.min_bytes.is_some() || filter.max_bytes.is_some();
        let mut media_types_left = MAX_MEDIA_TYPES;
        for source in sources {
            let is_complete = if has_further_condition {
                self.add_media_types(*source, filter, &mut media_types_left)?
            } else {
                let mut statement = self.conn.prepare_cached(BY_SOURCE)?;
                let parameters = (self.tenant, source.as_str(), self.limit());
                self.extend(statement.query_map(parameters, |row| row.get(0))?)?
            };
            if !is_complete {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Finds the records of one source by media type and size. There are few media types, so each of them is looked up.
    fn add_media_types(
        &mut self,
        source: Source,
        filter: &Filter,
        media_types_left: &mut usize,
    ) -> Result<bool, DbError> {
        // Records without a media type match no range of media types.
        if filter.media_types.is_empty() && !self.add_sizes(source, None, filter)? {
            return Ok(false);
        }
        let mut first = self.conn.prepare_cached(FIRST_MEDIA_TYPE)?;
        let mut next = self.conn.prepare_cached(NEXT_MEDIA_TYPE)?;
        let mut media_type: Option<Vec<u8>> =
            first.query_row([self.tenant, source.as_str()], |row| row.get(0)).optional()?;
        while let Some(current) = media_type {
            if *media_types_left == 0 {
                return Ok(false);
            }
            *media_types_left -= 1;
            // Media types are stored as the bytes of a text. Other bytes belong to a damaged row, which a look at the row
            // reports.
            let may_match = filter.media_types.is_empty()
                || std::str::from_utf8(&current)
                    .map_or(true, |text| filter.media_types.iter().any(|range| range.matches(text)));
            if may_match && !self.add_sizes(source, Some(&current), filter)? {
                return Ok(false);
            }
            let parameters = params![self.tenant, source.as_str(), current];
            media_type = next.query_row(parameters, |row| row.get(0)).optional()?;
        }
        Ok(true)
    }

    /// Finds the records of one source and media type by size.
    fn add_sizes(
        &mut self,
        source: Source,
        media_type: Option<&[u8]>,
        filter: &Filter,
    ) -> Result<bool, DbError> {
        // Sizes in the table are less than `i64::MAX`, so a larger limit selects the same rows as `i64::MAX`.
        let clamp_to_i64 = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut statement = self.conn.prepare_cached(BY_SIZE)?;
        let blobs = statement.query_map(
            params![
                self.tenant,
                source.as_str(),
                media_type,
                clamp_to_i64(filter.min_bytes.unwrap_or(0)),
                clamp_to_i64(filter.max_bytes.unwrap_or(u64::MAX)),
                self.limit(),
            ],
            |row| row.get(0),
        )?;
        self.extend(blobs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SqliteConfig;
    use crate::connect::ConnectOptions;
    use crate::schema;

    #[test]
    fn no_search_looks_at_the_entries_of_another_tenant() {
        let mut conn = ConnectOptions::writer(&SqliteConfig::memory(), None).connect().unwrap();
        schema::migrate(&mut conn).unwrap();
        for blob in 0..=i64::try_from(MAX_CANDIDATES).unwrap() {
            conn.execute(
                "INSERT INTO artifact (blob, scope_mark, tenant, user, session, id, digest, size, created_at, media_type,
                     source, record, record_digest)
                 VALUES (?1, x'', 'other', 'u', 's', 'id' || ?1, x'', 7, 0, CAST('a/b' AS BLOB), 'tool', '', x'')",
                [blob],
            )
            .unwrap();
            conn.execute("INSERT INTO tag (blob, tag, tenant) VALUES (?, x'61', 'other')", [blob]).unwrap();
        }
        for filter in [
            Filter::new().with_tag("a"),
            Filter::new().with_source(Source::Tool),
            Filter::new().with_media_type("a/*".parse().unwrap()),
            Filter::new().with_min_bytes(7),
        ] {
            // Too many entries of the tenant itself make a search give up.
            assert_eq!(find(&conn, &ScopePart::new("other").unwrap(), &filter).unwrap(), None, "{filter:?}");
            let found = find(&conn, &ScopePart::new("acme").unwrap(), &filter).unwrap();
            assert_eq!(found, Some(Vec::new()), "{filter:?}");
        }
    }

    #[test]
    fn every_search_uses_all_its_conditions_in_an_index() {
        let mut conn = ConnectOptions::writer(&SqliteConfig::memory(), None).connect().unwrap();
        schema::migrate(&mut conn).unwrap();
        for (sql, conditions) in [
            (BY_TAG, "(tenant=? AND tag=?)"),
            (BY_SOURCE, "(tenant=? AND source=?)"),
            (BY_SIZE, "(tenant=? AND source=? AND media_type=? AND size>? AND size<?)"),
            (FIRST_MEDIA_TYPE, "(tenant=? AND source=? AND media_type>?)"),
            (NEXT_MEDIA_TYPE, "(tenant=? AND source=? AND media_type>?)"),
        ] {
            let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let parameters = vec![rusqlite::types::Null; explain.parameter_count()];
            let steps = explain
                .query_map(rusqlite::params_from_iter(parameters), |row| row.get::<_, String>("detail"))
                .unwrap();
            let plan = steps.map(Result::unwrap).collect::<Vec<_>>().join("\n");
            assert!(plan.contains(conditions) && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
        }
    }
}
