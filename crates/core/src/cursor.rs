//! Where a listing continues: [`Cursor`] for callers, [`Position`] for drivers, [`CursorKey`] to convert between them.
//!
//! A signed cursor is bound to its query and authenticated, so callers cannot forge a cursor. A cursor is not secret:
//! it contains only the position of the last row that the caller has received, and the total of the listing if the
//! caller has received it. This module must never know a storage.

use std::cmp::{Ordering, Reverse};
use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::digest::{Digest, Hasher};
use crate::error::StoreError;
use crate::id::ArtifactId;
use crate::record::Record;
use crate::scope::Scope;
use crate::time::Timestamp;

// The first byte of an encoded cursor says what follows: a position; the signed cursor of an inner gate; or the total
// of the listing in 8 bytes, and then a cursor of one of the other two kinds.
const POSITION_KIND: u8 = 1;
const NESTED_KIND: u8 = 2;
const TOTAL_KIND: u8 = 3;
/// The length of the authentication tag at the end of a signed cursor: the first half of an HMAC-SHA256.
const TAG_BYTES: usize = 16;
/// The length of an HMAC-SHA256 key: one block of SHA-256. HMAC pads a shorter key with zeros.
const KEY_BYTES: usize = 64;
/// The length of an encoded position up to its id: the kind, the time and the scope mark.
const BYTES_BEFORE_ID: usize = 1 + 8 + 16;

/// A row's position in the order of listings: newest first, then by id, then by [`ScopeMark`]. Two rows have the same
/// time and id if the same bytes were put into two scopes at the same time. Positions sort in the order in which rows
/// are listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    /// When the row was created.
    pub created_at: Timestamp,
    /// The row's id.
    pub id: ArtifactId,
    /// The [`ScopeMark`] of the row's scope. It distinguishes rows with the same time and id in different scopes.
    pub scope_mark: ScopeMark,
}

/// The first 128 bits of the SHA-256 of a scope, for the order of rows with the same time and id. Every driver can
/// store marks and compare them bytewise.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeMark([u8; 16]);

impl ScopeMark {
    /// The mark of `scope`.
    pub fn of(scope: &Scope) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(b"artifact-store scope mark v1\0");
        for part in [Some(scope.tenant()), Some(scope.user()), Some(scope.session()), scope.task()] {
            // `\u{1}` stands for a missing task, and a zero byte ends each part. Both are control characters, and a
            // part never contains a control character.
            hasher.update(part.map_or("\u{1}", crate::ScopePart::as_str).as_bytes());
            hasher.update(&[0]);
        }
        let mut mark = [0; 16];
        mark.copy_from_slice(&hasher.finish().as_bytes()[..16]);
        Self(mark)
    }

    /// The mark's 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for ScopeMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl Position {
    /// The position of `record`.
    pub fn of(record: &Record) -> Self {
        Self {
            created_at: record.created_at,
            id: record.id.clone(),
            scope_mark: ScopeMark::of(&record.scope),
        }
    }

    /// The position as a key. The bytewise order of keys is the order of their positions. So an ordered key-value
    /// storage lists rows in the order of the contract.
    ///
    /// The key has 59 to 186 bytes: 8 bytes of the time, the id, a zero byte, and 16 bytes of the scope mark. The bytes
    /// of the time sort newest first. Keys of different positions differ. The format never changes, so a storage may
    /// keep the keys. No key is a prefix of another key.
    ///
    /// # Examples
    /// ```
    /// use std::collections::BTreeMap;
    /// use std::ops::Bound::{Excluded, Unbounded};
    ///
    /// use artifact_store_core::{Digest, Position, PutOptions, Record, Scope, Timestamp};
    ///
    /// let scope = Scope::new("acme", "ada", "s-1")?;
    /// let record = |text: &str, micros| {
    ///     let (digest, size) = (Digest::of(text.as_bytes()), text.len() as u64);
    ///     Record::new(scope.clone(), PutOptions::default(), digest, size, Timestamp::from_micros(micros))
    /// };
    /// let (old, new) = (record("old", 1), record("new", 2));
    /// let rows = BTreeMap::from([&old, &new].map(|row| (Position::of(row).sort_key(), row)));
    /// assert!(rows.values().eq(&[&new, &old]));
    ///
    /// // If `new` is the last row of a page, the next page contains the rows after `new`.
    /// let after = Position::of(&new).sort_key();
    /// assert!(rows.range((Excluded(after), Unbounded)).map(|(_, row)| *row).eq([&old]));
    /// # Ok::<(), artifact_store_core::StoreError>(())
    /// ```
    pub fn sort_key(&self) -> Vec<u8> {
        let id = self.id.as_str().as_bytes();
        let mut key = Vec::with_capacity(8 + id.len() + 1 + 16);
        // With its sign bit flipped, a signed time becomes an unsigned number, and the order of times stays the same.
        let oldest_first = self.created_at.as_micros().cast_unsigned() ^ (1 << 63);
        // Inverting all bits reverses the order.
        let newest_first = !oldest_first;
        key.extend_from_slice(&newest_first.to_be_bytes());
        // An id contains no zero byte. So with a zero byte at its end, an id sorts before every longer id that starts
        // with the same text.
        key.extend_from_slice(id);
        key.push(0);
        key.extend_from_slice(self.scope_mark.as_bytes());
        key
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        Reverse(self.created_at)
            .cmp(&Reverse(other.created_at))
            .then_with(|| self.id.cmp(&other.id))
            .then_with(|| self.scope_mark.cmp(&other.scope_mark))
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Clone, PartialEq, Eq)]
enum CursorRepr {
    /// The text of a signed cursor. A caller may have altered it, so a gate verifies it before each use.
    Signed(String),
    /// `fingerprint` is the fingerprint of the query that the cursor belongs to.
    Decoded { position: Position, fingerprint: Digest },
}

/// Where the next page of a listing starts. Opaque to callers.
///
/// A store behind a [`Gate`](crate::Gate) returns signed cursors, which are texts and can be sent over the wire. A bare
/// driver returns decoded cursors, which contain a position and have no text.
#[derive(Clone, PartialEq, Eq)]
pub struct Cursor(CursorRepr);

impl Cursor {
    /// A cursor from its text. The [`Gate`](crate::Gate) verifies the text when the cursor is used in a query.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(CursorRepr::Signed(text.into()))
    }

    /// The cursor's text; `None` for a decoded cursor, which never leaves the process.
    pub fn as_text(&self) -> Option<&str> {
        match &self.0 {
            CursorRepr::Signed(text) => Some(text),
            CursorRepr::Decoded { .. } => None,
        }
    }

    pub(crate) fn is_signed(&self) -> bool {
        matches!(self.0, CursorRepr::Signed(_))
    }

    pub(crate) fn decoded(position: Position, fingerprint: Digest) -> Self {
        Self(CursorRepr::Decoded { position, fingerprint })
    }

    /// The position of a decoded cursor. Returns an error if the cursor is signed, or if it does not belong to the
    /// query with the fingerprint `query_fingerprint`.
    pub(crate) fn position(&self, query_fingerprint: &Digest) -> Result<&Position, StoreError> {
        match &self.0 {
            CursorRepr::Decoded { position, fingerprint } if fingerprint == query_fingerprint => Ok(position),
            CursorRepr::Decoded { .. } | CursorRepr::Signed(_) => Err(invalid_cursor()),
        }
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            CursorRepr::Signed(text) => write!(f, "Cursor({text})"),
            CursorRepr::Decoded { position, .. } => write!(f, "Cursor({position:?})"),
        }
    }
}

fn invalid_cursor() -> StoreError {
    StoreError::invalid("the cursor is altered or belongs to another query; list again without it")
}

/// The key that authenticates cursors.
///
/// With a random key, cursors are valid only until the process ends. Replicas accept each other's cursors only if they
/// share a key.
#[derive(Clone)]
pub struct CursorKey([u8; KEY_BYTES]);

impl CursorKey {
    /// A fresh random key.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the operating system provides no randomness.
    pub fn random() -> Result<Self, StoreError> {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(|error| {
            StoreError::unavailable("the operating system gives no randomness").with_source(error)
        })?;
        Ok(Self(key))
    }

    /// A key derived from a shared secret of at least 16 bytes.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a shorter secret.
    pub fn from_secret(secret: &[u8]) -> Result<Self, StoreError> {
        if secret.len() < 16 {
            return Err(StoreError::invalid("a cursor secret needs at least 16 bytes"));
        }
        let mut hasher = Hasher::new();
        hasher.update(b"artifact-store cursor key v1\0");
        hasher.update(secret);
        // A SHA-256 has 32 bytes. The rest of the key stays zero, as in the padding of HMAC.
        let mut key = [0; KEY_BYTES];
        key[..32].copy_from_slice(hasher.finish().as_bytes());
        Ok(Self(key))
    }

    /// Encodes and signs `cursor`, together with the total of the listing if it is known. The signature is valid only
    /// for the query with this fingerprint.
    pub(crate) fn sign(&self, cursor: &Cursor, total: Option<u64>, query_fingerprint: &Digest) -> Cursor {
        let mut encoded = Vec::new();
        if let Some(total) = total {
            encoded.push(TOTAL_KIND);
            encoded.extend_from_slice(&total.to_be_bytes());
        }
        match &cursor.0 {
            // If this gate wraps another gate, the inner gate has already signed the cursor. This gate signs its text
            // again.
            CursorRepr::Signed(text) => {
                encoded.push(NESTED_KIND);
                encoded.extend_from_slice(text.as_bytes());
            }
            CursorRepr::Decoded { position, .. } => {
                encoded.push(POSITION_KIND);
                encoded.extend_from_slice(&position.created_at.as_micros().to_be_bytes());
                encoded.extend_from_slice(position.scope_mark.as_bytes());
                encoded.extend_from_slice(position.id.as_str().as_bytes());
            }
        }
        let mac = self.mac(&encoded, query_fingerprint);
        encoded.extend_from_slice(&mac.finalize().into_bytes()[..TAG_BYTES]);
        Cursor(CursorRepr::Signed(BASE64URL_NOPAD.encode(&encoded)))
    }

    /// Verifies a signed cursor and returns what [`sign`](Self::sign) has signed: a decoded cursor or, if the gate wraps
    /// another gate, the signed cursor of the inner gate; and the total of the listing, if the cursor carries it.
    /// Returns an error if `cursor` is not signed, was altered or belongs to another query.
    pub(crate) fn verify(
        &self,
        cursor: &Cursor,
        query_fingerprint: Digest,
    ) -> Result<(Cursor, Option<u64>), StoreError> {
        let CursorRepr::Signed(text) = &cursor.0 else { return Err(invalid_cursor()) };
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| invalid_cursor())?;
        let tag_at = bytes.len().checked_sub(TAG_BYTES).ok_or_else(invalid_cursor)?;
        let (encoded, tag) = bytes.split_at(tag_at);
        self.mac(encoded, &query_fingerprint).verify_truncated_left(tag).map_err(|_| invalid_cursor())?;
        // The tag is right, so a gate with this key has signed the cursor.
        let (total, encoded) = match encoded {
            [TOTAL_KIND, rest @ ..] => {
                let (total, rest) = rest.split_first_chunk().ok_or_else(invalid_cursor)?;
                (Some(u64::from_be_bytes(*total)), rest)
            }
            // The listing has not been counted.
            _ => (None, encoded),
        };
        if let [NESTED_KIND, nested @ ..] = encoded {
            let nested_text = std::str::from_utf8(nested).map_err(|_| invalid_cursor())?;
            return Ok((Cursor::from_text(nested_text), total));
        }
        // An id has at least one byte, so an encoded position is longer than `BYTES_BEFORE_ID`.
        if encoded.len() <= BYTES_BEFORE_ID || encoded[0] != POSITION_KIND {
            return Err(invalid_cursor());
        }
        // The layout of `sign`: the kind, the time, the scope mark, the id.
        let mut created_at = [0; 8];
        created_at.copy_from_slice(&encoded[1..9]);
        let mut mark = [0; 16];
        mark.copy_from_slice(&encoded[9..25]);
        let id = std::str::from_utf8(&encoded[BYTES_BEFORE_ID..]).map_err(|_| invalid_cursor())?;
        let position = Position {
            created_at: Timestamp::from_micros(i64::from_be_bytes(created_at)),
            id: id.parse().map_err(|_| invalid_cursor())?,
            scope_mark: ScopeMark(mark),
        };
        Ok((Cursor::decoded(position, query_fingerprint), total))
    }

    /// The HMAC of the query's fingerprint and the encoded cursor, before it is finalized.
    fn mac(&self, encoded: &[u8], query_fingerprint: &Digest) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new(&self.0.into());
        mac.update(query_fingerprint.as_bytes());
        mac.update(encoded);
        mac
    }
}

impl fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CursorKey(redacted)")
    }
}
