//! The requests for user delegation keys, to a storage that answers from a list.

use std::sync::{Arc, Mutex as SyncMutex};

use artifact_store_core::ErrorKind;
use object_store::StaticCredentialProvider;
use object_store::client::{HttpError, HttpResponse, HttpService};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

/// Answers each request with the next status, and then always with the last one. A key ends `validity` after the request.
#[derive(Debug)]
struct FakeStorage {
    statuses: Vec<u16>,
    validity: Duration,
    requests: Arc<SyncMutex<Vec<HttpRequest>>>,
}

#[async_trait]
impl HttpService for FakeStorage {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let number = {
            let mut requests = self.requests.lock().unwrap();
            requests.push(request);
            requests.len()
        };
        let status = self.statuses[number.min(self.statuses.len()) - 1];
        let end = format_seconds(timestamp(unix_seconds(SystemTime::now()) + self.validity));
        let xml = format!(
            "<?xml version=\"1.0\"?><UserDelegationKey><SignedOid>o</SignedOid><SignedTid>t</SignedTid>\
             <SignedStart>s</SignedStart><SignedExpiry>{end}</SignedExpiry><SignedService>b</SignedService>\
             <SignedVersion>v</SignedVersion><Value>aGk=</Value></UserDelegationKey>"
        );
        let mut response = HttpResponse::new(xml.into());
        *response.status_mut() = status.try_into().unwrap();
        Ok(response)
    }
}

/// A signer on a storage that answers with `statuses`, and the requests that it sends.
fn signer(statuses: &[u16], validity: Duration) -> (DelegationSigner, Arc<SyncMutex<Vec<HttpRequest>>>) {
    let requests = Arc::<SyncMutex<Vec<HttpRequest>>>::default();
    let storage = FakeStorage { statuses: statuses.to_vec(), validity, requests: Arc::clone(&requests) };
    let location = Location::new("https://account.blob.core.windows.net", "account", "artifacts");
    let tokens = Arc::new(StaticCredentialProvider::new(AzureCredential::BearerToken("hunter2".into())));
    (DelegationSigner::new(location, tokens, HttpClient::new(storage)), requests)
}

/// The seconds from now until the URL expires.
async fn sign(signer: &DelegationSigner, expires_in: Duration) -> u64 {
    let headers = ResponseHeaders { content_type: "text/plain", ..ResponseHeaders::default() };
    let (url, expires_at) = signer.sign_get(&Path::from("a/b"), expires_in, headers).await.unwrap();
    assert!(url.query_pairs().any(|pair| pair == ("rsct".into(), "text/plain".into())), "{url}");
    let (_, end) = url.query_pairs().find(|(name, _)| name == "se").unwrap();
    let end: Timestamp = end.parse().unwrap();
    assert_eq!(end, expires_at);
    u64::try_from(end.as_micros() / 1_000_000).unwrap() - unix_seconds(SystemTime::now()).as_secs()
}

#[tokio::test]
async fn one_key_signs_several_urls_until_it_ends_too_soon() {
    let (signer, requests) = signer(&[200], 2 * HOUR);
    assert!((3598..=3600).contains(&sign(&signer, HOUR).await));
    assert!((3598..=3600).contains(&sign(&signer, HOUR).await));
    assert_eq!(requests.lock().unwrap().len(), 1);
    // The storage issues keys for two hours, so the URL is valid for less than was asked for.
    assert!((7198..=7200).contains(&sign(&signer, 3 * HOUR).await));
    assert_eq!(requests.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_key_is_kept_if_the_storage_issues_no_longer_one() {
    let (signer, requests) = signer(&[200, 503], 2 * HOUR);
    sign(&signer, HOUR).await;
    let error = signer.sign_get(&Path::from("a"), 3 * HOUR, ResponseHeaders::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    sign(&signer, HOUR).await;
    assert_eq!(requests.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn no_url_is_valid_for_longer_than_six_days() {
    let (signer, _) = signer(&[200], 7 * 24 * HOUR);
    let six_days = 6 * 24 * 3600;
    assert!((six_days - 2..=six_days).contains(&sign(&signer, 7 * 24 * HOUR).await));
}

#[tokio::test]
async fn a_key_is_requested_as_documented() {
    let (signer, requests) = signer(&[200], 2 * HOUR);
    sign(&signer, SECOND).await;
    let requests = requests.lock().unwrap();
    let request = &requests[0];
    assert_eq!(*request.method(), Method::POST);
    assert_eq!(
        request.uri().to_string(),
        "https://account.blob.core.windows.net/?restype=service&comp=userdelegationkey"
    );
    assert_eq!(request.headers()["authorization"], "Bearer hunter2");
    assert_eq!(request.headers()["x-ms-version"], SAS_VERSION);
    assert!(!format!("{request:?}").contains("hunter2"), "the token is in the debug output");
    let body = String::from_utf8(request.body().as_bytes().unwrap().to_vec()).unwrap();
    let element = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>")).unwrap();
        rest.split_once(&format!("</{name}>")).unwrap().0.parse::<Timestamp>().unwrap()
    };
    // The storage's clock may be 15 minutes behind.
    let quarter = Duration::from_mins(15);
    assert!(element("Start").checked_add(quarter).unwrap() <= timestamp(unix_seconds(SystemTime::now())));
    assert_eq!(element("Start").checked_add(quarter + 2 * HOUR).unwrap(), element("Expiry"));
}

#[tokio::test]
async fn a_refused_key_says_which_role_is_missing() {
    for (status, kind, expected) in [
        (403, ErrorKind::Backend, "Storage Blob Delegator"),
        (503, ErrorKind::Unavailable, "the HTTP status 503; try again"),
    ] {
        let (signer, _) = signer(&[status], HOUR);
        let error = signer.sign_get(&Path::from("a"), SECOND, ResponseHeaders::default()).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(expected), "{error}");
    }
}
