//! A streaming decoder for the JSON of `artifacts.put`: [`PutDecoder`].
//!
//! The member `bytes` is base64-decoded chunk by chunk, and its length is checked against the limit while it grows. The
//! rest of the JSON is kept as text of limited length and parsed at the end. This module must never do I/O.

use std::fmt;

use artifact_store_core::Bytes;
use data_encoding::BASE64;
use serde::Deserialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use crate::code::Code;
use crate::decode::{decode, null_as_default_object};
use crate::envelope::Envelope;
use crate::opts::PutOpts;
use crate::schema;
use crate::scope::RequestScope;
use crate::size_limit::SizeLimit;

/// The maximum number of bytes of JSON in a request. In a put, the value of the member `bytes` is not included. A
/// payload within [`PAYLOAD_LIMITS`](crate::PAYLOAD_LIMITS) is much smaller, even with escapes and indentation. So a
/// payload slightly above [`PAYLOAD_LIMITS`](crate::PAYLOAD_LIMITS) is read completely, and the refusal names
/// the exceeded limit.
pub const MAX_JSON_BYTES: u64 = 1024 * 1024;

/// The request of `artifacts.put`. Its debug output shows the number of bytes, never the bytes.
#[derive(Clone, Default)]
pub struct PutRequest {
    /// The scope of the artifact; empty: the caller's own session.
    pub scope: RequestScope,
    /// The bytes of the artifact.
    pub bytes: Bytes,
    /// The options of the put.
    pub opts: PutOpts,
}

impl fmt::Debug for PutRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutRequest")
            .field("scope", &self.scope)
            .field("bytes", &format_args!("{} bytes", self.bytes.len()))
            .field("opts", &self.opts)
            .finish()
    }
}

/// The request of `artifacts.put`.
// This is the JSON after `PutDecoder` has removed the value of `bytes`. The doc comment above is also a description in
// the API document.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutJson {
    /// The scope of the artifact; empty: the caller's own session.
    #[serde(default, deserialize_with = "null_as_default_object")]
    #[schema(value_type = Option<RequestScope>)]
    scope: RequestScope,
    /// The artifact in base64 with padding. Decoded, it has at most `protocol.max_request_bytes` bytes (4 MiB by default).
    #[schema(value_type = schema::Base64)]
    bytes: String,
    /// The options of the put.
    #[serde(default, deserialize_with = "null_as_default_object")]
    #[schema(value_type = Option<PutOpts>)]
    opts: PutOpts,
}

impl PartialSchema for PutRequest {
    fn schema() -> RefOr<Schema> {
        PutJson::schema()
    }
}

impl ToSchema for PutRequest {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        PutJson::schemas(schemas);
    }
}

/// The longest JSON, in bytes, that a put of at most `limit` artifact bytes may announce. It is the base64 of these
/// bytes, plus [`MAX_JSON_BYTES`] for the other members and for escapes in the base64. A longer announced length is
/// refused before any byte is read.
///
/// # Examples
/// ```
/// use artifact_store_protocol::{MAX_JSON_BYTES, max_put_json_bytes};
/// assert_eq!(max_put_json_bytes(4), 8 + MAX_JSON_BYTES);
/// ```
pub const fn max_put_json_bytes(limit: u64) -> u64 {
    limit.div_ceil(3).saturating_mul(4).saturating_add(MAX_JSON_BYTES)
}

/// Decodes the JSON of `artifacts.put` while it arrives. The decoder holds only the decoded bytes and the rest of the
/// JSON. Its debug output shows the limit and lengths, never content.
///
/// # Examples
/// ```
/// use artifact_store_protocol::{LimitSource, PutDecoder, SizeLimit};
/// let limit = SizeLimit { bytes: 5, source: LimitSource::MaxRequestBytes };
/// let mut decoder = PutDecoder::new(limit);
/// for chunk in [&br#"{"bytes": "aGVs"#[..], br#"bG8=", "opts": {"filename": "hello"}}"#] {
///     decoder.feed(chunk)?;
/// }
/// let request = decoder.finish()?;
/// assert_eq!((&request.bytes[..], request.opts.filename.as_deref()), (&b"hello"[..], Some("hello")));
/// # Ok::<(), artifact_store_protocol::Envelope>(())
/// ```
pub struct PutDecoder {
    limit: SizeLimit,
    /// The JSON without the value of `bytes`.
    json: Vec<u8>,
    state: LexerState,
    /// The number of objects and arrays that are open.
    depth: u32,
    /// Whether the outermost value is an object.
    outermost_is_object: bool,
    member_part: MemberPart,
    /// The first 6 bytes of the current member's name in the outermost object. This is enough to know whether the name
    /// is `bytes`, which has 5 bytes.
    member_name: Vec<u8>,
    base64: Base64Decoder,
}

impl fmt::Debug for PutDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutDecoder")
            .field("limit", &self.limit.bytes)
            .field("decoded", &format_args!("{} bytes", self.base64.decoded.len()))
            .field("json", &format_args!("{} bytes", self.json.len()))
            .finish_non_exhaustive()
    }
}

/// Where in the JSON the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LexerState {
    /// Outside of a string.
    Structure,
    /// In a string that is not the value of `bytes`. `escaped`: the previous byte is a backslash that escapes the next
    /// byte.
    Text { escaped: bool },
    /// In the value of `bytes`.
    Base64Text,
    /// In an escape within the value of `bytes`: encoders may write `\/`, or `\u002b` for `+`. `index` says which
    /// byte after the backslash is next: 0 for the first byte, 1 to 4 for the hex digits of a `\u` escape. `value` is
    /// the number that the hex digits so far make.
    Base64Escape { index: u8, value: u32 },
}

/// The current part of a member of the outermost object. `is_bytes`: the member's name is `bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MemberPart {
    Name,
    Value { is_bytes: bool },
}

impl PutDecoder {
    /// A decoder that accepts decoded bytes up to `limit`.
    pub fn new(limit: SizeLimit) -> Self {
        Self {
            limit,
            json: Vec::new(),
            state: LexerState::Structure,
            depth: 0,
            outermost_is_object: false,
            member_part: MemberPart::Name,
            member_name: Vec::new(),
            base64: Base64Decoder::default(),
        }
    }

    /// Decodes the next chunk of the body.
    ///
    /// # Errors
    /// [`Code::RequestTooLarge`] as soon as the decoded bytes exceed the limit, or the rest of the JSON exceeds
    /// [`MAX_JSON_BYTES`]; [`Code::InvalidRequest`] if the value of `bytes` is not base64.
    pub fn feed(&mut self, mut chunk: &[u8]) -> Result<(), Envelope> {
        while let Some(&byte) = chunk.first() {
            if self.state == LexerState::Base64Text {
                // Decodes the base64 before the closing quote or the next escape in one step.
                let end = chunk.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(chunk.len());
                self.base64.decode(&chunk[..end], self.limit)?;
                chunk = &chunk[end..];
                match chunk.first() {
                    Some(b'"') => {
                        self.base64.finish()?;
                        self.state = LexerState::Structure;
                        self.push_json(b'"')?;
                    }
                    Some(_) => self.state = LexerState::Base64Escape { index: 0, value: 0 },
                    None => break,
                }
            } else {
                self.process_byte(byte)?;
            }
            chunk = &chunk[1..];
        }
        Ok(())
    }

    /// Processes one byte outside the value of the member `bytes`, or one byte of an escape in this value. Other bytes
    /// of the value are decoded in `feed`.
    fn process_byte(&mut self, byte: u8) -> Result<(), Envelope> {
        let in_outer_object = self.depth == 1 && self.outermost_is_object;
        match (self.state, byte) {
            (LexerState::Base64Escape { index, value }, _) => {
                return self.process_escape_byte(byte, index, value);
            }
            (LexerState::Text { escaped: true }, _) => self.state = LexerState::Text { escaped: false },
            (LexerState::Text { .. }, b'\\') => self.state = LexerState::Text { escaped: true },
            (LexerState::Text { .. }, b'"') => self.state = LexerState::Structure,
            (LexerState::Text { .. }, _) => {}
            // From here on, the state is `Structure`.
            (_, b'"') if in_outer_object && self.member_part == (MemberPart::Value { is_bytes: true }) => {
                self.state = LexerState::Base64Text;
            }
            (_, b'"') => {
                self.state = LexerState::Text { escaped: false };
                if in_outer_object && self.member_part == MemberPart::Name {
                    self.member_name.clear();
                }
                // The opening quote is not a byte of the name.
                return self.push_json(byte);
            }
            (_, b'{' | b'[') => {
                self.depth = self.depth.saturating_add(1);
                if self.depth == 1 {
                    self.outermost_is_object = byte == b'{';
                    self.member_part = MemberPart::Name;
                }
            }
            (_, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
            (_, b':') if in_outer_object => {
                self.member_part = MemberPart::Value { is_bytes: self.member_name == b"bytes" }
            }
            (_, b',') if in_outer_object => self.member_part = MemberPart::Name,
            _ => {}
        }
        // At most 6 bytes of the name are stored: enough to see that a longer name is not `bytes`.
        if in_outer_object
            && self.member_part == MemberPart::Name
            && matches!(self.state, LexerState::Text { .. })
            && self.member_name.len() < 6
        {
            self.member_name.push(byte);
        }
        self.push_json(byte)
    }

    /// Appends a byte to `json`, the JSON without the value of `bytes`.
    fn push_json(&mut self, byte: u8) -> Result<(), Envelope> {
        if self.json.len() as u64 >= MAX_JSON_BYTES {
            return Err(json_too_large());
        }
        self.json.push(byte);
        Ok(())
    }

    /// Processes a byte of an escape within the value of `bytes`. [`LexerState::Base64Escape`] explains `index`
    /// and `value`.
    fn process_escape_byte(&mut self, byte: u8, index: u8, value: u32) -> Result<(), Envelope> {
        let unescaped = match (index, byte) {
            (0, b'/') => b'/',
            (0, b'u') => {
                self.state = LexerState::Base64Escape { index: 1, value: 0 };
                return Ok(());
            }
            (1..=4, _) => {
                let digit = char::from(byte).to_digit(16).ok_or_else(invalid_base64)?;
                let value = value * 16 + digit;
                if index < 4 {
                    self.state = LexerState::Base64Escape { index: index + 1, value };
                    return Ok(());
                }
                u8::try_from(value).map_err(|_| invalid_base64())?
            }
            _ => return Err(invalid_base64()),
        };
        self.state = LexerState::Base64Text;
        self.base64.decode(&[unescaped], self.limit)
    }

    /// Returns the request, after the whole body was fed.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] if the JSON is not a legal request (see [`decode`]), or if the value of `bytes` is not
    /// base64. [`Code::RequestTooLarge`] if the artifact exceeds the limit.
    pub fn finish(mut self) -> Result<PutRequest, Envelope> {
        let json: PutJson = decode(&self.json)?;
        // In JSON, `"b\u0079tes"` is another notation of the name `bytes`. `feed` does not recognize it, so the base64
        // of this member is still in `json.bytes`. Otherwise, `json.bytes` is empty.
        self.base64.decode(json.bytes.as_bytes(), self.limit)?;
        self.base64.finish()?;
        Ok(PutRequest { scope: json.scope, bytes: self.base64.decoded.into(), opts: json.opts })
    }
}

/// The refusal of JSON longer than [`MAX_JSON_BYTES`].
pub fn json_too_large() -> Envelope {
    Envelope::new(
        Code::RequestTooLarge,
        format!(
            "the request's JSON is larger than {MAX_JSON_BYTES} bytes, without the bytes of the artifact"
        ),
    )
}

fn invalid_base64() -> Envelope {
    Envelope::invalid("the member `bytes` is not base64 (RFC 4648, section 4, with padding)")
}

/// A streaming decoder for base64.
#[derive(Default)]
struct Base64Decoder {
    decoded: Vec<u8>,
    /// The characters of an incomplete group of four.
    partial_group: Vec<u8>,
    /// Whether padding was decoded. No text may follow padding.
    is_padded: bool,
}

impl Base64Decoder {
    /// Decodes the next part of the base64, which may end within a group.
    fn decode(&mut self, text: &[u8], limit: SizeLimit) -> Result<(), Envelope> {
        if text.is_empty() {
            return Ok(());
        }
        if self.is_padded {
            return Err(invalid_base64());
        }
        // The first characters complete the group that the previous part has begun.
        let missing = if self.partial_group.is_empty() { 0 } else { 4 - self.partial_group.len() };
        let (head, tail) = text.split_at(missing.min(text.len()));
        self.partial_group.extend_from_slice(head);
        if self.partial_group.len() == 4 {
            let group = std::mem::take(&mut self.partial_group);
            self.decode_groups(&group, limit)?;
            if self.is_padded && !tail.is_empty() {
                return Err(invalid_base64());
            }
        }
        // `tail.len() / 4 * 4` is the length of the whole groups of 4 characters.
        let (whole_groups, partial_group) = tail.split_at(tail.len() / 4 * 4);
        self.decode_groups(whole_groups, limit)?;
        if self.is_padded && !partial_group.is_empty() {
            return Err(invalid_base64());
        }
        self.partial_group.extend_from_slice(partial_group);
        Ok(())
    }

    /// Decodes `groups`, whose length is a multiple of 4.
    fn decode_groups(&mut self, groups: &[u8], limit: SizeLimit) -> Result<(), Envelope> {
        if groups.is_empty() {
            return Ok(());
        }
        let start = self.decoded.len();
        // Decodes the groups that fit into the limit, and one more group, which may exceed the limit. Later groups are
        // not decoded. An error in a later group would hide that the limit is exceeded, so the refusal would depend on
        // how the body is divided into chunks.
        let room = usize::try_from(limit.bytes).unwrap_or(usize::MAX).saturating_sub(start);
        let max_groups = (room / 3).saturating_add(1);
        let (text, undecoded) = groups.split_at(groups.len().min(max_groups.saturating_mul(4)));
        // The number of decoded bytes if there is no padding.
        let max_length = text.len() / 4 * 3;
        self.reserve(max_length, limit.bytes);
        self.decoded.resize(start + max_length, 0);
        let length = BASE64.decode_mut(text, &mut self.decoded[start..]).map_err(|_| invalid_base64())?;
        if length < max_length {
            // Padding ends the base64, so only the last group may have it.
            if text[..text.len() - 4].contains(&b'=') {
                return Err(invalid_base64());
            }
            self.is_padded = true;
        }
        self.decoded.truncate(start + length);
        if self.decoded.len() as u64 > limit.bytes {
            return Err(limit.refusal());
        }
        // If groups are left undecoded, the decoded groups exceed the limit unless the last one has padding. The limit
        // is not exceeded here, so the last one has padding. No group may follow padding.
        if undecoded.is_empty() { Ok(()) } else { Err(invalid_base64()) }
    }

    /// Reserves capacity for `additional` bytes. The capacity doubles, but only up to 3 bytes above `limit`. The 3
    /// bytes are needed because a group of 3 decoded bytes is stored before the limit is checked.
    fn reserve(&mut self, additional: usize, limit: u64) {
        let needed = self.decoded.len() + additional;
        if needed > self.decoded.capacity() {
            let max_capacity = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(3);
            let new_capacity = (self.decoded.capacity() * 2).min(max_capacity).max(needed);
            self.decoded.reserve_exact(new_capacity - self.decoded.len());
        }
    }

    /// Checks that the base64 does not end within a group.
    fn finish(&mut self) -> Result<(), Envelope> {
        if self.partial_group.is_empty() { Ok(()) } else { Err(invalid_base64()) }
    }
}
