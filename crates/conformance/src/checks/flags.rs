//! Flags and limits: the store must do what it advertises. If it does not advertise a flag, it must do what the
//! contract requires of a store without this flag.

use artifact_store_core::{
    ArtifactStoreExt, Body, ErrorKind, Flag, ListQuery, PresignIntent, PutOptions, PutOutcome, ScopePattern,
};
use bytes::Bytes;

use super::{check_group, presign_probes};
use crate::bodies::chunked_body;
use crate::check::{CheckContext, CheckResult, Failure, Outcome, ensure, ensure_eq, ensure_error_kind};
use crate::fixtures::{KIB, MIB, default_scope, id_of, list_all_rows, options_named, put, random_bytes};
use crate::harness::StoreOptions;

check_group! { "flags":
    durable_is_as_advertised = Durable,
    shared_is_as_advertised = Shared,
    the_largest_artifact_is_as_advertised,
}

/// If the store advertises `flag`, tests what the flag promises. Otherwise tests what the contract requires of a store
/// without the flag.
///
/// The match has no wildcard. So a new flag does not compile until it has both tests.
pub(super) async fn probe(ctx: &CheckContext, flag: Flag) -> CheckResult {
    let store = ctx.open().await?;
    let advertised = store.capabilities().has(flag);
    // The probes of `Durable` and `Shared` open the backend themselves. A store that is not shared may refuse a second
    // open, so this store is closed first. The probes of the other flags use this store.
    if matches!(flag, Flag::Durable | Flag::Shared) {
        store.close().await?;
    }
    match (flag, advertised) {
        (Flag::PresignGet, true) => presign_probes::ensure_presign_get_works(ctx, &*store).await?,
        (Flag::PresignGet, false) => presign_probes::ensure_presign_get_is_unsupported(ctx, &*store).await?,
        (Flag::PresignPut, true) => presign_probes::ensure_presign_put_works(ctx, &*store).await?,
        (Flag::PresignPut, false) => presign_probes::ensure_presign_put_is_unsupported(ctx, &*store).await?,
        (Flag::Durable, true) => reopening_finds_every_artifact(ctx).await?,
        (Flag::Durable, false) => reopening_finds_whole_artifacts_or_none(ctx).await?,
        (Flag::Shared, true) => two_open_stores_share_artifacts(ctx).await?,
        (Flag::Shared, false) => a_second_open_fails_or_sees_nothing(ctx).await?,
    }
    Ok(if advertised { Outcome::Passed } else { Outcome::NotPromised })
}

async fn durable_is_as_advertised(ctx: &CheckContext) -> CheckResult {
    probe(ctx, Flag::Durable).await
}

async fn shared_is_as_advertised(ctx: &CheckContext) -> CheckResult {
    probe(ctx, Flag::Shared).await
}

/// Opens a store, puts artifacts of several sizes, with and without a task, and closes the store. Also puts one more
/// artifact and deletes it. Returns the records and the bytes of the artifacts that are not deleted.
async fn put_artifacts(ctx: &CheckContext) -> Result<Vec<(artifact_store_core::Record, Bytes)>, Failure> {
    let store = ctx.open().await?;
    let mut artifacts = Vec::new();
    for (n, size) in [0, 1, 64 * KIB, 3 * MIB].into_iter().enumerate() {
        for scope in [default_scope()?, default_scope()?.with_task("t-1")?] {
            let bytes = random_bytes(ctx.seed + n as u64, size);
            let put = store.put(&scope, chunked_body(&bytes, 50 * KIB), options_named("filled")).await?;
            artifacts.push((put.record, bytes));
        }
    }
    let deleted = put(&*store, &default_scope()?, &random_bytes(ctx.seed + 99, 10)).await?;
    store.delete(&default_scope()?, &deleted.record.id).await?;
    store.close().await?;
    Ok(artifacts)
}

/// For a store that is durable: after each of two reopenings, every artifact must exist.
async fn reopening_finds_every_artifact(ctx: &CheckContext) -> Result<(), Failure> {
    ensure!(ctx.backend().is_persistent(), "the store advertises durable, but its backend is not persistent");
    let artifacts = put_artifacts(ctx).await?;
    for _ in 0..2 {
        let store = ctx.open().await?;
        for (record, bytes) in &artifacts {
            let stat = store.stat(&record.scope, &record.id).await?;
            ensure_eq!(stat.as_ref(), Some(record), "the record after reopening");
            let back = store.get_bytes(&record.scope, &record.id, u64::MAX).await?;
            ensure!(
                back.as_ref() == Some(bytes),
                "an artifact of {} bytes has other bytes after reopening",
                bytes.len()
            );
        }
        let rows = list_all_rows(&*store, &ListQuery::new(ScopePattern::all_tenants()), 3).await?;
        ensure_eq!(rows.len(), artifacts.len(), "rows after reopening");
        store.close().await?;
    }
    Ok(())
}

/// For a store that is not durable: after reopening, each artifact must exist as a whole or not at all. The verbs must
/// agree about this. If the backend is not persistent, no artifact may exist.
async fn reopening_finds_whole_artifacts_or_none(ctx: &CheckContext) -> Result<(), Failure> {
    let artifacts = put_artifacts(ctx).await?;
    let store = ctx.open().await?;
    let rows = list_all_rows(&*store, &ListQuery::new(ScopePattern::all_tenants()), 3).await?;
    if !ctx.backend().is_persistent() {
        ensure!(
            rows.is_empty(),
            "a store without a persistent backend lists {} rows after reopening",
            rows.len()
        );
    }
    for (record, bytes) in &artifacts {
        let listed = rows.contains(record);
        let back = store.get_bytes(&record.scope, &record.id, u64::MAX).await?;
        ensure_eq!(
            back.is_some(),
            listed,
            "whether get finds an artifact after reopening (expected: whether list shows it)"
        );
        ensure!(back.is_none_or(|back| back == *bytes), "an artifact has other bytes after reopening");
    }
    Ok(())
}

/// For a store that is shared: two stores that are open on the same backend must see each other's changes at once.
async fn two_open_stores_share_artifacts(ctx: &CheckContext) -> Result<(), Failure> {
    ensure!(ctx.backend().is_persistent(), "the store advertises shared, but its backend is not persistent");
    let one = ctx.open().await?;
    let two = ctx.open().await.map_err(|error| {
        Failure::new(format!(
            "the store advertises shared, but a second open of its backend is refused: {error}"
        ))
    })?;
    let scope = default_scope()?;
    let large = random_bytes(ctx.seed, 2 * MIB);
    for (writer, reader) in [(&one, &two), (&two, &one)] {
        let put = writer.put(&scope, chunked_body(&large, 50 * KIB), PutOptions::default()).await?;
        ensure_eq!(put.outcome, PutOutcome::Created, "a put through one of two stores");
        let again = reader.put(&scope, Body::from_bytes(large.clone()), PutOptions::default()).await?;
        ensure_eq!(again.outcome, PutOutcome::AlreadyExists, "the same put through the other store");
        let back = reader.get_bytes(&scope, &put.record.id, u64::MAX).await?;
        ensure!(back.as_ref() == Some(&large), "the other store reads other bytes");
        ensure!(
            reader.delete(&scope, &put.record.id).await?,
            "delete through the other store returned false, but the artifact existed"
        );
        ensure!(
            writer.stat(&scope, &put.record.id).await?.is_none(),
            "a delete through one store is not seen"
        );
    }
    // Put through both stores at once, then close one of them.
    let (put_one, put_two) = tokio::join!(put(&*one, &scope, &large), put(&*two, &scope, &large));
    let created = [put_one?, put_two?].iter().filter(|put| put.outcome == PutOutcome::Created).count();
    ensure_eq!(created, 1, "the number of racing stores that created");
    one.close().await?;
    let back = two.get_bytes(&scope, &id_of(&large), u64::MAX).await?;
    ensure!(back.as_ref() == Some(&large), "closing one store removed the artifact from the other");
    Ok(())
}

/// For a store that is not shared. If the backend is persistent, a second open must fail. If the backend is not
/// persistent, a second open must create another store, which is empty.
async fn a_second_open_fails_or_sees_nothing(ctx: &CheckContext) -> Result<(), Failure> {
    let first = ctx.open().await?;
    let scope = default_scope()?;
    let bytes = random_bytes(ctx.seed, 10);
    put(&*first, &scope, &bytes).await?;
    if ctx.backend().is_persistent() {
        let is_expected = |kind| matches!(kind, ErrorKind::Unavailable | ErrorKind::InvalidArgument);
        let what = "a second open of a persistent backend, by a store that does not advertise shared";
        ensure_error_kind(ctx.open().await, is_expected, what)?;
        // The refused open must not change the first store. After the first store is closed, an open must succeed.
        let back = first.get_bytes(&scope, &id_of(&bytes), u64::MAX).await?;
        ensure!(back.as_ref() == Some(&bytes), "a refused second open changed the store that is open");
        first.close().await?;
        return match ctx.open().await {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::new(format!("an open after the close is refused: {error}"))),
        };
    }
    let second = ctx.open().await?;
    ensure!(
        !second.exists(&scope, &id_of(&bytes)).await?,
        "a store that is not shared sees the artifact of another store"
    );
    Ok(())
}

/// Opens the store with a limit of n bytes. The store must advertise n, accept n bytes and refuse n + 1 bytes.
async fn the_largest_artifact_is_as_advertised(ctx: &CheckContext) -> CheckResult {
    for limit in [1000, 700 * KIB] {
        let options = StoreOptions { max_artifact_bytes: limit as u64, ..StoreOptions::default() };
        let store = ctx.open_with(&options).await?;
        let scope = default_scope()?;
        ensure_eq!(store.capabilities().artifact_bytes_limit(), limit as u64, "the advertised limit");
        let allowed = random_bytes(ctx.seed, limit);
        let too_large = random_bytes(ctx.seed, limit + 1);
        for (how, allowed_body, too_large_body) in [
            ("in memory", Body::from_bytes(allowed.clone()), Body::from_bytes(too_large.clone())),
            ("a stream", chunked_body(&allowed, 999), chunked_body(&too_large, 999)),
        ] {
            let expected = |kind| kind == ErrorKind::TooLarge { limit: limit as u64 };
            ensure_error_kind(
                store.put(&scope, too_large_body, PutOptions::default()).await,
                expected,
                &format!("n + 1 bytes, {how}"),
            )?;
            store.put(&scope, allowed_body, PutOptions::default()).await?;
        }
        // The limit holds for presigned uploads too.
        if store.capabilities().has(Flag::PresignPut) {
            let result = store
                .presign(
                    &scope,
                    &PresignIntent::Put(presign_probes::upload_intent(&too_large)),
                    presign_probes::MINUTE,
                )
                .await;
            ensure!(result.is_err(), "an upload over the limit is presigned");
        }
        store.close().await?;
    }
    Ok(Outcome::Passed)
}
