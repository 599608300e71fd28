//! The verbs: [`InmemStore`].

use std::ops::Range;
use std::sync::Arc;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, ByteStream, Capabilities, Digest, Get, Health, ListQuery,
    OpenBody, Page, Put, PutOptions, PutOutcome, Record, Scope, StoreError, async_trait,
};
use bytes::Bytes;
use futures_util::stream;
use tokio::task::spawn_blocking;

use crate::config::{InmemConfig, NAME};
use crate::index::{Entry, Index};

/// Length of a streamed artifact's segments, in bytes: few enough of them, and no large block to find room for.
const SEGMENT: usize = 1024 * 1024;
/// Bodies up to this size are hashed where they are (about 70 µs); a hop to the blocking pool costs about as much.
const HASH_INLINE: usize = 128 * 1024;
/// Listings that may pass over more rows than this leave the executor.
const SCAN_INLINE: usize = 4096;

/// A store in memory. Dropping it drops its artifacts.
#[derive(Debug)]
pub struct InmemStore {
    config: InmemConfig,
    index: Arc<Index>,
}

impl InmemStore {
    /// An empty store.
    pub fn new(config: InmemConfig) -> Self {
        Self { config, index: Arc::new(Index::new()) }
    }

    /// Where the store's parts disagree, one line each: for the conformance suite.
    #[doc(hidden)]
    pub fn audit(&self) -> Vec<String> {
        self.index.audit()
    }
}

/// Runs `work` on the blocking pool.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    spawn_blocking(work)
        .await
        .map_err(|error| StoreError::backend("work on the blocking pool was lost").with_source(error))?
}

/// The body's bytes in segments, and their digest.
async fn gather(body: OpenBody) -> Result<(Vec<Bytes>, Digest, u64), StoreError> {
    match body {
        OpenBody::AtHand(at_hand) => {
            let (bytes, digest) = if at_hand.len() <= HASH_INLINE {
                at_hand.seal()?
            } else {
                blocking(|| at_hand.seal()).await?
            };
            let size = bytes.len() as u64;
            Ok((if bytes.is_empty() { Vec::new() } else { vec![bytes] }, digest, size))
        }
        OpenBody::Stream(mut stream) => {
            let mut segments = Vec::new();
            while let Some(segment) = stream.next_chunk(SEGMENT).await? {
                // A short segment is copied, so that it does not keep a whole buffer alive.
                segments.push(if segment.len() < SEGMENT {
                    Bytes::copy_from_slice(&segment)
                } else {
                    segment
                });
            }
            let sealed = stream.finish()?;
            Ok((segments, sealed.digest, sealed.size))
        }
    }
}

/// The parts of `segments` that hold the bytes of `range`, without a copy.
fn cut(entry: &Arc<Entry>, range: Range<u64>) -> ByteStream {
    let [only] = entry.segments.as_slice() else {
        let entry = Arc::clone(entry);
        let mut offset = 0;
        let pieces = (0..entry.segments.len()).filter_map(move |n| {
            let segment = &entry.segments[n];
            let start = offset;
            offset += segment.len() as u64;
            slice(segment, start, &range)
        });
        return ByteStream::new(stream::iter(pieces.map(Ok)));
    };
    slice(only, 0, &range).map_or_else(|| ByteStream::from_bytes(Bytes::new()), ByteStream::from_bytes)
}

/// What of `segment`, which starts at byte `start` of its artifact, lies in `range`.
#[allow(clippy::cast_possible_truncation)] // Both differences are at most the segment's length.
fn slice(segment: &Bytes, start: u64, range: &Range<u64>) -> Option<Bytes> {
    let end = start + segment.len() as u64;
    let (from, to) = (range.start.max(start), range.end.min(end));
    (from < to).then(|| segment.slice((from - start) as usize..(to - start) as usize))
}

#[async_trait]
impl ArtifactStore for InmemStore {
    fn driver(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.config.capabilities()
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<Put, StoreError> {
        self.index.open()?;
        let (segments, digest, size) = gather(body.open(self.config.max_artifact_bytes)?).await?;
        let id = ArtifactId::new(&options.namespace, &digest);
        let clock = &self.config.clock;
        let (entry, created) = self.index.insert(scope, id, || Entry {
            record: Record::new(scope.clone(), options, digest, size, clock.now()),
            segments,
        })?;
        if entry.record.digest != digest {
            return Err(StoreError::conflict("an artifact with the same id has another digest"));
        }
        let outcome = if created { PutOutcome::Created } else { PutOutcome::StoodAlready };
        Ok(Put { record: entry.record.clone(), outcome })
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<Get>, StoreError> {
        let Some(entry) = self.index.get(scope, id)? else { return Ok(None) };
        let size = entry.record.size;
        let range = range.map_or(0..size, |range| range.resolve(size));
        let stream = cut(&entry, range.clone());
        Ok(Some(Get { record: entry.record.clone(), range, stream }))
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        Ok(self.index.get(scope, id)?.map(|entry| entry.record.clone()))
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        self.index.remove(scope, id)
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let after = query.position()?;
        let rows = if self.index.span(query.pattern()) <= SCAN_INLINE {
            self.index.list(query, after)?
        } else {
            let (index, query, after) = (Arc::clone(&self.index), query.clone(), after.cloned());
            blocking(move || index.list(&query, after.as_ref())).await?
        };
        Ok(Page::new(query, rows.records, rows.total, rows.more))
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.index.open()?;
        Ok(Health::ready())
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.index.close();
        Ok(())
    }
}
