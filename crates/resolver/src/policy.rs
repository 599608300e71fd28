//! Authorization: the table of token scopes as data, and [`Permission`], the proof that the table allows a call.
//!
//! *Token scope* means a right in the caller's token: `admin`, `console:fleet` or `artifacts:delete`. *Scope* alone
//! means the tenant, user, session and task of artifacts. In this module, a *verb* is a method `artifacts.*` of the
//! protocol, or the subscription to events.
//!
//! Each method of the resolver takes its target from a [`Permission`] of its own verb. Only [`authorize`] and
//! [`authorize_events`] create permissions. This module must never know a store.

use std::marker::PhantomData;

use artifact_store_core::{Scope, ScopePart, ScopePattern, TaskPattern};
use artifact_store_protocol::{Code, EventPayload, Method, ScopeParts};

use crate::bus::{EventBus, SubscriptionScope};
use crate::caller::Caller;
use crate::refusal::Refusal;

/// The class of a verb. Each class has a row in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VerbClass {
    /// Reads the content of one artifact.
    ContentRead,
    /// Reads events, or the metadata of many artifacts, from one or several scopes.
    CrossScopeRead,
    /// Changes what is stored.
    Mutation,
    /// Needs `admin`, even in the caller's own tenant. For artifacts of the caller's own session, `artifacts:delete` is
    /// enough.
    AdminVerb,
}

/// A cell of the table: whether the call is allowed, or the code of its refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Allow,
    Deny(Code),
}

/// A row of the table: the decisions in the caller's own tenant and in another tenant.
struct Rule {
    class: VerbClass,
    own_tenant: RoleDecisions,
    foreign_tenant: RoleDecisions,
    /// Whether `admin` may name other users and sessions of its own tenant.
    admin_may_name_others: bool,
}

/// The decision for a caller without token scopes, and for each token scope. A caller with several token scopes is
/// allowed if one of them allows the call.
struct RoleDecisions {
    /// For a caller without token scopes.
    user: Decision,
    fleet: Decision,
    delete: Decision,
    admin: Decision,
}

use Decision::{Allow, Deny};

/// Which callers may do what: one row for each class of verbs.
const TABLE: [Rule; 4] = [
    Rule {
        class: VerbClass::ContentRead,
        own_tenant: RoleDecisions { user: Allow, fleet: Allow, delete: Allow, admin: Allow },
        // No token scope gives access to content of another tenant. The refusal never reveals whether the content
        // exists.
        foreign_tenant: RoleDecisions {
            user: Deny(Code::NotFound),
            fleet: Deny(Code::NotFound),
            delete: Deny(Code::NotFound),
            admin: Deny(Code::NotFound),
        },
        admin_may_name_others: false,
    },
    Rule {
        class: VerbClass::CrossScopeRead,
        own_tenant: RoleDecisions { user: Allow, fleet: Allow, delete: Allow, admin: Allow },
        foreign_tenant: RoleDecisions {
            user: Deny(Code::IdentityScopeRequired),
            fleet: Allow,
            delete: Deny(Code::IdentityScopeRequired),
            admin: Allow,
        },
        admin_may_name_others: true,
    },
    Rule {
        class: VerbClass::Mutation,
        own_tenant: RoleDecisions { user: Allow, fleet: Allow, delete: Allow, admin: Allow },
        foreign_tenant: RoleDecisions {
            user: Deny(Code::ScopeMismatch),
            fleet: Deny(Code::ScopeMismatch),
            delete: Deny(Code::ScopeMismatch),
            admin: Allow,
        },
        admin_may_name_others: true,
    },
    Rule {
        class: VerbClass::AdminVerb,
        own_tenant: RoleDecisions {
            user: Deny(Code::IdentityScopeRequired),
            fleet: Deny(Code::IdentityScopeRequired),
            delete: Allow,
            admin: Allow,
        },
        foreign_tenant: RoleDecisions {
            user: Deny(Code::IdentityScopeRequired),
            fleet: Deny(Code::IdentityScopeRequired),
            delete: Deny(Code::IdentityScopeRequired),
            admin: Allow,
        },
        admin_may_name_others: true,
    },
];

impl VerbClass {
    /// The row of the table for this class.
    fn rule(self) -> &'static Rule {
        // The table has a row for each class (the test `every_class_has_its_row`). So `&TABLE[0]` is never used.
        TABLE.iter().find(|rule| rule.class == self).unwrap_or(&TABLE[0])
    }
}

impl RoleDecisions {
    /// The decision for `caller` with all its token scopes.
    fn for_caller(&self, caller: &Caller) -> Decision {
        let by_token_scope = [
            (caller.is_admin(), self.admin),
            (caller.has_fleet(), self.fleet),
            (caller.has_delete(), self.delete),
        ];
        let is_allowed = by_token_scope
            .into_iter()
            .any(|(has_token_scope, decision)| has_token_scope && decision == Allow);
        if is_allowed { Allow } else { self.user }
    }
}

/// A verb that needs a [`Permission`].
pub(crate) trait Verb {
    /// The class of the verb, which selects the row of the table.
    const CLASS: VerbClass;
    /// The name of the verb in an audit event.
    const NAME: &'static str;
    /// What a permission gives access to: a scope, a pattern of scopes, or the scope of a subscription.
    type Target;
}

/// A verb whose request names a scope.
pub(crate) trait ScopedVerb: Verb {
    /// Builds the target from the parts of an authorized scope.
    ///
    /// # Errors
    /// `identity_required` if the verb needs a part that is missing.
    fn target(parts: TargetParts) -> Result<Self::Target, Refusal>;
}

/// The parts of an authorized scope. `None` means that the request does not name the part, and that it has no default.
pub(crate) struct TargetParts {
    tenant: ScopePart,
    user: Option<ScopePart>,
    session: Option<ScopePart>,
    task: Option<ScopePart>,
}

/// The proof that a caller may perform the verb `V` on a target. A permission can be used once. Only [`authorize`] and
/// [`authorize_events`] create one.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permission<V: Verb> {
    target: V::Target,
    /// The caller's session, and the audit event that is published in this session. `None` if the target is in the
    /// caller's own tenant.
    audit: Option<(Scope, EventPayload)>,
    verb: PhantomData<V>,
}

impl<V: Verb> Permission<V> {
    /// The target. Unlike [`into_audited_target`](Self::into_audited_target), this method does not use up the
    /// permission and publishes no audit event.
    pub(crate) fn target(&self) -> &V::Target {
        &self.target
    }

    /// Uses the permission and returns its target. If the target is not in the caller's own tenant, the audit event is
    /// published.
    pub(crate) fn into_audited_target(self, bus: &EventBus) -> V::Target {
        if let Some((scope, payload)) = self.audit {
            bus.publish(scope, payload);
        }
        self.target
    }
}

/// Decides by the table whether `caller` may perform the verb `V`. `requested` contains the parts of the scope in the
/// request.
///
/// # Errors
/// The code in the table. `identity_required` if the scope is incomplete, or if it names a user or session that the
/// caller may not name.
pub(crate) fn authorize<V: ScopedVerb>(
    caller: &Caller,
    requested: ScopeParts,
) -> Result<Permission<V>, Refusal> {
    let rule = V::CLASS.rule();
    let requested = fill_defaults(caller, requested);
    let is_foreign = requested.tenant.as_ref().is_some_and(|tenant| tenant != caller.tenant());
    let decisions = if is_foreign { &rule.foreign_tenant } else { &rule.own_tenant };
    if let Deny(code) = decisions.for_caller(caller) {
        return Err(denied(code, V::CLASS));
    }
    let Some(tenant) = requested.tenant else { return Err(incomplete_scope()) };
    // If the tenant is foreign, the table has already allowed the call. The users and sessions of a foreign tenant are
    // never the caller's own, so the request may name each of them.
    let may_name_others = is_foreign || (caller.is_admin() && rule.admin_may_name_others);
    let names_other_user = requested.user.as_ref().is_some_and(|user| user != caller.user());
    let names_other_session = requested.session.as_ref().is_some_and(|session| session != caller.session());
    if !may_name_others && (names_other_user || names_other_session) {
        return Err(Refusal::new(
            Code::IdentityRequired,
            "the scope names another user or session than the verified identity",
        ));
    }
    let mut user = requested.user;
    let mut session = requested.session;
    if !may_name_others {
        // If a listing names no user, it is limited to the caller's own user. If the caller is also bound to its
        // session, a listing without a session is limited to this session.
        user = user.or_else(|| default_user::<V>(caller));
        session = session.or_else(|| default_session::<V>(caller));
    }
    let audit = is_foreign.then(|| {
        let payload = EventPayload::AdminScopeUsed {
            method: V::NAME.into(),
            admin_scope: admin_scope(caller).into(),
            target_tenant: Some(tenant.as_str().to_owned()),
            target_user: user.as_ref().map(|part| part.as_str().to_owned()),
            target_session: session.as_ref().map(|part| part.as_str().to_owned()),
        };
        (caller.session_scope().clone(), payload)
    });
    let parts = TargetParts { tenant, user, session, task: requested.task };
    Ok(Permission { target: V::target(parts)?, audit, verb: PhantomData })
}

/// Decides whether `caller` may subscribe to `scope`. Every caller may subscribe to its own session. The table decides
/// who may subscribe to all tenants.
///
/// # Errors
/// The code in the table.
pub(crate) fn authorize_events(
    caller: &Caller,
    scope: SubscriptionScope,
) -> Result<Permission<Events>, Refusal> {
    if scope == SubscriptionScope::Session {
        return Ok(Permission { target: scope, audit: None, verb: PhantomData });
    }
    if let Deny(code) = Events::CLASS.rule().foreign_tenant.for_caller(caller) {
        return Err(denied(code, Events::CLASS));
    }
    let payload = EventPayload::AdminScopeUsed {
        method: Events::NAME.into(),
        admin_scope: admin_scope(caller).into(),
        target_tenant: None,
        target_user: None,
        target_session: None,
    };
    let audit = Some((caller.session_scope().clone(), payload));
    Ok(Permission { target: scope, audit, verb: PhantomData })
}

/// The name of the token scope that allowed an access to another tenant.
fn admin_scope(caller: &Caller) -> &'static str {
    if caller.is_admin() { "admin" } else { "console:fleet" }
}

/// If `requested` has no tenant, no user and no session, fills in those of the caller. Otherwise returns `requested`
/// unchanged.
fn fill_defaults(caller: &Caller, requested: ScopeParts) -> ScopeParts {
    if requested.tenant.is_some() || requested.user.is_some() || requested.session.is_some() {
        return requested;
    }
    ScopeParts {
        tenant: Some(caller.tenant().clone()),
        user: Some(caller.user().clone()),
        session: Some(caller.session().clone()),
        task: requested.task,
    }
}

/// The default user of a listing: the caller's own user. `None` for other verbs, which have no default.
fn default_user<V: Verb>(caller: &Caller) -> Option<ScopePart> {
    (V::CLASS == VerbClass::CrossScopeRead).then(|| caller.user().clone())
}

/// The default session of a listing, if the caller is bound to its session. `None` for other callers and other verbs.
fn default_session<V: Verb>(caller: &Caller) -> Option<ScopePart> {
    (V::CLASS == VerbClass::CrossScopeRead && caller.is_session_bound()).then(|| caller.session().clone())
}

fn incomplete_scope() -> Refusal {
    Refusal::new(
        Code::IdentityRequired,
        "the scope is incomplete; name tenant, user and session, or none of them for the verified ones",
    )
}

/// The refusal with the code from the table. The message says which token scope is needed; for `not_found`, the message
/// is the same as for a missing artifact.
fn denied(code: Code, class: VerbClass) -> Refusal {
    match (code, class) {
        (Code::NotFound, _) => Refusal::not_found(),
        (Code::ScopeMismatch, _) => Refusal::new(code, "a change in another tenant needs the scope admin"),
        (_, VerbClass::AdminVerb) => Refusal::new(
            code,
            "this needs a token with the scope admin, or artifacts:delete for artifacts of its own session",
        ),
        _ => Refusal::new(code, "this needs a token with the scope admin or console:fleet"),
    }
}

/// The target of a verb that needs a whole scope.
///
/// # Errors
/// `identity_required` if the user or the session is missing.
fn complete_scope(parts: TargetParts) -> Result<Scope, Refusal> {
    match (parts.user, parts.session) {
        (Some(user), Some(session)) => Ok(Scope::from_parts(parts.tenant, user, session, parts.task)),
        _ => Err(incomplete_scope()),
    }
}

/// Defines verbs, one in each line: its type, its class, its name, the type of its target, and the function that builds
/// the target.
macro_rules! verbs {
    ($($name:ident: $class:ident, $verb_name:expr, $target:ty, $build_target:expr;)+) => {
        $(
            #[derive(Debug)]
            pub(crate) struct $name;
            impl Verb for $name {
                const CLASS: VerbClass = VerbClass::$class;
                const NAME: &'static str = $verb_name;
                type Target = $target;
            }
            impl ScopedVerb for $name {
                fn target(parts: TargetParts) -> Result<$target, Refusal> {
                    $build_target(parts)
                }
            }
        )+
    };
}

verbs! {
    Put: Mutation, Method::ArtifactsPut.name(), Scope, complete_scope;
    Get: ContentRead, Method::ArtifactsGet.name(), Scope, complete_scope;
    GetRef: ContentRead, Method::ArtifactsGetRef.name(), Scope, complete_scope;
    List: CrossScopeRead, Method::ArtifactsList.name(), ScopePattern, |parts| Ok(list_pattern(parts));
    Delete: AdminVerb, Method::ArtifactsDelete.name(), Scope, complete_scope;
}

/// Subscribing to events.
#[derive(Debug)]
pub(crate) struct Events;

impl Verb for Events {
    const CLASS: VerbClass = VerbClass::CrossScopeRead;
    const NAME: &'static str = "events.subscribe";
    type Target = SubscriptionScope;
}

/// The scopes that a listing covers. If the request does not name a user, session or task, the listing covers all of
/// them.
fn list_pattern(parts: TargetParts) -> ScopePattern {
    ScopePattern {
        user: parts.user,
        session: parts.session,
        task: parts.task.map_or(TaskPattern::Any, TaskPattern::One),
        ..ScopePattern::tenant(parts.tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_scope_never_takes_a_right_away() {
        for row in &TABLE {
            for decisions in [&row.own_tenant, &row.foreign_tenant] {
                for decision in [decisions.fleet, decisions.delete, decisions.admin] {
                    assert!(decision == Allow || decision == decisions.user, "{:?}", row.class);
                }
            }
        }
    }

    #[test]
    fn every_class_has_its_row() {
        for class in
            [VerbClass::ContentRead, VerbClass::CrossScopeRead, VerbClass::Mutation, VerbClass::AdminVerb]
        {
            assert_eq!(class.rule().class, class);
        }
    }
}
