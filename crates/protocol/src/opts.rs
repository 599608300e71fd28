//! What a put says of its bytes: [`PutOpts`], a control payload within [`PAYLOAD_BOUNDS`].

use artifact_store_core::{MediaType, Metadata, Namespace, PutOptions, Source};
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::bounds::{PAYLOAD_BOUNDS, invalid};
use crate::envelope::Envelope;
use crate::schema;

/// `{mime_type, filename, namespace, source, tags[], metadata{}}`, each of them optional.
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
#[schema(description = "What a put says of its bytes: at most 16 KiB of compact JSON.")]
pub struct PutOpts {
    /// The media type: `type/subtype`, perhaps with parameters, and no range such as `image/*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4096)]
    pub mime_type: Option<String>,
    /// A name for people and downloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4096)]
    pub filename: Option<String>,
    /// Keeps purposes apart within a scope; absent or empty: `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,127})?$")]
    pub namespace: Option<String>,
    /// Where the bytes came from; absent: `user_upload`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "source")]
    #[schema(value_type = Option<schema::SourceWord>)]
    pub source: Option<Source>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 50)]
    pub tags: Option<Vec<String>>,
    /// Anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::free_object_or_null)]
    pub metadata: Option<RawMetadata>,
}

/// A JSON object that has not been held against its bounds. It stays text until then: a tree of hostile depth or numbers is
/// never built.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct RawMetadata(Box<RawValue>);

impl<'de> Deserialize<'de> for RawMetadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if !raw.get().starts_with('{') {
            return Err(D::Error::invalid_type(Unexpected::Other("another value"), &"an object"));
        }
        if holds_half_a_character(raw.get()) {
            let legal = "texts of whole characters, whose escaped surrogates stand in pairs";
            return Err(D::Error::invalid_value(Unexpected::Other("half a character"), &legal));
        }
        Ok(Self(raw))
    }
}

/// Whether well-formed JSON escapes a surrogate that stands alone. Its reader lets that pass where it builds no text.
fn holds_half_a_character(json: &str) -> bool {
    let unit = |escape: &str| u16::from_str_radix(escape.strip_prefix('u')?.get(..4)?, 16).ok();
    let mut rest = json;
    while let Some((_, escape)) = rest.split_once('\\') {
        let length = match unit(escape) {
            None => 1,
            Some(0xd800..=0xdbff) => {
                let low = escape.get(5..).and_then(|next| next.strip_prefix('\\')).and_then(unit);
                if !matches!(low, Some(0xdc00..=0xdfff)) {
                    return true;
                }
                11
            }
            Some(0xdc00..=0xdfff) => return true,
            Some(_) => 5,
        };
        rest = escape.get(length..).unwrap_or_default();
    }
    false
}

/// A source, written as its word and not, as serde would take it too, as an object around it.
pub(crate) struct SourceWord(pub(crate) Source);

impl<'de> Deserialize<'de> for SourceWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        word.parse().map(Self).map_err(|_| {
            let legal = "one of `tool`, `planner`, `user_upload`, `system`";
            D::Error::invalid_value(Unexpected::Other("another word"), &legal)
        })
    }
}

fn source<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Source>, D::Error> {
    Ok(Option::<SourceWord>::deserialize(deserializer)?.map(|word| word.0))
}

impl TryFrom<Metadata> for RawMetadata {
    type Error = serde_json::Error;
    fn try_from(metadata: Metadata) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(&metadata).map(Self)
    }
}

impl PutOpts {
    /// The namespace, checked.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`](crate::Code::InvalidRequest) where it is none.
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

    /// The media type, checked; `None` where there is none. One that is too long is left to its bound.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`](crate::Code::InvalidRequest) where the text is no media type.
    pub fn media_type(&self) -> Result<Option<MediaType<'_>>, Envelope> {
        let bounded = |text: &&str| !text.is_empty() && PAYLOAD_BOUNDS.text("mime_type", text).is_ok();
        let Some(text) = self.mime_type.as_deref().filter(bounded) else { return Ok(None) };
        MediaType::parse(text).map(Some).ok_or_else(|| {
            Envelope::invalid(
                "the media type is none; it takes `type/subtype` without `*`, and parameters such as `; charset=utf-8`",
            )
        })
    }

    /// Holds everything against [`PAYLOAD_BOUNDS`] and makes it the store's options.
    ///
    /// # Errors
    /// [`Code::PayloadInvalid`](crate::Code::PayloadInvalid) that names the bound;
    /// [`Code::InvalidRequest`](crate::Code::InvalidRequest) for a namespace or a media type that is none.
    pub fn into_options(self) -> Result<PutOptions, Envelope> {
        let namespace = self.namespace()?;
        self.media_type()?;
        for (place, text) in [("mime_type", &self.mime_type), ("filename", &self.filename)] {
            PAYLOAD_BOUNDS.text(place, text.as_deref().unwrap_or_default())?;
        }
        let tags = self.tags.as_deref().unwrap_or_default();
        PAYLOAD_BOUNDS.list("tags", tags.len())?;
        tags.iter().try_for_each(|tag| PAYLOAD_BOUNDS.text("tags", tag))?;
        let metadata = self.metadata.as_ref().map(|raw| read_metadata(raw.0.get())).transpose()?;
        let compact = Compact { opts: &self, metadata: metadata.as_ref() };
        PAYLOAD_BOUNDS.size("the control payload", compact.size())?;
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

/// Reads metadata that is known to be a JSON object, and holds it against the bounds.
fn read_metadata(text: &str) -> Result<Value, Envelope> {
    // The text is JSON and an object, so the reader stops only at what no tree can hold: a depth past its own bound, which is
    // far above the protocol's, or a number that no f64 holds.
    let value: Value = serde_json::from_str(text).map_err(|_| match nesting(text) {
        depth if depth > PAYLOAD_BOUNDS.depth => PAYLOAD_BOUNDS.too_deep("metadata"),
        _ => invalid("metadata holds a leaf that is no text, boolean, null or finite 64-bit number".into()),
    })?;
    PAYLOAD_BOUNDS.tree("metadata", &value)?;
    Ok(value)
}

/// The most containers within each other in well-formed JSON.
fn nesting(json: &str) -> usize {
    let (mut depth, mut deepest, mut text, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'{' | b'[' if !text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The payload as it counts: compact JSON, the metadata's too.
struct Compact<'a> {
    opts: &'a PutOpts,
    metadata: Option<&'a Value>,
}

impl Compact<'_> {
    fn size(&self) -> usize {
        let mut bytes = Counter(0);
        let raw = self.opts.metadata.as_ref().map_or(0, |raw| raw.0.get().len());
        // Plain data into a counter: this cannot fail.
        let _ = serde_json::to_writer(&mut bytes, self.opts);
        let mut metadata = Counter(0);
        if let Some(value) = self.metadata {
            let _ = serde_json::to_writer(&mut metadata, value);
        }
        // The raw metadata was written as it came; what counts is its compact form.
        bytes.0 - raw + metadata.0
    }
}

struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        self.0 += piece.len();
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
