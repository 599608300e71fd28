//! The probes of the presigning flags. Each flag has one probe for a store that advertises it, and one for a store that
//! does not.

use std::time::Duration;

use artifact_store_core::{
    ArtifactStore, Digest, ErrorKind, Flag, PresignIntent, PresignedRequest, PutOutcome, UploadIntent,
};
use bytes::Bytes;

use crate::bodies::read_to_end;
use crate::check::{CheckContext, Failure, ensure, ensure_eq, ensure_error_kind};
use crate::fixtures::{MIB, default_scope, id_of, options_named, put, random_bytes};
use crate::harness::HttpClient;

/// The expiry of the URLs in the probes.
pub(super) const MINUTE: Duration = Duration::from_mins(1);

/// Returns the HTTP client of the backend. Fails if the backend has none.
pub(super) fn client(ctx: &CheckContext) -> Result<std::sync::Arc<dyn HttpClient>, Failure> {
    ctx.backend().http_client().ok_or_else(|| {
        Failure::new("the store advertises presigning, but its backend has no HTTP client to test it")
    })
}

/// Sends a request to a presigned URL, and returns the status and the body of the response. `method` may differ from
/// the method that the URL is for.
pub(super) async fn send(
    client: &dyn HttpClient,
    method: &str,
    presigned: &PresignedRequest,
    body: Bytes,
) -> Result<(u16, Bytes), Failure> {
    let response = client
        .request(method, presigned.url.reveal(), &presigned.headers, body)
        .await
        .map_err(|error| Failure::new(format!("no response to a presigned {method}: {error}")))?;
    Ok((response.status, response.body))
}

/// For a store with `PresignGet`: a missing artifact gets no URL. The URL of an existing artifact downloads its bytes,
/// and allows no upload.
pub(super) async fn ensure_presign_get_works(
    ctx: &CheckContext,
    store: &dyn ArtifactStore,
) -> Result<(), Failure> {
    let client = client(ctx)?;
    let scope = default_scope()?;
    for size in [0, 10, 2 * MIB] {
        let bytes = random_bytes(ctx.seed, size);
        let intent = PresignIntent::Get { id: id_of(&bytes) };
        ensure!(store.presign(&scope, &intent, MINUTE).await?.is_none(), "a missing artifact is presigned");
        put(store, &scope, &bytes).await?;
        let presigned = store.presign(&scope, &intent, MINUTE).await?;
        let presigned = presigned.ok_or_else(|| Failure::new("an existing artifact is not presigned"))?;
        let (status, body) = send(&*client, "GET", &presigned, Bytes::new()).await?;
        ensure_eq!(status, 200, "the status of a presigned download");
        ensure!(body == bytes, "a presigned download has other bytes");
        let (status, _) = send(&*client, "PUT", &presigned, Bytes::from_static(b"other")).await?;
        ensure!(status >= 400, "a URL for a download accepted an upload");
    }
    Ok(())
}

/// For a store without `PresignGet`: presigning a download fails, whether the artifact exists or not.
pub(super) async fn ensure_presign_get_is_unsupported(
    ctx: &CheckContext,
    store: &dyn ArtifactStore,
) -> Result<(), Failure> {
    let scope = default_scope()?;
    let bytes = random_bytes(ctx.seed, 10);
    put(store, &scope, &bytes).await?;
    let expected = |kind| kind == ErrorKind::Unsupported(Flag::PresignGet);
    for id in [id_of(&bytes), id_of(b"never put")] {
        let result = store.presign(&scope, &PresignIntent::Get { id }, MINUTE).await;
        ensure_error_kind(result, expected, "presigning a download without the flag")?;
    }
    Ok(())
}

/// Returns the intent to upload `bytes` with the file name `upload`.
pub(super) fn upload_intent(bytes: &Bytes) -> UploadIntent {
    UploadIntent { digest: Digest::of(bytes), size: bytes.len() as u64, options: options_named("upload") }
}

/// For a store with `PresignPut`: only the announced bytes can be uploaded, and they are visible only after the commit.
/// A second commit finds the artifact of the first commit.
pub(super) async fn ensure_presign_put_works(
    ctx: &CheckContext,
    store: &dyn ArtifactStore,
) -> Result<(), Failure> {
    let client = client(ctx)?;
    let scope = default_scope()?;
    for size in [10, 2 * MIB] {
        let good = random_bytes(ctx.seed, size);
        let intent = upload_intent(&good);
        let id = intent.id();
        let presigned = store.presign(&scope, &PresignIntent::Put(intent), MINUTE).await?;
        let presigned = presigned.ok_or_else(|| Failure::new("an upload is not presigned"))?;
        ensure!(
            store.commit_upload(&scope, &id).await?.is_none(),
            "an upload was committed before it arrived"
        );
        let other_bytes = random_bytes(ctx.seed + 1, size);
        let one_byte_more = random_bytes(ctx.seed, size + 1);
        let one_byte_less = good.slice(1..);
        for body in [other_bytes, one_byte_more, one_byte_less] {
            let length = body.len();
            let (status, _) = send(&*client, "PUT", &presigned, body).await?;
            ensure!(status >= 400, "the URL for an upload of {size} bytes accepted {length} other bytes");
            // Some storages keep the bytes that they refuse. The commit must not accept these bytes.
            match store.commit_upload(&scope, &id).await {
                Ok(None) => {}
                Ok(Some(_)) => return Err(Failure::new("a refused upload was committed")),
                refused => ensure_error_kind(
                    refused,
                    |kind| matches!(kind, ErrorKind::DigestMismatch { .. }),
                    "committing an upload that was refused",
                )?,
            }
            ensure!(store.stat(&scope, &id).await?.is_none(), "a refused upload is visible");
        }
        let (status, _) = send(&*client, "PUT", &presigned, good.clone()).await?;
        ensure!(status < 300, "a presigned upload was refused with status {status}");
        ensure!(store.stat(&scope, &id).await?.is_none(), "an upload is visible before its commit");
        let put = store.commit_upload(&scope, &id).await?;
        let put = put.ok_or_else(|| Failure::new("the commit found no upload"))?;
        ensure_eq!(put.outcome, PutOutcome::Created, "the commit");
        ensure_eq!(put.record.options, options_named("upload"), "the options after the commit");
        let get = store.get(&scope, &id, None).await?;
        let get = get.ok_or_else(|| Failure::new("a committed upload does not exist"))?;
        ensure!(read_to_end(get).await? == good, "a committed upload has other bytes");
        let again = store.commit_upload(&scope, &id).await?;
        ensure_eq!(again.map(|put| put.outcome), Some(PutOutcome::AlreadyExists), "the second commit");
    }
    Ok(())
}

/// For a store without `PresignPut`: presigning and committing an upload both fail.
pub(super) async fn ensure_presign_put_is_unsupported(
    ctx: &CheckContext,
    store: &dyn ArtifactStore,
) -> Result<(), Failure> {
    let scope = default_scope()?;
    let intent = upload_intent(&random_bytes(ctx.seed, 10));
    let expected = |kind| kind == ErrorKind::Unsupported(Flag::PresignPut);
    let id = intent.id();
    let result = store.presign(&scope, &PresignIntent::Put(intent), MINUTE).await;
    ensure_error_kind(result, expected, "presigning an upload without the flag")?;
    ensure_error_kind(
        store.commit_upload(&scope, &id).await,
        expected,
        "committing an upload without the flag",
    )
}
