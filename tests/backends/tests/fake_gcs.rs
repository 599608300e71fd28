//! The GCS client of `object_store` works on fake-gcs-server behind the adapter.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

use artifact_store_backends::{Conditions, FakeGcs};
use futures_util::{StreamExt, TryStreamExt};
use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{
    Attribute, Attributes, ClientOptions, Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, PutPayload, RetryConfig,
};

const MIB: usize = 1 << 20;

fn client_in(gcs: &FakeGcs, bucket: &str) -> GoogleCloudStorage {
    GoogleCloudStorageBuilder::new()
        .with_bucket_name(bucket)
        .with_base_url(&gcs.endpoint())
        .with_service_account_key(gcs.service_account_key())
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
        .build()
        .unwrap()
}

/// A client of a fresh bucket on the shared server.
async fn client(conditions: Conditions) -> GoogleCloudStorage {
    let gcs = FakeGcs::shared(conditions).await.unwrap();
    client_in(gcs, &gcs.create_bucket().await.unwrap())
}

fn create() -> PutOptions {
    PutOptions::from(PutMode::Create)
}

async fn names(client: &GoogleCloudStorage, prefix: Option<&str>) -> Vec<String> {
    let prefix = prefix.map(Path::from);
    let listed: Vec<_> = client.list(prefix.as_ref()).try_collect().await.unwrap();
    listed.into_iter().map(|object| object.location.to_string()).collect()
}

async fn bytes(client: &GoogleCloudStorage, path: &str) -> Vec<u8> {
    client.get(&Path::from(path)).await.unwrap().bytes().await.unwrap().to_vec()
}

async fn an_object_is_put_and_read_with_its_attributes(conditions: Conditions) {
    let client = client(conditions).await;
    let path = Path::parse("a/b c+d/ü&<x>").unwrap();
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::ContentType, "text/x-test".into());
    attributes.insert(Attribute::CacheControl, "no-store".into());
    attributes.insert(Attribute::ContentDisposition, "attachment; filename=\"q\"".into());
    attributes.insert(Attribute::Metadata("record".into()), "{\"a\":1}".into());
    let options = PutOptions { attributes: attributes.clone(), ..PutOptions::default() };
    let put = client.put_opts(&path, "0123456789".into(), options).await.unwrap();

    let got = client.get(&path).await.unwrap();
    assert_eq!(got.attributes, attributes);
    assert_eq!((got.meta.size, &got.meta.e_tag, &got.meta.version), (10, &put.e_tag, &put.version));
    assert!(put.version.is_some());
    assert_eq!(got.bytes().await.unwrap(), "0123456789");
    assert_eq!(client.get_range(&path, 2..5).await.unwrap(), "234");
    let last = GetOptions { range: Some(GetRange::Suffix(3)), ..GetOptions::default() };
    assert_eq!(client.get_opts(&path, last).await.unwrap().bytes().await.unwrap(), "789");
    let head = client.head(&path).await.unwrap();
    assert_eq!((head.size, head.e_tag), (10, put.e_tag));

    client.delete(&path).await.unwrap();
    assert!(matches!(client.get(&path).await, Err(Error::NotFound { .. })));
    assert!(matches!(client.head(&path).await, Err(Error::NotFound { .. })));
    assert!(matches!(client.delete(&path).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn an_object_is_put_and_read_with_its_attributes_if_conditions_are_honoured() {
    an_object_is_put_and_read_with_its_attributes(Conditions::Honoured).await;
}

#[tokio::test]
async fn an_object_is_put_and_read_with_its_attributes_if_conditions_are_ignored() {
    an_object_is_put_and_read_with_its_attributes(Conditions::Ignored).await;
}

#[tokio::test]
async fn of_eight_racing_writers_one_wins_if_conditions_are_honoured() {
    let client = client(Conditions::Honoured).await;
    for round in 0..8 {
        let path = Path::from(format!("race/{round}"));
        let puts = (0..8).map(|writer| client.put_opts(&path, vec![writer; 1000].into(), create()));
        let results = futures_util::future::join_all(puts).await;
        let won: Vec<_> = (0..8).filter(|writer| results[*writer].is_ok()).collect();
        assert_eq!(won.len(), 1, "{results:?}");
        let lost = results.iter().filter(|result| matches!(result, Err(Error::AlreadyExists { .. })));
        assert_eq!(lost.count(), 7, "{results:?}");
        assert_eq!(bytes(&client, path.as_ref()).await, vec![u8::try_from(won[0]).unwrap(); 1000]);
    }
    let old = client.put(&Path::from("race/0"), "new".into()).await.unwrap();
    client.put(&Path::from("race/0"), "newer".into()).await.unwrap();
    let update = PutOptions::from(PutMode::Update(old.into()));
    let refused = client.put_opts(&Path::from("race/0"), "newest".into(), update).await;
    assert!(matches!(refused, Err(Error::Precondition { .. })), "{refused:?}");
}

#[tokio::test]
async fn the_second_put_replaces_the_first_if_conditions_are_ignored() {
    let client = client(Conditions::Ignored).await;
    let path = Path::from("a");
    client.put_opts(&path, "first".into(), create()).await.unwrap();
    client.put_opts(&path, "second".into(), create()).await.unwrap();
    assert_eq!(bytes(&client, "a").await, b"second");
}

#[tokio::test]
async fn a_multipart_upload_is_one_object_and_only_after_its_completion() {
    for conditions in [Conditions::Honoured, Conditions::Ignored] {
        let client = client(conditions).await;
        let path = Path::from("long/object");
        let mut attributes = Attributes::new();
        attributes.insert(Attribute::Metadata("k".into()), "v".into());
        let mut upload = client.put_multipart_opts(&path, attributes.clone().into()).await.unwrap();
        let parts: Vec<Vec<u8>> = vec![vec![1; 5 * MIB], vec![2; 6 * MIB], vec![3; 7]];
        for part in &parts {
            upload.put_part(PutPayload::from(part.clone())).await.unwrap();
        }
        assert!(names(&client, None).await.is_empty());
        assert!(matches!(client.head(&path).await, Err(Error::NotFound { .. })));
        let put = upload.complete().await.unwrap();
        let got = client.get(&path).await.unwrap();
        assert_eq!(got.meta.e_tag, put.e_tag);
        let metadata = got.attributes.get(&Attribute::Metadata("k".into())).cloned();
        assert_eq!(metadata, Some("v".into()));
        assert!(got.bytes().await.unwrap() == parts.concat());
        assert_eq!(names(&client, None).await, ["long/object"]);
    }
}

#[tokio::test]
async fn an_aborted_multipart_upload_leaves_nothing() {
    let gcs = FakeGcs::shared(Conditions::Honoured).await.unwrap();
    let bucket = gcs.create_bucket().await.unwrap();
    let client = client_in(gcs, &bucket);
    assert!(gcs.multipart_uploads(&bucket).await.unwrap().is_empty());
    let path = Path::from("a");
    let mut upload = client.put_multipart(&path).await.unwrap();
    upload.put_part("part".into()).await.unwrap();
    assert_eq!(gcs.multipart_uploads(&bucket).await.unwrap(), ["a"]);
    upload.abort().await.unwrap();
    assert!(gcs.multipart_uploads(&bucket).await.unwrap().is_empty());
    assert!(names(&client, None).await.is_empty());
    assert!(upload.complete().await.is_err());
    client.put_multipart(&path).await.unwrap();
    client.put(&path, "x".into()).await.unwrap();
    gcs.delete_bucket(&bucket).await.unwrap();
    assert!(gcs.multipart_uploads(&bucket).await.unwrap().is_empty());
    assert!(matches!(client.get(&path).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_completion_names_parts_that_exist_and_are_not_too_small() {
    let client = client(Conditions::Honoured).await;
    let path = Path::from("a");
    let id = client.create_multipart(&path).await.unwrap();
    let small = client.put_part(&path, &id, 0, "small".into()).await.unwrap();
    let last = client.put_part(&path, &id, 1, "last".into()).await.unwrap();
    let error = client.complete_multipart(&path, &id, vec![small, last]).await.unwrap_err().to_string();
    assert!(error.contains("EntityTooSmall"), "{error}");
    let other = object_store::multipart::PartId { content_id: "\"other\"".to_owned() };
    let error = client.complete_multipart(&path, &id, vec![other]).await.unwrap_err().to_string();
    assert!(error.contains("InvalidPart"), "{error}");
    let error = client.put_part(&path, &"unknown".to_owned(), 0, "x".into()).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn a_listing_has_pages_prefixes_and_an_offset() {
    let client = client(Conditions::Honoured).await;
    let all = ["a/1", "a/2", "a/b/3", "c/4", "d"];
    for name in all {
        client.put(&Path::from(name), name.into()).await.unwrap();
    }
    assert_eq!(names(&client, None).await, all);
    assert_eq!(names(&client, Some("a")).await, ["a/1", "a/2", "a/b/3"]);
    let after: Vec<_> =
        client.list_with_offset(None, &Path::from("a/2")).try_collect::<Vec<_>>().await.unwrap();
    let after: Vec<_> = after.iter().map(|object| object.location.as_ref()).collect();
    assert_eq!(after, ["a/b/3", "c/4", "d"]);

    let top = client.list_with_delimiter(None).await.unwrap();
    assert_eq!(top.common_prefixes, [Path::from("a"), Path::from("c")]);
    assert_eq!(top.objects.len(), 1);
    assert_eq!(top.objects[0].e_tag, client.head(&Path::from("d")).await.unwrap().e_tag);
    let below = client.list_with_delimiter(Some(&Path::from("a"))).await.unwrap();
    assert_eq!(below.common_prefixes, [Path::from("a/b")]);
    assert_eq!(below.objects.len(), 2);

    let (mut found, mut token) = (Vec::new(), None);
    loop {
        let options =
            PaginatedListOptions { max_keys: Some(2), page_token: token, ..PaginatedListOptions::default() };
        let page = client.list_paginated(None, options).await.unwrap();
        assert!(page.result.objects.len() <= 2);
        found.extend(page.result.objects.into_iter().map(|object| object.location.to_string()));
        token = page.page_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(found, all);
}

#[tokio::test]
async fn a_listing_of_more_than_a_page_is_whole() {
    let client = client(Conditions::Honoured).await;
    let puts = (0..1100).map(|number| {
        let client = client.clone();
        async move { client.put(&Path::from(format!("many/{number:04}")), "x".into()).await }
    });
    let done: Vec<_> = futures_util::stream::iter(puts).buffer_unordered(8).try_collect().await.unwrap();
    assert_eq!(done.len(), 1100);
    let listed = names(&client, Some("many")).await;
    assert_eq!((listed.len(), listed[1099].as_str()), (1100, "many/1099"));
}

#[tokio::test]
async fn a_copy_has_the_same_bytes() {
    let client = client(Conditions::Honoured).await;
    let (from, to) = (Path::from("from/a"), Path::from("to/b c"));
    client.put(&from, "bytes".into()).await.unwrap();
    client.copy(&from, &to).await.unwrap();
    assert_eq!(bytes(&client, "to/b c").await, b"bytes");
    assert!(matches!(client.copy(&Path::from("nothing"), &to).await, Err(Error::NotFound { .. })));
    // The server ignores the condition of a rewrite.
    client.copy_if_not_exists(&from, &to).await.unwrap();
}

#[tokio::test]
async fn a_signed_url_reads_the_object_and_is_not_checked() {
    let client = client(Conditions::Honoured).await;
    let path = Path::from("a/b");
    client.put(&path, "bytes".into()).await.unwrap();
    let minute = std::time::Duration::from_mins(1);
    let url = client.signed_url(http::Method::GET, &path, minute).await.unwrap().to_string();
    assert!(url.contains("X-Goog-Signature="), "{url}");
    for url in [url.clone(), url.replace("X-Goog-Date=2", "X-Goog-Date=1")] {
        let got = tokio::process::Command::new("curl").args(["-sS", &url]).output().await.unwrap();
        assert_eq!(got.stdout, b"bytes");
    }
}

#[tokio::test]
async fn fake_gcs_keeps_its_objects_through_a_kill() {
    let gcs = FakeGcs::dedicated(Conditions::Honoured).await.unwrap();
    let client = client_in(&gcs, gcs.bucket());
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::Metadata("k".into()), "v".into());
    let options = PutOptions { attributes, ..create() };
    client.put_opts(&Path::from("a/b"), "seven".into(), options).await.unwrap();
    let mut upload = client.put_multipart(&Path::from("long")).await.unwrap();
    upload.put_part(vec![1; 5 * MIB].into()).await.unwrap();
    gcs.kill().await.unwrap();
    assert!(client.get(&Path::from("a/b")).await.is_err());
    gcs.start().await.unwrap();
    let got = client.get(&Path::from("a/b")).await.unwrap();
    assert_eq!(got.attributes.get(&Attribute::Metadata("k".into())), Some(&"v".into()));
    assert_eq!(got.bytes().await.unwrap(), "seven");
    let again = client.put_opts(&Path::from("a/b"), "eight".into(), create()).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    upload.put_part("end".into()).await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(client.head(&Path::from("long")).await.unwrap().size, 5 * MIB as u64 + 3);
    gcs.shutdown().await.unwrap();
}

/// Kills the server during puts. What it has afterwards is whole, and can be listed.
#[tokio::test]
async fn a_kill_during_puts_leaves_whole_objects_only() {
    let gcs = FakeGcs::dedicated(Conditions::Honoured).await.unwrap();
    let client = client_in(&gcs, gcs.bucket());
    for round in 0..6_u8 {
        let puts = (0..4).map(|number| {
            let client = client.clone();
            let path = Path::from(format!("{round}/{number}"));
            tokio::spawn(async move { client.put(&path, vec![round; 4 * MIB].into()).await.is_ok() })
        });
        let puts: Vec<_> = puts.collect();
        tokio::time::sleep(std::time::Duration::from_millis(50 * u64::from(round))).await;
        gcs.kill().await.unwrap();
        let done = futures_util::future::join_all(puts).await;
        gcs.start().await.unwrap();
        let listed = names(&client, None).await;
        for (number, done) in done.into_iter().enumerate() {
            let path = format!("{round}/{number}");
            if listed.contains(&path) {
                assert!(bytes(&client, &path).await == vec![round; 4 * MIB]);
            } else {
                assert!(!done.unwrap(), "an answered put is lost");
            }
        }
    }
}

/// A put that was interrupted by a kill breaks every listing, until the server is started by the test kit.
#[tokio::test]
async fn the_files_of_interrupted_puts_are_deleted_at_the_start() {
    let gcs = FakeGcs::dedicated(Conditions::Honoured).await.unwrap();
    let client = client_in(&gcs, gcs.bucket());
    client.put(&Path::from("a/b"), "whole".into()).await.unwrap();
    // The server puts the name of the object before random digits. The other file is an object without attributes.
    for interrupted in ["a/.b3881547130", "a/c"] {
        std::fs::write(gcs.data_dir().unwrap().join(gcs.bucket()).join(interrupted), "").unwrap();
        assert!(client.list(None).try_collect::<Vec<_>>().await.is_err(), "the flaw of the server is gone");
        gcs.kill().await.unwrap();
        gcs.start().await.unwrap();
        assert_eq!(names(&client, None).await, ["a/b"]);
    }
}

/// A kill leaves the file of a put that is running. It must be in the directory that is deleted with the server.
#[tokio::test]
async fn the_file_of_a_running_put_is_in_the_directory_of_the_server() {
    let gcs = FakeGcs::dedicated(Conditions::Honoured).await.unwrap();
    let client = client_in(&gcs, gcs.bucket());
    let directory = gcs.data_dir().unwrap().parent().unwrap().to_owned();
    // The temporary directory is shared with other tests, so the name is one of this process.
    let name = format!("running-put-of-{}", std::process::id());
    let has_its_file = |directory: &std::path::Path| {
        std::fs::read_dir(directory).unwrap().any(|entry| {
            entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(&format!(".{name}")))
        })
    };
    let path = Path::from(name.as_str());
    let put = tokio::spawn(async move { client.put(&path, vec![1; 64 * MIB].into()).await });
    let mut was_there = false;
    while !put.is_finished() {
        assert!(!has_its_file(&std::env::temp_dir()), "a kill would leave it for ever");
        was_there |= has_its_file(&directory);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    put.await.unwrap().unwrap();
    assert!(was_there);
}

/// What an upload leaves, if its client disappears during a put: nothing, because the server never gets a whole body.
#[tokio::test]
async fn a_put_that_is_cut_off_leaves_nothing() {
    use tokio::io::AsyncWriteExt;
    for conditions in [Conditions::Honoured, Conditions::Ignored] {
        let gcs = FakeGcs::shared(conditions).await.unwrap();
        let bucket = gcs.create_bucket().await.unwrap();
        let mut stream = tokio::net::TcpStream::connect(gcs.address()).await.unwrap();
        let head = format!("PUT /{bucket}/a HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![1; 500_000]).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        drop(stream);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert!(names(&client_in(gcs, &bucket), None).await.is_empty(), "{conditions:?}");
    }
}
