//! Signs requests for single objects in their headers: [`RequestSigner`].
//!
//! Source of the format: Amazon S3 API Reference, "Authenticating Requests: Using the Authorization Header (AWS Signature
//! Version 4)". This module must never send a request, and never know what an artifact is.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use percent_encoding::utf8_percent_encode;

use crate::sigv4::{AccessKeyInRegion, Address, IN_PATH, basic_iso8601};

/// The name and the value of a header. The name is in lower case.
pub(crate) type Header = (Cow<'static, str>, Cow<'static, str>);

/// What the signature says about the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignedBody {
    /// The request has no body: the signature covers the hash of no bytes.
    Empty,
    /// The signature does not cover the body itself. It covers the body's SHA-256 in the header
    /// `x-amz-checksum-sha256`, with which the server compares the bytes. So neither side hashes them twice.
    ByChecksum,
}

impl SignedBody {
    /// The value of the header `x-amz-content-sha256`.
    fn text(self) -> &'static str {
        match self {
            Self::Empty => "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            Self::ByChecksum => "UNSIGNED-PAYLOAD",
        }
    }
}

/// A signed request: where it goes, and its headers.
#[derive(Debug)]
pub(crate) struct SignedRequest {
    pub(crate) url: String,
    /// All headers but `Host`, which the HTTP client sends as it is in the URL.
    pub(crate) headers: Vec<Header>,
}

/// Signs requests with one access key. Its `Debug` output contains no secret.
#[derive(Debug)]
pub(crate) struct RequestSigner {
    address: Address,
    key: AccessKeyInRegion,
}

impl RequestSigner {
    pub(crate) fn new(address: Address, credentials: Credentials) -> Self {
        let key = AccessKeyInRegion::new(credentials, address.region.clone());
        Self { address, key }
    }

    /// Signs a request for the object at `key`. The signature covers all of `headers`.
    pub(crate) fn sign(
        &self,
        method: &str,
        key: &str,
        headers: &[Header],
        body: SignedBody,
        time: SystemTime,
    ) -> SignedRequest {
        let time = basic_iso8601(time);
        let path = format!("{}{}", self.address.path_before_key, utf8_percent_encode(key, IN_PATH));
        let mut headers = headers.to_vec();
        headers.push(("x-amz-content-sha256".into(), body.text().into()));
        headers.push(("x-amz-date".into(), time.clone().into()));
        if let Some(token) = self.key.session_token() {
            headers.push(("x-amz-security-token".into(), token.to_owned().into()));
        }
        let (canonical_headers, names) = self.canonical_headers(&headers);
        let request = format!("{method}\n{path}\n\n{canonical_headers}\n{names}\n{}", body.text());
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}, SignedHeaders={names}, Signature={}",
            self.key.credential(&time),
            self.key.signature(&request, &time)
        );
        headers.push(("authorization".into(), authorization.into()));
        SignedRequest { url: format!("{}{path}", self.address.origin), headers }
    }

    /// The headers as they are signed, in the order of their names: a line for each header, and the names.
    fn canonical_headers(&self, headers: &[Header]) -> (String, String) {
        let mut sorted: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        sorted.push(("host", self.address.host()));
        sorted.sort_unstable_by_key(|(name, _)| *name);
        let (mut lines, mut names) = (String::with_capacity(1024), String::with_capacity(256));
        for (name, value) in sorted {
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{name}:{}", canonical_value(value));
            if !names.is_empty() {
                names.push(';');
            }
            names.push_str(name);
        }
        (lines, names)
    }
}

/// The value of a header as it is signed: without spaces at its ends, and with single spaces.
fn canonical_value(value: &str) -> Cow<'_, str> {
    let trimmed = value.trim_matches(' ');
    if !trimmed.contains("  ") {
        return Cow::Borrowed(trimmed);
    }
    let words: Vec<&str> = trimmed.split(' ').filter(|word| !word.is_empty()).collect();
    Cow::Owned(words.join(" "))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use aws_sigv4::http_request::{
        PayloadChecksumKind, PercentEncodingMode, SessionTokenMode, SignableBody, SignableRequest,
        SigningSettings, UriPathNormalizationMode, sign,
    };
    use aws_sigv4::sign::v4;
    use proptest::prelude::*;

    use super::*;

    /// The time in the examples of the Amazon S3 API Reference, in seconds since the Unix epoch.
    const EXAMPLE_SECONDS: u64 = 1_369_353_600;

    fn signer(origin: &str, token: Option<&str>) -> RequestSigner {
        let address = Address {
            origin: origin.to_owned(),
            path_before_key: "/".to_owned(),
            region: "us-east-1".to_owned(),
        };
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let token = token.map(str::to_owned);
        RequestSigner::new(address, Credentials::new("AKIAIOSFODNN7EXAMPLE", secret, token, None, "test"))
    }

    fn header<'a>(request: &'a SignedRequest, name: &str) -> Option<&'a str> {
        request.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_ref())
    }

    /// The example "GET Object" in "Signature Calculations for the Authorization Header" of the Amazon S3 API Reference.
    #[test]
    fn the_signature_of_the_published_get_is_the_published_one() {
        let signed = signer("https://examplebucket.s3.amazonaws.com", None).sign(
            "GET",
            "test.txt",
            &[("range".into(), "bytes=0-9".into())],
            SignedBody::Empty,
            UNIX_EPOCH + Duration::from_secs(EXAMPLE_SECONDS),
        );
        assert_eq!(signed.url, "https://examplebucket.s3.amazonaws.com/test.txt");
        assert_eq!(
            header(&signed, "authorization").unwrap(),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, \
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }

    /// The example "PUT Object" beside it. Its body is signed by its hash, so the canonical request is written by hand.
    #[test]
    fn the_signature_of_the_published_put_is_the_published_one() {
        let signer = signer("https://examplebucket.s3.amazonaws.com", None);
        let hash = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
        let (lines, names) = signer.canonical_headers(&[
            ("x-amz-storage-class".into(), "REDUCED_REDUNDANCY".into()),
            ("date".into(), "Fri, 24 May 2013 00:00:00 GMT".into()),
            ("x-amz-date".into(), "20130524T000000Z".into()),
            ("x-amz-content-sha256".into(), hash.into()),
        ]);
        let path = utf8_percent_encode("/test$file.text", IN_PATH);
        let request = format!("PUT\n{path}\n\n{lines}\n{names}\n{hash}");
        assert_eq!(
            signer.key.signature(&request, "20130524T000000Z"),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
    }

    /// The `Authorization` that the signer of the S3 client makes.
    fn authorization_by_client(
        signed: &SignedRequest,
        method: &str,
        headers: &[Header],
        body: SignedBody,
        token: Option<&str>,
        time: SystemTime,
    ) -> String {
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.session_token_mode = SessionTokenMode::Include;
        settings.excluded_headers = None;
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let credentials =
            Credentials::new("AKIAIOSFODNN7EXAMPLE", secret, token.map(str::to_owned), None, "test");
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("s3")
            .time(time)
            .settings(settings)
            .build()
            .unwrap();
        let body = match body {
            SignedBody::Empty => SignableBody::Bytes(&[]),
            SignedBody::ByChecksum => SignableBody::UnsignedPayload,
        };
        let headers = headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
        let request = SignableRequest::new(method, signed.url.as_str(), headers, body).unwrap();
        let output = sign(request, &params.into()).unwrap().into_parts().0;
        let (headers, _) = output.into_parts();
        let found = headers.iter().find(|header| header.name() == "authorization").unwrap();
        found.value().to_owned()
    }

    proptest! {
        /// Any key and any value that can be sent in a header.
        #[test]
        fn requests_are_signed_as_the_client_signs_them(
            key in "([a-zA-Z0-9/._~-]|[ -~]|[äß€\u{1f600}]){1,40}",
            value in "[ -~]{0,40}",
            metadata in "[a-zA-Z0-9_-]{1,80}",
            token in proptest::option::of("[a-zA-Z0-9+/=]{1,40}"),
            puts in any::<bool>(),
            seconds in 0_u64..4_000_000_000,
            with_port in any::<bool>(),
        ) {
            let origin = if with_port { "http://127.0.0.1:3900" } else { "https://bucket.s3.amazonaws.com" };
            let headers: Vec<Header> = vec![
                ("x-amz-meta-artifact-record".into(), metadata.into()),
                ("content-type".into(), value.into()),
                ("if-none-match".into(), "*".into()),
            ];
            let (method, body) =
                if puts { ("PUT", SignedBody::ByChecksum) } else { ("GET", SignedBody::Empty) };
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            let signed = signer(origin, token.as_deref()).sign(method, &key, &headers, body, time);
            let expected = authorization_by_client(&signed, method, &headers, body, token.as_deref(), time);
            prop_assert_eq!(header(&signed, "authorization"), Some(expected.as_str()));
            prop_assert_eq!(header(&signed, "x-amz-security-token"), token.as_deref());
        }
    }

    #[test]
    fn the_debug_output_of_a_signer_contains_no_secret() {
        let text = format!("{:?}", signer("https://s3.example.org", Some("the token")));
        assert!(!text.contains("wJalrXUtnFEMI") && !text.contains("the token"), "{text}");
    }
}
