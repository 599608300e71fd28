//! Nothing is found outside its scope, by no verb, whatever the parts are called.

use std::collections::BTreeSet;
use std::time::Duration;

use artifact_store_core::{
    ArtifactStore, ArtifactStoreExt, Body, Digest, ErrorKind, Flag, ListQuery, PresignIntent, PutOptions,
    PutOutcome, Scope, ScopePattern, UploadIntent,
};
use bytes::Bytes;

use super::group;
use crate::check::{CheckResult, Failure, Lab, Outcome, ensure, ensure_eq, ensure_kind};
use crate::kit::{all_rows, bytes, drain, exactly, home, id_of, named, neighbours, put, weird_parts};

group! { "isolation":
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

/// Puts bytes under the home scope's task `t-1`.
async fn own(lab: &Lab, store: &dyn ArtifactStore) -> Result<(Scope, Bytes), Failure> {
    let scope = home()?.with_task("t-1")?;
    let bytes = bytes(lab.seed, 100);
    put(store, &scope, &bytes).await?;
    Ok((scope, bytes))
}

async fn get_finds_nothing_in_a_neighbouring_scope(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let (_, bytes) = own(lab, &*store).await?;
    for (part, scope) in neighbours()? {
        let id = id_of(&bytes);
        ensure!(store.get(&scope, &id, None).await?.is_none(), "get reads across the {part}");
        ensure!(
            store.get(&scope, &id, Some((0..1).into())).await?.is_none(),
            "a ranged get reads across the {part}"
        );
    }
    Ok(Outcome::Passed)
}

async fn stat_finds_nothing_in_a_neighbouring_scope(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let (_, bytes) = own(lab, &*store).await?;
    for (part, scope) in neighbours()? {
        ensure!(store.stat(&scope, &id_of(&bytes)).await?.is_none(), "stat reads across the {part}");
        ensure!(!store.exists(&scope, &id_of(&bytes)).await?, "exists looks across the {part}");
    }
    Ok(Outcome::Passed)
}

async fn delete_removes_nothing_in_a_neighbouring_scope(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let (scope, bytes) = own(lab, &*store).await?;
    for (part, there) in neighbours()? {
        ensure!(
            !store.delete(&there, &id_of(&bytes)).await?,
            "delete says that it removed across the {part}"
        );
        ensure!(store.exists(&scope, &id_of(&bytes)).await?, "delete removed across the {part}");
    }
    // And the other way round: with the same id everywhere, one delete removes one.
    for (_, there) in neighbours()? {
        put(&*store, &there, &bytes).await?;
    }
    store.delete(&scope, &id_of(&bytes)).await?;
    for (part, there) in neighbours()? {
        let back = store.get_bytes(&there, &id_of(&bytes), 1000).await?;
        ensure!(back.as_ref() == Some(&bytes), "delete took the artifact of another {part} along");
    }
    Ok(Outcome::Passed)
}

async fn list_shows_nothing_of_a_neighbouring_scope(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let (scope, _) = own(lab, &*store).await?;
    for (part, there) in neighbours()? {
        let page = store.list(&exactly(&there).with_total()).await?;
        ensure!(page.rows.is_empty(), "list shows a row across the {part}");
        ensure_eq!(page.total, Some(0), "the total counts across the {part}");
    }
    ensure_eq!(all_rows(&*store, &exactly(&scope), 10).await?.len(), 1, "rows of the own scope");
    Ok(Outcome::Passed)
}

async fn presign_signs_nothing_in_a_neighbouring_scope(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let (_, bytes) = own(lab, &*store).await?;
    let intent = PresignIntent::Get { id: id_of(&bytes) };
    let promised = store.capabilities().has(Flag::PresignGet);
    for (part, scope) in neighbours()? {
        let answer = store.presign(&scope, &intent, Duration::from_mins(1)).await;
        if promised {
            ensure!(answer?.is_none(), "presign signs across the {part}");
        } else {
            let due = |kind| kind == ErrorKind::Unsupported(Flag::PresignGet);
            ensure_kind(answer, due, &format!("presigning across the {part}"))?;
        }
    }
    Ok(if promised { Outcome::Passed } else { Outcome::NotPromised })
}

/// An upload belongs to the scope it was announced in: naming its id elsewhere must not claim its bytes.
async fn commit_upload_takes_nothing_of_a_neighbouring_scope(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let own = home()?.with_task("t-1")?;
    let bytes = bytes(lab.seed, 100);
    let intent =
        UploadIntent { digest: Digest::of(&bytes), size: bytes.len() as u64, options: PutOptions::default() };
    let id = intent.id();
    if !store.capabilities().has(Flag::PresignPut) {
        let due = |kind| kind == ErrorKind::Unsupported(Flag::PresignPut);
        for (part, scope) in neighbours()? {
            ensure_kind(
                store.commit_upload(&scope, &id).await,
                due,
                &format!("committing across the {part}"),
            )?;
        }
        return Ok(Outcome::NotPromised);
    }
    let client = lab.place().http_client().ok_or_else(|| Failure::new("the place gives no HTTP client"))?;
    let presigned = store.presign(&own, &PresignIntent::Put(intent), Duration::from_mins(1)).await?;
    let presigned = presigned.ok_or_else(|| Failure::new("an upload is not presigned"))?;
    let sent = client.request("PUT", presigned.url.reveal(), &presigned.headers, bytes.clone()).await;
    let status = sent.map_err(|error| Failure::new(format!("no response to an upload: {error}")))?.status;
    ensure!(status < 300, "a presigned upload was refused with status {status}");
    for when in ["before", "after"] {
        for (part, scope) in neighbours()? {
            let claimed = store.commit_upload(&scope, &id).await?;
            ensure!(claimed.is_none(), "{when} its commit, an upload is claimed across the {part}");
            ensure!(
                store.get(&scope, &id, None).await?.is_none(),
                "{when} its commit, an upload is read across the {part}"
            );
        }
        let put = store.commit_upload(&own, &id).await?;
        ensure!(put.is_some_and(|put| put.record.scope == own), "{when}: the own upload is not committed");
    }
    Ok(Outcome::Passed)
}

/// Every weird part in every place of a scope, all with the same bytes: no two may meet.
async fn weird_parts_never_meet(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let parts = weird_parts();
    let bytes = bytes(lab.seed, 50);
    let scopes = |part: &str| {
        Ok::<_, artifact_store_core::StoreError>([
            ("tenant", Scope::new(part, "u", "s")?),
            ("user", Scope::new("x", part, "s")?),
            ("session", Scope::new("x", "u", part)?),
            ("task", Scope::new("x", "u", "s")?.with_task(part)?),
        ])
    };
    // Having no task must differ from every task's name, whatever a storage writes for it.
    put(&*store, &Scope::new("x", "u", "s")?, &bytes).await?;
    for part in &parts {
        for (place, scope) in scopes(part)? {
            let put = store.put(&scope, Body::from_bytes(bytes.clone()), named(part)).await?;
            ensure_eq!(put.outcome, PutOutcome::Created, "the {place} {part:?} meets another one on put: it");
        }
    }
    for part in &parts {
        for (place, scope) in scopes(part)? {
            let get = store.get(&scope, &id_of(&bytes), None).await?;
            let get = get.ok_or_else(|| Failure::new(format!("nothing is under the {place} {part:?}")))?;
            ensure_eq!(get.record.scope, scope, "the scope under the {place} {part:?}");
            ensure_eq!(
                get.record.options.filename.as_ref(),
                Some(part),
                "what stands under the {place} {part:?}"
            );
            ensure!(drain(get).await? == bytes, "other bytes are under the {place} {part:?}");
            let rows = all_rows(&*store, &exactly(&scope), 10).await?;
            ensure_eq!(rows.len(), 1, "rows under the {place} {part:?}");
        }
    }
    for part in &parts {
        let tenant = ScopePattern::tenant(artifact_store_core::ScopePart::new(part)?);
        let rows = all_rows(&*store, &ListQuery::new(tenant), 10).await?;
        ensure_eq!(rows.len(), 1, "rows of the tenant {part:?}");
    }
    Ok(Outcome::Passed)
}

/// Parts that hold separators and escapes, in neighbouring places: `a/b` + `c` must not be `a` + `b/c`.
async fn weird_parts_never_meet_across_a_boundary(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
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
    let bytes = bytes(lab.seed, 20);
    for scope in &scopes {
        let put = put(&*store, scope, &bytes).await?;
        ensure_eq!(put.outcome, PutOutcome::Created, "{scope:?} meets another scope on put: it");
        ensure_eq!(put.record.scope, *scope, "the scope that put answers");
    }
    for scope in &scopes {
        let record = store.stat(scope, &id_of(&bytes)).await?;
        ensure_eq!(record.map(|record| record.scope).as_ref(), Some(scope), "the scope under {scope:?}");
    }
    let all = all_rows(&*store, &ListQuery::new(ScopePattern::all_tenants()), 1000).await?;
    let listed: BTreeSet<Scope> = all.iter().map(|row| row.scope.clone()).collect();
    ensure_eq!(
        (all.len(), listed.len()),
        (scopes.len(), scopes.len()),
        "rows of all tenants, and scopes in them"
    );
    Ok(Outcome::Passed)
}

async fn a_scoped_handle_cannot_escape(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let bytes = bytes(lab.seed, 100);
    for (_, scope) in neighbours()? {
        put(&*store, &scope, &bytes).await?;
    }
    let own = home()?.with_task("t-1")?;
    let handle = store.scoped(own.clone());
    let id = id_of(&bytes);
    ensure!(handle.get(&id, None).await?.is_none(), "a scoped get reads another scope");
    ensure!(handle.get_bytes(&id, 1000).await?.is_none(), "a scoped get_bytes reads another scope");
    ensure!(handle.stat(&id).await?.is_none(), "a scoped stat reads another scope");
    ensure!(!handle.delete(&id).await?, "a scoped delete removes from another scope");
    let page = handle.list(artifact_store_core::Filter::default(), 100, None).await?;
    ensure!(page.rows.is_empty(), "a scoped list shows another scope");
    let put = handle.put(bytes.clone(), named("own")).await?;
    ensure_eq!((put.outcome, &put.record.scope), (PutOutcome::Created, &own), "a scoped put");
    ensure!(
        handle.get_bytes(&id, 1000).await?.as_ref() == Some(&bytes),
        "a scoped get misses its own artifact"
    );
    let page = handle.list(artifact_store_core::Filter::default(), 100, None).await?;
    ensure_eq!(page.rows, vec![put.record], "the rows of a scoped list");
    ensure!(handle.delete(&id).await?, "a scoped delete misses its own artifact");
    for (part, scope) in neighbours()? {
        ensure!(
            store.exists(&scope, &id).await?,
            "a scoped delete took the artifact of another {part} along"
        );
    }
    Ok(Outcome::Passed)
}
