//! The JSON of `artifacts.put`, decoded while it flows: [`PutDecoder`].
//!
//! The member `bytes` is base64-decoded piece by piece and counted against the limit as it grows; everything around it is kept
//! as text of bounded length and read at the end. Nothing here does any I/O.

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

/// Most bytes of JSON around the member `bytes`, and of any other request. Far above what a payload within its bounds takes
/// however it is escaped and indented, so that whatever breaks a bound is told which one.
pub const ENVELOPE_ALLOWANCE: u64 = 1024 * 1024;

/// `artifacts.put`. Its debug output says how many bytes there are and shows none.
#[derive(Clone, Default)]
pub struct PutRequest {
    /// Where to; empty: the caller's own session.
    pub scope: RequestScope,
    /// The artifact, as it is.
    pub bytes: Bytes,
    /// What is said of it.
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

/// `artifacts.put`: bytes at hand, and what is said of them.
// As JSON holds it, once its bytes are taken out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutJson {
    /// Where to; empty: the caller's own session.
    #[serde(default, deserialize_with = "null_as_default_object")]
    #[schema(value_type = Option<RequestScope>)]
    scope: RequestScope,
    /// The artifact, in base64 with padding; at most `protocol.max_request_bytes` of it once it is decoded.
    #[schema(value_type = schema::Base64)]
    bytes: String,
    /// What is said of it.
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

/// The most bytes of JSON that a put of at most `limit` bytes is expected to have: its base64, and [`ENVELOPE_ALLOWANCE`] for
/// everything beside it, escapes within the base64 too. An announced length above it is refused before a byte is read.
///
/// # Examples
/// ```
/// use artifact_store_protocol::{ENVELOPE_ALLOWANCE, max_put_json};
/// assert_eq!(max_put_json(4), 8 + ENVELOPE_ALLOWANCE);
/// ```
pub const fn max_put_json(limit: u64) -> u64 {
    limit.div_ceil(3).saturating_mul(4).saturating_add(ENVELOPE_ALLOWANCE)
}

/// The refusal of bytes past `limit`.
pub fn too_large(limit: u64) -> Envelope {
    Envelope::new(
        Code::RequestTooLarge,
        format!("the body is larger than this runtime takes (protocol.max_request_bytes is {limit})"),
    )
}

/// Decodes the JSON of `artifacts.put` as it flows in, holding the decoded bytes and the text around them, and no more. Its
/// debug output shows neither.
///
/// # Examples
/// ```
/// use artifact_store_protocol::PutDecoder;
/// let mut decoder = PutDecoder::new(5);
/// for piece in [&br#"{"bytes": "aGVs"#[..], br#"bG8=", "opts": {"filename": "hello"}}"#] {
///     decoder.feed(piece)?;
/// }
/// let request = decoder.finish()?;
/// assert_eq!((&request.bytes[..], request.opts.filename.as_deref()), (&b"hello"[..], Some("hello")));
/// # Ok::<(), artifact_store_protocol::Envelope>(())
/// ```
pub struct PutDecoder {
    limit: u64,
    around: Vec<u8>,
    place: Place,
    depth: u32,
    /// Whether the outermost value is an object; its members are what is looked at.
    object: bool,
    /// The name of the member that is being read at depth 1, as far as it can be `bytes`.
    member: Member,
    name: Vec<u8>,
    base64: Base64,
}

impl fmt::Debug for PutDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutDecoder")
            .field("limit", &self.limit)
            .field("decoded", &format_args!("{} bytes", self.base64.decoded.len()))
            .field("around", &format_args!("{} bytes", self.around.len()))
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Between,
    Text {
        escaped: bool,
    },
    Bytes,
    /// In an escape within the bytes: encoders may write `\/`, and `\u002b` is a `+`, too.
    BytesEscape {
        digits: u8,
        value: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Name,
    Value { is_bytes: bool },
}

impl PutDecoder {
    /// A decoder that takes at most `limit` decoded bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            around: Vec::new(),
            place: Place::Between,
            depth: 0,
            object: false,
            member: Member::Name,
            name: Vec::new(),
            base64: Base64::default(),
        }
    }

    /// Takes in the next piece of the body.
    ///
    /// # Errors
    /// [`Code::RequestTooLarge`] as soon as the decoded bytes pass the limit or the text around them passes
    /// [`ENVELOPE_ALLOWANCE`]; [`Code::InvalidRequest`] where the bytes are no base64.
    pub fn feed(&mut self, mut piece: &[u8]) -> Result<(), Envelope> {
        while let Some(&byte) = piece.first() {
            if self.place == Place::Bytes {
                let end = piece.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(piece.len());
                self.base64.take(&piece[..end], self.limit)?;
                piece = &piece[end..];
                match piece.first() {
                    Some(b'"') => {
                        self.base64.end()?;
                        self.place = Place::Between;
                        self.keep(b'"')?;
                    }
                    Some(_) => self.place = Place::BytesEscape { digits: 0, value: 0 },
                    None => break,
                }
            } else {
                self.step(byte)?;
            }
            piece = &piece[1..];
        }
        Ok(())
    }

    fn step(&mut self, byte: u8) -> Result<(), Envelope> {
        let top = self.depth == 1 && self.object;
        match (self.place, byte) {
            (Place::BytesEscape { digits, value }, _) => return self.escape(byte, digits, value),
            (Place::Text { escaped: true }, _) => self.place = Place::Text { escaped: false },
            (Place::Text { .. }, b'\\') => self.place = Place::Text { escaped: true },
            (Place::Text { .. }, b'"') => self.place = Place::Between,
            (Place::Text { .. }, _) => {}
            (_, b'"') if top && self.member == (Member::Value { is_bytes: true }) => {
                self.place = Place::Bytes;
            }
            (_, b'"') => {
                self.place = Place::Text { escaped: false };
                if top && self.member == Member::Name {
                    self.name.clear();
                }
                return self.keep(byte);
            }
            (_, b'{' | b'[') => {
                self.depth = self.depth.saturating_add(1);
                if self.depth == 1 {
                    self.object = byte == b'{';
                    self.member = Member::Name;
                }
            }
            (_, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
            (_, b':') if top => self.member = Member::Value { is_bytes: self.name == b"bytes" },
            (_, b',') if top => self.member = Member::Name,
            _ => {}
        }
        // One byte more than the name looked for, and whatever follows cannot be it.
        if top
            && self.member == Member::Name
            && matches!(self.place, Place::Text { .. })
            && self.name.len() < 6
        {
            self.name.push(byte);
        }
        self.keep(byte)
    }

    /// Keeps a byte of the text around.
    fn keep(&mut self, byte: u8) -> Result<(), Envelope> {
        if self.around.len() as u64 >= ENVELOPE_ALLOWANCE {
            return Err(around_too_large());
        }
        self.around.push(byte);
        Ok(())
    }

    fn escape(&mut self, byte: u8, digits: u8, value: u32) -> Result<(), Envelope> {
        let plain = match (digits, byte) {
            (0, b'/') => b'/',
            (0, b'u') => {
                self.place = Place::BytesEscape { digits: 1, value: 0 };
                return Ok(());
            }
            (1..=4, _) => {
                let digit = char::from(byte).to_digit(16).ok_or_else(no_base64)?;
                let value = value * 16 + digit;
                if digits < 4 {
                    self.place = Place::BytesEscape { digits: digits + 1, value };
                    return Ok(());
                }
                u8::try_from(value).map_err(|_| no_base64())?
            }
            _ => return Err(no_base64()),
        };
        self.place = Place::Bytes;
        self.base64.take(&[plain], self.limit)
    }

    /// The request, once all of its body has been fed.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`]: see [`decode`]; [`Code::RequestTooLarge`].
    pub fn finish(mut self) -> Result<PutRequest, Envelope> {
        let json: PutJson = decode(&self.around)?;
        // A member written `"b\u0079tes"` is `bytes`, too, and was kept as text.
        self.base64.take(json.bytes.as_bytes(), self.limit)?;
        self.base64.end()?;
        Ok(PutRequest { scope: json.scope, bytes: self.base64.decoded.into(), opts: json.opts })
    }
}

/// The refusal of JSON that is too long without the bytes of a put.
pub fn around_too_large() -> Envelope {
    Envelope::new(
        Code::RequestTooLarge,
        format!(
            "the request's JSON is larger than {ENVELOPE_ALLOWANCE} bytes, the bytes of an artifact not counted"
        ),
    )
}

fn no_base64() -> Envelope {
    Envelope::invalid("the member `bytes` is no base64 (RFC 4648, section 4, with padding)")
}

/// Base64 that comes in pieces of any length.
#[derive(Default)]
struct Base64 {
    decoded: Vec<u8>,
    /// The characters of an unfinished group.
    rest: Vec<u8>,
    padded: bool,
}

impl Base64 {
    fn take(&mut self, text: &[u8], limit: u64) -> Result<(), Envelope> {
        if text.is_empty() {
            return Ok(());
        }
        if self.padded {
            return Err(no_base64());
        }
        let fill = if self.rest.is_empty() { 0 } else { text.len().min(4 - self.rest.len()) };
        let (head, text) = text.split_at(fill);
        self.rest.extend_from_slice(head);
        if self.rest.len() == 4 {
            let group = std::mem::take(&mut self.rest);
            self.groups(&group, limit)?;
            if self.padded && !text.is_empty() {
                return Err(no_base64());
            }
        }
        let (groups, rest) = text.split_at(text.len() / 4 * 4);
        self.groups(groups, limit)?;
        if self.padded && !rest.is_empty() {
            return Err(no_base64());
        }
        self.rest.extend_from_slice(rest);
        Ok(())
    }

    fn groups(&mut self, text: &[u8], limit: u64) -> Result<(), Envelope> {
        if text.is_empty() {
            return Ok(());
        }
        let start = self.decoded.len();
        // As many groups as fit, and the one that may pass the limit: what is refused, and why, must not depend on the pieces.
        let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(start);
        let (text, more) = text.split_at(text.len().min((room / 3).saturating_add(1).saturating_mul(4)));
        let most = text.len() / 4 * 3;
        self.grow(most, limit);
        self.decoded.resize(start + most, 0);
        let length = BASE64.decode_mut(text, &mut self.decoded[start..]).map_err(|_| no_base64())?;
        if length < most {
            // Padding ends the text: it may stand in the last group only.
            if text[..text.len() - 4].contains(&b'=') {
                return Err(no_base64());
            }
            self.padded = true;
        }
        self.decoded.truncate(start + length);
        if self.decoded.len() as u64 > limit {
            return Err(too_large(limit));
        }
        // Only padding can have kept it within the limit where more follows.
        if more.is_empty() { Ok(()) } else { Err(no_base64()) }
    }

    /// Makes room for `more` bytes: by doubling, and hardly past the limit.
    fn grow(&mut self, more: usize, limit: u64) {
        let need = self.decoded.len() + more;
        if need > self.decoded.capacity() {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(3);
            let room = (self.decoded.capacity() * 2).min(limit).max(need);
            self.decoded.reserve_exact(room - self.decoded.len());
        }
    }

    fn end(&mut self) -> Result<(), Envelope> {
        if self.rest.is_empty() { Ok(()) } else { Err(no_base64()) }
    }
}
