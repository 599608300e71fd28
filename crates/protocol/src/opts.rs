//! The options of a put: [`PutOpts`], a control payload within [`PAYLOAD_LIMITS`].

use artifact_store_core::{MediaType, Metadata, Namespace, PutOptions, Source};
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::envelope::Envelope;
use crate::limits::{PAYLOAD_LIMITS, payload_invalid};
use crate::schema;

/// The options of a put: `{mime_type, filename, namespace, source, tags[], metadata{}}`. All are optional.
///
/// # Examples
/// ```
/// use artifact_store_protocol::PutOpts;
/// let opts = PutOpts { filename: Some("report.csv".into()), tags: Some(vec!["q3".into()]), ..PutOpts::default() };
/// assert_eq!(opts.into_options()?.filename.as_deref(), Some("report.csv"));
/// # Ok::<(), artifact_store_protocol::Envelope>(())
/// ```
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(description = "The options of a put: at most 16 KiB of compact JSON.")]
pub struct PutOpts {
    /// The media type: `type/subtype` with optional parameters. A range such as `image/*` is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4096)]
    pub mime_type: Option<String>,
    /// A file name to display and for downloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4096)]
    pub filename: Option<String>,
    /// The namespace, which separates artifacts of different purposes in a scope; absent or empty: `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,127})?$")]
    pub namespace: Option<String>,
    /// Where the bytes came from; absent: `user_upload`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "deserialize_source")]
    #[schema(value_type = Option<schema::SourceSchema>)]
    pub source: Option<Source>,
    /// Tags, by which listings can be filtered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 50)]
    pub tags: Option<Vec<String>>,
    /// Custom metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::any_object_or_null)]
    pub metadata: Option<RawMetadata>,
}

/// A JSON object that has not been checked against the limits. It stays text until [`PutOpts::into_options`] parses it.
/// So if the object is too deep for the parser or contains a number that is too large, the refusal says that the
/// metadata is wrong. If the object were parsed with the request, the refusal would say that the whole body is not
/// JSON.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct RawMetadata(Box<RawValue>);

impl<'de> Deserialize<'de> for RawMetadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if !raw.get().starts_with('{') {
            return Err(D::Error::invalid_type(Unexpected::Other("another value"), &"an object"));
        }
        if has_lone_surrogate(raw.get()) {
            let legal = "strings in which every escaped surrogate is half of a pair";
            return Err(D::Error::invalid_value(Unexpected::Other("a surrogate without its pair"), &legal));
        }
        Ok(Self(raw))
    }
}

/// Whether a string in `json` contains an escaped surrogate that is not half of a pair. `json` must be well-formed.
/// `serde_json` does not check surrogates in raw values.
fn has_lone_surrogate(json: &str) -> bool {
    // The UTF-16 code unit of an escape `uXXXX`; `None` for a short escape such as `n`.
    let code_unit = |escape: &str| u16::from_str_radix(escape.strip_prefix('u')?.get(..4)?, 16).ok();
    let mut rest = json;
    // `escape` starts after the backslash.
    while let Some((_, escape)) = rest.split_once('\\') {
        // The length after the backslash: 1 for `n`, 5 for `uXXXX`, 11 for the pair `uXXXX\uXXXX`.
        let length = match code_unit(escape) {
            None => 1,
            // A high surrogate. A low surrogate must follow.
            Some(0xd800..=0xdbff) => {
                let next_escape = escape.get(5..).and_then(|next| next.strip_prefix('\\'));
                let low = next_escape.and_then(code_unit);
                if !matches!(low, Some(0xdc00..=0xdfff)) {
                    return true;
                }
                11
            }
            // A low surrogate without a high surrogate before it.
            Some(0xdc00..=0xdfff) => return true,
            Some(_) => 5,
        };
        rest = escape.get(length..).unwrap_or_default();
    }
    false
}

/// A source that must be written as a string. The derived `Deserialize` of an enum also accepts an object whose key is
/// the name, which is refused here.
pub(crate) struct SourceName(pub(crate) Source);

impl<'de> Deserialize<'de> for SourceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map(Self).map_err(|_| {
            let legal = "one of `tool`, `planner`, `user_upload`, `system`";
            D::Error::invalid_value(Unexpected::Other("another word"), &legal)
        })
    }
}

fn deserialize_source<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Source>, D::Error> {
    Ok(Option::<SourceName>::deserialize(deserializer)?.map(|name| name.0))
}

impl TryFrom<Metadata> for RawMetadata {
    type Error = serde_json::Error;
    fn try_from(metadata: Metadata) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(&metadata).map(Self)
    }
}

impl PutOpts {
    /// Parses the namespace.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`](crate::Code::InvalidRequest) if the text is not a namespace.
    pub fn namespace(&self) -> Result<Namespace, Envelope> {
        match self.namespace.as_deref() {
            None | Some("") => Ok(Namespace::default()),
            Some(text) => Namespace::new(text).map_err(|_| {
                Envelope::invalid(
                    "the namespace is not legal; it takes 1 to 128 of letters, digits, '.', '_' and '-', and does not \
                     start with a dot",
                )
            }),
        }
    }

    /// Parses the media type. `None` if the media type is absent, empty or too long. If it is too long,
    /// [`into_options`](Self::into_options) refuses it with a message about the limit.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`](crate::Code::InvalidRequest) if the text is not a media type.
    pub fn media_type(&self) -> Result<Option<MediaType<'_>>, Envelope> {
        let Some(text) = self.mime_type.as_deref() else { return Ok(None) };
        let is_too_long = PAYLOAD_LIMITS.check_text("mime_type", text).is_err();
        if text.is_empty() || is_too_long {
            return Ok(None);
        }
        MediaType::parse(text).map(Some).ok_or_else(|| {
            Envelope::invalid(
                "the media type is not valid; it takes `type/subtype` without `*`, and parameters such as \
                 `; charset=utf-8`",
            )
        })
    }

    /// Checks the options against [`PAYLOAD_LIMITS`] and converts them to the store's options.
    ///
    /// # Errors
    /// [`Code::PayloadInvalid`](crate::Code::PayloadInvalid) with a message that names the limit;
    /// [`Code::InvalidRequest`](crate::Code::InvalidRequest) if the namespace or the media type is not valid.
    pub fn into_options(self) -> Result<PutOptions, Envelope> {
        let namespace = self.namespace()?;
        // Only checks the media type. The store keeps the text as it was written.
        self.media_type()?;
        for (field, text) in [("mime_type", &self.mime_type), ("filename", &self.filename)] {
            PAYLOAD_LIMITS.check_text(field, text.as_deref().unwrap_or_default())?;
        }
        let tags = self.tags.as_deref().unwrap_or_default();
        PAYLOAD_LIMITS.check_list_length("tags", tags.len())?;
        tags.iter().try_for_each(|tag| PAYLOAD_LIMITS.check_text("tags", tag))?;
        let metadata = self.metadata.as_ref().map(|raw| parse_metadata(raw.0.get())).transpose()?;
        let compact = CompactPayload { opts: &self, metadata: metadata.as_ref() };
        PAYLOAD_LIMITS.check_size("the control payload", compact.size())?;
        Ok(PutOptions {
            namespace,
            media_type: self.mime_type.filter(|text| !text.is_empty()),
            filename: self.filename.filter(|text| !text.is_empty()),
            source: self.source.unwrap_or_default(),
            tags: self.tags.unwrap_or_default(),
            metadata: match metadata {
                Some(Value::Object(metadata)) => metadata,
                _ => Metadata::new(),
            },
        })
    }
}

/// Parses metadata that is known to be a JSON object, and checks it against the limits.
fn parse_metadata(text: &str) -> Result<Value, Envelope> {
    // The text is a JSON object without lone surrogates. So parsing fails for two reasons only: a number does not fit
    // into an f64, or the text is too deep for the parser. A text that is too deep for the parser is also too deep for
    // the protocol.
    let value: Value = serde_json::from_str(text).map_err(|_| {
        if nesting_depth(text) > PAYLOAD_LIMITS.max_depth {
            return PAYLOAD_LIMITS.too_deep("metadata");
        }
        payload_invalid(
            "metadata holds a value that is not a text, boolean, null or finite 64-bit number".into(),
        )
    })?;
    PAYLOAD_LIMITS.check_value("metadata", &value)?;
    Ok(value)
}

/// The largest number of nested objects and lists in well-formed JSON.
fn nesting_depth(json: &str) -> usize {
    let (mut depth, mut max_depth) = (0_usize, 0);
    let mut in_string = false;
    // Whether the previous byte is a backslash that escapes this byte.
    let mut escaped = false;
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                max_depth = max_depth.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    max_depth
}

/// The options of a put, to compute the size of their compact JSON.
struct CompactPayload<'a> {
    opts: &'a PutOpts,
    /// The parsed metadata of `opts`; `None` if there is none.
    metadata: Option<&'a Value>,
}

impl CompactPayload<'_> {
    /// The size of the compact JSON in bytes.
    fn size(&self) -> usize {
        // Serializing plain data into a counter cannot fail.
        let mut opts_bytes = ByteCounter(0);
        let _ = serde_json::to_writer(&mut opts_bytes, self.opts);
        let mut compact_metadata_bytes = ByteCounter(0);
        if let Some(value) = self.metadata {
            let _ = serde_json::to_writer(&mut compact_metadata_bytes, value);
        }
        // `opts_bytes` includes the metadata as it was sent, for example with indentation. The size of this metadata is
        // replaced by the size of the compact metadata.
        let raw_metadata_bytes = self.opts.metadata.as_ref().map_or(0, |raw| raw.0.get().len());
        opts_bytes.0 - raw_metadata_bytes + compact_metadata_bytes.0
    }
}

/// A writer that counts bytes.
struct ByteCounter(usize);

impl std::io::Write for ByteCounter {
    fn write(&mut self, chunk: &[u8]) -> std::io::Result<usize> {
        self.0 += chunk.len();
        Ok(chunk.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
