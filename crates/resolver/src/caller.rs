//! Who asks: [`Caller`], a verified identity. This module must never know how it was verified.

use artifact_store_core::{Scope, ScopePart};

/// A verified identity and the scopes of its token. Whoever makes one vouches for it: a server makes it from a token that it
/// has verified, an embedding runtime from its own sessions.
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
pub struct Caller {
    session: Scope,
    admin: bool,
    fleet: bool,
    session_bound: bool,
}

impl Caller {
    /// A caller in the session of `scope` (a task in it is left out), without any scope beyond its own.
    pub fn new(scope: &Scope) -> Self {
        let session =
            Scope::from_parts(scope.tenant().clone(), scope.user().clone(), scope.session().clone(), None);
        Self { session, admin: false, fleet: false, session_bound: false }
    }

    /// The same with `admin`: may put, list and delete for others, and in other tenants.
    #[must_use]
    pub fn with_admin(mut self) -> Self {
        self.admin = true;
        self
    }

    /// The same with `console:fleet`: may list and hear events of other tenants.
    #[must_use]
    pub fn with_fleet(mut self) -> Self {
        self.fleet = true;
        self
    }

    /// The same held to its session: a listing without a session covers this one alone, where it would cover every session of
    /// the user. What `admin` and `console:fleet` may name beyond it stays as it is.
    #[must_use]
    pub fn with_bound_session(mut self) -> Self {
        self.session_bound = true;
        self
    }

    /// The session that was verified, as a scope without a task.
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

    /// Whether it holds `admin`.
    pub fn is_admin(&self) -> bool {
        self.admin
    }

    /// Whether it is held to its session.
    pub fn is_session_bound(&self) -> bool {
        self.session_bound
    }

    /// Whether it holds `console:fleet`.
    pub fn is_fleet(&self) -> bool {
        self.fleet
    }
}
