//! Presigned downloads of both clouds. Signing with a key sends no request.

use artifact_store_core::{Digest, ErrorKind, PutOptions, Scope};

use super::*;
use crate::{AzureConfig, AzurePresign, GcsConfig, GcsPresign};

const HOUR: Duration = Duration::from_hours(1);

fn gcs() -> GcsConfig {
    let file = include_str!("../../tests/data/gcs_v4_signatures.json");
    let file: serde_json::Value = serde_json::from_str(file).unwrap();
    GcsConfig::bucket("artifacts").service_account_key(file["account"].to_string())
}

fn azure() -> AzureConfig {
    AzureConfig::container("account", "artifacts").access_key("aGk=").presign(AzurePresign::Key)
}

fn record() -> Record {
    let options = PutOptions {
        filename: Some("Übersicht.html".into()),
        media_type: Some("text/html".into()),
        ..PutOptions::default()
    };
    let scope = Scope::new("tenant", "user", "session").unwrap();
    Record::new(scope, options, Digest::of(b"hi"), 2, "2026-01-02T03:04:05Z".parse().unwrap())
}

async fn presign(client: &Client, expiry: Duration) -> Result<(Url, Timestamp), StoreError> {
    let request = presign_get(client, &Path::from("team/a"), &record(), expiry).await?;
    assert!(request.headers.is_empty());
    Ok((Url::parse(request.url.reveal()).unwrap(), request.expires_at))
}

#[tokio::test]
async fn a_download_is_bound_to_its_media_type_and_file_name_in_both_clouds() {
    let disposition = "attachment; filename=\"_bersicht.html\"; filename*=UTF-8''%C3%9Cbersicht.html";
    for (client, address, names) in [
        (
            gcs().store_config().unwrap().client,
            "https://storage.googleapis.com/artifacts/team/a",
            ["response-content-type", "response-content-disposition"],
        ),
        (
            azure().store_config().unwrap().client,
            "https://account.blob.core.windows.net/artifacts/team/a",
            ["rsct", "rscd"],
        ),
    ] {
        let (url, _) = presign(&client, HOUR).await.unwrap();
        let (path, _) = url.as_str().split_once('?').unwrap();
        assert_eq!(path, address);
        let parameter = |name: &str| url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
        assert_eq!(names.map(parameter), ["text/html", disposition]);
    }
}

#[tokio::test]
async fn a_download_expires_in_the_whole_second_that_is_signed() {
    for client in [gcs().store_config().unwrap().client, azure().store_config().unwrap().client] {
        let before = unix_seconds(SystemTime::now());
        let (url, expires_at) = presign(&client, HOUR + Duration::from_millis(999)).await.unwrap();
        let after = unix_seconds(SystemTime::now());
        assert!((timestamp(before + HOUR)..=timestamp(after + HOUR)).contains(&expires_at));
        let parameter = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value);
        let signed = match parameter("se") {
            Some(end) => end.parse().unwrap(),
            None => parse_compact(&parameter("X-Goog-Date").unwrap()).unwrap().checked_add(HOUR).unwrap(),
        };
        assert_eq!(signed, expires_at);
        assert!(parameter("X-Goog-Expires").is_none_or(|seconds| seconds == "3600"));
    }
}

#[tokio::test]
async fn an_expiry_of_less_than_a_second_or_more_than_a_week_is_refused() {
    let client = azure().store_config().unwrap().client;
    assert!(presign(&client, MAX_PRESIGN_EXPIRY).await.is_ok());
    for expiry in [Duration::ZERO, Duration::from_millis(999), MAX_PRESIGN_EXPIRY + Duration::from_secs(1)] {
        assert_eq!(presign(&client, expiry).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

#[tokio::test]
async fn nothing_is_presigned_without_what_can_sign() {
    for client in [
        gcs().presign(GcsPresign::No).store_config().unwrap().client,
        GcsConfig::bucket("artifacts").anonymous(true).store_config().unwrap().client,
        azure().presign(AzurePresign::No).store_config().unwrap().client,
        AzureConfig::container("account", "artifacts")
            .sas_token("sv=1&sig=2")
            .presign(AzurePresign::Key)
            .store_config()
            .unwrap()
            .client,
        AzureConfig::container("account", "artifacts")
            .managed_identity("id")
            .presign(AzurePresign::Key)
            .store_config()
            .unwrap()
            .client,
    ] {
        let error = presign(&client, HOUR).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported(Flag::PresignGet));
    }
}
