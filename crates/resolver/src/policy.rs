//! Who may do what: the table of scopes, as data, and [`Allowed`], the proof that it was asked.
//!
//! A method of the resolver takes what it works on from an [`Allowed`] of its own verb, and only [`allow`] and
//! [`allow_events`] make one. This module must never know a store.

use std::marker::PhantomData;

use artifact_store_core::{Scope, ScopePart, ScopePattern, TaskPattern};
use artifact_store_protocol::{Code, EventPayload, Method, ScopeParts};

use crate::bus::{EventBus, Reach};
use crate::caller::Caller;
use crate::refusal::Refusal;

/// What a verb does to other people's artifacts: the rows of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Reads content by id.
    ContentRead,
    /// Reads across scopes, metadata only.
    FanIn,
    /// Changes what is stored.
    Mutation,
    /// For administrators, at home too.
    AdminVerb,
}

/// What the table answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Allowed,
    Refused(Code),
}

/// A row: the answers in the caller's own tenant and in a foreign one, by the caller's scopes.
struct Rule {
    class: Class,
    own: ByRank,
    foreign: ByRank,
    /// Whether `admin` may name other users and sessions of its own tenant.
    admin_names_others: bool,
}

struct ByRank {
    bare: Answer,
    fleet: Answer,
    admin: Answer,
}

use Answer::{Allowed as Yes, Refused as No};

const TABLE: [Rule; 4] = [
    Rule {
        class: Class::ContentRead,
        own: ByRank { bare: Yes, fleet: Yes, admin: Yes },
        // Content is never widened, and that it is there is never told.
        foreign: ByRank { bare: No(Code::NotFound), fleet: No(Code::NotFound), admin: No(Code::NotFound) },
        admin_names_others: false,
    },
    Rule {
        class: Class::FanIn,
        own: ByRank { bare: Yes, fleet: Yes, admin: Yes },
        foreign: ByRank { bare: No(Code::IdentityScopeRequired), fleet: Yes, admin: Yes },
        admin_names_others: true,
    },
    Rule {
        class: Class::Mutation,
        own: ByRank { bare: Yes, fleet: Yes, admin: Yes },
        foreign: ByRank { bare: No(Code::ScopeMismatch), fleet: No(Code::ScopeMismatch), admin: Yes },
        admin_names_others: true,
    },
    Rule {
        class: Class::AdminVerb,
        own: ByRank {
            bare: No(Code::IdentityScopeRequired),
            fleet: No(Code::IdentityScopeRequired),
            admin: Yes,
        },
        foreign: ByRank {
            bare: No(Code::IdentityScopeRequired),
            fleet: No(Code::IdentityScopeRequired),
            admin: Yes,
        },
        admin_names_others: true,
    },
];

impl Class {
    fn rule(self) -> &'static Rule {
        // The table has a row for each class; a test holds it to that.
        TABLE.iter().find(|rule| rule.class == self).unwrap_or(&TABLE[0])
    }
}

impl ByRank {
    fn of(&self, caller: &Caller) -> Answer {
        match (caller.is_admin(), caller.is_fleet()) {
            (true, _) => self.admin,
            (false, true) => self.fleet,
            (false, false) => self.bare,
        }
    }
}

/// A verb that the policy knows.
pub(crate) trait Verb {
    /// Its row of the table.
    const CLASS: Class;
    /// Its name in an audit event.
    const NAME: &'static str;
    /// What it is allowed on.
    type Target;
}

/// A verb on what a scope names.
pub(crate) trait ScopedVerb: Verb {
    /// From the parts that were asked for, filled in and checked.
    fn target(parts: Parts) -> Result<Self::Target, Refusal>;
}

/// The parts of a scope, after the table was asked.
pub(crate) struct Parts {
    tenant: ScopePart,
    user: Option<ScopePart>,
    session: Option<ScopePart>,
    task: Option<ScopePart>,
}

/// The proof that a caller may do `V` to a target. Can be used once, and is made by [`allow`] and [`allow_events`] alone.
#[derive(Debug)]
#[must_use]
pub(crate) struct Allowed<V: Verb> {
    target: V::Target,
    audit: Option<(Scope, EventPayload)>,
    verb: PhantomData<V>,
}

impl<V: Verb> Allowed<V> {
    /// What is allowed, before it is used.
    pub(crate) fn target(&self) -> &V::Target {
        &self.target
    }

    /// Uses the permission: what it took of the caller's rights beyond its own tenant is told to the bus.
    pub(crate) fn consume(self, bus: &EventBus) -> V::Target {
        if let Some((scope, payload)) = self.audit {
            bus.publish(scope, payload);
        }
        self.target
    }
}

/// Asks the table. `asked` are the parts that the request named.
pub(crate) fn allow<V: ScopedVerb>(caller: &Caller, asked: ScopeParts) -> Result<Allowed<V>, Refusal> {
    let rule = V::CLASS.rule();
    let asked = fill(caller, asked);
    let foreign = asked.tenant.as_ref().is_some_and(|tenant| tenant != caller.tenant());
    match if foreign { rule.foreign.of(caller) } else { rule.own.of(caller) } {
        Answer::Allowed => {}
        Answer::Refused(code) => return Err(refused(code)),
    }
    let Some(tenant) = asked.tenant else { return Err(incomplete()) };
    let others = foreign || (caller.is_admin() && rule.admin_names_others);
    let contradicts =
        |part: &Option<ScopePart>, verified: &ScopePart| part.as_ref().is_some_and(|part| part != verified);
    if !others && (contradicts(&asked.user, caller.user()) || contradicts(&asked.session, caller.session())) {
        return Err(Refusal::new(
            Code::IdentityRequired,
            "the scope names another user or session than the verified identity",
        ));
    }
    // Who may not name others is held to its own user where it names none.
    let user = if others { asked.user } else { asked.user.or_else(|| wildcard_user::<V>(caller)) };
    // And who is bound to its session, to that one.
    let session =
        if others { asked.session } else { asked.session.or_else(|| wildcard_session::<V>(caller)) };
    let audit = foreign.then(|| {
        let payload = EventPayload::AdminScopeUsed {
            method: V::NAME.into(),
            admin_scope: admin_scope(caller).into(),
            target_tenant: Some(tenant.as_str().to_owned()),
            target_user: user.as_ref().map(|part| part.as_str().to_owned()),
            target_session: session.as_ref().map(|part| part.as_str().to_owned()),
        };
        (caller.session_scope().clone(), payload)
    });
    let parts = Parts { tenant, user, session, task: asked.task };
    Ok(Allowed { target: V::target(parts)?, audit, verb: PhantomData })
}

/// Asks the table for the events of every tenant, or, which everybody may hear, of the caller's own session.
pub(crate) fn allow_events(caller: &Caller, all_tenants: bool) -> Result<Allowed<Events>, Refusal> {
    if !all_tenants {
        return Ok(Allowed { target: Reach::Session, audit: None, verb: PhantomData });
    }
    if let Answer::Refused(code) = Events::CLASS.rule().foreign.of(caller) {
        return Err(refused(code));
    }
    let payload = EventPayload::AdminScopeUsed {
        method: Events::NAME.into(),
        admin_scope: admin_scope(caller).into(),
        target_tenant: None,
        target_user: None,
        target_session: None,
    };
    let audit = Some((caller.session_scope().clone(), payload));
    Ok(Allowed { target: Reach::AllTenants, audit, verb: PhantomData })
}

/// The right that takes a caller beyond its tenant.
fn admin_scope(caller: &Caller) -> &'static str {
    if caller.is_admin() { "admin" } else { "console:fleet" }
}

/// A scope that names nobody is the caller's own session.
fn fill(caller: &Caller, asked: ScopeParts) -> ScopeParts {
    if asked.tenant.is_some() || asked.user.is_some() || asked.session.is_some() {
        return asked;
    }
    ScopeParts {
        tenant: Some(caller.tenant().clone()),
        user: Some(caller.user().clone()),
        session: Some(caller.session().clone()),
        task: asked.task,
    }
}

fn wildcard_user<V: Verb>(caller: &Caller) -> Option<ScopePart> {
    (V::CLASS == Class::FanIn).then(|| caller.user().clone())
}

fn wildcard_session<V: Verb>(caller: &Caller) -> Option<ScopePart> {
    (V::CLASS == Class::FanIn && caller.is_session_bound()).then(|| caller.session().clone())
}

fn incomplete() -> Refusal {
    Refusal::new(
        Code::IdentityRequired,
        "the scope is incomplete; name tenant, user and session, or none of them for the verified ones",
    )
}

fn refused(code: Code) -> Refusal {
    match code {
        Code::NotFound => Refusal::not_found(),
        Code::ScopeMismatch => Refusal::new(code, "a change in another tenant needs the scope admin"),
        _ => Refusal::new(
            code,
            "this needs a token with the scope admin, or console:fleet where it only reads",
        ),
    }
}

fn complete(parts: Parts) -> Result<Scope, Refusal> {
    match (parts.user, parts.session) {
        (Some(user), Some(session)) => Ok(Scope::from_parts(parts.tenant, user, session, parts.task)),
        _ => Err(incomplete()),
    }
}

macro_rules! verbs {
    ($($name:ident: $class:ident, $word:expr, $target:ty, $make:expr;)+) => {
        $(
            #[derive(Debug)]
            pub(crate) struct $name;
            impl Verb for $name {
                const CLASS: Class = Class::$class;
                const NAME: &'static str = $word;
                type Target = $target;
            }
            impl ScopedVerb for $name {
                fn target(parts: Parts) -> Result<$target, Refusal> {
                    $make(parts)
                }
            }
        )+
    };
}

verbs! {
    Put: Mutation, Method::ArtifactsPut.name(), Scope, complete;
    Get: ContentRead, Method::ArtifactsGet.name(), Scope, complete;
    GetRef: ContentRead, Method::ArtifactsGetRef.name(), Scope, complete;
    List: FanIn, Method::ArtifactsList.name(), ScopePattern, |parts| Ok(pattern(parts));
    Delete: AdminVerb, Method::ArtifactsDelete.name(), Scope, complete;
}

/// Hearing events.
#[derive(Debug)]
pub(crate) struct Events;

impl Verb for Events {
    const CLASS: Class = Class::FanIn;
    const NAME: &'static str = "events.subscribe";
    type Target = Reach;
}

/// A listing covers any user and session that is not named, and a session with all of its tasks.
fn pattern(parts: Parts) -> ScopePattern {
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
    fn every_class_has_its_row() {
        for class in [Class::ContentRead, Class::FanIn, Class::Mutation, Class::AdminVerb] {
            assert_eq!(class.rule().class, class);
        }
    }
}
