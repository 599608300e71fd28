//! The names of scopes and ids in a storage: [`KeyToken`].
//!
//! The format can never change, because it determines where stored artifacts are found. Test vectors in
//! `tests/api/scope_and_key.rs` detect a change of the format. This module must never know a separator or a path: each
//! driver joins tokens as its storage requires.

use std::fmt;

use data_encoding::BASE32_NOPAD;

use crate::digest::Hasher;
use crate::id::ArtifactId;
use crate::scope::Scope;

/// The longest [`KeyToken`], in bytes: 12 for its readable stub, 1 for the dot, 32 for 160 bits in base32.
pub const MAX_KEY_TOKEN_BYTES: usize = 45;

const MAX_STUB_CHARS: usize = 12;
const HASH_DOMAIN: &[u8] = b"artifact-store key v1\0";

/// What a token names. The kind is part of the hash, so that a user and a session with the same name get different
/// tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenKind {
    Tenant = b't' as isize,
    User = b'u' as isize,
    Session = b's' as isize,
    /// `k`, because `t` is the letter of the tenant.
    Task = b'k' as isize,
    Artifact = b'a' as isize,
}

/// A name that is valid in every storage: a readable stub of at most 12 characters of `[a-z0-9-]`, a dot, and 160 bits
/// of domain-separated SHA-256 in lower-case base32.
///
/// The token of any valid scope part fits in a file name and in an S3 key. A token has no upper-case letters, so
/// different tokens are also different on case-insensitive file systems. A scope without a task also has a task
/// token, which differs from the token of every task. A token cannot be converted back to a name. So the record
/// contains the scope itself, and every read compares this scope with the requested scope.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyToken(String);

impl KeyToken {
    /// The token of `name`. `None` stands for the missing task of a scope without a task.
    fn new(kind: TokenKind, name: Option<&str>) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(HASH_DOMAIN);
        // The byte after the kind is 0 for a missing task and 1 for a name.
        hasher.update(&[kind as u8, u8::from(name.is_some())]);
        hasher.update(name.unwrap_or_default().as_bytes());
        let digest = hasher.finish();
        let first_160_bits = &digest.as_bytes()[..20];
        let hash = BASE32_NOPAD.encode(first_160_bits).to_ascii_lowercase();
        let stub: String = name
            .unwrap_or("none")
            .chars()
            .take(MAX_STUB_CHARS)
            .map(|c| match c.to_ascii_lowercase() {
                c @ ('a'..='z' | '0'..='9') => c,
                _ => '-',
            })
            .collect();
        Self(format!("{stub}.{hash}"))
    }

    /// The token of an artifact's id, for the last component of its key. An id is not a safe file name itself: its
    /// namespace may contain upper-case letters, and some file systems ignore case.
    pub fn of_id(id: &ArtifactId) -> Self {
        Self::new(TokenKind::Artifact, Some(id.as_str()))
    }

    /// The token of a tenant.
    pub fn of_tenant(tenant: &crate::ScopePart) -> Self {
        Self::new(TokenKind::Tenant, Some(tenant.as_str()))
    }

    /// The token of a user.
    pub fn of_user(user: &crate::ScopePart) -> Self {
        Self::new(TokenKind::User, Some(user.as_str()))
    }

    /// The token of a session.
    pub fn of_session(session: &crate::ScopePart) -> Self {
        Self::new(TokenKind::Session, Some(session.as_str()))
    }

    /// The token of a task. Pass `None` for a scope without a task.
    pub fn of_task(task: Option<&crate::ScopePart>) -> Self {
        Self::new(TokenKind::Task, task.map(crate::ScopePart::as_str))
    }

    /// The four tokens of a scope, tenant first.
    ///
    /// # Examples
    /// ```
    /// use artifact_store_core::{KeyToken, Scope};
    ///
    /// let [tenant, _user, _session, no_task] = KeyToken::of_scope(&Scope::new("../etc", "ada", "s-1")?);
    /// assert_eq!(tenant.as_str(), "---etc.i3l63txlhuxlmic72k3m5x5bicjlsqow");
    /// assert!(no_task.as_str().starts_with("none."));
    /// # Ok::<(), artifact_store_core::StoreError>(())
    /// ```
    pub fn of_scope(scope: &Scope) -> [Self; 4] {
        [
            Self::of_tenant(scope.tenant()),
            Self::of_user(scope.user()),
            Self::of_session(scope.session()),
            Self::of_task(scope.task()),
        ]
    }

    /// The token's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
