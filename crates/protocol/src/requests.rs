//! The requests of all methods except `artifacts.put`, which has its own module. A request with an unknown member is
//! refused, and the error names the member.
//!
//! All numbers are unsigned, because they are counts, sizes, offsets and durations.

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

/// The request of `artifacts.get`, which reads a range of an artifact's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GetRequest {
    /// The scope of the artifact; empty: the caller's own session.
    #[serde(default, deserialize_with = "null_as_default_object")]
    #[schema(value_type = Option<RequestScope>)]
    pub scope: RequestScope,
    /// The artifact's id.
    #[schema(min_length = 1)]
    pub id: String,
    /// The first byte to return, counted from 0; absent: 0.
    #[serde(default)]
    pub offset: Option<u64>,
    /// The maximum number of bytes to return; absent or 0: the default of the runtime.
    #[serde(default)]
    pub max_bytes: Option<u64>,
}

/// The default expiry of a presigned URL, in nanoseconds: 15 minutes.
pub const DEFAULT_EXPIRY_NANOS: u64 = 15 * 60 * 1_000_000_000;

/// The request of `artifacts.get_ref`, which returns a presigned URL.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GetRefRequest {
    /// The scope of the artifact; empty: the caller's own session.
    #[serde(default, deserialize_with = "null_as_default_object")]
    #[schema(value_type = Option<RequestScope>)]
    pub scope: RequestScope,
    /// The artifact's id.
    #[schema(min_length = 1)]
    pub id: String,
    /// How long the URL is valid, in nanoseconds; absent or 0: 15 minutes.
    #[serde(default)]
    #[schema(schema_with = schema::expiry_schema)]
    pub expiry: Option<u64>,
}

impl GetRefRequest {
    /// The requested expiry in nanoseconds; `None` for the default.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`](crate::Code::InvalidRequest) if the expiry is not between [`MIN_EXPIRY_NANOS`] and
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

/// A range of sizes. Both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SizeRange {
    /// The smallest size in bytes.
    #[serde(default)]
    pub min_bytes: Option<u64>,
    /// The largest size in bytes.
    #[serde(default)]
    pub max_bytes: Option<u64>,
}

/// A range of times. Both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatedRange {
    /// Created at this time or later; 0001-01-01T00:00:00Z counts as absent.
    #[serde(default, deserialize_with = "deserialize_lower_bound")]
    #[schema(value_type = Option<schema::Moment>)]
    pub after: Option<Timestamp>,
    /// Created at this time or earlier; 0001-01-01T00:00:00Z counts as absent.
    #[serde(default, deserialize_with = "deserialize_upper_bound")]
    #[schema(value_type = Option<schema::Moment>)]
    pub before: Option<Timestamp>,
}

/// The request of `artifacts.list`, which returns a page of artifacts, newest first. A row must match every filter that
/// is not empty. A row matches a list of values if it matches one of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ListRequest {
    /// The scopes to list. An empty user or session means all that the caller may see.
    #[serde(default, deserialize_with = "null_as_default_object")]
    #[schema(value_type = Option<RequestScope>)]
    pub scope: RequestScope,
    /// The media type matches one of these. Case is ignored. `text/plain` allows any parameters, and
    /// `text/plain; charset=utf-8` requires this parameter. `image/*` allows any subtype. An asterisk on both sides
    /// allows any media type. An artifact without a media type matches none of these.
    #[serde(default, deserialize_with = "deserialize_media_ranges")]
    #[schema(value_type = Option<Vec<String>>, max_items = 256)]
    pub mime_type: Vec<MediaRange>,
    /// The source is one of these.
    #[serde(default, deserialize_with = "deserialize_sources")]
    #[schema(value_type = Option<Vec<schema::SourceSchema>>)]
    pub source: Vec<Source>,
    /// The size of the artifact.
    #[serde(default, deserialize_with = "null_as_default_object")]
    #[schema(value_type = Option<SizeRange>)]
    pub size_range: SizeRange,
    /// When the artifact was created.
    #[serde(default, deserialize_with = "null_as_default_object")]
    #[schema(value_type = Option<CreatedRange>)]
    pub created_range: CreatedRange,
    /// The artifact has one of these tags.
    #[serde(default, deserialize_with = "null_as_default")]
    #[schema(value_type = Option<Vec<String>>, max_items = 256)]
    pub tags: Vec<String>,
    /// The maximum number of rows of the page; absent or 0: 100. A number above 1000 counts as 1000.
    #[serde(default)]
    pub limit: Option<u64>,
    /// The `next_cursor` of the previous page; absent or empty: the first page.
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

/// The request of `artifacts.delete`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteRequest {
    /// The scope of the artifact; empty: the caller's own session.
    #[serde(default, deserialize_with = "null_as_default_object")]
    #[schema(value_type = Option<RequestScope>)]
    pub scope: RequestScope,
    /// The artifact's id.
    #[schema(min_length = 1)]
    pub id: String,
}

/// The request of `runtime.info`, `runtime.health` and `runtime.drivers`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuntimeRequest {
    /// The identity of the caller, which some clients repeat here. Each part that is not empty must equal the verified
    /// identity.
    #[serde(default, deserialize_with = "null_as_default_object")]
    #[schema(value_type = Option<RequestIdentity>)]
    pub identity: RequestIdentity,
}

/// The identity in the body of a request.
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

/// A media range of a request. If the text is not a media range, the error names the legal values and does not repeat
/// the text.
struct RequestMediaRange(MediaRange);

impl<'de> Deserialize<'de> for RequestMediaRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(|_| {
            let legal = "a media type such as text/plain, or a range such as image/* or */*";
            D::Error::invalid_value(Unexpected::Other("another text"), &legal)
        })
    }
}

fn deserialize_media_ranges<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<MediaRange>, D::Error> {
    let ranges: Vec<RequestMediaRange> = null_as_default(deserializer)?;
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
    // The error of `parse` is replaced, because a refusal must not repeat the text of the request.
    parse(&text).map_err(|_| {
        D::Error::invalid_value(
            Unexpected::Other("another text"),
            &"a time as RFC 3339, such as 2026-01-02T03:04:05Z",
        )
    })
}
