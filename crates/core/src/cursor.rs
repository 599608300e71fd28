//! Where a listing goes on: [`Cursor`] for callers, [`Position`] for drivers, [`CursorKey`] between them.
//!
//! A token is bound to its query and authenticated, so callers cannot make one up; it is not secret: it names the last
//! row that its holder was shown.

use std::cmp::{Ordering, Reverse};
use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::StoreError;
use crate::id::{ArtifactId, Digest, Hasher};
use crate::record::Record;
use crate::scope::Scope;
use crate::time::Timestamp;

// The first byte of a token: a decoded position, or the sealed cursor of a gate further down.
const POSITION: u8 = 1;
const SEALED: u8 = 2;
const TAG_BYTES: usize = 16;
// HMAC-SHA256 takes its key as one block of 64 bytes and fills a shorter one up with zeros itself.
const KEY_BYTES: usize = 64;
const FIXED_BYTES: usize = 1 + 8 + 16;

/// A row's place in the order of listings: newest first, ties by id, and ties of ids (one artifact put under several
/// scopes at one moment) by the scope's own mark. Sorts as rows are listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    /// When the row was created.
    pub created_at: Timestamp,
    /// The row's id.
    pub id: ArtifactId,
    /// Tells rows of one id and moment in different scopes apart: [`ScopeMark::of`] the row's scope.
    pub scope_mark: ScopeMark,
}

/// 128 bits of SHA-256 over a scope: a total order over scopes that every driver can store and compare bytewise.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeMark([u8; 16]);

impl ScopeMark {
    /// The mark of `scope`.
    pub fn of(scope: &Scope) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(b"artifact-store scope mark v1\0");
        for part in [Some(scope.tenant()), Some(scope.user()), Some(scope.session()), scope.task()] {
            // A part never holds a control character, so the bytes 1 and 0 tell *absent* from any name.
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
    /// The place of `record`.
    pub fn of(record: &Record) -> Self {
        Self {
            created_at: record.created_at,
            id: record.id.clone(),
            scope_mark: ScopeMark::of(&record.scope),
        }
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
enum Repr {
    Sealed(String),
    Open { position: Position, query: Digest },
}

/// Where the next page of a listing starts. Opaque to callers.
///
/// A gated store hands out sealed cursors, which are texts and survive the wire. A bare driver's cursors are open: they
/// hold a decoded position and have no text.
#[derive(Clone, PartialEq, Eq)]
pub struct Cursor(Repr);

impl Cursor {
    /// A cursor from its text. Whether it is genuine shows when it is used.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(Repr::Sealed(text.into()))
    }

    /// The cursor's text; `None` for an open one, which never leaves the process.
    pub fn as_text(&self) -> Option<&str> {
        match &self.0 {
            Repr::Sealed(text) => Some(text),
            Repr::Open { .. } => None,
        }
    }

    pub(crate) fn is_sealed(&self) -> bool {
        matches!(self.0, Repr::Sealed(_))
    }

    pub(crate) fn open_at(position: Position, query: Digest) -> Self {
        Self(Repr::Open { position, query })
    }

    pub(crate) fn position(&self, query: &Digest) -> Result<&Position, StoreError> {
        match &self.0 {
            Repr::Open { position, query: bound } if bound == query => Ok(position),
            Repr::Open { .. } | Repr::Sealed(_) => Err(refused()),
        }
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Sealed(text) => write!(f, "Cursor({text})"),
            Repr::Open { position, .. } => write!(f, "Cursor({position:?})"),
        }
    }
}

fn refused() -> StoreError {
    StoreError::invalid("the cursor is altered or belongs to another query; list again without it")
}

/// The key that authenticates cursors.
///
/// Random unless it is given: then cursors end with the process. Replicas that serve each other's cursors share one.
#[derive(Clone)]
pub struct CursorKey([u8; KEY_BYTES]);

impl CursorKey {
    /// A fresh random key.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) where the operating system gives no randomness.
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
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a shorter one.
    pub fn from_secret(secret: &[u8]) -> Result<Self, StoreError> {
        if secret.len() < 16 {
            return Err(StoreError::invalid("a cursor secret needs at least 16 bytes"));
        }
        let mut hasher = Hasher::new();
        hasher.update(b"artifact-store cursor key v1\0");
        hasher.update(secret);
        let mut key = [0; KEY_BYTES];
        key[..32].copy_from_slice(hasher.finish().as_bytes());
        Ok(Self(key))
    }

    pub(crate) fn seal(&self, cursor: &Cursor, query: &Digest) -> Cursor {
        let mut token = match &cursor.0 {
            Repr::Sealed(text) => [&[SEALED], text.as_bytes()].concat(),
            Repr::Open { position, .. } => {
                let mut token = vec![POSITION];
                token.extend_from_slice(&position.created_at.as_micros().to_be_bytes());
                token.extend_from_slice(position.scope_mark.as_bytes());
                token.extend_from_slice(position.id.as_str().as_bytes());
                token
            }
        };
        let tag = self.tag(&token, query);
        token.extend_from_slice(&tag.finalize().into_bytes()[..TAG_BYTES]);
        Cursor(Repr::Sealed(BASE64URL_NOPAD.encode(&token)))
    }

    pub(crate) fn open(&self, cursor: &Cursor, query: Digest) -> Result<Cursor, StoreError> {
        let Repr::Sealed(text) = &cursor.0 else { return Err(refused()) };
        let token = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| refused())?;
        let tag_at = token.len().checked_sub(TAG_BYTES).ok_or_else(refused)?;
        let (token, tag) = token.split_at(tag_at);
        self.tag(token, &query).verify_truncated_left(tag).map_err(|_| refused())?;
        // From here on the token is one that this key's holder made.
        if let [SEALED, text @ ..] = token {
            return Ok(Cursor::from_text(std::str::from_utf8(text).map_err(|_| refused())?));
        }
        if token.len() <= FIXED_BYTES || token[0] != POSITION {
            return Err(refused());
        }
        let mut created_at = [0; 8];
        created_at.copy_from_slice(&token[1..9]);
        let mut mark = [0; 16];
        mark.copy_from_slice(&token[9..25]);
        let id = std::str::from_utf8(&token[25..]).map_err(|_| refused())?;
        let position = Position {
            created_at: Timestamp::from_micros(i64::from_be_bytes(created_at)),
            id: id.parse().map_err(|_| refused())?,
            scope_mark: ScopeMark(mark),
        };
        Ok(Cursor::open_at(position, query))
    }

    fn tag(&self, token: &[u8], query: &Digest) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new(&self.0.into());
        mac.update(query.as_bytes());
        mac.update(token);
        mac
    }
}

impl fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CursorKey(redacted)")
    }
}
