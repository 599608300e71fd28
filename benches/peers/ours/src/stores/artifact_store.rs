//! artifact-store, as a program that embeds it calls it: opened by a configuration, behind the gate, with checked reads.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use artifact_store::{
    ArtifactId, ArtifactStore, Body, ByteRange, Config, Cursor, Digest, Filter, Flag, Hasher, ListQuery,
    MediaRange, Namespace, PresignIntent, PutOptions, Scope, ScopePattern, Source, Timestamp,
};
use artifact_store_bench_load::{Case, Error, Kind, PAGE_ROWS, RARE_EVERY, Rows, Store, Work};
use bytes::Bytes;
use futures_util::TryStreamExt;
use tokio::task::JoinSet;

/// Tasks that fill a listing.
const FILLING_TASKS: u64 = 16;
const MEDIA_TYPES: [&str; 4] = ["text/plain", "text/csv", "image/png", "application/json"];
/// The size of rows that the filter by size selects.
const LARGE_ROW_BYTES: u64 = 64;

pub(crate) struct Ours {
    store: Arc<dyn ArtifactStore>,
    scope: Scope,
    /// For each number of rows: what its pages need.
    listings: Mutex<HashMap<u64, Listing>>,
}

#[derive(Clone)]
struct Listing {
    scope: Scope,
    /// After the newest tenth.
    deep: Option<Cursor>,
    /// The creation time of the row in the middle.
    middle: Timestamp,
}

impl Ours {
    pub(crate) async fn open(config: &Config) -> Result<Self, Error> {
        let store = artifact_store::open(config).await?;
        Ok(Self { store, scope: Scope::new("acme", "ada", "bench")?, listings: Mutex::default() })
    }

    async fn put_rows(&self, scope: &Scope, rows: u64) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        for first in 0..FILLING_TASKS {
            let (store, scope) = (Arc::clone(&self.store), scope.clone());
            tasks.spawn(async move {
                for row in (first..rows).step_by(FILLING_TASKS as usize) {
                    store.put(&scope, Body::from(row_body(row)), row_options(row)).await?;
                }
                Ok::<_, Error>(())
            });
        }
        while let Some(result) = tasks.join_next().await {
            result??;
        }
        Ok(())
    }

    async fn deep_cursor(&self, scope: &Scope, rows: u64) -> Result<Option<Cursor>, Error> {
        let (mut cursor, mut left) = (None, rows / 10);
        while left > 0 {
            let limit = u32::try_from(left.min(1_000))?;
            let query = ListQuery::new(ScopePattern::exactly(scope)).with_limit(limit).with_cursor(cursor);
            let page = self.store.list(&query).await?;
            left = left.saturating_sub(page.rows.len() as u64);
            cursor = Some(page.next.ok_or("a listing ends before its tenth")?);
        }
        Ok(cursor)
    }
}

fn row_body(row: u64) -> Bytes {
    let width = if row.is_multiple_of(2) { LARGE_ROW_BYTES as usize } else { 32 };
    Bytes::from(format!("{row:width$}"))
}

fn row_options(row: u64) -> PutOptions {
    let tag = |every, at, name: &str| (row % every == at).then(|| name.to_owned());
    PutOptions {
        media_type: Some(MEDIA_TYPES[(row % 4) as usize].to_owned()),
        filename: Some(format!("row-{row}.txt")),
        // Not the same rows as those of a media type.
        source: Source::ALL[(row / 4 % 4) as usize],
        tags: tag(10, 5, "tenth").into_iter().chain(tag(RARE_EVERY, 500, "rare")).collect(),
        ..PutOptions::default()
    }
}

impl Store for Ours {
    type Key = ArtifactId;

    fn name(&self) -> &'static str {
        "artifact-store"
    }

    fn kind(&self) -> Kind {
        Kind::Ours
    }

    fn supports(&self, case: &Case) -> bool {
        case.work != Work::Presign || self.store.capabilities().has(Flag::PresignGet)
    }

    async fn put(&self, _name: String, body: Bytes) -> Result<ArtifactId, Error> {
        Ok(self.store.put(&self.scope, Body::from(body), PutOptions::default()).await?.record.id)
    }

    async fn get(&self, key: &ArtifactId, range: Option<Range<u64>>) -> Result<u64, Error> {
        let get = self.store.get(&self.scope, key, range.map(ByteRange::from)).await?.ok_or("not found")?;
        let (mut stream, mut bytes) = (get.stream, 0);
        while let Some(chunk) = stream.try_next().await? {
            bytes += chunk.len() as u64;
        }
        Ok(bytes)
    }

    async fn stat(&self, key: &ArtifactId) -> Result<u64, Error> {
        Ok(self.store.stat(&self.scope, key).await?.ok_or("not found")?.size)
    }

    async fn delete(&self, key: &ArtifactId) -> Result<(), Error> {
        if self.store.delete(&self.scope, key).await? { Ok(()) } else { Err("not found".into()) }
    }

    async fn presign(&self, key: &ArtifactId) -> Result<(), Error> {
        let intent = PresignIntent::Get { id: key.clone() };
        self.store.presign(&self.scope, &intent, Duration::from_mins(15)).await?.ok_or("not found")?;
        Ok(())
    }

    async fn fill(&self, rows: u64) -> Result<(), Error> {
        if self.listings.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&rows) {
            return Ok(());
        }
        let scope = Scope::new("acme", "ada", format!("rows-{rows}"))?;
        let all = ListQuery::new(ScopePattern::exactly(&scope)).with_limit(1).with_total();
        if self.store.list(&all).await?.total != Some(rows) {
            self.put_rows(&scope, rows).await?;
        }
        let mut hasher = Hasher::new();
        hasher.update(&row_body(rows / 2));
        let digest: Digest = hasher.finish();
        let middle = ArtifactId::new(&Namespace::default(), &digest);
        let middle = self.store.stat(&scope, &middle).await?.ok_or("a row is missing")?.created_at;
        let deep = self.deep_cursor(&scope, rows).await?;
        let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        listings.insert(rows, Listing { scope, deep, middle });
        Ok(())
    }

    async fn page(&self, rows: u64, page: Rows) -> Result<usize, Error> {
        let listing = self.listings.lock().unwrap_or_else(PoisonError::into_inner).get(&rows).cloned();
        let Listing { scope, deep, middle } = listing.ok_or("the listing was not filled")?;
        let query = ListQuery::new(ScopePattern::exactly(&scope)).with_limit(PAGE_ROWS as u32);
        let filter = Filter::new();
        let query = match page {
            Rows::First => query,
            Rows::Deep => query.with_cursor(deep),
            Rows::MediaType => query.with_filter(filter.with_media_type("image/*".parse::<MediaRange>()?)),
            Rows::Source => query.with_filter(filter.with_source(Source::Planner)),
            Rows::Size => query.with_filter(filter.with_min_bytes(LARGE_ROW_BYTES)),
            Rows::Time => query.with_filter(filter.with_created_before(middle)),
            Rows::Tag => query.with_filter(filter.with_tag("tenth")),
            Rows::RareTag => query.with_filter(filter.with_tag("rare")),
            Rows::Total => query.with_total(),
        };
        let page = self.store.list(&query).await?;
        if query.counts_total() && page.total != Some(rows) {
            return Err("the total is wrong".into());
        }
        Ok(page.rows.len())
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(self.store.close().await?)
    }
}
