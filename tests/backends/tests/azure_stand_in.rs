//! The Azure client of `object_store` works on the stand-in for Azure Blob Storage.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests.

use artifact_store_backends::AzureStandIn;
use futures_util::{StreamExt, TryStreamExt};
use object_store::azure::{MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ClientOptions, Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, PutPayload, RetryConfig,
};

const MIB: usize = 1 << 20;

fn builder(azure: &AzureStandIn, container: &str) -> MicrosoftAzureBuilder {
    MicrosoftAzureBuilder::new()
        .with_account(azure.account())
        .with_container_name(container)
        .with_endpoint(azure.endpoint())
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
}

fn client_in(azure: &AzureStandIn, container: &str) -> MicrosoftAzure {
    builder(azure, container).with_access_key(azure.key()).build().unwrap()
}

/// A client of a fresh container on the shared stand-in, and the container's name.
async fn client() -> (MicrosoftAzure, String) {
    let azure = AzureStandIn::shared().await.unwrap();
    let container = azure.create_container().await.unwrap();
    (client_in(azure, &container), container)
}

fn create() -> PutOptions {
    PutOptions::from(PutMode::Create)
}

async fn names(client: &MicrosoftAzure, prefix: Option<&str>) -> Vec<String> {
    let prefix = prefix.map(Path::from);
    let listed: Vec<_> = client.list(prefix.as_ref()).try_collect().await.unwrap();
    listed.into_iter().map(|object| object.location.to_string()).collect()
}

async fn bytes(client: &MicrosoftAzure, path: &str) -> Vec<u8> {
    client.get(&Path::from(path)).await.unwrap().bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn a_blob_is_put_and_read_with_its_attributes() {
    let (client, _) = client().await;
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
    assert_eq!((got.meta.size, &got.meta.e_tag), (10, &put.e_tag));
    assert_eq!(got.bytes().await.unwrap(), "0123456789");
    assert_eq!(client.get_range(&path, 2..5).await.unwrap(), "234");
    assert_eq!(client.get_range(&path, 8..99).await.unwrap(), "89");
    let head = client.head(&path).await.unwrap();
    assert_eq!((head.size, &head.e_tag), (10, &put.e_tag));
    let unchanged = GetOptions { if_none_match: put.e_tag.clone(), ..GetOptions::default() };
    assert!(matches!(client.get_opts(&path, unchanged).await, Err(Error::NotModified { .. })));
    let other = GetOptions { if_match: Some("\"other\"".to_owned()), ..GetOptions::default() };
    assert!(matches!(client.get_opts(&path, other).await, Err(Error::Precondition { .. })));

    client.delete(&path).await.unwrap();
    assert!(matches!(client.get(&path).await, Err(Error::NotFound { .. })));
    assert!(matches!(client.head(&path).await, Err(Error::NotFound { .. })));
    assert!(matches!(client.delete(&path).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn of_eight_racing_writers_one_wins() {
    let (client, _) = client().await;
    for round in 0..16 {
        let path = Path::from(format!("race/{round}"));
        let puts = (0..8).map(|writer| client.put_opts(&path, vec![writer; 1000].into(), create()));
        let results = futures_util::future::join_all(puts).await;
        let won: Vec<_> = (0..8).filter(|writer| results[*writer].is_ok()).collect();
        assert_eq!(won.len(), 1, "{results:?}");
        let lost = results.iter().filter(|result| matches!(result, Err(Error::AlreadyExists { .. })));
        assert_eq!(lost.count(), 7, "{results:?}");
        assert_eq!(bytes(&client, path.as_ref()).await, vec![u8::try_from(won[0]).unwrap(); 1000]);
    }
}

#[tokio::test]
async fn an_update_needs_the_entity_tag_of_the_blob() {
    let (client, _) = client().await;
    let path = Path::from("a");
    let old = client.put(&path, "one".into()).await.unwrap();
    let update = |version| PutOptions::from(PutMode::Update(version));
    client.put_opts(&path, "two".into(), update(old.clone().into())).await.unwrap();
    let refused = client.put_opts(&path, "three".into(), update(old.into())).await;
    assert!(matches!(refused, Err(Error::Precondition { .. })), "{refused:?}");
    assert_eq!(bytes(&client, "a").await, b"two");
}

#[tokio::test]
async fn blocks_are_one_blob_and_only_after_their_commit() {
    let (client, container) = client().await;
    let azure = AzureStandIn::shared().await.unwrap();
    let path = Path::from("long/blob");
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::Metadata("k".into()), "v".into());
    let mut upload = client.put_multipart_opts(&path, attributes.clone().into()).await.unwrap();
    let parts: Vec<Vec<u8>> = vec![vec![1; 5 * MIB], vec![2; 6 * MIB], vec![3; 7]];
    for part in &parts {
        upload.put_part(PutPayload::from(part.clone())).await.unwrap();
    }
    assert!(names(&client, None).await.is_empty());
    assert!(matches!(client.head(&path).await, Err(Error::NotFound { .. })));
    assert_eq!(azure.uncommitted_blobs(&container).await.unwrap(), ["long/blob"]);
    let put = upload.complete().await.unwrap();
    assert!(azure.uncommitted_blobs(&container).await.unwrap().is_empty());
    let got = client.get(&path).await.unwrap();
    assert_eq!((&got.meta.e_tag, &got.attributes), (&put.e_tag, &attributes_with_type(attributes)));
    assert!(got.bytes().await.unwrap() == parts.concat());
    assert_eq!(names(&client, None).await, ["long/blob"]);
}

/// A blob without a content type is read with the default one.
fn attributes_with_type(mut attributes: Attributes) -> Attributes {
    attributes.insert(Attribute::ContentType, "application/octet-stream".into());
    attributes
}

#[tokio::test]
async fn a_put_and_a_deletion_drop_the_uncommitted_blocks_of_a_blob() {
    let (client, container) = client().await;
    let azure = AzureStandIn::shared().await.unwrap();
    let path = Path::from("a");
    let id = client.create_multipart(&path).await.unwrap();
    let part = client.put_part(&path, &id, 0, "block".into()).await.unwrap();
    // A deletion of what does not exist drops nothing.
    assert!(matches!(client.delete(&path).await, Err(Error::NotFound { .. })));
    assert_eq!(azure.uncommitted_blobs(&container).await.unwrap(), ["a"]);
    client.put(&path, "whole".into()).await.unwrap();
    assert!(azure.uncommitted_blobs(&container).await.unwrap().is_empty());
    let gone = client.complete_multipart(&path, &id, vec![part]).await.unwrap_err().to_string();
    assert!(gone.contains("InvalidBlockList"), "{gone}");

    client.put_part(&path, &id, 0, "block".into()).await.unwrap();
    assert_eq!(azure.uncommitted_blobs(&container).await.unwrap(), ["a"]);
    client.delete(&path).await.unwrap();
    assert!(azure.uncommitted_blobs(&container).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_listing_has_pages_prefixes_and_an_offset() {
    let (client, _) = client().await;
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
    let below = client.list_with_delimiter(Some(&Path::from("a"))).await.unwrap();
    assert_eq!(below.common_prefixes, [Path::from("a/b")]);
    assert_eq!(below.objects.len(), 2);

    for delimiter in [None, Some("/".to_owned())] {
        let (mut found, mut token) = (Vec::new(), None);
        loop {
            let options = PaginatedListOptions {
                max_keys: Some(1),
                page_token: token,
                delimiter: delimiter.clone().map(Into::into),
                ..PaginatedListOptions::default()
            };
            let page = client.list_paginated(None, options).await.unwrap();
            assert_eq!(page.result.objects.len() + page.result.common_prefixes.len(), 1);
            found.extend(page.result.common_prefixes.into_iter().map(|prefix| prefix.to_string()));
            found.extend(page.result.objects.into_iter().map(|object| object.location.to_string()));
            token = page.page_token;
            if token.is_none() {
                break;
            }
        }
        if delimiter.is_none() { assert_eq!(found, all) } else { assert_eq!(found, ["a", "c", "d"]) }
    }
}

#[tokio::test]
async fn a_batch_deletes_many_blobs_and_names_those_that_do_not_exist() {
    let (client, _) = client().await;
    let paths: Vec<_> = (0..300).map(|number| Path::from(format!("many/{number:03}"))).collect();
    for path in &paths[1..] {
        client.put(path, "x".into()).await.unwrap();
    }
    let deleted: Vec<_> =
        client.delete_stream(futures_util::stream::iter(paths).map(Ok).boxed()).collect().await;
    assert_eq!(deleted.len(), 300);
    assert!(matches!(&deleted[0], Err(Error::NotFound { .. })), "{:?}", deleted[0]);
    assert!(deleted[1..].iter().all(Result::is_ok));
    assert!(names(&client, None).await.is_empty());
}

#[tokio::test]
async fn a_copy_has_the_same_bytes_and_may_refuse_to_replace() {
    let (client, _) = client().await;
    let (from, to) = (Path::from("from/a"), Path::from("to/b c"));
    client.put(&from, "bytes".into()).await.unwrap();
    client.copy_if_not_exists(&from, &to).await.unwrap();
    assert_eq!(bytes(&client, "to/b c").await, b"bytes");
    let again = client.copy_if_not_exists(&from, &to).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    client.copy(&from, &to).await.unwrap();
    assert!(matches!(client.copy(&Path::from("nothing"), &to).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_wrong_key_is_refused() {
    let azure = AzureStandIn::shared().await.unwrap();
    let container = azure.create_container().await.unwrap();
    let path = Path::from("a");
    client_in(azure, &container).put(&path, "x".into()).await.unwrap();
    let wrong = builder(azure, &container).with_access_key("d3Jvbmc=").build().unwrap();
    let text = wrong.put(&path, vec![0; 3 * MIB].into()).await.unwrap_err().to_string();
    assert!(text.contains("403") && text.contains("AuthenticationFailed"), "{text}");
    for error in [wrong.get(&path).await.unwrap_err(), wrong.head(&path).await.unwrap_err()] {
        assert!(matches!(error, Error::PermissionDenied { .. }), "{error:?}");
    }
    assert!(wrong.list(None).try_collect::<Vec<_>>().await.is_err());
    assert!(wrong.delete(&path).await.is_err());
    assert_eq!(bytes(&client_in(azure, &container), "a").await, b"x");
    let nobody = builder(azure, &container).with_skip_signature(true).build().unwrap();
    assert!(matches!(nobody.get(&path).await, Err(Error::Unauthenticated { .. })));
}

/// The parameters of a SAS to read a blob, until `expiry`.
fn read_until(expiry: &str) -> Vec<(&str, &str)> {
    vec![("sv", "2023-11-03"), ("sr", "b"), ("sp", "r"), ("se", expiry)]
}

/// Sends a request without credentials. Returns the head and the body of the answer.
async fn curl(url: &str, more: &[&str]) -> (String, String) {
    let output = tokio::process::Command::new("curl").args(["-sS", "-i"]).args(more).arg(url).output();
    let text = String::from_utf8(output.await.expect("curl is needed").stdout).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

#[tokio::test]
async fn a_sas_reads_a_blob_with_the_headers_that_it_signs() {
    let azure = AzureStandIn::shared().await.unwrap();
    let (client, container) = client().await;
    client.put(&Path::parse("a/ü b").unwrap(), "bytes".into()).await.unwrap();
    let mut parameters = read_until("2100-01-01T00:00:00Z");
    parameters.extend([
        ("st", "2020-01-01T00:00:00Z"),
        ("rscd", "attachment; filename=\"x&y.txt\""),
        ("rsct", "text/x-test"),
    ]);
    let url = azure.sas_url(&container, "a/ü b", &parameters).unwrap();
    let (head, body) = curl(&url, &[]).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-disposition: attachment; filename=\"x&y.txt\""), "{head}");
    assert!(head.contains("content-type: text/x-test"), "{head}");
    assert_eq!(body, "bytes");
    let (head, body) = curl(&url, &["-H", "range: bytes=1-2"]).await;
    assert!(head.starts_with("http/1.1 206") && head.contains("content-range: bytes 1-2/5"), "{head}");
    assert_eq!(body, "yt");

    // It says what may be done, and for which blob.
    for arguments in [["-X", "DELETE"], ["-X", "PUT"]] {
        let put: &[&str] = &["-H", "x-ms-blob-type: BlockBlob", "-d", ""];
        let (head, _) = curl(&url, &[&arguments, put].concat()).await;
        assert!(head.contains("403") && head.contains("authorizationpermissionmismatch"), "{head}");
    }
    for (from, to) in
        [("rscd=a", "rscd=b"), ("rsct=t", "rsct=u"), ("se=21", "se=22"), ("sp=r", "sp=rd"), ("%20b", "%20c")]
    {
        let altered = url.replacen(from, to, 1);
        assert_ne!(altered, url);
        let (head, body) = curl(&altered, &[]).await;
        assert!(
            head.contains("403") && head.contains("x-ms-error-code: authenticationfailed"),
            "{from}: {head}"
        );
        assert!(body.contains("<Code>AuthenticationFailed</Code>"), "{body}");
    }
    let expired = azure.sas_url(&container, "a/ü b", &read_until("2020-01-01T00:00:00Z")).unwrap();
    let (head, body) = curl(&expired, &[]).await;
    assert!(head.contains("403") && body.contains("time frame"), "{head} {body}");
}

#[tokio::test]
async fn a_sas_of_object_store_reads_a_blob_and_one_of_a_container_does_what_it_may() {
    use object_store::signer::Signer;
    let azure = AzureStandIn::shared().await.unwrap();
    let (client, container) = client().await;
    let path = Path::from("a/b");
    client.put(&path, "bytes".into()).await.unwrap();
    let minute = std::time::Duration::from_mins(1);
    let url = client.signed_url(http::Method::GET, &path, minute).await.unwrap().to_string();
    assert_eq!(curl(&url, &[]).await.1, "bytes");
    // It signs the encoded path, where the documentation has the decoded one.
    let path = Path::from("a b");
    client.put(&path, "bytes".into()).await.unwrap();
    let encoded = client.signed_url(http::Method::GET, &path, minute).await.unwrap().to_string();
    assert!(curl(&encoded, &[]).await.0.contains("authenticationfailed"), "{encoded}");
    client.delete(&path).await.unwrap();

    let parameters = [("sv", "2023-11-03"), ("sr", "c"), ("sp", "rl"), ("se", "2100-01-01")];
    let url = azure.sas_url(&container, "", &parameters).unwrap();
    let pairs = url.split_once('?').unwrap().1;
    let reader = builder(azure, &container)
        .with_config(object_store::azure::AzureConfigKey::SasKey, pairs)
        .build()
        .unwrap();
    assert_eq!(names(&reader, None).await, ["a/b"]);
    assert_eq!(bytes(&reader, "a/b").await, b"bytes");
    assert!(matches!(reader.put(&path, "new".into()).await, Err(Error::PermissionDenied { .. })));
    assert!(reader.delete(&path).await.is_err());
    assert_eq!(bytes(&client, "a/b").await, b"bytes");
}

#[tokio::test]
async fn metadata_follows_the_rules_of_azure() {
    let (client, _) = client().await;
    for (name, length, code) in [("a-b", 1, "InvalidMetadata"), ("a", 9 << 10, "MetadataTooLarge")] {
        let mut attributes = Attributes::new();
        attributes.insert(Attribute::Metadata(name.into()), "x".repeat(length).into());
        let options = PutOptions { attributes, ..PutOptions::default() };
        let error = client.put_opts(&Path::from("a"), "x".into(), options).await.unwrap_err().to_string();
        assert!(error.contains(code), "{error}");
    }
}

#[tokio::test]
async fn the_stand_in_keeps_blobs_and_blocks_through_a_kill() {
    let azure = AzureStandIn::dedicated().await.unwrap();
    let client = client_in(&azure, azure.container());
    let path = Path::from("long");
    let put = client.put(&Path::from("a/b"), "seven".into()).await.unwrap();
    let id = client.create_multipart(&path).await.unwrap();
    let first = client.put_part(&path, &id, 0, vec![1; MIB].into()).await.unwrap();
    azure.kill().await.unwrap();
    assert!(client.get(&Path::from("a/b")).await.is_err());
    azure.start().await.unwrap();
    assert_eq!(client.head(&Path::from("a/b")).await.unwrap().e_tag, put.e_tag);
    assert_eq!(bytes(&client, "a/b").await, b"seven");
    let again = client.put_opts(&Path::from("a/b"), "eight".into(), create()).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    let second = client.put_part(&path, &id, 1, "end".into()).await.unwrap();
    client.complete_multipart(&path, &id, vec![first, second]).await.unwrap();
    assert_eq!(client.head(&path).await.unwrap().size, MIB as u64 + 3);
    azure.shutdown().await.unwrap();
}

/// Kills the stand-in during puts. What it has afterwards is whole: a blob with all its bytes, or nothing.
#[tokio::test]
async fn a_kill_during_puts_leaves_whole_blobs_only() {
    let azure = AzureStandIn::dedicated().await.unwrap();
    let client = client_in(&azure, azure.container());
    for round in 0..5_u8 {
        let puts = (0..4).map(|number| {
            let client = client.clone();
            let path = Path::from(format!("{round}/{number}"));
            tokio::spawn(async move { client.put(&path, vec![round; 8 * MIB].into()).await.is_ok() })
        });
        let puts: Vec<_> = puts.collect();
        tokio::time::sleep(std::time::Duration::from_millis(10 * u64::from(round))).await;
        azure.kill().await.unwrap();
        let done = futures_util::future::join_all(puts).await;
        azure.start().await.unwrap();
        for (number, done) in done.into_iter().enumerate() {
            match client.get(&Path::from(format!("{round}/{number}"))).await {
                Ok(got) => assert!(got.bytes().await.unwrap() == vec![round; 8 * MIB]),
                Err(error) => {
                    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
                    assert!(!done.unwrap(), "an answered put is lost");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_put_that_is_cut_off_leaves_nothing() {
    use tokio::io::AsyncWriteExt;
    let azure = AzureStandIn::shared().await.unwrap();
    let (client, container) = client().await;
    let parameters = [("sv", "2023-11-03"), ("sr", "b"), ("sp", "w"), ("se", "2100-01-01")];
    let url = azure.sas_url(&container, "a", &parameters).unwrap();
    let target = url.strip_prefix(&format!("http://{}", azure.address())).unwrap();
    let mut stream = tokio::net::TcpStream::connect(azure.address()).await.unwrap();
    let head = format!(
        "PUT {target} HTTP/1.1\r\nhost: x\r\nx-ms-blob-type: BlockBlob\r\ncontent-length: 1000000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![1; 500_000]).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    drop(stream);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(names(&client, None).await.is_empty());
}
