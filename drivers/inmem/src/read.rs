//! Gets: a stream of the bytes of an artifact, or of a range.
//!
//! This module must never copy the bytes.

use std::ops::Range;
use std::sync::Arc;

use artifact_store_core::{ArtifactId, ByteRange, ByteStream, GetResult, Scope, StoreError};
use bytes::Bytes;
use futures_util::stream;

use crate::layout::{ArtifactEntry, ArtifactIndex};

pub(crate) fn get(
    index: &ArtifactIndex,
    scope: &Scope,
    id: &ArtifactId,
    range: Option<ByteRange>,
) -> Result<Option<GetResult>, StoreError> {
    let Some(entry) = index.get(scope, id)? else { return Ok(None) };
    let size = entry.record.size;
    let range = range.map_or(0..size, |range| range.resolve(size));
    let stream = stream_range(&entry, range.clone());
    Ok(Some(GetResult { record: entry.record.clone(), range, stream }))
}

/// A stream of the bytes in `range`. It shares the segments' memory.
fn stream_range(entry: &Arc<ArtifactEntry>, range: Range<u64>) -> ByteStream {
    let [segment] = entry.segments.as_slice() else {
        let entry = Arc::clone(entry);
        let mut offset = 0;
        let chunks = (0..entry.segments.len()).filter_map(move |n| {
            let segment = &entry.segments[n];
            let start = offset;
            offset += segment.len() as u64;
            slice_segment(segment, start, &range)
        });
        return ByteStream::new(stream::iter(chunks.map(Ok)));
    };
    slice_segment(segment, 0, &range)
        .map_or_else(|| ByteStream::from_bytes(Bytes::new()), ByteStream::from_bytes)
}

/// The part of `segment` that is in `range`; `None` if there is none. The segment starts at byte `start` of its
/// artifact.
#[allow(clippy::cast_possible_truncation)] // Both differences are at most the segment's length.
fn slice_segment(segment: &Bytes, start: u64, range: &Range<u64>) -> Option<Bytes> {
    let end = start + segment.len() as u64;
    let (from, to) = (range.start.max(start), range.end.min(end));
    (from < to).then(|| segment.slice((from - start) as usize..(to - start) as usize))
}
