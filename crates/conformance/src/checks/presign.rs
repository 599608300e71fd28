//! Presigned URLs, through a plain HTTP client: what they grant, what they do not, and when they end.

use std::time::Duration;

use artifact_store_core::{
    ArtifactStore, Clock, Digest, ErrorKind, Flag, PresignIntent, Presigned, PutOptions, PutOutcome,
    SystemClock, UploadIntent,
};
use bytes::Bytes;

use super::flags::probe;
use super::group;
use crate::check::{CheckResult, Failure, Lab, Outcome, ensure, ensure_eq, ensure_kind};
use crate::harness::{HttpClient, HttpResponse};
use crate::kit::{KIB, MIB, bytes, drain, home, id_of, named, put};

group! { "presign":
    presign_get_is_as_advertised = PresignGet,
    presign_put_is_as_advertised = PresignPut,
    a_presigned_download_says_what_it_is = PresignGet,
    a_presigned_download_grants_nothing_else = PresignGet,
    racing_commits_make_one_artifact = PresignPut,
    the_longest_presign_expiry_is_as_advertised = PresignGet,
    a_presigned_url_expires = PresignGet,
}

async fn presign_get_is_as_advertised(lab: &Lab) -> CheckResult {
    probe(lab, Flag::PresignGet).await
}

async fn presign_put_is_as_advertised(lab: &Lab) -> CheckResult {
    probe(lab, Flag::PresignPut).await
}

pub(super) const MINUTE: Duration = Duration::from_mins(1);

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

pub(super) async fn get_works(lab: &Lab) -> Result<(), Failure> {
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

pub(super) async fn get_is_unsupported(lab: &Lab) -> Result<(), Failure> {
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

pub(super) fn upload(bytes: &Bytes) -> UploadIntent {
    UploadIntent { digest: Digest::of(bytes), size: bytes.len() as u64, options: named("upload") }
}

pub(super) async fn put_works(lab: &Lab) -> Result<(), Failure> {
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
            // Some storages keep what they refuse; the commit must not.
            match store.commit_upload(&scope, &id).await {
                Ok(None) => {}
                Ok(Some(_)) => return Err(Failure::new("a refused upload was committed")),
                refused => ensure_kind(
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

pub(super) async fn put_is_unsupported(lab: &Lab) -> Result<(), Failure> {
    let store = lab.open().await?;
    let scope = home()?;
    let intent = upload(&bytes(lab.seed, 10));
    let due = |kind| kind == ErrorKind::Unsupported(Flag::PresignPut);
    let id = intent.id();
    let answer = store.presign(&scope, &PresignIntent::Put(intent), MINUTE).await;
    ensure_kind(answer, due, "presigning an upload without the flag")?;
    ensure_kind(store.commit_upload(&scope, &id).await, due, "committing an upload without the flag")
}

/// Presigns the download of artifact `id` under the home scope.
async fn download(store: &dyn ArtifactStore, bytes: &Bytes) -> Result<Presigned, Failure> {
    let presigned = store.presign(&home()?, &PresignIntent::Get { id: id_of(bytes) }, MINUTE).await?;
    presigned.ok_or_else(|| Failure::new("an artifact that is there is not presigned"))
}

/// The bytes are somebody's upload, and a browser must not run them.
async fn a_presigned_download_says_what_it_is(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    if !store.capabilities().has(Flag::PresignGet) {
        get_is_unsupported(lab).await?;
        return Ok(Outcome::NotPromised);
    }
    let client = client(lab)?;
    for (n, (filename, media_type, sent)) in [
        ("Übersicht.html", "text/html", "text/html"),
        ("a\r\nset-cookie: x=1\".svg", "image/svg+xml", "image/svg+xml"),
        ("plain.txt", "no type\r\nx: y", "application/octet-stream"),
    ]
    .into_iter()
    .enumerate()
    {
        let bytes = bytes(lab.seed + n as u64, 10);
        let options = PutOptions { media_type: Some(media_type.into()), ..named(filename) };
        store.put(&home()?, bytes.clone().into(), options).await?;
        let presigned = download(&*store, &bytes).await?;
        let response = respond(&*client, "GET", presigned.url.reveal(), &presigned.headers).await?;
        ensure_eq!(response.status, 200, "the status of a presigned download");
        let header = |name: &str| {
            let values = response.headers.iter().filter(|(header, _)| header == name);
            values.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
        };
        ensure_eq!(header("content-type"), [sent], "the media type of a presigned download");
        ensure!(header("set-cookie").is_empty(), "a file name ends its header");
        let disposition = header("content-disposition");
        ensure!(
            disposition.len() == 1 && disposition[0].starts_with("attachment;"),
            "a presigned download of {media_type} is no attachment with a name: {disposition:?}"
        );
    }
    Ok(Outcome::Passed)
}

async fn respond(
    client: &dyn HttpClient,
    method: &str,
    url: &str,
    headers: &[(String, String)],
) -> Result<HttpResponse, Failure> {
    let response = client.request(method, url, headers, Bytes::new()).await;
    response.map_err(|error| Failure::new(format!("no response to a presigned {method}: {error}")))
}

/// Another hexadecimal digit in the middle of the signature, or another last letter where there is no such thing.
fn altered(url: &str) -> String {
    let start = url.find("Signature=").map(|at| at + "Signature=".len());
    let at = start.unwrap_or(url.len().saturating_sub(1));
    let other = if url[at..].starts_with('0') { '1' } else { '0' };
    let rest = url[at..].char_indices().nth(1).map_or("", |(next, _)| &url[at + next..]);
    format!("{}{other}{rest}", &url[..at])
}

async fn a_presigned_download_grants_nothing_else(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    if !store.capabilities().has(Flag::PresignGet) {
        get_is_unsupported(lab).await?;
        return Ok(Outcome::NotPromised);
    }
    let client = client(lab)?;
    let [one, two] = [0, 1].map(|n| bytes(lab.seed + n, 10));
    put(&*store, &home()?, &one).await?;
    put(&*store, &home()?, &two).await?;
    let [presigned, other] = [download(&*store, &one).await?, download(&*store, &two).await?];
    let (url, headers) = (presigned.url.reveal(), &*presigned.headers);
    for method in ["HEAD", "PUT", "POST", "DELETE"] {
        let status = respond(&*client, method, url, headers).await?.status;
        ensure!(status >= 400, "a URL for a download is honoured for {method} too, with status {status}");
    }
    let status = respond(&*client, "GET", &altered(url), headers).await?.status;
    ensure!(status >= 400, "a signature with another letter is honoured, with status {status}");
    if let (Some((_, query)), Some((path, _))) = (url.split_once('?'), other.url.reveal().split_once('?')) {
        let status = respond(&*client, "GET", &format!("{path}?{query}"), headers).await?.status;
        ensure!(status >= 400, "one artifact's signature opens another, with status {status}");
    }
    let (status, body) = send(&*client, "GET", &presigned, Bytes::new()).await?;
    ensure!(status == 200 && body == one, "a presigned download does not outlive attempts on it");
    Ok(Outcome::Passed)
}

/// Who commits need not be who uploads, and there may be several of them.
async fn racing_commits_make_one_artifact(lab: &Lab) -> CheckResult {
    let store = lab.open().await?;
    if !store.capabilities().has(Flag::PresignPut) {
        put_is_unsupported(lab).await?;
        return Ok(Outcome::NotPromised);
    }
    let client = client(lab)?;
    let scope = home()?;
    let bytes = bytes(lab.seed, 200 * KIB);
    let intent = upload(&bytes);
    let id = intent.id();
    let presigned = store.presign(&scope, &PresignIntent::Put(intent), MINUTE).await?;
    let presigned = presigned.ok_or_else(|| Failure::new("an upload is not presigned"))?;
    let (status, _) = send(&*client, "PUT", &presigned, bytes.clone()).await?;
    ensure!(status < 300, "a presigned upload was refused with status {status}");
    let racing: Vec<_> = (0..16)
        .map(|_| {
            let (store, scope, id) = (std::sync::Arc::clone(&store), scope.clone(), id.clone());
            tokio::spawn(async move { store.commit_upload(&scope, &id).await })
        })
        .collect();
    let mut created = 0;
    for commit in racing {
        let put = commit.await??;
        let put =
            put.ok_or_else(|| Failure::new("a commit found nothing while another one was committing"))?;
        created += usize::from(put.outcome == PutOutcome::Created);
    }
    ensure_eq!(created, 1, "sixteen racing commits: how many created");
    let get = store.get(&scope, &id, None).await?;
    let get = get.ok_or_else(|| Failure::new("a committed upload is not there"))?;
    ensure!(drain(get).await? == bytes, "a committed upload has other bytes");
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
