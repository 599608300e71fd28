//! Presigned downloads and uploads with a plain HTTP client, on two servers.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests too.

mod curl;

use std::time::Duration;

use artifact_store_backends::{Proxy, ProxyMode, RequestCounter, S3, S3Kind};
use artifact_store_conformance::{HttpClient, HttpResponse};
use artifact_store_core::{
    ArtifactId, ArtifactStore, ArtifactStoreExt, Body, Bytes, Digest, ErrorKind, Flag, PresignIntent,
    PresignedRequest, PutOptions, PutOutcome, PutResult, Scope, UploadIntent,
};
use artifact_store_s3::{S3Config, S3Store};
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use curl::Curl;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

const MINUTE: Duration = Duration::from_mins(1);

/// Runs every test on Garage and on s3s-fs.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod garage { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() -> super::Outcome { super::$name(super::S3Kind::Garage).await }
        )+ }
        mod s3s_fs { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() -> super::Outcome { super::$name(super::S3Kind::S3sFs).await }
        )+ }
    };
}

on_both!(
    a_download_returns_the_bytes_and_their_headers,
    a_hostile_name_stays_within_its_header,
    scripts_are_attachments_too,
    a_range_of_a_download_is_an_attachment_too,
    a_url_for_a_download_grants_nothing_else,
    a_url_expires,
    a_url_names_the_presign_endpoint,
    presigning_a_download_is_one_request,
    a_foreign_artifact_looks_like_a_missing_one,
    an_upload_takes_the_announced_bytes_and_no_others,
    other_bytes_are_never_committed,
    a_commit_of_an_upload_of_an_existing_artifact_returns_already_exists,
    the_later_of_two_intents_decides_the_options,
    a_commit_needs_an_intent_and_a_body,
    racing_commits_make_one_artifact,
    an_upload_that_is_never_committed_is_swept,
    an_upload_larger_than_one_put_request_allows_is_refused,
    without_presign_put_uploads_are_unsupported,
    an_expiry_of_less_than_a_second_is_refused,
);

fn scope() -> Scope {
    Scope::new("acme", "ada", "s-1").unwrap()
}

/// A unique prefix in the shared server's bucket.
async fn config(kind: S3Kind) -> Result<S3Config, Box<dyn std::error::Error + Send + Sync>> {
    let server = S3::shared(kind).await?;
    let random = std::collections::hash_map::RandomState::new();
    let prefix = std::hash::BuildHasher::hash_one(&random, std::time::SystemTime::now());
    Ok(S3Config::bucket(server.bucket())
        .prefix(format!("presign-{prefix:016x}"))
        .endpoint(server.endpoint())
        .region(server.region())
        .path_style(true)
        .keys(server.access_key_id(), server.secret_access_key()))
}

async fn open(kind: S3Kind) -> Result<S3Store, Box<dyn std::error::Error + Send + Sync>> {
    Ok(S3Store::open(config(kind).await?).await?)
}

fn options_with(filename: &str, media_type: &str) -> PutOptions {
    PutOptions {
        filename: Some(filename.into()),
        media_type: Some(media_type.into()),
        ..PutOptions::default()
    }
}

async fn presign_get(store: &S3Store, id: &ArtifactId, expiry: Duration) -> PresignedRequest {
    let intent = PresignIntent::Get { id: id.clone() };
    store.presign(&scope(), &intent, expiry).await.unwrap().expect("the artifact does not exist")
}

async fn send(method: &str, url: &str, headers: &[(String, String)], body: &Bytes) -> HttpResponse {
    Curl.request(method, url, headers, body.clone()).await.unwrap()
}

async fn fetch(presigned: &PresignedRequest) -> HttpResponse {
    send("GET", presigned.url.reveal(), &presigned.headers, &Bytes::new()).await
}

async fn upload(presigned: &PresignedRequest, body: &Bytes) -> u16 {
    send("PUT", presigned.url.reveal(), &presigned.headers, body).await.status
}

/// All values of a header.
fn header<'a>(response: &'a HttpResponse, name: &str) -> Vec<&'a str> {
    response.headers.iter().filter(|(header, _)| header == name).map(|(_, value)| value.as_str()).collect()
}

fn intent(body: &Bytes, options: PutOptions) -> UploadIntent {
    UploadIntent { digest: Digest::of(body), size: body.len() as u64, options }
}

async fn presign_put(store: &S3Store, intent: &UploadIntent) -> PresignedRequest {
    let intent = PresignIntent::Put(intent.clone());
    store.presign(&scope(), &intent, MINUTE).await.unwrap().expect("the upload was not presigned")
}

/// Checks that a sweep finds no orphans.
async fn assert_no_orphans(store: &S3Store) {
    let report = store.sweep().await.unwrap();
    assert_eq!((report.objects, report.uploads, report.young), (0, 0, 0), "there are orphans");
}

async fn a_download_returns_the_bytes_and_their_headers(kind: S3Kind) -> Outcome {
    let store = open(kind).await?;
    for size in [0, 10, 300_000] {
        let bytes = Bytes::from(vec![7; size]);
        let put = store
            .put(&scope(), Body::from(bytes.clone()), options_with("Übersicht €.csv", "text/csv"))
            .await?;
        let presigned = presign_get(&store, &put.record.id, MINUTE).await;
        assert!(
            presigned.headers.is_empty(),
            "the URL needs headers that a browser does not send: {presigned:?}"
        );
        let response = fetch(&presigned).await;
        assert_eq!((response.status, response.body.len()), (200, size));
        assert!(response.body == bytes);
        assert_eq!(header(&response, "content-type"), ["text/csv"]);
        assert_eq!(
            header(&response, "content-disposition"),
            ["attachment; filename=\"_bersicht _.csv\"; filename*=UTF-8''%C3%9Cbersicht%20%E2%82%AC.csv"]
        );
        assert_eq!(header(&response, "cache-control"), ["private"]);
    }
    Ok(())
}

async fn a_hostile_name_stays_within_its_header(kind: S3Kind) -> Outcome {
    let store = open(kind).await?;
    let options = options_with("a\r\nSet-Cookie: x=1\r\n\r\n\"; filename=b.html", "text/plain\r\nX-Own: 1");
    let put = store.put(&scope(), Body::from("hello"), options).await?;
    let response = fetch(&presign_get(&store, &put.record.id, MINUTE).await).await;
    assert_eq!((response.status, &*response.body), (200, &b"hello"[..]));
    assert!(header(&response, "set-cookie").is_empty() && header(&response, "x-own").is_empty());
    assert_eq!(header(&response, "content-type"), ["application/octet-stream"]);
    let disposition = header(&response, "content-disposition");
    assert_eq!(disposition.len(), 1);
    assert!(
        disposition[0].starts_with("attachment; filename=\"a__Set-Cookie: x=1_____; filename=b.html\"; ")
    );
    Ok(())
}

async fn scripts_are_attachments_too(kind: S3Kind) -> Outcome {
    let store = open(kind).await?;
    for (body, media_type) in [("<svg/>", "image/svg+xml"), ("<script>", "text/html"), ("png", "image/png")] {
        let options = PutOptions { media_type: Some(media_type.into()), ..PutOptions::default() };
        let put = store.put(&scope(), Body::from(body), options).await?;
        let response = fetch(&presign_get(&store, &put.record.id, MINUTE).await).await;
        assert_eq!(header(&response, "content-disposition"), ["attachment"], "{media_type}");
        assert_eq!(header(&response, "content-type"), [media_type]);
    }
    Ok(())
}

/// Some servers ignore the headers signed into the URL when they answer a range request.
async fn a_range_of_a_download_is_an_attachment_too(kind: S3Kind) -> Outcome {
    let store = S3Store::open(config(kind).await?.part_size(5 << 20)).await?;
    let options = || options_with("a.html", "text/html");
    let in_memory = store.put(&scope(), Body::from("<script>in memory"), options()).await?.record.id;
    let pieces = |byte| (0..6).map(move |_| Ok::<_, std::io::Error>(Bytes::from(vec![byte; 1 << 20])));
    let in_parts = Body::from_stream(futures_util::stream::iter(pieces(b'a')));
    let in_parts = store.put(&scope(), in_parts, options()).await?.record.id;
    let direct_bytes = Bytes::from(vec![b'b'; 6 << 20]);
    let direct = Body::from_stream(futures_util::stream::iter(pieces(b'b')))
        .with_length(6 << 20)
        .with_digest(Digest::of(&direct_bytes));
    let direct = store.put(&scope(), direct, options()).await?.record.id;
    let bytes = Bytes::from("<script>uploaded");
    let uploaded = intent(&bytes, options());
    assert_eq!(upload(&presign_put(&store, &uploaded).await, &bytes).await, 200);
    store.commit_upload(&scope(), &uploaded.id()).await?.expect("the commit found no upload");

    for id in [in_memory, in_parts, direct, uploaded.id()] {
        let range = [("range".to_owned(), "bytes=0-3".to_owned())];
        let url = presign_get(&store, &id, MINUTE).await.url;
        let response = send("GET", url.reveal(), &range, &Bytes::new()).await;
        assert_eq!((response.status, response.body.len()), (206, 4));
        let disposition = header(&response, "content-disposition");
        assert!(disposition.len() == 1 && disposition[0].starts_with("attachment"), "{response:?}");
    }
    Ok(())
}

async fn a_url_for_a_download_grants_nothing_else(kind: S3Kind) -> Outcome {
    let store = open(kind).await?;
    let put = store.put(&scope(), Body::from("mine"), options_with("a.html", "text/html")).await?;
    let other = store.put(&scope(), Body::from("another"), PutOptions::default()).await?;
    let presigned = presign_get(&store, &put.record.id, MINUTE).await;
    let url = presigned.url.reveal();
    for method in ["HEAD", "PUT", "DELETE", "POST"] {
        let status = send(method, url, &[], &Bytes::from("other")).await.status;
        assert!((400..500).contains(&status), "{method}: {status}");
    }
    let elsewhere = presign_get(&store, &other.record.id, MINUTE).await;
    let (path, query) = (elsewhere.url.reveal().split_once('?').unwrap().0, url.split_once('?').unwrap().1);
    let bucket = path.rsplit_once("/presign-").unwrap().0;
    let signature = url.find("X-Amz-Signature=").unwrap() + "X-Amz-Signature=".len();
    let letter = if &url[signature..=signature] == "0" { "1" } else { "0" };
    let altered = format!("{}{letter}{}", &url[..signature], &url[signature + 1..]);
    for url in [
        format!("{path}?{query}"),
        format!("{bucket}?{query}"),
        altered,
        url.replace("X-Amz-Expires=60", "X-Amz-Expires=600"),
        url.replace("response-content-disposition=attachment", "response-content-disposition=inline"),
        url.replace("response-content-type=text%2Fhtml", "response-content-type=text%2Fplain"),
        url.replace("response-cache-control=private", "response-cache-control=public"),
        url.split_once('?').unwrap().0.to_owned(),
    ] {
        assert_ne!(url, presigned.url.reveal());
        let status = send("GET", &url, &[], &Bytes::new()).await.status;
        assert!((400..500).contains(&status), "{url}: {status}");
    }
    assert_eq!(fetch(&presigned).await.body, "mine");
    Ok(())
}

async fn a_url_expires(kind: S3Kind) -> Outcome {
    let store = open(kind).await?;
    let put = store.put(&scope(), Body::from("hello"), PutOptions::default()).await?;
    let presigned = presign_get(&store, &put.record.id, Duration::from_secs(1)).await;
    assert_eq!(presigned.expires_at.as_micros() % 1_000_000, 0);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(fetch(&presigned).await.status / 100, 4);
    Ok(())
}

async fn a_url_names_the_presign_endpoint(kind: S3Kind) -> Outcome {
    let proxy = Proxy::start(S3::shared(kind).await?.address()).await?;
    let outside = format!("http://{}", proxy.address());
    let store = S3Store::open(config(kind).await?.presign_endpoint(&outside)).await?;
    let put = store.put(&scope(), Body::from("hello"), PutOptions::default()).await?;
    let presigned = presign_get(&store, &put.record.id, MINUTE).await;
    assert!(presigned.url.reveal().starts_with(&format!("{outside}/")));
    assert_eq!(proxy.connections(), 0, "the store used the presign endpoint");
    assert_eq!(fetch(&presigned).await.body, "hello");

    let bytes = Bytes::from("uploaded through the proxy");
    let intent = intent(&bytes, PutOptions::default());
    let presigned = presign_put(&store, &intent).await;
    assert_eq!(upload(&presigned, &bytes).await, 200);
    assert!(store.commit_upload(&scope(), &intent.id()).await?.is_some());
    assert_eq!(proxy.connections(), 2);
    proxy.set_mode(ProxyMode::Refuse);
    assert!(store.stat(&scope(), &intent.id()).await?.is_some());
    Ok(())
}

async fn presigning_a_download_is_one_request(kind: S3Kind) -> Outcome {
    let counter = RequestCounter::start(S3::shared(kind).await?.address()).await?;
    let store = S3Store::open(config(kind).await?.endpoint(counter.endpoint())).await?;
    let put = store.put(&scope(), Body::from("hello"), PutOptions::default()).await?;
    counter.take();
    presign_get(&store, &put.record.id, MINUTE).await;
    let requests = counter.take();
    assert_eq!(requests.iter().map(|request| &*request.method).collect::<Vec<_>>(), ["HEAD"], "{requests:?}");

    presign_put(&store, &intent(&Bytes::from("to come"), PutOptions::default())).await;
    let requests = counter.take();
    assert_eq!(requests.iter().map(|request| &*request.method).collect::<Vec<_>>(), ["PUT"], "{requests:?}");
    Ok(())
}

async fn a_foreign_artifact_looks_like_a_missing_one(kind: S3Kind) -> Outcome {
    let counter = RequestCounter::start(S3::shared(kind).await?.address()).await?;
    let store = S3Store::open(config(kind).await?.endpoint(counter.endpoint())).await?;
    let foreign = Scope::new("umbrella", "ada", "s-1")?;
    let put = store.put(&foreign, Body::from("hello"), PutOptions::default()).await?;
    let mut seen = Vec::new();
    for id in [put.record.id, ArtifactId::new(&PutOptions::default().namespace, &Digest::of(b"never put"))] {
        counter.take();
        assert_eq!(store.presign(&scope(), &PresignIntent::Get { id: id.clone() }, MINUTE).await?, None);
        assert_eq!(store.commit_upload(&scope(), &id).await?, None);
        let requests = counter.take();
        seen.push(requests.into_iter().map(|request| (request.method, request.status)).collect::<Vec<_>>());
    }
    assert_eq!(seen[0], seen[1]);
    Ok(())
}

async fn an_upload_takes_the_announced_bytes_and_no_others(kind: S3Kind) -> Outcome {
    let store = open(kind).await?;
    let good = Bytes::from(vec![1; 200_000]);
    let intent = intent(&good, options_with("report.csv", "text/csv"));
    let id = intent.id();
    let presigned = presign_put(&store, &intent).await;
    let mut names: Vec<_> = presigned.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "x-amz-checksum-sha256"]);

    let other = Bytes::from(vec![2; 200_000]);
    let [shorter, longer] = [199_999, 200_001].map(|size| Bytes::from(vec![1; size]));
    for (what, body) in [("other", &other), ("shorter", &shorter), ("longer", &longer)] {
        let status = upload(&presigned, body).await;
        assert!((400..500).contains(&status), "{what} bytes were accepted: {status}");
    }
    let other_headers = presign_put(&store, &self::intent(&other, PutOptions::default())).await.headers;
    let other_headers: Vec<_> =
        other_headers.into_iter().filter(|(name, _)| name.starts_with("x-amz")).collect();
    for headers in [other_headers, Vec::new()] {
        let status = send("PUT", presigned.url.reveal(), &headers, &other).await.status;
        assert!((400..500).contains(&status), "another checksum was accepted: {status}");
    }
    match store.commit_upload(&scope(), &id).await {
        Ok(committed) => assert_eq!(committed, None),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::DigestMismatch { .. }), "{error}"),
    }

    assert_eq!(upload(&presigned, &good).await, 200);
    assert!(!store.exists(&scope(), &id).await?, "an upload is visible before its commit");
    let put = store.commit_upload(&scope(), &id).await?.expect("the commit found no upload");
    assert_eq!((put.outcome, &put.record.options), (PutOutcome::Created, &intent.options));
    assert_eq!(store.get_bytes(&scope(), &id, u64::MAX).await?, Some(good));
    let again = store.commit_upload(&scope(), &id).await?;
    assert_eq!(again, Some(PutResult { outcome: PutOutcome::AlreadyExists, ..put.clone() }));
    let response = fetch(&presign_get(&store, &id, MINUTE).await).await;
    assert_eq!(header(&response, "content-type"), ["text/csv"]);

    store.commit_upload(&scope(), &self::intent(&other, PutOptions::default()).id()).await.ok();
    Ok(())
}

/// Puts bytes to the key that the URL names, signed with the access key. So the server does not compare them with the
/// announced ones.
async fn put_directly(kind: S3Kind, presigned: &PresignedRequest, bytes: &'static [u8]) -> Outcome {
    let server = S3::shared(kind).await?;
    let path = presigned.url.reveal().split_once('?').unwrap().0;
    let key = path.split_once(&format!("/{}/", server.bucket())).unwrap().1;
    let key_pair =
        Credentials::new(server.access_key_id(), server.secret_access_key(), None, None, "the test");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(key_pair)
        .endpoint_url(server.endpoint())
        .region(Region::new(server.region()))
        .force_path_style(true)
        .build();
    let put = aws_sdk_s3::Client::from_conf(config).put_object().bucket(server.bucket()).key(key);
    put.body(bytes.to_vec().into()).send().await?;
    Ok(())
}

async fn other_bytes_are_never_committed(kind: S3Kind) -> Outcome {
    let store = open(kind).await?;
    let good = Bytes::from("what was announced");
    let intent = intent(&good, PutOptions::default());
    let presigned = presign_put(&store, &intent).await;
    for wrong in [&b"what was announcep"[..], b"what was announced, and more", b"what", b""] {
        put_directly(kind, &presigned, wrong).await?;
        let error = store.commit_upload(&scope(), &intent.id()).await.unwrap_err();
        let (expected, actual) = (intent.digest, Digest::of(wrong));
        assert_eq!(error.kind(), ErrorKind::DigestMismatch { expected, actual });
        assert!(!store.exists(&scope(), &intent.id()).await?);
        assert_eq!(store.commit_upload(&scope(), &intent.id()).await?, None, "the wrong bytes were kept");
    }
    assert_eq!(upload(&presigned, &good).await, 200);
    let put = store.commit_upload(&scope(), &intent.id()).await?.expect("the commit found no upload");
    assert_eq!(put.outcome, PutOutcome::Created);
    assert_no_orphans(&store).await;
    Ok(())
}

async fn a_commit_of_an_upload_of_an_existing_artifact_returns_already_exists(kind: S3Kind) -> Outcome {
    let store = open(kind).await?;
    let bytes = Bytes::from("twice");
    let first =
        store.put(&scope(), Body::from(bytes.clone()), options_with("first.txt", "text/plain")).await?;
    let intent = intent(&bytes, options_with("second.txt", "text/plain"));
    let presigned = presign_put(&store, &intent).await;
    assert_eq!(upload(&presigned, &bytes).await, 200);
    let put = store.commit_upload(&scope(), &intent.id()).await?;
    assert_eq!(put, Some(PutResult { record: first.record, outcome: PutOutcome::AlreadyExists }));
    assert_no_orphans(&store).await;
    Ok(())
}

async fn the_later_of_two_intents_decides_the_options(kind: S3Kind) -> Outcome {
    let store = open(kind).await?;
    let bytes = Bytes::from("announced twice");
    let [earlier, later] =
        ["earlier.txt", "later.txt"].map(|name| intent(&bytes, options_with(name, "text/plain")));
    let url = presign_put(&store, &earlier).await;
    presign_put(&store, &later).await;
    assert_eq!(upload(&url, &bytes).await, 200);
    let put = store.commit_upload(&scope(), &later.id()).await?.expect("the commit found no upload");
    assert_eq!(put.record.options, later.options);
    assert_no_orphans(&store).await;
    Ok(())
}

async fn a_commit_needs_an_intent_and_a_body(kind: S3Kind) -> Outcome {
    let store = open(kind).await?;
    let bytes = Bytes::from("never arrived");
    let intent = intent(&bytes, PutOptions::default());
    assert_eq!(store.commit_upload(&scope(), &intent.id()).await?, None);
    presign_put(&store, &intent).await;
    assert_eq!(store.commit_upload(&scope(), &intent.id()).await?, None);
    let elsewhere = scope().with_task("t-1")?;
    assert_eq!(store.commit_upload(&elsewhere, &intent.id()).await?, None);
    Ok(())
}

async fn racing_commits_make_one_artifact(kind: S3Kind) -> Outcome {
    let config = config(kind).await?;
    let stores =
        [S3Store::open(config.clone()).await?, S3Store::open(config).await?].map(std::sync::Arc::new);
    let bytes = Bytes::from(vec![3; 500_000]);
    let intent = intent(&bytes, PutOptions::default());
    let presigned = presign_put(&stores[0], &intent).await;
    assert_eq!(upload(&presigned, &bytes).await, 200);
    let racing: Vec<_> = (0..16)
        .map(|n| {
            let (store, id) = (std::sync::Arc::clone(&stores[n % 2]), intent.id());
            tokio::spawn(async move { store.commit_upload(&scope(), &id).await })
        })
        .collect();
    let mut created = 0;
    for commit in racing {
        let put = commit.await??.expect("the commit found no upload");
        created += usize::from(put.outcome == PutOutcome::Created);
    }
    assert_eq!(created, 1);
    assert_eq!(stores[1].get_bytes(&scope(), &intent.id(), u64::MAX).await?, Some(bytes));
    assert_no_orphans(&stores[0]).await;
    Ok(())
}

async fn an_upload_that_is_never_committed_is_swept(kind: S3Kind) -> Outcome {
    let config = config(kind).await?;
    let store = S3Store::open(config.clone()).await?;
    let bytes = Bytes::from("abandoned");
    let intent = intent(&bytes, PutOptions::default());
    assert_eq!(upload(&presign_put(&store, &intent).await, &bytes).await, 200);
    assert_eq!(store.sweep().await?.young, 2, "body and intent are young");
    // The storage reports times in whole seconds, so this waits longer than `upload_ttl`.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let sweeper = S3Store::open(config.upload_ttl(Duration::from_secs(1))).await?;
    assert_eq!(sweeper.sweep().await?.objects, 2);
    assert_eq!(store.commit_upload(&scope(), &intent.id()).await?, None);
    assert_no_orphans(&store).await;
    Ok(())
}

async fn an_upload_larger_than_one_put_request_allows_is_refused(kind: S3Kind) -> Outcome {
    let store = open(kind).await?;
    let limit = 5 << 30;
    let of = |size| PresignIntent::Put(UploadIntent { size, ..intent(&Bytes::new(), PutOptions::default()) });
    assert!(store.presign(&scope(), &of(limit), MINUTE).await?.is_some());
    let error = store.presign(&scope(), &of(limit + 1), MINUTE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge { limit });
    Ok(())
}

async fn without_presign_put_uploads_are_unsupported(kind: S3Kind) -> Outcome {
    let store = S3Store::open(config(kind).await?.presign_put(false)).await?;
    let capabilities = store.capabilities();
    assert!(capabilities.has(Flag::PresignGet) && !capabilities.has(Flag::PresignPut));
    let intent = intent(&Bytes::from("hello"), PutOptions::default());
    let id = intent.id();
    let errors = [
        store.presign(&scope(), &PresignIntent::Put(intent), MINUTE).await.unwrap_err(),
        store.commit_upload(&scope(), &id).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Unsupported(Flag::PresignPut));
    }
    Ok(())
}

async fn an_expiry_of_less_than_a_second_is_refused(kind: S3Kind) -> Outcome {
    let store = open(kind).await?;
    let put = store.put(&scope(), Body::from("hello"), PutOptions::default()).await?;
    let intent = PresignIntent::Get { id: put.record.id };
    let week = store.capabilities().presign_expiry_limit();
    for expiry in [Duration::ZERO, Duration::from_millis(999), week + Duration::from_secs(1)] {
        let error = store.presign(&scope(), &intent, expiry).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{expiry:?}");
    }
    assert!(store.presign(&scope(), &intent, week).await?.is_some());
    Ok(())
}
