//! Who an artifact belongs to: [`Scope`] and its parts, valid by construction.
//!
//! This module must never know how a scope becomes a key or a column.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// The longest scope part, in bytes of UTF-8.
pub const MAX_SCOPE_PART_BYTES: usize = 256;

/// One part of a scope: 1 to 256 bytes of UTF-8 without control characters, opaque otherwise. `..`, `/`, `%2f` or
/// an emoji are as good as any other name. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScopePart(Arc<str>);

impl ScopePart {
    /// Checks `text` and makes it a part.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for 0 bytes, more than 256, or a control character
    /// (Unicode category Cc).
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

/// The owner of an artifact: a tenant, a user of it, a session of that, and perhaps a task within the session.
///
/// Every verb names a scope, and nothing is found outside the scope it was put under: the same id under another
/// tenant, user, session or task is another artifact, or none. *No task* is a scope of its own, different from every
/// task's. Can only be built valid; cheap to clone.
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
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
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
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where a part is not a legal [`ScopePart`].
    pub fn new(
        tenant: impl AsRef<str>,
        user: impl AsRef<str>,
        session: impl AsRef<str>,
    ) -> Result<Self, StoreError> {
        Ok(Self::from_parts(ScopePart::new(tenant)?, ScopePart::new(user)?, ScopePart::new(session)?, None))
    }

    /// A scope of parts that are checked already.
    pub fn from_parts(
        tenant: ScopePart,
        user: ScopePart,
        session: ScopePart,
        task: Option<ScopePart>,
    ) -> Self {
        Self { tenant, user, session, task }
    }

    /// The same session with `task`.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where `task` is not a legal [`ScopePart`].
    pub fn with_task(mut self, task: impl AsRef<str>) -> Result<Self, StoreError> {
        self.task = Some(ScopePart::new(task)?);
        Ok(self)
    }

    /// The tenant.
    pub fn tenant(&self) -> &ScopePart {
        &self.tenant
    }

    /// The user within the tenant.
    pub fn user(&self) -> &ScopePart {
        &self.user
    }

    /// The session of the user.
    pub fn session(&self) -> &ScopePart {
        &self.session
    }

    /// The task within the session, where there is one.
    pub fn task(&self) -> Option<&ScopePart> {
        self.task.as_ref()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({:?}/{:?}/{:?}", self.tenant, self.user, self.session)?;
        match &self.task {
            Some(task) => write!(f, "/{task:?})"),
            None => f.write_str(")"),
        }
    }
}

/// Which tenants a listing covers. There is no value that means everything by being empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantPattern {
    /// One tenant.
    One(ScopePart),
    /// Every tenant of the store: an operator's listing, said in so many letters.
    AllTenants,
}

/// Which tasks of a session a listing covers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskPattern {
    /// Artifacts with any task and those without.
    Any,
    /// Only artifacts without a task.
    NoTask,
    /// Only this task's.
    One(ScopePart),
}

/// The scopes that a listing covers: a tenant (or all of them), and within it one or any user, session and task.
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
    /// The tenant, or all of them.
    pub tenant: TenantPattern,
    /// One user; `None` is any.
    pub user: Option<ScopePart>,
    /// One session; `None` is any.
    pub session: Option<ScopePart>,
    /// Which tasks.
    pub task: TaskPattern,
}

impl ScopePattern {
    /// Exactly `scope`: its task where it has one, artifacts without a task where it has none.
    pub fn exactly(scope: &Scope) -> Self {
        Self {
            tenant: TenantPattern::One(scope.tenant.clone()),
            user: Some(scope.user.clone()),
            session: Some(scope.session.clone()),
            task: scope.task.clone().map_or(TaskPattern::NoTask, TaskPattern::One),
        }
    }

    /// The session of `scope`, with and without tasks.
    pub fn session_of(scope: &Scope) -> Self {
        Self { task: TaskPattern::Any, ..Self::exactly(scope) }
    }

    /// Everything of one tenant.
    pub fn tenant(tenant: ScopePart) -> Self {
        Self { tenant: TenantPattern::One(tenant), ..Self::all_tenants() }
    }

    /// Everything of every tenant.
    pub fn all_tenants() -> Self {
        Self { tenant: TenantPattern::AllTenants, user: None, session: None, task: TaskPattern::Any }
    }

    /// The same, narrowed to one user.
    #[must_use]
    pub fn user(mut self, user: ScopePart) -> Self {
        self.user = Some(user);
        self
    }

    /// The same, narrowed to one session.
    #[must_use]
    pub fn session(mut self, session: ScopePart) -> Self {
        self.session = Some(session);
        self
    }

    /// The same, narrowed to some tasks.
    #[must_use]
    pub fn task(mut self, task: TaskPattern) -> Self {
        self.task = task;
        self
    }

    /// Whether `scope` is covered.
    pub fn matches(&self, scope: &Scope) -> bool {
        let tenant = match &self.tenant {
            TenantPattern::One(tenant) => *tenant == scope.tenant,
            TenantPattern::AllTenants => true,
        };
        let task = match &self.task {
            TaskPattern::Any => true,
            TaskPattern::NoTask => scope.task.is_none(),
            TaskPattern::One(task) => scope.task.as_ref() == Some(task),
        };
        tenant
            && task
            && self.user.as_ref().is_none_or(|user| *user == scope.user)
            && self.session.as_ref().is_none_or(|session| *session == scope.session)
    }
}
