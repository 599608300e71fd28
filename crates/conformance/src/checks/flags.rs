//! Every flag and every number, both ways.

use artifact_store_core::{
    ArtifactStoreExt, Body, ErrorKind, Flag, ListQuery, PresignIntent, PutOptions, PutOutcome, ScopePattern,
};
use bytes::Bytes;

use super::{group, presign};
use crate::check::{CheckResult, Failure, Lab, Outcome, ensure, ensure_eq, ensure_kind};
use crate::harness::OpenWith;
use crate::kit::{KIB, MIB, all_rows, bytes, flowing, home, id_of, named, put};

group! { "flags":
    durable_is_as_advertised = Durable,
    shared_is_as_advertised = Shared,
    the_largest_artifact_is_as_advertised,
}

/// Runs the probe of `flag`, or of its opposite. The match has no wildcard: a flag without both does not compile.
pub(super) async fn probe(lab: &Lab, flag: Flag) -> CheckResult {
    let store = lab.open().await?;
    let advertised = store.capabilities().has(flag);
    drop(store);
    match (flag, advertised) {
        (Flag::PresignGet, true) => presign::get_works(lab).await?,
        (Flag::PresignGet, false) => presign::get_is_unsupported(lab).await?,
        (Flag::PresignPut, true) => presign::put_works(lab).await?,
        (Flag::PresignPut, false) => presign::put_is_unsupported(lab).await?,
        (Flag::Durable, true) => reopening_finds_everything(lab).await?,
        (Flag::Durable, false) => reopening_finds_whole_or_nothing(lab).await?,
        (Flag::Shared, true) => a_second_open_shares(lab).await?,
        (Flag::Shared, false) => a_second_open_is_refused_or_apart(lab).await?,
    }
    Ok(if advertised { Outcome::Passed } else { Outcome::NotPromised })
}

async fn durable_is_as_advertised(lab: &Lab) -> CheckResult {
    probe(lab, Flag::Durable).await
}

async fn shared_is_as_advertised(lab: &Lab) -> CheckResult {
    probe(lab, Flag::Shared).await
}

/// Puts artifacts of several sizes, in both ways, and closes the store.
async fn fill(lab: &Lab) -> Result<Vec<(artifact_store_core::Record, Bytes)>, Failure> {
    let store = lab.open().await?;
    let mut filled = Vec::new();
    for (n, size) in [0, 1, 64 * KIB, 3 * MIB].into_iter().enumerate() {
        for scope in [home()?, home()?.with_task("t-1")?] {
            let bytes = bytes(lab.seed + n as u64, size);
            let put = store.put(&scope, flowing(&bytes, 50 * KIB), named("filled")).await?;
            filled.push((put.record, bytes));
        }
    }
    let gone = put(&*store, &home()?, &bytes(lab.seed + 99, 10)).await?;
    store.delete(&home()?, &gone.record.id).await?;
    store.close().await?;
    Ok(filled)
}

async fn reopening_finds_everything(lab: &Lab) -> Result<(), Failure> {
    ensure!(lab.place().outlives_stores(), "the store advertises durable, but its place ends with it");
    let filled = fill(lab).await?;
    for _ in 0..2 {
        let store = lab.open().await?;
        for (record, bytes) in &filled {
            let stat = store.stat(&record.scope, &record.id).await?;
            ensure_eq!(stat.as_ref(), Some(record), "the record after reopening");
            let back = store.get_bytes(&record.scope, &record.id, u64::MAX).await?;
            ensure!(
                back.as_ref() == Some(bytes),
                "{} bytes came back as others after reopening",
                bytes.len()
            );
        }
        let rows = all_rows(&*store, &ListQuery::new(ScopePattern::all_tenants()), 3).await?;
        ensure_eq!(rows.len(), filled.len(), "rows after reopening");
        store.close().await?;
    }
    Ok(())
}

async fn reopening_finds_whole_or_nothing(lab: &Lab) -> Result<(), Failure> {
    let filled = fill(lab).await?;
    let store = lab.open().await?;
    let rows = all_rows(&*store, &ListQuery::new(ScopePattern::all_tenants()), 3).await?;
    if !lab.place().outlives_stores() {
        ensure!(rows.is_empty(), "a store without a place to reopen remembers {} rows", rows.len());
    }
    for (record, bytes) in &filled {
        let listed = rows.contains(record);
        let back = store.get_bytes(&record.scope, &record.id, u64::MAX).await?;
        ensure_eq!(
            back.is_some(),
            listed,
            "whether a remnant is read after reopening, and whether it is listed"
        );
        ensure!(back.is_none_or(|back| back == *bytes), "a remnant has other bytes after reopening");
    }
    Ok(())
}

async fn a_second_open_shares(lab: &Lab) -> Result<(), Failure> {
    ensure!(
        lab.place().outlives_stores(),
        "the store advertises shared, but there is no place to open twice"
    );
    let one = lab.open().await?;
    let two = lab.open().await?;
    let scope = home()?;
    let large = bytes(lab.seed, 2 * MIB);
    for (writer, reader) in [(&one, &two), (&two, &one)] {
        let put = writer.put(&scope, flowing(&large, 50 * KIB), PutOptions::default()).await?;
        ensure_eq!(put.outcome, PutOutcome::Created, "a put through one of two stores");
        let again = reader.put(&scope, Body::from_bytes(large.clone()), PutOptions::default()).await?;
        ensure_eq!(again.outcome, PutOutcome::StoodAlready, "the same put through the other store");
        let back = reader.get_bytes(&scope, &put.record.id, u64::MAX).await?;
        ensure!(back.as_ref() == Some(&large), "the other store reads other bytes");
        ensure!(reader.delete(&scope, &put.record.id).await?, "the other store has nothing to delete");
        ensure!(
            writer.stat(&scope, &put.record.id).await?.is_none(),
            "a delete through one store is not seen"
        );
    }
    // Both at once, and one of them ending.
    let (a, b) = tokio::join!(put(&*one, &scope, &large), put(&*two, &scope, &large));
    let created = [a?, b?].iter().filter(|put| put.outcome == PutOutcome::Created).count();
    ensure_eq!(created, 1, "two stores that race: how many created");
    one.close().await?;
    let back = two.get_bytes(&scope, &id_of(&large), u64::MAX).await?;
    ensure!(back.as_ref() == Some(&large), "closing one store took the artifact from the other");
    Ok(())
}

async fn a_second_open_is_refused_or_apart(lab: &Lab) -> Result<(), Failure> {
    let one = lab.open().await?;
    let scope = home()?;
    let bytes = bytes(lab.seed, 10);
    put(&*one, &scope, &bytes).await?;
    if lab.place().outlives_stores() {
        let typed = |kind| matches!(kind, ErrorKind::Unavailable | ErrorKind::InvalidArgument);
        return ensure_kind(lab.open().await, typed, "a second open of a place that is not shared");
    }
    let two = lab.open().await?;
    ensure!(!two.exists(&scope, &id_of(&bytes)).await?, "a store that is not shared sees another's artifact");
    Ok(())
}

/// The store is opened with a bound of its own, which its number must name, and n and n + 1 must prove.
async fn the_largest_artifact_is_as_advertised(lab: &Lab) -> CheckResult {
    for limit in [1000, 700 * KIB] {
        let with = OpenWith { max_artifact_bytes: limit as u64, ..OpenWith::default() };
        let store = lab.open_with(&with).await?;
        let scope = home()?;
        ensure_eq!(store.capabilities().artifact_bytes_limit(), limit as u64, "the advertised number");
        let fits = bytes(lab.seed, limit);
        let over = bytes(lab.seed, limit + 1);
        for (how, fits, over) in [
            ("at hand", Body::from_bytes(fits.clone()), Body::from_bytes(over.clone())),
            ("a stream", flowing(&fits, 999), flowing(&over, 999)),
        ] {
            let due = |kind| kind == ErrorKind::TooLarge { limit: limit as u64 };
            ensure_kind(
                store.put(&scope, over, PutOptions::default()).await,
                due,
                &format!("n + 1 bytes, {how}"),
            )?;
            store.put(&scope, fits, PutOptions::default()).await?;
        }
        // Through presigned uploads too, where there are any.
        if store.capabilities().has(Flag::PresignPut) {
            let answer =
                store.presign(&scope, &PresignIntent::Put(presign::upload(&over)), presign::MINUTE).await;
            ensure!(answer.is_err(), "an upload over the bound is presigned");
        }
        store.close().await?;
    }
    Ok(Outcome::Passed)
}
