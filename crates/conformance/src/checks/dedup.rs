//! Deduplication: the same scope, namespace and bytes are one artifact. Everything else is another artifact.

use artifact_store_core::{ArtifactStoreExt, Body, Digest, Namespace, PutOptions, PutOutcome};
use bytes::Bytes;

use super::check_group;
use crate::bodies::{chunked_body, read_to_end};
use crate::check::{CheckContext, CheckResult, Failure, Outcome, ensure, ensure_eq};
use crate::fixtures::{
    KIB, default_scope, id_of, list_all_rows, neighbouring_scopes, options_named, put, random_bytes,
    scope_query,
};

check_group! { "dedup":
    the_same_bytes_already_exist,
    the_first_writers_options_stay,
    the_id_is_namespace_and_digest,
    digests_that_agree_in_12_digits_stay_apart,
    namespaces_stay_apart,
    every_scope_part_keeps_apart,
}

async fn the_same_bytes_already_exist(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    for length in [0, 10, 300 * KIB] {
        let bytes = random_bytes(ctx.seed, length);
        let first = put(&*store, &scope, &bytes).await?;
        ensure_eq!(first.outcome, PutOutcome::Created, "the first put of {length} bytes");
        let second = put(&*store, &scope, &bytes).await?;
        ensure_eq!(second.outcome, PutOutcome::AlreadyExists, "the second put of {length} bytes");
        ensure_eq!(second.record, first.record, "the record of {length} bytes that already exist");
        let third = store.put(&scope, chunked_body(&bytes, 1000), PutOptions::default()).await?;
        ensure_eq!(third.outcome, PutOutcome::AlreadyExists, "{length} bytes again, as a stream");
    }
    let rows = list_all_rows(&*store, &scope_query(&scope), 10).await?;
    ensure_eq!(rows.len(), 3, "rows of three artifacts that were put three times each");
    Ok(Outcome::Passed)
}

async fn the_first_writers_options_stay(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    let first = store.put(&scope, Body::from("same"), options_named("first.txt")).await?;
    let second = store.put(&scope, Body::from("same"), options_named("second.txt")).await?;
    ensure_eq!(second.record, first.record, "the record that the second put returns");
    let stat = store.stat(&scope, &first.record.id).await?;
    ensure_eq!(stat, Some(first.record), "the record after the second put");
    Ok(Outcome::Passed)
}

async fn the_id_is_namespace_and_digest(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let options = PutOptions { namespace: Namespace::new("tool_output")?, ..PutOptions::default() };
    let put = store.put(&default_scope()?, Body::from(""), options).await?;
    ensure_eq!(put.record.id.as_str(), "tool_output_e3b0c44298fc1c149afbf4c8996fb924", "the id of no bytes");
    ensure_eq!(put.record.digest, Digest::of(b""), "the digest of no bytes");
    Ok(Outcome::Passed)
}

/// The SHA-256 digests of the two texts have the same first 12 hex digits. A store that compares only these digits
/// treats the two texts as the same artifact.
async fn digests_that_agree_in_12_digits_stay_apart(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
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

async fn namespaces_stay_apart(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    let names = ["a", "A", "a_", "a.", "a-b", "a_b", "default", &"n".repeat(128)];
    for name in names {
        let options = PutOptions { namespace: Namespace::new(name)?, ..options_named(name) };
        let put = store.put(&scope, Body::from("same"), options).await?;
        ensure_eq!(put.outcome, PutOutcome::Created, "the first put in namespace {name}");
    }
    for name in names {
        let id = artifact_store_core::ArtifactId::new(&Namespace::new(name)?, &Digest::of(b"same"));
        let record = store.stat(&scope, &id).await?;
        let record =
            record.ok_or_else(|| Failure::new(format!("the artifact of namespace {name} does not exist")))?;
        ensure_eq!(record.options.filename.as_deref(), Some(name), "the artifact of namespace {name}");
    }
    Ok(Outcome::Passed)
}

async fn every_scope_part_keeps_apart(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let task_scope = default_scope()?.with_task("t-1")?;
    let bytes = random_bytes(ctx.seed, 100);
    put(&*store, &task_scope, &bytes).await?;
    for (part, scope) in neighbouring_scopes()? {
        let other = store.put(&scope, Body::from_bytes(bytes.clone()), options_named(part)).await?;
        ensure_eq!(other.outcome, PutOutcome::Created, "the same bytes under another {part}");
        ensure_eq!(other.record.scope, scope, "the scope under another {part}");
    }
    for (part, scope) in neighbouring_scopes()? {
        let get = store.get(&scope, &id_of(&bytes), None).await?;
        let get =
            get.ok_or_else(|| Failure::new(format!("the artifact under the other {part} does not exist")))?;
        ensure_eq!(get.record.options.filename.as_deref(), Some(part), "the record under another {part}");
        ensure!(read_to_end(get).await? == bytes, "the artifact under another {part} has other bytes");
    }
    Ok(Outcome::Passed)
}
