//! Every flag and every number, both ways.

use std::time::Duration;

use artifact_store_core::{
    ArtifactStoreExt, Body, Clock, Digest, ErrorKind, Flag, ListQuery, PresignIntent, Presigned, PutOptions,
    PutOutcome, ScopePattern, SystemClock, UploadIntent,
};
use bytes::Bytes;

use super::group;
use crate::check::{CheckResult, Failure, Lab, Outcome, ensure, ensure_eq, ensure_kind};
use crate::harness::{HttpClient, OpenWith};
use crate::kit::{KIB, MIB, all_rows, bytes, drain, flowing, home, id_of, named, put};

group! { "flags":
    presign_get_is_as_advertised = PresignGet,
    presign_put_is_as_advertised = PresignPut,
    durable_is_as_advertised = Durable,
    shared_is_as_advertised = Shared,
    the_largest_artifact_is_as_advertised,
    the_longest_presign_expiry_is_as_advertised = PresignGet,
    a_presigned_url_expires = PresignGet,
}

/// Runs the probe of `flag`, or of its opposite. The match has no wildcard: a flag without both does not compile.
async fn probe(lab: &Lab, flag: Flag) -> CheckResult {
    let store = lab.open().await?;
    let advertised = store.capabilities().has(flag);
    drop(store);
    match (flag, advertised) {
        (Flag::PresignGet, true) => presign_get_works(lab).await?,
        (Flag::PresignGet, false) => presign_get_is_unsupported(lab).await?,
        (Flag::PresignPut, true) => presign_put_works(lab).await?,
        (Flag::PresignPut, false) => presign_put_is_unsupported(lab).await?,
        (Flag::Durable, true) => reopening_finds_everything(lab).await?,
        (Flag::Durable, false) => reopening_finds_whole_or_nothing(lab).await?,
        (Flag::Shared, true) => a_second_open_shares(lab).await?,
        (Flag::Shared, false) => a_second_open_is_refused_or_apart(lab).await?,
    }
    Ok(if advertised { Outcome::Passed } else { Outcome::NotPromised })
}

async fn presign_get_is_as_advertised(lab: &Lab) -> CheckResult {
    probe(lab, Flag::PresignGet).await
}

async fn presign_put_is_as_advertised(lab: &Lab) -> CheckResult {
    probe(lab, Flag::PresignPut).await
}

async fn durable_is_as_advertised(lab: &Lab) -> CheckResult {
    probe(lab, Flag::Durable).await
}

async fn shared_is_as_advertised(lab: &Lab) -> CheckResult {
    probe(lab, Flag::Shared).await
}

const MINUTE: Duration = Duration::from_mins(1);

fn client(lab: &Lab) -> Result<std::sync::Arc<dyn HttpClient>, Failure> {
    lab.place().http_client().ok_or_else(|| {
        Failure::new("the store advertises presigning, but its place gives no HTTP client to prove it")
    })
}

async fn send(
    client: &dyn HttpClient,
    method: &str,
    presigned: &Presigned,
    body: Bytes,
) -> Result<(u16, Bytes), Failure> {
    let response = client
        .request(method, presigned.url.reveal(), &presigned.headers, body)
        .await
        .map_err(|error| Failure::new(format!("no response to a presigned {method}: {error}")))?;
    Ok((response.status, response.body))
}

async fn presign_get_works(lab: &Lab) -> Result<(), Failure> {
    let store = lab.open().await?;
    let client = client(lab)?;
    let scope = home()?;
    for size in [0, 10, 2 * MIB] {
        let bytes = bytes(lab.seed, size);
        let intent = PresignIntent::Get { id: id_of(&bytes) };
        ensure!(store.presign(&scope, &intent, MINUTE).await?.is_none(), "a missing artifact is presigned");
        put(&*store, &scope, &bytes).await?;
        let presigned = store.presign(&scope, &intent, MINUTE).await?;
        let presigned =
            presigned.ok_or_else(|| Failure::new("an artifact that is there is not presigned"))?;
        let (status, body) = send(&*client, "GET", &presigned, Bytes::new()).await?;
        ensure_eq!(status, 200, "the status of a presigned download");
        ensure!(body == bytes, "a presigned download has other bytes");
        let (status, _) = send(&*client, "PUT", &presigned, Bytes::from_static(b"other")).await?;
        ensure!(status >= 400, "a URL for a download accepted an upload");
    }
    Ok(())
}

async fn presign_get_is_unsupported(lab: &Lab) -> Result<(), Failure> {
    let store = lab.open().await?;
    let scope = home()?;
    let bytes = bytes(lab.seed, 10);
    put(&*store, &scope, &bytes).await?;
    let due = |kind| kind == ErrorKind::Unsupported(Flag::PresignGet);
    for id in [id_of(&bytes), id_of(b"never put")] {
        let answer = store.presign(&scope, &PresignIntent::Get { id }, MINUTE).await;
        ensure_kind(answer, due, "presigning a download without the flag")?;
    }
    Ok(())
}

fn upload(bytes: &Bytes) -> UploadIntent {
    UploadIntent { digest: Digest::of(bytes), size: bytes.len() as u64, options: named("upload") }
}

async fn presign_put_works(lab: &Lab) -> Result<(), Failure> {
    let store = lab.open().await?;
    let client = client(lab)?;
    let scope = home()?;
    for size in [10, 2 * MIB] {
        let good = bytes(lab.seed, size);
        let intent = upload(&good);
        let id = intent.id();
        let presigned = store.presign(&scope, &PresignIntent::Put(intent), MINUTE).await?;
        let presigned = presigned.ok_or_else(|| Failure::new("an upload is not presigned"))?;
        ensure!(
            store.commit_upload(&scope, &id).await?.is_none(),
            "an upload was committed before it arrived"
        );
        let wrong = [bytes(lab.seed + 1, size), bytes(lab.seed, size + 1), good.slice(1..)];
        for body in wrong {
            let length = body.len();
            let (status, _) = send(&*client, "PUT", &presigned, body).await?;
            ensure!(status >= 400, "an upload bound to {size} bytes accepted {length} others");
            ensure!(store.commit_upload(&scope, &id).await?.is_none(), "a refused upload was committed");
        }
        let (status, _) = send(&*client, "PUT", &presigned, good.clone()).await?;
        ensure!(status < 300, "a presigned upload was refused with status {status}");
        ensure!(store.stat(&scope, &id).await?.is_none(), "an upload is visible before its commit");
        let put = store.commit_upload(&scope, &id).await?;
        let put = put.ok_or_else(|| Failure::new("nothing to commit after the upload"))?;
        ensure_eq!(put.outcome, PutOutcome::Created, "the commit");
        ensure_eq!(put.record.options, named("upload"), "the options after the commit");
        let get = store.get(&scope, &id, None).await?;
        let get = get.ok_or_else(|| Failure::new("a committed upload is not there"))?;
        ensure!(drain(get).await? == good, "a committed upload has other bytes");
        let again = store.commit_upload(&scope, &id).await?;
        ensure_eq!(again.map(|put| put.outcome), Some(PutOutcome::StoodAlready), "the second commit");
    }
    Ok(())
}

async fn presign_put_is_unsupported(lab: &Lab) -> Result<(), Failure> {
    let store = lab.open().await?;
    let scope = home()?;
    let intent = upload(&bytes(lab.seed, 10));
    let due = |kind| kind == ErrorKind::Unsupported(Flag::PresignPut);
    let id = intent.id();
    let answer = store.presign(&scope, &PresignIntent::Put(intent), MINUTE).await;
    ensure_kind(answer, due, "presigning an upload without the flag")?;
    ensure_kind(store.commit_upload(&scope, &id).await, due, "committing an upload without the flag")
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
            let answer = store.presign(&scope, &PresignIntent::Put(upload(&over)), MINUTE).await;
            ensure!(answer.is_err(), "an upload over the bound is presigned");
        }
        store.close().await?;
    }
    Ok(Outcome::Passed)
}

async fn the_longest_presign_expiry_is_as_advertised(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    let longest = store.capabilities().presign_expiry_limit();
    let bytes = bytes(lab.seed, 10);
    put(&*store, &scope, &bytes).await?;
    let capabilities = store.capabilities();
    if !capabilities.has(Flag::PresignGet) && !capabilities.has(Flag::PresignPut) {
        ensure!(longest.is_zero(), "a store that cannot presign advertises an expiry of {longest:?}");
        return Ok(Outcome::NotPromised);
    }
    let intent = if capabilities.has(Flag::PresignGet) {
        PresignIntent::Get { id: id_of(&bytes) }
    } else {
        PresignIntent::Put(upload(&bytes))
    };
    ensure!(store.presign(&scope, &intent, longest).await?.is_some(), "the longest expiry is not signed");
    let over = store.presign(&scope, &intent, longest + Duration::from_secs(1)).await;
    ensure_kind(over, |kind| kind == ErrorKind::InvalidArgument, "one second more than the longest expiry")?;
    let zero = store.presign(&scope, &intent, Duration::ZERO).await;
    ensure_kind(zero, |kind| kind == ErrorKind::InvalidArgument, "an expiry of nothing")?;
    Ok(Outcome::Passed)
}

async fn a_presigned_url_expires(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    let bytes = bytes(lab.seed, 10);
    put(&*store, &scope, &bytes).await?;
    let intent = PresignIntent::Get { id: id_of(&bytes) };
    let second = Duration::from_secs(1);
    if !store.capabilities().has(Flag::PresignGet) {
        let due = |kind| kind == ErrorKind::Unsupported(Flag::PresignGet);
        ensure_kind(store.presign(&scope, &intent, second).await, due, "presigning without the flag")?;
        return Ok(Outcome::NotPromised);
    }
    let client = client(lab)?;
    let before = SystemClock.now().as_micros();
    let presigned = store.presign(&scope, &intent, second).await?;
    let presigned = presigned.ok_or_else(|| Failure::new("an artifact that is there is not presigned"))?;
    // Storages sign whole seconds.
    let life = presigned.expires_at.as_micros() - before;
    ensure!(
        (0..=3_000_000).contains(&life),
        "a URL for one second says that it lives for {life} microseconds"
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (status, _) = send(&*client, "GET", &presigned, Bytes::new()).await?;
    ensure!(status >= 400, "a URL for one second still downloads after three, with status {status}");
    Ok(Outcome::Passed)
}
