//! Vectors: the conformance tests of Google Cloud Storage for V4 signatures.

use std::sync::{Arc, Mutex};

use data_encoding::BASE64;
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService};
use object_store::gcp::{GcpCredential, GcpSigningCredential, GoogleCloudStorageBuilder};
use object_store::{ClientOptions, StaticCredentialProvider};
use serde_json::Value;

use super::*;

/// The vectors, and the account that signs them. The file names its origin.
const VECTORS: &str = include_str!("../../tests/data/gcs_v4_signatures.json");

fn vectors() -> (ServiceAccount, Vec<Value>) {
    let file: Value = serde_json::from_str(VECTORS).unwrap();
    let account = ServiceAccount::parse(&file["account"].to_string()).unwrap();
    (account, file["tests"].as_array().unwrap().clone())
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

#[test]
fn every_url_is_the_one_that_google_expects() {
    let (account, tests) = vectors();
    assert_eq!(tests.len(), 7);
    for test in tests {
        let signer = KeySigner::new(account.clone(), "https://storage.googleapis.com", text(&test, "bucket"));
        let method = Method::from_bytes(text(&test, "method").as_bytes()).unwrap();
        let query: Vec<_> = test["queryParameters"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        let start = text(&test, "timestamp").parse().unwrap();
        let expiry = Duration::from_secs(test["expiration"].as_u64().unwrap());
        let url = signer.sign(&method, text(&test, "object"), &query, start, expiry).unwrap();
        assert_eq!(url.as_str(), text(&test, "expectedUrl"), "{}", text(&test, "description"));
    }
}

#[test]
fn the_signature_covers_the_host_of_the_endpoint_with_its_port() {
    let (account, _) = vectors();
    let start = "2026-01-02T03:04:05Z".parse().unwrap();
    let signatures =
        ["https://storage.googleapis.com", "https://storage.googleapis.com:443", "http://127.0.0.1:4443"]
            .map(|endpoint| {
                let signer = KeySigner::new(account.clone(), endpoint, "bucket");
                let url = signer.sign(&Method::GET, "key", &[], start, Duration::from_secs(1)).unwrap();
                url.as_str().split_once("X-Goog-Signature=").unwrap().1.to_owned()
            });
    // The default port is not in the header `Host`.
    assert_eq!(signatures[0], signatures[1]);
    assert_ne!(signatures[0], signatures[2]);
}

#[test]
fn a_key_that_is_not_of_a_service_account_is_named() {
    let file: Value = serde_json::from_str(VECTORS).unwrap();
    let account = &file["account"];
    let with_key = |key: &str| {
        let mut account = account.clone();
        account["private_key"] = key.into();
        account.to_string()
    };
    for (json, expected) in [
        ("hunter2".to_owned(), "is not JSON"),
        ("{}".to_owned(), "lacks client_email"),
        (with_key("hunter2"), "that is not PEM"),
        (with_key("-----BEGIN PRIVATE KEY-----\naGk=\n-----END PRIVATE KEY-----\n"), "not an RSA key"),
    ] {
        let error = ServiceAccount::parse(&json).unwrap_err();
        assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
    }
    assert!(!format!("{:?}", ServiceAccount::parse(&account.to_string()).unwrap()).contains("PRIVATE"));
}

/// The service IAM, which signs with four bytes. Keeps the last text that it was to sign.
#[derive(Debug, Clone, Default)]
struct FakeIam(Arc<Mutex<String>>);

#[async_trait]
impl HttpService for FakeIam {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        assert_eq!(
            request.uri().to_string(),
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/me@example.com:signBlob"
        );
        let body: Value = serde_json::from_slice(request.body().as_bytes().unwrap()).unwrap();
        let payload = BASE64.decode(text(&body, "payload").as_bytes()).unwrap();
        *self.0.lock().unwrap() = String::from_utf8(payload).unwrap();
        Ok(HttpResponse::new("{\"signedBlob\": \"q6urqw==\"}".to_owned().into()))
    }
}

impl HttpConnector for FakeIam {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[tokio::test]
async fn iam_signs_the_same_text_as_a_key_and_for_twelve_hours() {
    let iam = FakeIam::default();
    let email = "me@example.com";
    let credential = GcpCredential { bearer: "hunter2".into() };
    let signing = GcpSigningCredential { email: email.into(), private_key: None };
    let store = GoogleCloudStorageBuilder::new()
        .with_bucket_name("bucket")
        .with_credentials(Arc::new(StaticCredentialProvider::new(credential)))
        .with_signing_credentials(Arc::new(StaticCredentialProvider::new(signing)))
        .with_http_connector(iam.clone())
        .build()
        .unwrap();
    let headers = ResponseHeaders {
        content_type: "text/plain",
        content_disposition: "attachment; filename=\"a b\"",
        cache_control: "private",
    };
    let (signed, expires_at) = IamSigner::new(store)
        .sign_get(&Path::from("a/b.txt"), Duration::from_hours(24), headers)
        .await
        .unwrap();
    let parameter = |name: &str| signed.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
    assert_eq!(parameter("X-Goog-Expires"), "43200");
    assert_eq!(parameter("X-Goog-Signature"), "abababab");
    assert_eq!(parameter("response-content-disposition"), "attachment; filename=\"a b\"");
    let date = parameter("X-Goog-Date");
    let start = parse_compact(&date).unwrap();
    assert_eq!(expires_at, start.checked_add(Duration::from_hours(12)).unwrap());
    let url = Url::parse("https://storage.googleapis.com/bucket/a/b.txt").unwrap();
    let request = CanonicalRequest::new(
        &Method::GET,
        &url,
        url.path(),
        email,
        &header_parameters(headers),
        start,
        Duration::from_hours(12),
    );
    assert_eq!(*iam.0.lock().unwrap(), request.string_to_sign());
}
