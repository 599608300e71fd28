//! Each cell of the table of scopes, tested through the calls of the resolver.

use crate::support::{ada, caller, code, put_bytes, put_request, resolver, scope};
use artifact_store_protocol::{
    Code, DeleteRequest, GetRefRequest, GetRequest, ListRequest, PutRequest, RequestScope,
};
use artifact_store_resolver::{Caller, Resolver};

/// The code with which each verb refuses `scope` and `id`; `None` if the verb succeeds.
async fn answers(resolver: &Resolver, caller: &Caller, scope: &RequestScope, id: &str) -> [Option<Code>; 5] {
    let scope = || scope.clone();
    let id = || id.to_owned();
    let put = PutRequest { scope: scope(), ..put_request("new bytes") };
    [
        code(resolver.get(caller, GetRequest { scope: scope(), id: id(), ..GetRequest::default() }).await),
        code(resolver.get_ref(caller, GetRefRequest { scope: scope(), id: id(), expiry: None }).await),
        code(resolver.list(caller, ListRequest { scope: scope(), ..ListRequest::default() }).await),
        code(resolver.put(caller, put).await),
        code(resolver.delete(caller, DeleteRequest { scope: scope(), id: id() }).await),
    ]
}

use Code::{
    IdentityRequired as Identity, IdentityScopeRequired as NeedsScope, NotFound as Missing,
    PresignUnsupported as NoPresign, ScopeMismatch as Mismatch,
};

#[tokio::test]
async fn a_foreign_tenant_gets_what_the_table_says_whether_the_artifact_exists_or_not() {
    for named in [scope("other", "bob", "s9"), scope("other", "ada", "s1"), scope("other", "bob", "")] {
        for exists in [true, false] {
            let cells = [
                (ada(), [Some(Missing), Some(Missing), Some(NeedsScope), Some(Mismatch), Some(NeedsScope)]),
                (ada().with_fleet(), [Some(Missing), Some(Missing), None, Some(Mismatch), Some(NeedsScope)]),
                (
                    ada().with_delete(),
                    [Some(Missing), Some(Missing), Some(NeedsScope), Some(Mismatch), Some(NeedsScope)],
                ),
                (
                    ada().with_fleet().with_delete(),
                    [Some(Missing), Some(Missing), None, Some(Mismatch), Some(NeedsScope)],
                ),
            ];
            for (requester, expected) in cells {
                let resolver = resolver();
                let mut id = "default_00000000000000000000000000000000".to_owned();
                if exists {
                    id = put_bytes(&resolver, &caller("other", "bob", "s9"), "theirs").await;
                }
                assert_eq!(
                    answers(&resolver, &requester, &named, &id).await,
                    expected,
                    "{named:?} {exists} {requester:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn an_admin_reaches_into_other_tenants_but_never_reads_their_content() {
    let resolver = resolver();
    let id = put_bytes(&resolver, &caller("other", "bob", "s9"), "theirs").await;
    let got = answers(&resolver, &ada().with_admin(), &scope("other", "bob", "s9"), &id).await;
    assert_eq!(got, [Some(Missing), Some(Missing), None, None, None]);
    // The artifact is deleted, and the new one is stored.
    let bob = caller("other", "bob", "s9");
    let list = resolver.list(&bob, ListRequest::default()).await.unwrap();
    assert_eq!(list.rows.len(), 1);
    assert_eq!(list.rows[0].artifact.scope.user().as_str(), "bob");
}

#[tokio::test]
async fn in_the_own_session_everybody_reads_and_puts_and_a_scope_deletes() {
    for (caller, delete) in [
        (ada(), Some(NeedsScope)),
        (ada().with_fleet(), Some(NeedsScope)),
        (ada().with_delete(), None),
        (ada().with_fleet().with_delete(), None),
        (ada().with_admin(), None),
    ] {
        for named in [scope("acme", "ada", "s1"), RequestScope::default()] {
            let resolver = resolver();
            let id = put_bytes(&resolver, &ada(), "mine").await;
            let got = answers(&resolver, &caller, &named, &id).await;
            assert_eq!(got, [None, Some(NoPresign), None, None, delete], "{caller:?} {named:?}");
        }
    }
}

#[tokio::test]
async fn another_user_or_session_in_the_own_tenant_contradicts_the_identity_unless_an_admin_names_it() {
    for named in [scope("acme", "bob", "s1"), scope("acme", "ada", "s2"), scope("acme", "bob", "s2")] {
        let resolver = resolver();
        let id = put_bytes(&resolver, &caller("acme", &named.user, &named.session), "theirs").await;
        let own = answers(&resolver, &ada(), &named, &id).await;
        assert_eq!(
            own,
            [Some(Identity), Some(Identity), Some(Identity), Some(Identity), Some(NeedsScope)],
            "{named:?}"
        );
        let deleter = answers(&resolver, &ada().with_delete(), &named, &id).await;
        assert_eq!(deleter, [Some(Identity); 5], "{named:?}");
        let admin = answers(&resolver, &ada().with_admin(), &named, &id).await;
        assert_eq!(admin, [Some(Identity), Some(Identity), None, None, None], "{named:?}");
    }
}

#[tokio::test]
async fn a_scope_with_some_parts_empty_is_incomplete_except_in_a_listing() {
    for named in [
        scope("acme", "", ""),
        scope("acme", "ada", ""),
        scope("acme", "", "s1"),
        scope("", "ada", "s1"),
        scope("", "ada", ""),
        scope("", "", "s1"),
    ] {
        let resolver = resolver();
        let id = put_bytes(&resolver, &ada(), "mine").await;
        let got = answers(&resolver, &ada().with_delete(), &named, &id).await;
        assert_eq!(got[4], Some(Identity), "{named:?}");
        let got = answers(&resolver, &ada().with_admin(), &named, &id).await;
        let list = named.tenant.is_empty().then_some(Identity);
        assert_eq!(got, [Some(Identity), Some(Identity), list, Some(Identity), Some(Identity)], "{named:?}");
    }
}

#[tokio::test]
async fn an_empty_user_or_session_lists_what_the_caller_may_see() {
    let resolver = resolver();
    for (user, session) in [("ada", "s1"), ("ada", "s2"), ("bob", "s1"), ("bob", "s3")] {
        put_bytes(&resolver, &caller("acme", user, session), "bytes").await;
    }
    put_bytes(&resolver, &caller("other", "ada", "s1"), "bytes").await;
    let admin = ada().with_admin();
    for (caller, named, expected) in [
        (&ada(), RequestScope::default(), vec!["ada/s1"]),
        (&ada(), scope("acme", "", ""), vec!["ada/s1", "ada/s2"]),
        (&ada(), scope("acme", "ada", ""), vec!["ada/s1", "ada/s2"]),
        (&ada(), scope("acme", "", "s1"), vec!["ada/s1"]),
        (&admin, RequestScope::default(), vec!["ada/s1"]),
        (&admin, scope("acme", "", ""), vec!["ada/s1", "ada/s2", "bob/s1", "bob/s3"]),
        (&admin, scope("acme", "bob", ""), vec!["bob/s1", "bob/s3"]),
        (&admin, scope("acme", "", "s1"), vec!["ada/s1", "bob/s1"]),
        (&admin, scope("other", "", ""), vec!["ada/s1"]),
        (&ada().with_fleet(), scope("other", "", ""), vec!["ada/s1"]),
        (&ada().with_fleet(), scope("acme", "", ""), vec!["ada/s1", "ada/s2"]),
    ] {
        let list = resolver
            .list(caller, ListRequest { scope: named.clone(), ..ListRequest::default() })
            .await
            .unwrap();
        let mut rows: Vec<_> = list
            .rows
            .iter()
            .map(|row| format!("{}/{}", row.artifact.scope.user(), row.artifact.scope.session()))
            .collect();
        rows.sort();
        assert_eq!(rows, expected, "{named:?}");
        assert_eq!(list.total_matched, expected.len() as u64);
    }
}

#[tokio::test]
async fn a_task_is_part_of_the_key_and_a_listing_without_one_covers_them_all() {
    let resolver = resolver();
    let under = |task: &str| RequestScope::of_task(task);
    let id = put_bytes(&resolver, &ada(), "bytes").await;
    resolver.put(&ada(), PutRequest { scope: under("build"), ..put_request("bytes") }).await.unwrap();
    for (task, found) in [("", None), ("build", None), ("other", Some(Missing))] {
        let request = GetRequest { scope: under(task), id: id.clone(), ..GetRequest::default() };
        assert_eq!(code(resolver.get(&ada(), request).await), found, "{task:?}");
    }
    for (task, rows) in [("", 2), ("build", 1), ("other", 0)] {
        let list = resolver
            .list(&ada(), ListRequest { scope: under(task), ..ListRequest::default() })
            .await
            .unwrap();
        assert_eq!(list.rows.len(), rows, "{task:?}");
    }
}

#[tokio::test]
async fn the_shape_is_checked_before_the_tenant_and_the_tenant_before_user_and_payload() {
    let resolver = resolver();
    let foreign = scope("other", "bob", "s9");
    let bad_part = RequestScope { task: "a\nb".into(), ..foreign.clone() };
    assert_eq!(
        code(resolver.put(&ada(), PutRequest { scope: bad_part, ..put_request("x") }).await),
        Some(Code::InvalidRequest)
    );
    let mut put = PutRequest { scope: foreign.clone(), ..put_request("x") };
    put.opts.namespace = Some("../x".into());
    assert_eq!(code(resolver.put(&ada(), put.clone()).await), Some(Code::InvalidRequest));
    put.opts.namespace = None;
    put.opts.tags = Some(vec!["t".into(); 51]);
    assert_eq!(code(resolver.put(&ada(), put.clone()).await), Some(Mismatch));
    put.scope = scope("acme", "bob", "s1");
    assert_eq!(code(resolver.put(&ada(), put.clone()).await), Some(Identity));
    put.scope = scope("acme", "ada", "s1");
    assert_eq!(code(resolver.put(&ada(), put).await), Some(Code::PayloadInvalid));
    // The expiry is part of the shape, which is checked before existence. Existence is checked before capability.
    let get_ref = |id: &str, expiry| GetRefRequest { id: id.into(), expiry, ..GetRefRequest::default() };
    let id = put_bytes(&resolver, &ada(), "mine").await;
    for (id, expiry, expected) in [
        ("nothing", Some(1), Code::InvalidRequest),
        ("nothing", None, Missing),
        ("", None, Code::InvalidRequest),
        (id.as_str(), None, NoPresign),
    ] {
        assert_eq!(
            code(resolver.get_ref(&ada(), get_ref(id, expiry)).await),
            Some(expected),
            "{id} {expiry:?}"
        );
    }
}
