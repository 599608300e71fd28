//! Presigned URLs, used with a plain HTTP client: what they allow, what they do not allow, and when they expire.

use std::time::Duration;

use artifact_store_core::{
    ArtifactStore, Clock, ErrorKind, Flag, PresignIntent, PresignedRequest, PutOptions, PutOutcome,
    SystemClock,
};
use bytes::Bytes;

use super::check_group;
use super::flags::probe;
use super::presign_probes::{
    MINUTE, client, ensure_presign_get_is_unsupported, ensure_presign_put_is_unsupported, send, upload_intent,
};
use crate::bodies::read_to_end;
use crate::check::{CheckContext, CheckResult, Failure, Outcome, ensure, ensure_eq, ensure_error_kind};
use crate::fixtures::{KIB, default_scope, id_of, options_named, put, random_bytes};
use crate::harness::{HttpClient, HttpResponse};

check_group! { "presign":
    presign_get_is_as_advertised = PresignGet,
    presign_put_is_as_advertised = PresignPut,
    a_presigned_download_says_what_it_is = PresignGet,
    a_presigned_download_grants_nothing_else = PresignGet,
    racing_commits_make_one_artifact = PresignPut,
    the_longest_presign_expiry_is_as_advertised = PresignGet,
    a_presigned_url_expires = PresignGet,
}

async fn presign_get_is_as_advertised(ctx: &CheckContext) -> CheckResult {
    probe(ctx, Flag::PresignGet).await
}

async fn presign_put_is_as_advertised(ctx: &CheckContext) -> CheckResult {
    probe(ctx, Flag::PresignPut).await
}

/// Presigns the download of the artifact with these bytes in the default scope.
async fn presign_download(store: &dyn ArtifactStore, bytes: &Bytes) -> Result<PresignedRequest, Failure> {
    let presigned =
        store.presign(&default_scope()?, &PresignIntent::Get { id: id_of(bytes) }, MINUTE).await?;
    presigned.ok_or_else(|| Failure::new("an existing artifact is not presigned"))
}

/// The download must be an attachment: its bytes come from a user, so a browser must not run them.
async fn a_presigned_download_says_what_it_is(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    if !store.capabilities().has(Flag::PresignGet) {
        ensure_presign_get_is_unsupported(ctx, &*store).await?;
        return Ok(Outcome::NotPromised);
    }
    let client = client(ctx)?;
    // The file name and the media type of an artifact, and the media type that the response must have. The line breaks
    // in the second file name and in the last media type must not add a header to the response.
    for (n, (filename, media_type, expected_type)) in [
        ("Übersicht.html", "text/html", "text/html"),
        ("a\r\nset-cookie: x=1\".svg", "image/svg+xml", "image/svg+xml"),
        ("plain.txt", "no type\r\nx: y", "application/octet-stream"),
    ]
    .into_iter()
    .enumerate()
    {
        let bytes = random_bytes(ctx.seed + n as u64, 10);
        let options = PutOptions { media_type: Some(media_type.into()), ..options_named(filename) };
        store.put(&default_scope()?, bytes.clone().into(), options).await?;
        let presigned = presign_download(&*store, &bytes).await?;
        let response = send_to_url(&*client, "GET", presigned.url.reveal(), &presigned.headers).await?;
        ensure_eq!(response.status, 200, "the status of a presigned download");
        // All values of the header with this name.
        let header = |name: &str| {
            let values = response.headers.iter().filter(|(header, _)| header == name);
            values.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
        };
        ensure_eq!(header("content-type"), [expected_type], "the media type of a presigned download");
        ensure!(header("set-cookie").is_empty(), "a file name added a header");
        let disposition = header("content-disposition");
        ensure!(
            disposition.len() == 1 && disposition[0].starts_with("attachment;"),
            "a presigned download of {media_type} is not an attachment with a name: {disposition:?}"
        );
    }
    Ok(Outcome::Passed)
}

/// Sends a request with an empty body to `url`, which may differ from the presigned URL.
async fn send_to_url(
    client: &dyn HttpClient,
    method: &str,
    url: &str,
    headers: &[(String, String)],
) -> Result<HttpResponse, Failure> {
    let response = client.request(method, url, headers, Bytes::new()).await;
    response.map_err(|error| Failure::new(format!("no response to a presigned {method}: {error}")))
}

/// Returns `url` with the first digit of its signature replaced. If `url` has no signature, replaces the last character
/// of `url`.
fn alter_signature(url: &str) -> String {
    let signature_start = url.find("Signature=").map(|start| start + "Signature=".len());
    let position = signature_start.unwrap_or(url.len().saturating_sub(1));
    let (before, after) = url.split_at(position);
    let mut following = after.chars();
    let replacement = if following.next() == Some('0') { '1' } else { '0' };
    format!("{before}{replacement}{}", following.as_str())
}

async fn a_presigned_download_grants_nothing_else(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    if !store.capabilities().has(Flag::PresignGet) {
        ensure_presign_get_is_unsupported(ctx, &*store).await?;
        return Ok(Outcome::NotPromised);
    }
    let client = client(ctx)?;
    let [one, two] = [0, 1].map(|n| random_bytes(ctx.seed + n, 10));
    put(&*store, &default_scope()?, &one).await?;
    put(&*store, &default_scope()?, &two).await?;
    let [presigned, other] = [presign_download(&*store, &one).await?, presign_download(&*store, &two).await?];
    let (url, headers) = (presigned.url.reveal(), &*presigned.headers);
    for method in ["HEAD", "PUT", "POST", "DELETE"] {
        let status = send_to_url(&*client, method, url, headers).await?.status;
        ensure!(status >= 400, "a URL for a download is accepted for {method} too, with status {status}");
    }
    let status = send_to_url(&*client, "GET", &alter_signature(url), headers).await?.status;
    ensure!(status >= 400, "an altered signature is accepted, with status {status}");
    // The query contains the signature. Use the query of one URL with the path of the other URL.
    if let (Some((_, query)), Some((path, _))) = (url.split_once('?'), other.url.reveal().split_once('?')) {
        let status = send_to_url(&*client, "GET", &format!("{path}?{query}"), headers).await?.status;
        ensure!(status >= 400, "the signature of one artifact is accepted for another, with status {status}");
    }
    let (status, body) = send(&*client, "GET", &presigned, Bytes::new()).await?;
    ensure!(status == 200 && body == one, "a presigned download does not work after refused requests");
    Ok(Outcome::Passed)
}

/// Several clients may commit the same upload at the same time. Exactly one of the commits must return `Created`.
async fn racing_commits_make_one_artifact(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    if !store.capabilities().has(Flag::PresignPut) {
        ensure_presign_put_is_unsupported(ctx, &*store).await?;
        return Ok(Outcome::NotPromised);
    }
    let client = client(ctx)?;
    let scope = default_scope()?;
    let bytes = random_bytes(ctx.seed, 200 * KIB);
    let intent = upload_intent(&bytes);
    let id = intent.id();
    let presigned = store.presign(&scope, &PresignIntent::Put(intent), MINUTE).await?;
    let presigned = presigned.ok_or_else(|| Failure::new("an upload is not presigned"))?;
    let (status, _) = send(&*client, "PUT", &presigned, bytes.clone()).await?;
    ensure!(status < 300, "a presigned upload was refused with status {status}");
    let commits: Vec<_> = (0..16)
        .map(|_| {
            let (store, scope, id) = (std::sync::Arc::clone(&store), scope.clone(), id.clone());
            tokio::spawn(async move { store.commit_upload(&scope, &id).await })
        })
        .collect();
    let mut created = 0;
    for commit in commits {
        let put = commit.await??;
        let put =
            put.ok_or_else(|| Failure::new("a commit found no upload while another commit was running"))?;
        created += usize::from(put.outcome == PutOutcome::Created);
    }
    ensure_eq!(created, 1, "the number of racing commits that returned Created");
    let get = store.get(&scope, &id, None).await?;
    let get = get.ok_or_else(|| Failure::new("a committed upload does not exist"))?;
    ensure!(read_to_end(get).await? == bytes, "a committed upload has other bytes");
    Ok(Outcome::Passed)
}

async fn the_longest_presign_expiry_is_as_advertised(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    let longest = store.capabilities().presign_expiry_limit();
    let bytes = random_bytes(ctx.seed, 10);
    put(&*store, &scope, &bytes).await?;
    let capabilities = store.capabilities();
    if !capabilities.has(Flag::PresignGet) && !capabilities.has(Flag::PresignPut) {
        ensure!(longest.is_zero(), "a store that cannot presign advertises an expiry of {longest:?}");
        return Ok(Outcome::NotPromised);
    }
    let intent = if capabilities.has(Flag::PresignGet) {
        PresignIntent::Get { id: id_of(&bytes) }
    } else {
        PresignIntent::Put(upload_intent(&bytes))
    };
    ensure!(
        store.presign(&scope, &intent, longest).await?.is_some(),
        "a URL with the longest expiry is not presigned"
    );
    let over = store.presign(&scope, &intent, longest + Duration::from_secs(1)).await;
    ensure_error_kind(
        over,
        |kind| kind == ErrorKind::InvalidArgument,
        "one second more than the longest expiry",
    )?;
    let zero = store.presign(&scope, &intent, Duration::ZERO).await;
    ensure_error_kind(zero, |kind| kind == ErrorKind::InvalidArgument, "an expiry of 0")?;
    Ok(Outcome::Passed)
}

async fn a_presigned_url_expires(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let scope = default_scope()?;
    let bytes = random_bytes(ctx.seed, 10);
    put(&*store, &scope, &bytes).await?;
    let intent = PresignIntent::Get { id: id_of(&bytes) };
    let second = Duration::from_secs(1);
    if !store.capabilities().has(Flag::PresignGet) {
        let expected = |kind| kind == ErrorKind::Unsupported(Flag::PresignGet);
        ensure_error_kind(
            store.presign(&scope, &intent, second).await,
            expected,
            "presigning without the flag",
        )?;
        return Ok(Outcome::NotPromised);
    }
    let client = client(ctx)?;
    let before = SystemClock.now().as_micros();
    let presigned = store.presign(&scope, &intent, second).await?;
    let presigned = presigned.ok_or_else(|| Failure::new("an existing artifact is not presigned"))?;
    // Storages sign times in whole seconds, so the lifetime may be longer than 1 s.
    let lifetime = presigned.expires_at.as_micros() - before;
    ensure!(
        (0..=3_000_000).contains(&lifetime),
        "a URL with an expiry of 1 s expires after {lifetime} microseconds"
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (status, _) = send(&*client, "GET", &presigned, Bytes::new()).await?;
    ensure!(status >= 400, "a URL with an expiry of 1 s works after 3 s, with status {status}");
    Ok(Outcome::Passed)
}
