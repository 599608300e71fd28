//! Presigned downloads from the stand-in for Azure Blob Storage, which checks every signed field.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests.

#[path = "../../s3/tests/curl/mod.rs"]
mod curl;

use std::time::Duration;

use artifact_store_backends::AzureStandIn;
use artifact_store_conformance::{HttpClient, HttpResponse};
use artifact_store_core::{
    ArtifactStore, ArtifactStoreExt, BoxError, Bytes, PresignIntent, PutOptions, Scope,
};
use artifact_store_object_store::{AzureConfig, AzurePresign, ObjectArtifactStore};
use curl::Curl;

type Outcome = Result<(), BoxError>;

/// Stores a page under a hostile name, and returns the presigned URL of its download.
async fn presigned_url(expiry: Duration) -> Result<String, BoxError> {
    let azure = AzureStandIn::shared().await?;
    let config = AzureConfig::container(azure.account(), azure.create_container().await?)
        .endpoint(azure.endpoint())
        .access_key(azure.key())
        .presign(AzurePresign::Key);
    let store = ObjectArtifactStore::open(config.store_config()?).await?;
    let options = PutOptions {
        filename: Some("a\"b%20 ü.html".into()),
        media_type: Some("text/html".into()),
        ..PutOptions::default()
    };
    let scope = Scope::new("acme", "ada", "s-1")?;
    let put = store.put_bytes(&scope, "<p>hello", options).await?;
    let intent = PresignIntent::Get { id: put.record.id };
    let presigned = store.presign(&scope, &intent, expiry).await?.ok_or("the artifact exists")?;
    store.close().await?;
    Ok(presigned.url.reveal().to_owned())
}

async fn send(method: &str, url: &str) -> HttpResponse {
    Curl.request(method, url, &[], Bytes::new()).await.unwrap()
}

#[tokio::test]
async fn a_url_returns_the_bytes_as_an_attachment_with_its_type_and_name() -> Outcome {
    let response = send("GET", &presigned_url(Duration::from_mins(1)).await?).await;
    assert_eq!((response.status, &response.body[..]), (200, &b"<p>hello"[..]));
    let header =
        |name: &str| response.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    assert_eq!(header("content-type"), Some("text/html"));
    assert_eq!(header("cache-control"), Some("private"));
    assert!(header("content-disposition").is_some_and(|it| it.starts_with("attachment;")), "{response:?}");
    Ok(())
}

/// Azure's permission to read includes HEAD. That is why nothing is presigned unless the option says so.
#[tokio::test]
async fn a_url_allows_nothing_but_get_and_head() -> Outcome {
    let url = presigned_url(Duration::from_mins(1)).await?;
    assert_eq!(send("HEAD", &url).await.status, 200);
    for method in ["PUT", "DELETE"] {
        assert_eq!(send(method, &url).await.status, 403, "{method}");
    }
    assert_eq!(send("GET", &url).await.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_url_with_another_type_disposition_permission_or_key_is_refused() -> Outcome {
    let url = presigned_url(Duration::from_mins(1)).await?;
    for (from, to) in
        [("text%2Fhtml", "text%2Fplain"), ("attachment", "inline"), ("sp=r", "sp=rd"), ("/d/", "/a/")]
    {
        let altered = url.replacen(from, to, 1);
        assert_ne!(altered, url, "{from} is not in the URL");
        assert_eq!(send("GET", &altered).await.status, 403, "{to}");
    }
    Ok(())
}

#[tokio::test]
async fn a_url_expires() -> Outcome {
    let url = presigned_url(Duration::from_secs(2)).await?;
    assert_eq!(send("GET", &url).await.status, 200);
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if send("GET", &url).await.status == 403 {
            return Ok(());
        }
    }
    Err("the URL is still accepted after 4 s".into())
}
