//! What is not there is an answer, never an error.

use artifact_store_core::{ArtifactStoreExt, Body, PutOutcome};

use super::group;
use crate::check::{CheckResult, Lab, Outcome, ensure, ensure_eq};
use crate::kit::{KIB, all_rows, bytes, exactly, home, id_of, named, put};

group! { "absence":
    a_missing_artifact_is_none,
    deleting_says_whether_it_was_there,
    a_deleted_artifact_is_gone_from_every_verb,
    an_artifact_can_be_put_again_after_its_delete,
}

async fn a_missing_artifact_is_none(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    let id = id_of(b"never put");
    for when in ["on an empty store", "beside another artifact"] {
        ensure!(store.get(&scope, &id, None).await?.is_none(), "get found something {when}");
        ensure!(
            store.get(&scope, &id, Some((0..1).into())).await?.is_none(),
            "a ranged get found something {when}"
        );
        ensure!(store.stat(&scope, &id).await?.is_none(), "stat found something {when}");
        ensure!(!store.exists(&scope, &id).await?, "exists found something {when}");
        put(&*store, &scope, &bytes(lab.seed, 10)).await?;
    }
    Ok(Outcome::Passed)
}

async fn deleting_says_whether_it_was_there(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    for length in [10, 3000 * KIB] {
        let put = put(&*store, &scope, &bytes(lab.seed, length)).await?;
        ensure!(
            store.delete(&scope, &put.record.id).await?,
            "deleting {length} bytes says that nothing was there"
        );
        ensure!(
            !store.delete(&scope, &put.record.id).await?,
            "a second delete says that something was there"
        );
    }
    ensure!(
        !store.delete(&scope, &id_of(b"never put")).await?,
        "deleting nothing says that something was there"
    );
    Ok(Outcome::Passed)
}

async fn a_deleted_artifact_is_gone_from_every_verb(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    let stays = put(&*store, &scope, &bytes(lab.seed, 20)).await?;
    let goes = put(&*store, &scope, &bytes(lab.seed + 1, 20)).await?;
    store.delete(&scope, &goes.record.id).await?;
    ensure!(store.get(&scope, &goes.record.id, None).await?.is_none(), "get finds a deleted artifact");
    ensure!(store.stat(&scope, &goes.record.id).await?.is_none(), "stat finds a deleted artifact");
    let rows = all_rows(&*store, &exactly(&scope), 10).await?;
    ensure_eq!(rows, vec![stays.record], "the rows after the delete");
    Ok(Outcome::Passed)
}

async fn an_artifact_can_be_put_again_after_its_delete(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    for length in [10, 700 * KIB] {
        let bytes = bytes(lab.seed, length);
        for round in ["first", "second", "third"] {
            let put = store.put(&scope, Body::from_bytes(bytes.clone()), named(round)).await?;
            ensure_eq!(put.outcome, PutOutcome::Created, "the {round} put");
            ensure_eq!(put.record.options.filename.as_deref(), Some(round), "the {round} put's options");
            let back = store.get_bytes(&scope, &put.record.id, u64::MAX).await?;
            ensure!(back.as_ref() == Some(&bytes), "the {round} put came back as other bytes");
            store.delete(&scope, &put.record.id).await?;
        }
    }
    Ok(Outcome::Passed)
}
