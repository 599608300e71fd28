//! Signs the URLs of downloads: [`UrlSigner`]. The signature is an AWS Signature Version 4 in the query of the URL.
//!
//! The S3 client signs the first URL of each access key. [`UrlSigner::from_signed_url`] takes the address from that URL,
//! and returns a signer only if it computes the same signature for it. Otherwise the client signs all further URLs. So
//! an address or a key that this module does not know never leads to a URL that the storage refuses. The signer is
//! faster than the client, because it derives the signing key only once a day.
//!
//! Source of the format: Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters (AWS Signature
//! Version 4)". This module must never send a request, and never know what an artifact is.

use std::fmt::Write as _;

use aws_credential_types::Credentials;
use percent_encoding::utf8_percent_encode;

use crate::presign_credentials::UrlValidity;
use crate::sigv4::{AccessKeyInRegion, Address, IN_PATH, IN_QUERY};

/// The GET of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Download<'a> {
    /// The key of the object.
    pub(crate) key: &'a str,
    /// The headers of the response, which are signed into the URL.
    pub(crate) cache_control: &'a str,
    pub(crate) content_disposition: &'a str,
    pub(crate) content_type: &'a str,
}

/// Signs URLs with one access key. Its `Debug` output contains no secret.
#[derive(Debug)]
pub(crate) struct UrlSigner {
    address: Address,
    access_key: AccessKeyInRegion,
}

impl UrlSigner {
    /// The signer that signs URLs like `url`, which the S3 client has signed for `download` with `credentials`. `None`
    /// if this module would sign the same download differently.
    pub(crate) fn from_signed_url(
        url: &str,
        download: &Download<'_>,
        validity: &UrlValidity,
        credentials: &Credentials,
    ) -> Option<Self> {
        let (address, query) = url.split_once('?')?;
        let key = utf8_percent_encode(download.key, IN_PATH).to_string();
        let before_key = address.strip_suffix(&key)?;
        let path_start = before_key.find("://")? + "://".len();
        let path_start = path_start + before_key[path_start..].find('/')?;
        // `KEY/DAY/REGION/s3/aws4_request`, with each slash encoded.
        let credential =
            query.split('&').find_map(|parameter| parameter.strip_prefix("X-Amz-Credential="))?;
        let region = credential.rsplit("%2F").nth(2)?;
        let address = Address {
            origin: before_key[..path_start].to_owned(),
            path_before_key: before_key[path_start..].to_owned(),
            region: region.to_owned(),
        };
        let access_key = AccessKeyInRegion::new(credentials.clone(), address.region.clone());
        let signer = Self { address, access_key };
        let signature_of = |url: &str| {
            let mut parameters = url.split(['?', '&']);
            parameters.find_map(|parameter| parameter.strip_prefix("X-Amz-Signature=").map(str::to_owned))
        };
        (signature_of(&signer.sign(download, validity))? == signature_of(url)?).then_some(signer)
    }

    /// The signed URL of `download`.
    pub(crate) fn sign(&self, download: &Download<'_>, validity: &UrlValidity) -> String {
        let time = validity.start_as_basic_iso8601();
        let credential = self.access_key.credential(&time);
        let expires = validity.seconds().to_string();
        // In the order in which parameters are signed: by the bytes of their names.
        let parameters = [
            ("X-Amz-Algorithm", Some("AWS4-HMAC-SHA256")),
            ("X-Amz-Credential", Some(credential.as_str())),
            ("X-Amz-Date", Some(&time)),
            ("X-Amz-Expires", Some(&expires)),
            ("X-Amz-Security-Token", self.access_key.session_token()),
            ("X-Amz-SignedHeaders", Some("host")),
            ("response-cache-control", Some(download.cache_control)),
            ("response-content-disposition", Some(download.content_disposition)),
            ("response-content-type", Some(download.content_type)),
            // The client adds it to each request.
            ("x-id", Some("GetObject")),
        ];
        let mut query = String::with_capacity(1024);
        for (name, value) in parameters {
            let Some(value) = value else { continue };
            let separator = if query.is_empty() { "" } else { "&" };
            // Writing to a string cannot fail.
            let _ = write!(query, "{separator}{name}={}", utf8_percent_encode(value, IN_QUERY));
        }
        let path = format!("{}{}", self.address.path_before_key, utf8_percent_encode(download.key, IN_PATH));
        let signature = self.signature(&path, &query, &time);
        format!("{}{path}?{query}&X-Amz-Signature={signature}", self.address.origin)
    }

    /// The address of the storage.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The signature of a GET of `path` with `query`, both percent-encoded. `time` is as in `X-Amz-Date`.
    fn signature(&self, path: &str, query: &str, time: &str) -> String {
        let host = self.address.host();
        let request = format!("GET\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
        self.access_key.signature(&request, time)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_sdk_s3::Client;
    use aws_sdk_s3::config::{BehaviorVersion, Builder, Region};

    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const SECRET: &str = "a+private/key";

    fn download(key: &str) -> Download<'_> {
        Download {
            key,
            cache_control: "private",
            content_disposition: "attachment; filename=\"a b.txt\"; filename*=UTF-8''%C3%A4%20b.txt",
            content_type: "text/plain; charset=utf-8",
        }
    }

    /// The URL as the S3 client signs it.
    async fn sign_by_client(builder: Builder, download: &Download<'_>, validity: &UrlValidity) -> String {
        let client = Client::from_conf(builder.build());
        let request = client
            .get_object()
            .bucket("artifacts")
            .key(download.key)
            .response_cache_control(download.cache_control)
            .response_content_disposition(download.content_disposition)
            .response_content_type(download.content_type)
            .presigned(validity.presigning_config().unwrap())
            .await;
        request.unwrap().uri().to_owned()
    }

    fn builder(credentials: &Credentials) -> Builder {
        Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(credentials.clone())
    }

    /// The parameters of a URL and its address, sorted, because the client has another order.
    fn sorted_parts(url: &str) -> Vec<&str> {
        let mut parts: Vec<&str> = url.split(['?', '&']).collect();
        parts.sort_unstable();
        parts
    }

    #[tokio::test]
    async fn urls_are_those_that_the_client_signs() {
        let tokens = [None, Some("a token/with+other=characters".to_owned())];
        for (path_style, endpoint) in [
            (true, None),
            (false, None),
            (true, Some("http://127.0.0.1:3900")),
            (false, Some("https://s3.example.org")),
        ] {
            for token in &tokens {
                let credentials = Credentials::new("KEY", SECRET, token.clone(), None, "test");
                let mut builder = builder(&credentials).force_path_style(path_style);
                builder.set_endpoint_url(endpoint.map(str::to_owned));
                let first_validity = UrlValidity::at(1_700_000_000, DAY);
                let first = download("team/a/0123");
                let url = sign_by_client(builder.clone(), &first, &first_validity).await;
                let signer = UrlSigner::from_signed_url(&url, &first, &first_validity, &credentials).unwrap();
                // Other keys, names and days than the first one.
                for (key, disposition, start) in [
                    ("team/a/0123", "attachment", 1_700_000_001),
                    ("team/a/x.y-z_~/4567", "attachment; filename=\"%&=?#+.txt\"", 1_700_100_000),
                    ("Ünïcode path/a+b", "attachment; filename*=UTF-8''%E2%82%AC", 4_102_444_800),
                ] {
                    let download = Download { content_disposition: disposition, ..download(key) };
                    let validity = UrlValidity::at(start, Duration::from_secs(77));
                    let url = sign_by_client(builder.clone(), &download, &validity).await;
                    assert_eq!(sorted_parts(&signer.sign(&download, &validity)), sorted_parts(&url));
                }
                assert!(!format!("{signer:?}").contains(SECRET));
            }
        }
    }

    #[tokio::test]
    async fn a_url_that_was_signed_differently_makes_no_signer() {
        let credentials = Credentials::new("KEY", SECRET, None, None, "test");
        let other = Credentials::new("KEY", "another secret", None, None, "test");
        let (download, validity) = (download("a/0123"), UrlValidity::at(1_700_000_000, DAY));
        let url = sign_by_client(builder(&credentials), &download, &validity).await;
        assert!(UrlSigner::from_signed_url(&url, &download, &validity, &credentials).is_some());
        assert!(UrlSigner::from_signed_url(&url, &download, &validity, &other).is_none());
        let later = UrlValidity::at(1_700_000_001, DAY);
        assert!(UrlSigner::from_signed_url(&url, &download, &later, &credentials).is_none());
        assert!(
            UrlSigner::from_signed_url("https://example.org", &download, &validity, &credentials).is_none()
        );
    }

    /// The example in "Authenticating Requests: Using Query Parameters" of the Amazon S3 API Reference.
    #[test]
    fn the_signature_of_the_published_example_is_the_published_one() {
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", secret, None, None, "test");
        let signer = UrlSigner {
            address: Address {
                origin: "https://examplebucket.s3.amazonaws.com".to_owned(),
                path_before_key: "/".to_owned(),
                region: "us-east-1".to_owned(),
            },
            access_key: AccessKeyInRegion::new(credentials, "us-east-1".to_owned()),
        };
        let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256\
                     &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
                     &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host";
        assert_eq!(
            signer.signature("/test.txt", query, "20130524T000000Z"),
            "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
    }
}
