//! One artifact for the same scope, namespace and bytes; different artifacts for everything else.

use artifact_store_core::{ArtifactStoreExt, Body, Digest, Namespace, PutOptions, PutOutcome};
use bytes::Bytes;

use super::group;
use crate::check::{CheckResult, Failure, Lab, Outcome, ensure, ensure_eq};
use crate::kit::{KIB, all_rows, bytes, drain, exactly, flowing, home, id_of, named, neighbours, put};

group! { "dedup":
    the_same_bytes_stood_already,
    the_first_writers_options_stay,
    the_id_is_namespace_and_digest,
    digests_that_agree_in_12_digits_stay_apart,
    namespaces_stay_apart,
    every_scope_part_keeps_apart,
}

async fn the_same_bytes_stood_already(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    for length in [0, 10, 300 * KIB] {
        let bytes = bytes(lab.seed, length);
        let first = put(&*store, &scope, &bytes).await?;
        ensure_eq!(first.outcome, PutOutcome::Created, "the first put of {length} bytes");
        let second = put(&*store, &scope, &bytes).await?;
        ensure_eq!(second.outcome, PutOutcome::StoodAlready, "the second put of {length} bytes");
        ensure_eq!(second.record, first.record, "the record of {length} bytes that stood");
        let third = store.put(&scope, flowing(&bytes, 1000), PutOptions::default()).await?;
        ensure_eq!(third.outcome, PutOutcome::StoodAlready, "{length} bytes again, as a stream");
    }
    let rows = all_rows(&*store, &exactly(&scope), 10).await?;
    ensure_eq!(rows.len(), 3, "rows of three artifacts put thrice each");
    Ok(Outcome::Passed)
}

async fn the_first_writers_options_stay(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    let first = store.put(&scope, Body::from("same"), named("first.txt")).await?;
    let second = store.put(&scope, Body::from("same"), named("second.txt")).await?;
    ensure_eq!(second.record, first.record, "the record that the second put answers");
    let stat = store.stat(&scope, &first.record.id).await?;
    ensure_eq!(stat, Some(first.record), "the record that stands after the second put");
    Ok(Outcome::Passed)
}

async fn the_id_is_namespace_and_digest(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let options = PutOptions { namespace: Namespace::new("tool_output")?, ..PutOptions::default() };
    let put = store.put(&home()?, Body::from(""), options).await?;
    ensure_eq!(put.record.id.as_str(), "tool_output_e3b0c44298fc1c149afbf4c8996fb924", "the id of no bytes");
    ensure_eq!(put.record.digest, Digest::of(b""), "the digest of no bytes");
    Ok(Outcome::Passed)
}

/// The SHA-256 of these two agree in their first 12 hex digits: stores that use no more lose one of them.
async fn digests_that_agree_in_12_digits_stay_apart(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    let pair = [Bytes::from_static(b"a1877572"), Bytes::from_static(b"a9584613")];
    ensure_eq!(Digest::of(&pair[0]).to_hex()[..12], Digest::of(&pair[1]).to_hex()[..12], "the pair itself");
    for bytes in &pair {
        ensure_eq!(put(&*store, &scope, bytes).await?.outcome, PutOutcome::Created, "putting {bytes:?}");
    }
    for bytes in &pair {
        let back = store.get_bytes(&scope, &id_of(bytes), 100).await?;
        ensure_eq!(back.as_ref(), Some(bytes), "reading {bytes:?}");
    }
    Ok(Outcome::Passed)
}

async fn namespaces_stay_apart(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let scope = home()?;
    let names = ["a", "A", "a_", "a.", "a-b", "a_b", "default", &"n".repeat(128)];
    for name in names {
        let options = PutOptions { namespace: Namespace::new(name)?, ..named(name) };
        let put = store.put(&scope, Body::from("same"), options).await?;
        ensure_eq!(put.outcome, PutOutcome::Created, "the first put in namespace {name}");
    }
    for name in names {
        let id = artifact_store_core::ArtifactId::new(&Namespace::new(name)?, &Digest::of(b"same"));
        let record = store.stat(&scope, &id).await?;
        let record = record.ok_or_else(|| Failure::new(format!("nothing is in namespace {name}")))?;
        ensure_eq!(record.options.filename.as_deref(), Some(name), "the artifact of namespace {name}");
    }
    Ok(Outcome::Passed)
}

async fn every_scope_part_keeps_apart(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    let own = home()?.with_task("t-1")?;
    let bytes = bytes(lab.seed, 100);
    put(&*store, &own, &bytes).await?;
    for (part, scope) in neighbours()? {
        let there = store.put(&scope, Body::from_bytes(bytes.clone()), named(part)).await?;
        ensure_eq!(there.outcome, PutOutcome::Created, "the same bytes under another {part}");
        ensure_eq!(there.record.scope, scope, "the scope under another {part}");
    }
    for (part, scope) in neighbours()? {
        let get = store.get(&scope, &id_of(&bytes), None).await?;
        let get = get.ok_or_else(|| Failure::new(format!("nothing is under the other {part}")))?;
        ensure_eq!(get.record.options.filename.as_deref(), Some(part), "the record under another {part}");
        ensure!(drain(get).await? == bytes, "other bytes are under another {part}");
    }
    Ok(Outcome::Passed)
}
