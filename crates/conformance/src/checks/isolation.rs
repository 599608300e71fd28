//! Isolation: no verb finds an artifact outside its scope. This holds for all names of scope parts.

use std::collections::BTreeSet;
use std::time::Duration;

use artifact_store_core::{
    ArtifactStore, ArtifactStoreExt, Body, Digest, ErrorKind, Flag, ListQuery, PresignIntent, PutOptions,
    PutOutcome, Scope, ScopePattern, UploadIntent,
};
use bytes::Bytes;

use super::check_group;
use crate::bodies::read_to_end;
use crate::check::{CheckContext, CheckResult, Failure, Outcome, ensure, ensure_eq, ensure_error_kind};
use crate::fixtures::{
    default_scope, id_of, list_all_rows, neighbouring_scopes, options_named, put, random_bytes, scope_query,
    weird_parts,
};

check_group! { "isolation":
    get_finds_nothing_in_a_neighbouring_scope,
    stat_finds_nothing_in_a_neighbouring_scope,
    delete_removes_nothing_in_a_neighbouring_scope,
    list_shows_nothing_of_a_neighbouring_scope,
    presign_signs_nothing_in_a_neighbouring_scope = PresignGet,
    commit_upload_takes_nothing_of_a_neighbouring_scope = PresignPut,
    weird_parts_never_meet,
    weird_parts_never_meet_across_a_boundary,
    a_scoped_handle_cannot_escape,
}

/// Puts bytes into the task `t-1` of the default scope, and returns the scope and the bytes.
async fn put_in_task(ctx: &CheckContext, store: &dyn ArtifactStore) -> Result<(Scope, Bytes), Failure> {
    let scope = default_scope()?.with_task("t-1")?;
    let bytes = random_bytes(ctx.seed, 100);
    put(store, &scope, &bytes).await?;
    Ok((scope, bytes))
}

async fn get_finds_nothing_in_a_neighbouring_scope(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let (_, bytes) = put_in_task(ctx, &*store).await?;
    for (part, scope) in neighbouring_scopes()? {
        let id = id_of(&bytes);
        ensure!(store.get(&scope, &id, None).await?.is_none(), "get reads across the {part}");
        ensure!(
            store.get(&scope, &id, Some((0..1).into())).await?.is_none(),
            "a ranged get reads across the {part}"
        );
    }
    Ok(Outcome::Passed)
}

async fn stat_finds_nothing_in_a_neighbouring_scope(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let (_, bytes) = put_in_task(ctx, &*store).await?;
    for (part, scope) in neighbouring_scopes()? {
        ensure!(store.stat(&scope, &id_of(&bytes)).await?.is_none(), "stat reads across the {part}");
        ensure!(!store.exists(&scope, &id_of(&bytes)).await?, "exists returns true across the {part}");
    }
    Ok(Outcome::Passed)
}

async fn delete_removes_nothing_in_a_neighbouring_scope(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let (scope, bytes) = put_in_task(ctx, &*store).await?;
    for (part, neighbour) in neighbouring_scopes()? {
        ensure!(!store.delete(&neighbour, &id_of(&bytes)).await?, "delete returns true across the {part}");
        ensure!(store.exists(&scope, &id_of(&bytes)).await?, "delete removed the artifact across the {part}");
    }
    // Now put the same bytes into every neighbouring scope, so that the same id exists in all of them. A delete must
    // remove only the artifact of its own scope.
    for (_, neighbour) in neighbouring_scopes()? {
        put(&*store, &neighbour, &bytes).await?;
    }
    store.delete(&scope, &id_of(&bytes)).await?;
    for (part, neighbour) in neighbouring_scopes()? {
        let back = store.get_bytes(&neighbour, &id_of(&bytes), 1000).await?;
        ensure!(back.as_ref() == Some(&bytes), "delete also removed the artifact of another {part}");
    }
    Ok(Outcome::Passed)
}

async fn list_shows_nothing_of_a_neighbouring_scope(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let (scope, _) = put_in_task(ctx, &*store).await?;
    for (part, neighbour) in neighbouring_scopes()? {
        let page = store.list(&scope_query(&neighbour).with_total()).await?;
        ensure!(page.rows.is_empty(), "list shows a row across the {part}");
        ensure_eq!(page.total, Some(0), "the total counts across the {part}");
    }
    ensure_eq!(list_all_rows(&*store, &scope_query(&scope), 10).await?.len(), 1, "rows of the scope itself");
    Ok(Outcome::Passed)
}

async fn presign_signs_nothing_in_a_neighbouring_scope(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let (_, bytes) = put_in_task(ctx, &*store).await?;
    let intent = PresignIntent::Get { id: id_of(&bytes) };
    let promised = store.capabilities().has(Flag::PresignGet);
    for (part, scope) in neighbouring_scopes()? {
        let result = store.presign(&scope, &intent, Duration::from_mins(1)).await;
        if promised {
            ensure!(result?.is_none(), "presign returns a URL across the {part}");
        } else {
            let expected = |kind| kind == ErrorKind::Unsupported(Flag::PresignGet);
            ensure_error_kind(result, expected, &format!("presigning across the {part}"))?;
        }
    }
    Ok(if promised { Outcome::Passed } else { Outcome::NotPromised })
}

/// An upload belongs to the scope that announced it. A commit of the same id in another scope must not get the bytes of
/// the upload.
async fn commit_upload_takes_nothing_of_a_neighbouring_scope(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let task_scope = default_scope()?.with_task("t-1")?;
    let bytes = random_bytes(ctx.seed, 100);
    let intent =
        UploadIntent { digest: Digest::of(&bytes), size: bytes.len() as u64, options: PutOptions::default() };
    let id = intent.id();
    if !store.capabilities().has(Flag::PresignPut) {
        let expected = |kind| kind == ErrorKind::Unsupported(Flag::PresignPut);
        for (part, scope) in neighbouring_scopes()? {
            ensure_error_kind(
                store.commit_upload(&scope, &id).await,
                expected,
                &format!("committing across the {part}"),
            )?;
        }
        return Ok(Outcome::NotPromised);
    }
    let client = ctx.backend().http_client().ok_or_else(|| Failure::new("the backend has no HTTP client"))?;
    let presigned = store.presign(&task_scope, &PresignIntent::Put(intent), Duration::from_mins(1)).await?;
    let presigned = presigned.ok_or_else(|| Failure::new("an upload is not presigned"))?;
    let sent = client.request("PUT", presigned.url.reveal(), &presigned.headers, bytes.clone()).await;
    let status = sent.map_err(|error| Failure::new(format!("no response to an upload: {error}")))?.status;
    ensure!(status < 300, "a presigned upload was refused with status {status}");
    // The first round ends with the commit of the upload. In the second round, that commit is repeated.
    for when in ["before", "after"] {
        for (part, scope) in neighbouring_scopes()? {
            let committed = store.commit_upload(&scope, &id).await?;
            ensure!(committed.is_none(), "{when} its commit, an upload is committed across the {part}");
            ensure!(
                store.get(&scope, &id, None).await?.is_none(),
                "{when} its commit, an upload is read across the {part}"
            );
        }
        let put = store.commit_upload(&task_scope, &id).await?;
        ensure!(
            put.is_some_and(|put| put.record.scope == task_scope),
            "{when}: the upload in its own scope is not committed"
        );
    }
    Ok(Outcome::Passed)
}

/// Puts the same bytes into many scopes. Each text of [`weird_parts`] is once the tenant, once the user, once the
/// session and once the task. Each put must create its own artifact.
async fn weird_parts_never_meet(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let parts = weird_parts();
    let bytes = random_bytes(ctx.seed, 50);
    // Four scopes, each with `part` at another level, and the name of this level.
    let scopes = |part: &str| {
        Ok::<_, artifact_store_core::StoreError>([
            ("tenant", Scope::new(part, "u", "s")?),
            ("user", Scope::new("x", part, "s")?),
            ("session", Scope::new("x", "u", part)?),
            ("task", Scope::new("x", "u", "s")?.with_task(part)?),
        ])
    };
    // A storage may write a scope without a task under a name such as `none`. It must not confuse this scope with a
    // task of the same name.
    put(&*store, &Scope::new("x", "u", "s")?, &bytes).await?;
    for part in &parts {
        for (level, scope) in scopes(part)? {
            let put = store.put(&scope, Body::from_bytes(bytes.clone()), options_named(part)).await?;
            ensure_eq!(put.outcome, PutOutcome::Created, "the outcome of a put under the {level} {part:?}");
        }
    }
    for part in &parts {
        for (level, scope) in scopes(part)? {
            let get = store.get(&scope, &id_of(&bytes), None).await?;
            let get = get.ok_or_else(|| {
                Failure::new(format!("the artifact under the {level} {part:?} does not exist"))
            })?;
            ensure_eq!(get.record.scope, scope, "the scope under the {level} {part:?}");
            ensure_eq!(
                get.record.options.filename.as_ref(),
                Some(part),
                "the file name under the {level} {part:?}"
            );
            ensure!(
                read_to_end(get).await? == bytes,
                "the artifact under the {level} {part:?} has other bytes"
            );
            let rows = list_all_rows(&*store, &scope_query(&scope), 10).await?;
            ensure_eq!(rows.len(), 1, "rows under the {level} {part:?}");
        }
    }
    for part in &parts {
        let tenant = ScopePattern::tenant(artifact_store_core::ScopePart::new(part)?);
        let rows = list_all_rows(&*store, &ListQuery::new(tenant), 10).await?;
        ensure_eq!(rows.len(), 1, "rows of the tenant {part:?}");
    }
    Ok(Outcome::Passed)
}

/// Puts parts with separators and escape sequences at neighbouring levels: `a/b` + `c` must differ from `a` + `b/c`.
async fn weird_parts_never_meet_across_a_boundary(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let parts = [
        "a", "b", "a/b", "a.b", "a_b", "a-b", "a\\b", "a%2fb", "a~b", "..", "_", "/", "b/a", "a b", "a|b",
        "ab",
    ];
    let mut scopes = BTreeSet::new();
    for first in parts {
        for second in parts {
            scopes.insert(Scope::new(first, second, "s")?);
            scopes.insert(Scope::new("x", first, second)?);
            scopes.insert(Scope::new("x", "y", first)?.with_task(second)?);
        }
    }
    let bytes = random_bytes(ctx.seed, 20);
    for scope in &scopes {
        let put = put(&*store, scope, &bytes).await?;
        ensure_eq!(put.outcome, PutOutcome::Created, "the outcome of a put under {scope:?}");
        ensure_eq!(put.record.scope, *scope, "the scope that put returns");
    }
    for scope in &scopes {
        let record = store.stat(scope, &id_of(&bytes)).await?;
        ensure_eq!(record.map(|record| record.scope).as_ref(), Some(scope), "the scope under {scope:?}");
    }
    let all = list_all_rows(&*store, &ListQuery::new(ScopePattern::all_tenants()), 1000).await?;
    let listed: BTreeSet<Scope> = all.iter().map(|row| row.scope.clone()).collect();
    // The listing has one row for each scope.
    ensure_eq!(
        (all.len(), listed.len()),
        (scopes.len(), scopes.len()),
        "rows of all tenants, and scopes in them"
    );
    Ok(Outcome::Passed)
}

async fn a_scoped_handle_cannot_escape(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let bytes = random_bytes(ctx.seed, 100);
    for (_, scope) in neighbouring_scopes()? {
        put(&*store, &scope, &bytes).await?;
    }
    let task_scope = default_scope()?.with_task("t-1")?;
    let handle = store.scoped(task_scope.clone());
    let id = id_of(&bytes);
    ensure!(handle.get(&id, None).await?.is_none(), "a scoped get reads another scope");
    ensure!(handle.get_bytes(&id, 1000).await?.is_none(), "a scoped get_bytes reads another scope");
    ensure!(handle.stat(&id).await?.is_none(), "a scoped stat reads another scope");
    ensure!(!handle.delete(&id).await?, "a scoped delete removes from another scope");
    let page = handle.list(artifact_store_core::Filter::default(), 100, None).await?;
    ensure!(page.rows.is_empty(), "a scoped list shows another scope");
    let put = handle.put(bytes.clone(), options_named("own")).await?;
    ensure_eq!((put.outcome, &put.record.scope), (PutOutcome::Created, &task_scope), "a scoped put");
    ensure!(
        handle.get_bytes(&id, 1000).await?.as_ref() == Some(&bytes),
        "a scoped get does not find its own artifact"
    );
    let page = handle.list(artifact_store_core::Filter::default(), 100, None).await?;
    ensure_eq!(page.rows, vec![put.record], "the rows of a scoped list");
    ensure!(handle.delete(&id).await?, "a scoped delete does not find its own artifact");
    for (part, scope) in neighbouring_scopes()? {
        ensure!(
            store.exists(&scope, &id).await?,
            "a scoped delete also removed the artifact of another {part}"
        );
    }
    Ok(Outcome::Passed)
}
