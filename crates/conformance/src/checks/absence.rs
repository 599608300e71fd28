//! A missing artifact is a normal result, never an error.

use artifact_store_core::{ArtifactStoreExt, Body, PutOutcome};

use super::check_group;
use crate::check::{CheckContext, CheckResult, Outcome, ensure, ensure_eq};
use crate::fixtures::{
    KIB, default_scope, id_of, list_all_rows, options_named, put, random_bytes, scope_query,
};

check_group! { "absence":
    a_missing_artifact_is_none,
    deleting_says_whether_it_was_there,
    a_deleted_artifact_is_gone_from_every_verb,
    an_artifact_can_be_put_again_after_its_delete,
}

async fn a_missing_artifact_is_none(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    let id = id_of(b"never put");
    // The put at the end of the first round creates the other artifact of the second round.
    for when in ["on an empty store", "beside another artifact"] {
        ensure!(store.get(&scope, &id, None).await?.is_none(), "get found an artifact {when}");
        ensure!(
            store.get(&scope, &id, Some((0..1).into())).await?.is_none(),
            "a ranged get found an artifact {when}"
        );
        ensure!(store.stat(&scope, &id).await?.is_none(), "stat found an artifact {when}");
        ensure!(!store.exists(&scope, &id).await?, "exists returns true {when}");
        put(&*store, &scope, &random_bytes(ctx.seed, 10)).await?;
    }
    Ok(Outcome::Passed)
}

async fn deleting_says_whether_it_was_there(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    // A driver may store small and large artifacts in different ways.
    for length in [10, 3000 * KIB] {
        let put = put(&*store, &scope, &random_bytes(ctx.seed, length)).await?;
        ensure!(
            store.delete(&scope, &put.record.id).await?,
            "deleting {length} bytes returns false, but the artifact existed"
        );
        ensure!(
            !store.delete(&scope, &put.record.id).await?,
            "a second delete returns true, but the artifact was already deleted"
        );
    }
    ensure!(
        !store.delete(&scope, &id_of(b"never put")).await?,
        "deleting an artifact that was never put returns true"
    );
    Ok(Outcome::Passed)
}

async fn a_deleted_artifact_is_gone_from_every_verb(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    let kept = put(&*store, &scope, &random_bytes(ctx.seed, 20)).await?;
    let deleted = put(&*store, &scope, &random_bytes(ctx.seed + 1, 20)).await?;
    store.delete(&scope, &deleted.record.id).await?;
    ensure!(store.get(&scope, &deleted.record.id, None).await?.is_none(), "get finds a deleted artifact");
    ensure!(store.stat(&scope, &deleted.record.id).await?.is_none(), "stat finds a deleted artifact");
    let rows = list_all_rows(&*store, &scope_query(&scope), 10).await?;
    ensure_eq!(rows, vec![kept.record], "the rows after the delete");
    Ok(Outcome::Passed)
}

async fn an_artifact_can_be_put_again_after_its_delete(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    // A driver may store small and large artifacts in different ways.
    for length in [10, 700 * KIB] {
        let bytes = random_bytes(ctx.seed, length);
        for round in ["first", "second", "third"] {
            let put = store.put(&scope, Body::from_bytes(bytes.clone()), options_named(round)).await?;
            ensure_eq!(put.outcome, PutOutcome::Created, "the {round} put");
            ensure_eq!(put.record.options.filename.as_deref(), Some(round), "the {round} put's options");
            let back = store.get_bytes(&scope, &put.record.id, u64::MAX).await?;
            ensure!(back.as_ref() == Some(&bytes), "reading the {round} put returned other bytes");
            store.delete(&scope, &put.record.id).await?;
        }
    }
    Ok(Outcome::Passed)
}
