//! The owner of an artifact: [`Scope`] and its parts. A value of these types is always valid.
//!
//! This module must never know how a scope becomes a key or a column.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::StoreError;

/// The longest scope part, in bytes of UTF-8.
pub const MAX_SCOPE_PART_BYTES: usize = 256;

/// One part of a scope: 1 to 256 bytes of UTF-8 without control characters. The text is not interpreted: `..`, `/`,
/// `%2f` and emoji are valid names. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScopePart(Arc<str>);

impl ScopePart {
    /// Validates `text` as a scope part.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if `text` is empty, has more than 256 bytes, or contains
    /// a control character (Unicode category Cc).
    pub fn new(text: impl AsRef<str>) -> Result<Self, StoreError> {
        let text = text.as_ref();
        if text.is_empty() {
            return Err(StoreError::invalid("a scope part is empty; it needs 1 to 256 bytes"));
        }
        if text.len() > MAX_SCOPE_PART_BYTES {
            return Err(StoreError::invalid(format!(
                "a scope part has {} bytes; at most {MAX_SCOPE_PART_BYTES} are allowed",
                text.len()
            )));
        }
        if text.chars().any(char::is_control) {
            return Err(StoreError::invalid("a scope part holds a control character"));
        }
        Ok(Self(text.into()))
    }

    /// The part's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ScopePart {
    type Error = StoreError;
    fn try_from(text: String) -> Result<Self, StoreError> {
        Self::new(text)
    }
}

impl From<ScopePart> for String {
    fn from(part: ScopePart) -> Self {
        part.0.as_ref().to_owned()
    }
}

impl Borrow<str> for ScopePart {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for ScopePart {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ScopePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ScopePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// The owner of an artifact: a tenant, a user of the tenant, a session of the user, and optionally a task of the
/// session.
///
/// An artifact is found only in the scope that it was put into. The same id in another tenant, user, session or task is
/// another artifact, or does not exist. The scope of a session without a task is different from the scope of each of
/// its tasks. Cheap to clone.
///
/// # Examples
/// ```
/// use artifact_store_core::Scope;
///
/// let session = Scope::new("acme", "ada", "s-1")?;
/// let task = session.clone().with_task("build")?;
/// assert_ne!(session, task);
/// assert!(Scope::new("", "ada", "s-1").is_err());
/// # Ok::<(), artifact_store_core::StoreError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(Arc<ScopeParts>);

/// The parts of a scope. One `Arc` contains all of them: every put and every row of a listing clones a scope.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "Scope")]
struct ScopeParts {
    tenant: ScopePart,
    user: ScopePart,
    session: ScopePart,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    task: Option<ScopePart>,
}

impl Scope {
    /// A session's scope, without a task.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if a part is not a valid [`ScopePart`].
    pub fn new(
        tenant: impl AsRef<str>,
        user: impl AsRef<str>,
        session: impl AsRef<str>,
    ) -> Result<Self, StoreError> {
        Ok(Self::from_parts(ScopePart::new(tenant)?, ScopePart::new(user)?, ScopePart::new(session)?, None))
    }

    /// A scope from validated parts.
    pub fn from_parts(
        tenant: ScopePart,
        user: ScopePart,
        session: ScopePart,
        task: Option<ScopePart>,
    ) -> Self {
        Self(Arc::new(ScopeParts { tenant, user, session, task }))
    }

    /// The same session with `task`.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if `task` is not a valid [`ScopePart`].
    pub fn with_task(mut self, task: impl AsRef<str>) -> Result<Self, StoreError> {
        Arc::make_mut(&mut self.0).task = Some(ScopePart::new(task)?);
        Ok(self)
    }

    /// The tenant.
    pub fn tenant(&self) -> &ScopePart {
        &self.0.tenant
    }

    /// The user within the tenant.
    pub fn user(&self) -> &ScopePart {
        &self.0.user
    }

    /// The session of the user.
    pub fn session(&self) -> &ScopePart {
        &self.0.session
    }

    /// The task within the session, if there is one.
    pub fn task(&self) -> Option<&ScopePart> {
        self.0.task.as_ref()
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ScopeParts::deserialize(deserializer).map(|parts| Self(Arc::new(parts)))
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ScopeParts { tenant, user, session, task } = &*self.0;
        write!(f, "Scope({tenant:?}/{user:?}/{session:?}")?;
        match task {
            Some(task) => write!(f, "/{task:?})"),
            None => f.write_str(")"),
        }
    }
}

/// The tenants that a listing includes. The type is not an `Option`, so that a forgotten tenant does not select all
/// tenants: a caller that wants all tenants must write [`AllTenants`](Self::AllTenants).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantPattern {
    /// One tenant.
    One(ScopePart),
    /// All tenants of the store, for listings by operators.
    AllTenants,
}

/// The tasks of a session that a listing includes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskPattern {
    /// Artifacts of any task and artifacts without a task.
    Any,
    /// Only artifacts without a task.
    NoTask,
    /// Only artifacts of this task.
    One(ScopePart),
}

/// The scopes that a listing includes: one or all tenants, and within them one or any user, session and task.
///
/// # Examples
/// ```
/// use artifact_store_core::{Scope, ScopePart, ScopePattern};
///
/// let scope = Scope::new("acme", "ada", "s-1")?;
/// assert!(ScopePattern::exactly(&scope).matches(&scope));
/// assert!(ScopePattern::tenant(ScopePart::new("acme")?).matches(&scope));
/// assert!(!ScopePattern::tenant(ScopePart::new("acm")?).matches(&scope));
/// # Ok::<(), artifact_store_core::StoreError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ScopePattern {
    /// One tenant, or all tenants.
    pub tenant: TenantPattern,
    /// One user; `None` for any.
    pub user: Option<ScopePart>,
    /// One session; `None` for any.
    pub session: Option<ScopePart>,
    /// Which tasks the pattern includes, and whether it includes artifacts without a task.
    pub task: TaskPattern,
}

impl ScopePattern {
    /// A pattern that includes only `scope`. If `scope` has no task, the pattern includes only artifacts without a
    /// task.
    pub fn exactly(scope: &Scope) -> Self {
        Self {
            tenant: TenantPattern::One(scope.tenant().clone()),
            user: Some(scope.user().clone()),
            session: Some(scope.session().clone()),
            task: scope.task().cloned().map_or(TaskPattern::NoTask, TaskPattern::One),
        }
    }

    /// The session of `scope`, including all its tasks.
    pub fn session_of(scope: &Scope) -> Self {
        Self { task: TaskPattern::Any, ..Self::exactly(scope) }
    }

    /// All scopes of one tenant.
    pub fn tenant(tenant: ScopePart) -> Self {
        Self { tenant: TenantPattern::One(tenant), ..Self::all_tenants() }
    }

    /// All scopes of all tenants.
    pub fn all_tenants() -> Self {
        Self { tenant: TenantPattern::AllTenants, user: None, session: None, task: TaskPattern::Any }
    }

    /// Restricts the pattern to one user.
    #[must_use]
    pub fn user(mut self, user: ScopePart) -> Self {
        self.user = Some(user);
        self
    }

    /// Restricts the pattern to one session.
    #[must_use]
    pub fn session(mut self, session: ScopePart) -> Self {
        self.session = Some(session);
        self
    }

    /// Sets which tasks the pattern includes.
    #[must_use]
    pub fn task(mut self, task: TaskPattern) -> Self {
        self.task = task;
        self
    }

    /// Whether the pattern includes `scope`.
    pub fn matches(&self, scope: &Scope) -> bool {
        let tenant_matches = match &self.tenant {
            TenantPattern::One(tenant) => tenant == scope.tenant(),
            TenantPattern::AllTenants => true,
        };
        let task_matches = match &self.task {
            TaskPattern::Any => true,
            TaskPattern::NoTask => scope.task().is_none(),
            TaskPattern::One(task) => scope.task() == Some(task),
        };
        tenant_matches
            && task_matches
            && self.user.as_ref().is_none_or(|user| user == scope.user())
            && self.session.as_ref().is_none_or(|session| session == scope.session())
    }
}
