//! How scopes and ids become names in a storage: [`KeyToken`].
//!
//! The rule is fixed for ever, because it decides where stored artifacts are found; the golden vectors below pin it.
//! This module must never know a separator or a path: drivers join tokens as their storage likes.

use std::fmt;

use data_encoding::BASE32_NOPAD;

use crate::id::{ArtifactId, Hasher};
use crate::scope::Scope;

/// Length of the longest token, in bytes: stub 12, dot 1, base32 of 160 bits 32.
pub const MAX_KEY_TOKEN_BYTES: usize = 45;

const STUB: usize = 12;
const DOMAIN: &[u8] = b"artifact-store key v1\0";

/// What a token stands for; it is hashed in, so that a user and a session of one name get different tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Tenant = b't' as isize,
    User = b'u' as isize,
    Session = b's' as isize,
    Task = b'k' as isize,
    Artifact = b'a' as isize,
}

/// A name that fits any storage: a readable stub of at most 12 of `[a-z0-9-]`, a dot, and 160 bits of
/// domain-separated SHA-256 in lower-case base32.
///
/// Any legal scope part fits a file name and an S3 key; tokens that differ differ on case-blind file systems too;
/// *no task* has a token that no task name can have. Tokens cannot be turned back, so the clear scope stands in the
/// record and is compared on every read.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyToken(String);

impl KeyToken {
    fn new(part: Part, text: Option<&str>) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(DOMAIN);
        hasher.update(&[part as u8, u8::from(text.is_some())]);
        hasher.update(text.unwrap_or_default().as_bytes());
        let hash = BASE32_NOPAD.encode(&hasher.finish().as_bytes()[..20]).to_ascii_lowercase();
        let stub: String = text
            .unwrap_or("none")
            .chars()
            .take(STUB)
            .map(|c| match c.to_ascii_lowercase() {
                c @ ('a'..='z' | '0'..='9') => c,
                _ => '-',
            })
            .collect();
        Self(format!("{stub}.{hash}"))
    }

    /// The token of an artifact's id, for the last component of its key. Ids carry a namespace of either case, so
    /// they are no safe file names themselves.
    pub fn of_id(id: &ArtifactId) -> Self {
        Self::new(Part::Artifact, Some(id.as_str()))
    }

    /// The token of a tenant.
    pub fn of_tenant(tenant: &crate::ScopePart) -> Self {
        Self::new(Part::Tenant, Some(tenant.as_str()))
    }

    /// The token of a user.
    pub fn of_user(user: &crate::ScopePart) -> Self {
        Self::new(Part::User, Some(user.as_str()))
    }

    /// The token of a session.
    pub fn of_session(session: &crate::ScopePart) -> Self {
        Self::new(Part::Session, Some(session.as_str()))
    }

    /// The token of a task, or of having none.
    pub fn of_task(task: Option<&crate::ScopePart>) -> Self {
        Self::new(Part::Task, task.map(crate::ScopePart::as_str))
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
