//! The identity behind a request: [`Caller`]. This module must never know how an identity is verified.

use artifact_store_core::{Scope, ScopePart};

/// A verified identity and the scopes of its token (`admin`, `console:fleet`, `artifacts:delete`). The code that
/// creates a `Caller` is responsible for the verification: a server creates it from a verified token, and a runtime
/// that embeds this crate creates it from its own sessions.
///
/// # Examples
/// ```
/// use artifact_store_core::Scope;
/// use artifact_store_resolver::Caller;
///
/// let caller = Caller::new(&Scope::new("acme", "ada", "session-1")?);
/// let operator = caller.clone().with_admin();
/// assert!(operator.is_admin() && !caller.is_admin());
/// # Ok::<(), artifact_store_core::StoreError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Each flag is independent of the others.
pub struct Caller {
    /// The scope of the session, without a task.
    session: Scope,
    admin: bool,
    fleet: bool,
    delete: bool,
    session_bound: bool,
}

impl Caller {
    /// A caller in the session of `scope`, with no token scope: without `admin`, `console:fleet` and
    /// `artifacts:delete`. The task of `scope` is ignored.
    pub fn new(scope: &Scope) -> Self {
        let session =
            Scope::from_parts(scope.tenant().clone(), scope.user().clone(), scope.session().clone(), None);
        Self { session, admin: false, fleet: false, delete: false, session_bound: false }
    }

    /// Adds `admin`: the caller may put, list and delete for others, in its own tenant and in other tenants. The caller
    /// may also receive the events of all tenants.
    #[must_use]
    pub fn with_admin(mut self) -> Self {
        self.admin = true;
        self
    }

    /// Adds `console:fleet`: the caller may list artifacts of other tenants, and receive the events of all tenants.
    #[must_use]
    pub fn with_fleet(mut self) -> Self {
        self.fleet = true;
        self
    }

    /// Adds `artifacts:delete`: the caller may delete artifacts of its own session, but not those of other sessions.
    #[must_use]
    pub fn with_delete(mut self) -> Self {
        self.delete = true;
        self
    }

    /// Binds the caller to its session. A listing that names no session then covers only this session, instead of every
    /// session of the user. The binding does not limit listings of a caller with `admin`, nor listings of other tenants
    /// with `console:fleet`.
    #[must_use]
    pub fn with_bound_session(mut self) -> Self {
        self.session_bound = true;
        self
    }

    /// The verified session, as a scope without a task.
    pub fn session_scope(&self) -> &Scope {
        &self.session
    }

    /// The tenant.
    pub fn tenant(&self) -> &ScopePart {
        self.session.tenant()
    }

    /// The user.
    pub fn user(&self) -> &ScopePart {
        self.session.user()
    }

    /// The session.
    pub fn session(&self) -> &ScopePart {
        self.session.session()
    }

    /// Whether the caller has `admin`.
    pub fn is_admin(&self) -> bool {
        self.admin
    }

    /// Whether the caller is bound to its session.
    pub fn is_session_bound(&self) -> bool {
        self.session_bound
    }

    /// Whether the caller has `console:fleet`.
    pub fn has_fleet(&self) -> bool {
        self.fleet
    }

    /// Whether the caller has `artifacts:delete`.
    pub fn has_delete(&self) -> bool {
        self.delete
    }
}
