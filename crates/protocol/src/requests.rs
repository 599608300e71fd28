//! The requests of all methods except `artifacts.put`, which has its own module. A request with an unknown
//! member is refused, and the error names the member.
//!
//! Numbers are counts, sizes and durations. None can be negative.

use artifact_store_core::{Filter, MediaRange, Source, StoreError, Timestamp};
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use crate::decode::{null_as_default, null_as_default_object};
use crate::envelope::Envelope;
use crate::limits::{MAX_EXPIRY_NANOS, MIN_EXPIRY_NANOS};
use crate::opts::SourceName;
use crate::schema;
use crate::scope::RequestScope;

/// `artifacts.get`: a window of an artifact's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GetRequest {
    /// Where from; empty: the caller's own session.
    #[serde(default, deserialize_with = "null_as_default_object")]
    #[schema(value_type = Option<RequestScope>)]
    pub scope: RequestScope,
    /// The artifact's id.
    #[schema(min_length = 1)]
    pub id: String,
    /// The first byte, counted from 0, which is the default.
    #[serde(default)]
    pub offset: Option<u64>,
    /// The largest number of bytes to return; absent or 0: the default of the runtime.
    #[serde(default)]
    pub max_bytes: Option<u64>,
}

/// The default expiry of a presigned URL, in nanoseconds: 15 minutes.
pub const DEFAULT_EXPIRY_NANOS: u64 = 15 * 60 * 1_000_000_000;

/// `artifacts.get_ref`: a presigned URL.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GetRefRequest {
    /// Where from; empty: the caller's own session.
    #[serde(default, deserialize_with = "null_as_default_object")]
    #[schema(value_type = Option<RequestScope>)]
    pub scope: RequestScope,
    /// The artifact's id.
    #[schema(min_length = 1)]
    pub id: String,
    /// How long the URL shall live, in nanoseconds; absent or 0: 15 minutes.
    #[serde(default)]
    #[schema(schema_with = schema::expiry_schema)]
    pub expiry: Option<u64>,
}

impl GetRefRequest {
    /// The requested expiry in nanoseconds; `None` for the default.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`](crate::Code::InvalidRequest) if it is not between [`MIN_EXPIRY_NANOS`] and
    /// [`MAX_EXPIRY_NANOS`].
    pub fn expiry_nanos(&self) -> Result<Option<u64>, Envelope> {
        match self.expiry.unwrap_or_default() {
            0 => Ok(None),
            nanos @ MIN_EXPIRY_NANOS..=MAX_EXPIRY_NANOS => Ok(Some(nanos)),
            _ => Err(Envelope::invalid(
                "the member `expiry` is not legal; it takes nanoseconds from 1 minute (60000000000) to 7 days \
                 (604800000000000), or 0 for 15 minutes",
            )),
        }
    }
}

/// Bounds of a size in bytes, inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SizeRange {
    /// At least so many bytes.
    #[serde(default)]
    pub min_bytes: Option<u64>,
    /// At most so many bytes.
    #[serde(default)]
    pub max_bytes: Option<u64>,
}

/// Bounds of a moment, inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatedRange {
    /// At this moment or later; 0001-01-01T00:00:00Z is no bound.
    #[serde(default, deserialize_with = "deserialize_lower_bound")]
    #[schema(value_type = Option<schema::Moment>)]
    pub after: Option<Timestamp>,
    /// At this moment or earlier; 0001-01-01T00:00:00Z is no bound.
    #[serde(default, deserialize_with = "deserialize_upper_bound")]
    #[schema(value_type = Option<schema::Moment>)]
    pub before: Option<Timestamp>,
}

/// `artifacts.list`: a page of artifacts, newest first. *Or* within a field, *and* between fields.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ListRequest {
    /// Which scopes; an empty user or session is any that the caller may see.
    #[serde(default, deserialize_with = "null_as_default_object")]
    #[schema(value_type = Option<RequestScope>)]
    pub scope: RequestScope,
    /// One of these media types: `text/plain` with any parameters, `text/plain; charset=utf-8` with this one, and ranges: `image/*`,
    /// or an asterisk on both sides for any type that was given. Compared without case.
    #[serde(default, deserialize_with = "deserialize_media_ranges")]
    #[schema(value_type = Option<Vec<String>>, max_items = 256)]
    pub mime_type: Vec<MediaRange>,
    /// One of these sources.
    #[serde(default, deserialize_with = "deserialize_sources")]
    #[schema(value_type = Option<Vec<schema::SourceSchema>>)]
    pub source: Vec<Source>,
    /// The size.
    #[serde(default, deserialize_with = "null_as_default_object")]
    #[schema(value_type = Option<SizeRange>)]
    pub size_range: SizeRange,
    /// When it was created.
    #[serde(default, deserialize_with = "null_as_default_object")]
    #[schema(value_type = Option<CreatedRange>)]
    pub created_range: CreatedRange,
    /// Tagged with one of these.
    #[serde(default, deserialize_with = "null_as_default")]
    #[schema(value_type = Option<Vec<String>>, max_items = 256)]
    pub tags: Vec<String>,
    /// Most rows; absent or 0: 100, and 1000 at most.
    #[serde(default)]
    pub limit: Option<u64>,
    /// Where the page starts: `next_cursor` of the page before; absent or empty: at the newest.
    pub cursor: Option<String>,
}

impl ListRequest {
    /// The filter that rows must match.
    pub fn filter(&self) -> Filter {
        Filter {
            media_types: self.mime_type.clone(),
            sources: self.source.clone(),
            min_bytes: self.size_range.min_bytes,
            max_bytes: self.size_range.max_bytes,
            created_after: self.created_range.after,
            created_before: self.created_range.before,
            tags: self.tags.clone(),
        }
    }
}

/// `artifacts.delete`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteRequest {
    /// Where from; empty: the caller's own session.
    #[serde(default, deserialize_with = "null_as_default_object")]
    #[schema(value_type = Option<RequestScope>)]
    pub scope: RequestScope,
    /// The artifact's id.
    #[schema(min_length = 1)]
    pub id: String,
}

/// `runtime.info`, `runtime.health` and `runtime.drivers`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuntimeRequest {
    /// Who asks, as some clients repeat it: it must agree with the verified identity, as far as it says anything.
    #[serde(default, deserialize_with = "null_as_default_object")]
    #[schema(value_type = Option<RequestIdentity>)]
    pub identity: RequestIdentity,
}

/// An identity in a body.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestIdentity {
    /// The tenant, or empty.
    #[serde(default, deserialize_with = "null_as_default")]
    #[schema(value_type = Option<String>)]
    pub tenant: String,
    /// The user, or empty.
    #[serde(default, deserialize_with = "null_as_default")]
    #[schema(value_type = Option<String>)]
    pub user: String,
    /// The session, or empty.
    #[serde(default, deserialize_with = "null_as_default")]
    #[schema(value_type = Option<String>)]
    pub session: String,
}

fn deserialize_sources<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Source>, D::Error> {
    let names: Vec<SourceName> = null_as_default(deserializer)?;
    Ok(names.into_iter().map(|name| name.0).collect())
}

/// A media range, written as a string.
struct MediaRangeText(MediaRange);

impl<'de> Deserialize<'de> for MediaRangeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(|_| {
            let legal = "a media type such as text/plain, or a range such as image/* or */*";
            D::Error::invalid_value(Unexpected::Other("another text"), &legal)
        })
    }
}

fn deserialize_media_ranges<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<MediaRange>, D::Error> {
    let ranges: Vec<MediaRangeText> = null_as_default(deserializer)?;
    Ok(ranges.into_iter().map(|range| range.0).collect())
}

fn deserialize_lower_bound<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    deserialize_bound(deserializer, Timestamp::lower_bound)
}

fn deserialize_upper_bound<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    deserialize_bound(deserializer, Timestamp::upper_bound)
}

fn deserialize_bound<'de, D: Deserializer<'de>>(
    deserializer: D,
    parse: fn(&str) -> Result<Option<Timestamp>, StoreError>,
) -> Result<Option<Timestamp>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    parse(&text).map_err(|_| {
        D::Error::invalid_value(
            Unexpected::Other("another text"),
            &"a time as RFC 3339, such as 2026-01-02T03:04:05Z",
        )
    })
}
