//! Reading an artifact: one GET, whose metadata are the record and whose body is the bytes.
//!
//! This module must never know how an artifact came to be.

use std::ops::Range;
use std::sync::Arc;

use artifact_store_core::{ArtifactId, ByteRange, ByteStream, Bytes, Get, Record, Scope, StoreError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;

use crate::client;
use crate::config::MAX_OBJECT_BYTES;
use crate::error::{self, Failed, Why};
use crate::inner::{Inner, Seen, Standing, lost_record};

/// How often a read is begun again that met an artifact in the middle of being replaced.
const LOOKS: usize = 4;

/// What a GET came to.
enum Got {
    Absent,
    /// The range lies past the end, or the store cannot serve ranges of this form.
    NotSoRanged,
    /// The answer, which of the object's bytes it holds, and how many there are.
    Object(Box<GetObjectOutput>, (Range<u64>, u64)),
}

/// Reads an artifact, whole or by range.
pub(crate) async fn get(
    inner: &Arc<Inner>,
    scope: &Scope,
    id: &ArtifactId,
    range: Option<ByteRange>,
) -> Result<Option<Get>, StoreError> {
    let key = inner.layout.artifact_key(scope, id);
    let mut range = range;
    for _ in 0..LOOKS {
        let header = match range.map(header) {
            // Nothing is asked for, which no header can say.
            Some(None) => return empty(inner, scope, id, range).await,
            Some(Some(header)) => Some(header),
            None => None,
        };
        let (object, (served, total)) = match ask(inner, &key, header, range).await? {
            Got::Absent => {
                inner.check_bucket().await?;
                return Ok(None);
            }
            Got::Object(object, served) => (object, served),
            Got::NotSoRanged => {
                let Some(record) = inner.head(scope, id).await? else { return Ok(None) };
                let resolved = range.map_or(0..record.size, |range| range.resolve(record.size));
                if resolved.is_empty() {
                    return Ok(Some(nothing(record, resolved)));
                }
                range = Some(resolved.into());
                continue;
            }
        };
        let seen = Seen { metadata: object.metadata(), size: Some(total) };
        let record = match inner.read_standing(&key, &seen).await? {
            None => continue,
            Some(Standing::Absent | Standing::Foreign) => return Ok(None),
            Some(Standing::Ours(stands)) => {
                stands.check(&key, scope, id)?;
                stands.record
            }
        };
        let resolved = range.map_or(0..record.size, |range| range.resolve(record.size));
        if served != resolved {
            return Err(unexpected(&key));
        }
        let stream = stream(Arc::clone(inner), object.body, resolved.end - resolved.start);
        return Ok(Some(Get { record, range: resolved, stream }));
    }
    Err(lost_record(&key))
}

fn unexpected(key: &str) -> StoreError {
    StoreError::backend(format!("{key}: the store served other bytes than were asked for"))
}

/// The answer where no byte is asked for.
async fn empty(
    inner: &Inner,
    scope: &Scope,
    id: &ArtifactId,
    range: Option<ByteRange>,
) -> Result<Option<Get>, StoreError> {
    let Some(record) = inner.head(scope, id).await? else {
        inner.check_bucket().await?;
        return Ok(None);
    };
    let resolved = range.map_or(0..record.size, |range| range.resolve(record.size));
    Ok(Some(nothing(record, resolved)))
}

fn nothing(record: Record, range: Range<u64>) -> Get {
    Get { record, range, stream: ByteStream::from_bytes(Bytes::new()) }
}

/// The header that asks for `range`; `None` where it is empty whatever the size. Numbers that no object reaches are left
/// out: not every store reads them.
fn header(range: ByteRange) -> Option<String> {
    match range {
        ByteRange::Bounded { start, end } if end <= start || start >= MAX_OBJECT_BYTES => None,
        ByteRange::Bounded { start, end } if end <= MAX_OBJECT_BYTES => {
            Some(format!("bytes={start}-{}", end - 1))
        }
        ByteRange::From(start) if start >= MAX_OBJECT_BYTES => None,
        ByteRange::Bounded { start, .. } | ByteRange::From(start) => Some(format!("bytes={start}-")),
        ByteRange::Suffix(0) => None,
        ByteRange::Suffix(length) if length >= MAX_OBJECT_BYTES => Some("bytes=0-".to_owned()),
        ByteRange::Suffix(length) => Some(format!("bytes=-{length}")),
    }
}

async fn ask(
    inner: &Inner,
    key: &str,
    header: Option<String>,
    range: Option<ByteRange>,
) -> Result<Got, StoreError> {
    let get = inner.client.get_object().bucket(&inner.bucket).key(key).set_range(header);
    let suffix = matches!(range, Some(ByteRange::Suffix(_)));
    // Some stores break on a suffix longer than the object; asked once, the other way is not far.
    let got = if suffix {
        get.customize().config_override(client::once(&inner.config)).send().await
    } else {
        get.send().await
    };
    match got {
        Ok(object) => match served(&object) {
            Some(served) => Ok(Got::Object(Box::new(object), served)),
            // No header can say which bytes of an empty object it holds.
            None if range.is_some() => Ok(Got::NotSoRanged),
            None => Err(unexpected(key)),
        },
        Err(error) => match inner.failed("reading an artifact", error) {
            Failed { why: Why::NoKey, .. } => Ok(Got::Absent),
            Failed { why: Why::Range, .. } => Ok(Got::NotSoRanged),
            Failed { why: Why::Unknown | Why::NotImplemented, .. } if suffix => Ok(Got::NotSoRanged),
            failed => Err(failed.into()),
        },
    }
}

/// Which bytes an answer holds, and how many the object has.
fn served(object: &GetObjectOutput) -> Option<(Range<u64>, u64)> {
    let length = u64::try_from(object.content_length()?).ok()?;
    let Some(content_range) = object.content_range() else { return Some((0..length, length)) };
    let (range, total) = content_range.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let range = first..last.checked_add(1)?;
    (range.end.checked_sub(range.start)? == length).then_some((range, total.parse().ok()?))
}

/// The bytes as they come, exactly `expected` of them. The connection is held until the end, and let go with it.
fn stream(inner: Arc<Inner>, body: aws_sdk_s3::primitives::ByteStream, expected: u64) -> ByteStream {
    let patience = inner.config.request_timeout;
    ByteStream::new(futures_util::stream::try_unfold((body, expected), move |(mut body, left)| {
        let inner = Arc::clone(&inner);
        async move {
            loop {
                let piece = tokio::time::timeout(patience, body.next())
                    .await
                    .map_err(|_| error::stalled_body(&inner.config))?;
                let Some(piece) = piece else {
                    return if left == 0 { Ok(None) } else { Err(cut_short(left)) };
                };
                let piece = piece.map_err(|error| error::broken_body(&inner.config, &error))?;
                if piece.is_empty() {
                    continue;
                }
                let Some(left) = left.checked_sub(piece.len() as u64) else {
                    return Err(StoreError::corrupt("the store sent more bytes than the artifact has"));
                };
                return Ok(Some((piece, (body, left))));
            }
        }
    }))
}

fn cut_short(left: u64) -> StoreError {
    StoreError::unavailable(format!("the store ended an artifact {left} bytes before its end"))
}
