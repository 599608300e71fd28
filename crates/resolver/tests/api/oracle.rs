//! Tests every combination of role, verb and scope parts. The expected results are written a second time here, directly
//! from the contract.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use crate::support::{ada, caller, code, put_bytes, put_request, resolver, scope};
use artifact_store_protocol::{
    Code, DeleteRequest, EventKind, GetRefRequest, GetRequest, ListRequest, PutRequest, RequestScope,
};
use artifact_store_resolver::{Delivery, Resolver, SubscribeOptions};
use futures_util::FutureExt;

const VERBS: [&str; 5] = ["get", "get_ref", "list", "put", "delete"];

/// A part of the scope in a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Empty,
    /// The caller's own tenant, user or session.
    Own,
    Other,
}

/// One combination.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools)] // Each doubles the cases.
struct Case {
    verb: &'static str,
    admin: bool,
    fleet: bool,
    delete: bool,
    /// Tenant, user and session.
    parts: [Part; 3],
    exists: bool,
}

impl Case {
    fn all() -> impl Iterator<Item = Self> {
        let part = [Part::Empty, Part::Own, Part::Other];
        VERBS.into_iter().flat_map(move |verb| {
            (0..432_usize).map(move |n| Self {
                verb,
                admin: n % 2 == 1,
                fleet: n / 2 % 2 == 1,
                exists: n / 4 % 2 == 1,
                parts: [part[n / 8 % 3], part[n / 24 % 3], part[n / 72 % 3]],
                delete: n / 216 % 2 == 1,
            })
        })
    }

    fn scope(self) -> RequestScope {
        let part = |at: usize, own: &str, other: &str| match self.parts[at] {
            Part::Empty => String::new(),
            Part::Own => own.to_owned(),
            Part::Other => other.to_owned(),
        };
        scope(&part(0, "acme", "other"), &part(1, "ada", "bob"), &part(2, "s1", "s2"))
    }

    /// What the contract says: a code, or the number of rows of a listing.
    fn expected(self) -> (Option<Code>, u64) {
        let [tenant, user, session] =
            if self.parts == [Part::Empty; 3] { [Part::Own; 3] } else { self.parts };
        let read = matches!(self.verb, "get" | "get_ref");
        let foreign = tenant == Part::Other;
        let refused = |code| (Some(code), 0);
        match self.verb {
            "get" | "get_ref" if foreign => return refused(Code::NotFound),
            "list" if foreign && !self.admin && !self.fleet => return refused(Code::IdentityScopeRequired),
            "put" if foreign && !self.admin => return refused(Code::ScopeMismatch),
            "delete" if !self.admin && (foreign || !self.delete) => {
                return refused(Code::IdentityScopeRequired);
            }
            _ => {}
        }
        let is_incomplete = if self.verb == "list" {
            tenant == Part::Empty
        } else {
            [tenant, user, session].contains(&Part::Empty)
        };
        let contradicts = !foreign && [user, session].contains(&Part::Other) && (read || !self.admin);
        if is_incomplete || contradicts {
            return refused(Code::IdentityRequired);
        }
        match self.verb {
            "put" => (None, 0),
            "list" if !self.exists => (None, 0),
            "list" => {
                let users = if user == Part::Empty && (foreign || self.admin) { 2 } else { 1 };
                (None, users * if session == Part::Empty { 2 } else { 1 })
            }
            _ if !self.exists => refused(Code::NotFound),
            "get_ref" => refused(Code::PresignUnsupported),
            _ => (None, 0),
        }
    }

    async fn call(self, resolver: &Resolver, id: &str) -> (Option<Code>, u64) {
        let mut caller = ada();
        caller = if self.admin { caller.with_admin() } else { caller };
        caller = if self.fleet { caller.with_fleet() } else { caller };
        caller = if self.delete { caller.with_delete() } else { caller };
        let (scope, id) = (self.scope(), id.to_owned());
        let code = match self.verb {
            "get" => code(resolver.get(&caller, GetRequest { scope, id, ..GetRequest::default() }).await),
            "get_ref" => code(resolver.get_ref(&caller, GetRefRequest { scope, id, expiry: None }).await),
            "put" => code(resolver.put(&caller, PutRequest { scope, ..put_request("other bytes") }).await),
            "delete" => code(resolver.delete(&caller, DeleteRequest { scope, id }).await),
            _ => match resolver.list(&caller, ListRequest { scope, ..ListRequest::default() }).await {
                Ok(list) => return (None, list.total_matched),
                Err(refusal) => Some(refusal.code()),
            },
        };
        (code, 0)
    }
}

#[tokio::test]
async fn every_combination_of_role_verb_and_parts_is_answered_and_audited_as_the_contract_says() {
    for case in Case::all() {
        let resolver = resolver();
        let mut id = "default_00000000000000000000000000000000".to_owned();
        if case.exists {
            for tenant in ["acme", "other"] {
                for (user, session) in [("ada", "s1"), ("ada", "s2"), ("bob", "s1"), ("bob", "s2")] {
                    id = put_bytes(&resolver, &caller(tenant, user, session), "bytes").await;
                }
            }
        }
        let kinds = vec![EventKind::AuditAdminScopeUsed];
        let mut audits =
            resolver.subscribe(&ada(), SubscribeOptions { kinds, ..SubscribeOptions::default() }).unwrap();
        let answer = case.call(&resolver, &id).await;
        assert_eq!(answer, case.expected(), "{case:?}");
        let reached = case.parts[0] == Part::Other && matches!(answer.0, None | Some(Code::NotFound));
        let audited = reached && !matches!(case.verb, "get" | "get_ref");
        let has_audit = matches!(audits.next().now_or_never(), Some(Some(Delivery::Event(_))));
        assert_eq!(has_audit, audited, "{case:?}");
        assert_eq!(audits.next().now_or_never(), None, "{case:?}");
    }
}
