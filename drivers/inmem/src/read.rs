//! Gets: a stream of the bytes of an artifact, or of a range.
//!
//! This module must never copy the bytes.

use std::ops::Range;
use std::sync::Arc;

use artifact_store_core::{ArtifactId, ByteRange, ByteStream, GetResult, Scope, StoreError};
use bytes::Bytes;
use futures_util::stream;

use crate::layout::{ArtifactEntry, ArtifactIndex};

/// Reads an artifact, or a range of its bytes. Returns `None` if the artifact does not exist.
pub(crate) fn get(
    index: &ArtifactIndex,
    scope: &Scope,
    id: &ArtifactId,
    range: Option<ByteRange>,
) -> Result<Option<GetResult>, StoreError> {
    let Some(entry) = index.get(scope, id)? else { return Ok(None) };
    let size = entry.record.size;
    let offsets = range.map_or(0..size, |range| range.resolve(size));
    let stream = stream_range(&entry, offsets.clone());
    Ok(Some(GetResult { record: entry.record.clone(), range: offsets, stream }))
}

/// Streams the bytes in `range`, without a copy: the chunks of the stream are slices of the segments.
fn stream_range(entry: &Arc<ArtifactEntry>, range: Range<u64>) -> ByteStream {
    // An artifact of one segment needs no stream of several chunks.
    if let [segment] = entry.bytes.as_slice() {
        let segment_start = 0;
        return ByteStream::from_bytes(slice_segment(segment, segment_start, &range).unwrap_or_default());
    }
    let entry = Arc::clone(entry);
    let mut next_start = 0;
    let chunks = (0..entry.bytes.as_slice().len()).filter_map(move |index| {
        let segment = &entry.bytes.as_slice()[index];
        let segment_start = next_start;
        next_start += segment.len() as u64;
        slice_segment(segment, segment_start, &range)
    });
    ByteStream::new(stream::iter(chunks.map(Ok)))
}

/// Returns the part of `segment` that lies in `range`, or `None` if no byte of the segment lies in `range`. The offsets
/// `segment_start` and `range` are counted from the start of the artifact.
#[allow(clippy::cast_possible_truncation)] // Both differences are at most the segment's length.
fn slice_segment(segment: &Bytes, segment_start: u64, range: &Range<u64>) -> Option<Bytes> {
    let segment_end = segment_start + segment.len() as u64;
    let start = range.start.max(segment_start);
    let end = range.end.min(segment_end);
    if start >= end {
        return None;
    }
    Some(segment.slice((start - segment_start) as usize..(end - segment_start) as usize))
}
