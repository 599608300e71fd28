//! The headers that select bytes: `Range`, `If-Range`, `If-None-Match`, `If-Modified-Since`, and `Content-Digest` of
//! an upload. Sent to the real routes, over a store with a few artifacts.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use artifact_store_identity::keys::{Minter, TokenClaims, generate};
use artifact_store_identity::{Rules, Verifier};
use artifact_store_protocol::Code;
use artifact_store_resolver::{Resolver, ResolverOptions};
use artifact_store_server::{App, router};
use artifactd::config::{EventStreamSettings, ServerSettings};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Request};
use data_encoding::BASE64;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::{block_on, split_fields};

const SIZES: [usize; 4] = [0, 1, 10, 1000];

struct Fixture {
    router: Router,
    token: HeaderValue,
    /// Path, bytes, and the digest in hex.
    artifacts: Vec<(String, Bytes, String)>,
}

struct RouteResponse {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl RouteResponse {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header is ASCII"))
    }
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let store = block_on(artifact_store::open(&"inmem:".parse().unwrap())).unwrap();
        let minter = Minter::from_pem(generate().unwrap().reveal(), None).unwrap();
        let (tenant, user, session) = ("t".into(), "u".into(), Some("s".into()));
        let claims = TokenClaims { tenant, user, session, ..TokenClaims::default() };
        let token = format!("Bearer {}", minter.mint(&claims, Duration::from_hours(24)).unwrap());
        let verifier = Verifier::from_jwks(&minter.jwks(), Rules::default()).unwrap();
        let settings = ServerSettings {
            bind_addr: ([127, 0, 0, 1], 0).into(),
            shutdown_grace_period: Duration::from_secs(1),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            header_timeout: Duration::from_secs(1),
            body_timeout: Duration::from_secs(1),
            max_connections: 1,
            reserved_connections: 1,
            max_connections_per_client: None,
            queue_timeout: Duration::from_secs(1),
            event_streams: EventStreamSettings { per_session: 1, per_user: 1, per_tenant: 1, in_all: 1 },
            max_requests_per_user: 100,
            max_requests_per_tenant: 100,
        };
        let app = Arc::new(App::new(Resolver::new(store, ResolverOptions::default()), verifier, &settings));
        let mut fixture =
            Fixture { router: router(&app, &settings), token: token.parse().unwrap(), artifacts: Vec::new() };
        for size in SIZES {
            let bytes: Bytes = (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let stored = fixture.send("PUT", "/v1/artifacts", &[], bytes.clone());
            assert_eq!(stored.status, 201);
            let stored: Value = serde_json::from_slice(&stored.body).unwrap();
            let member = |name: &str| stored["ref"][name].as_str().unwrap().to_owned();
            fixture.artifacts.push((format!("/v1/artifacts/{}", member("id")), bytes, member("sha256")));
        }
        fixture
    })
}

impl Fixture {
    /// Sends a request. Checks that every refusal is an envelope with the status of its code.
    fn send(&self, verb: &str, path: &str, headers: &[(&str, &HeaderValue)], body: Bytes) -> RouteResponse {
        let mut request = Request::builder().method(verb).uri(path).header("authorization", &self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).unwrap();
        let (head, body) = block_on(async {
            let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
            (head, to_bytes(body, 1 << 20).await.expect("the body is complete"))
        });
        let response = RouteResponse { status: head.status.as_u16(), headers: head.headers, body };
        if response.status >= 400 {
            let body: Value = serde_json::from_slice(&response.body).expect("an envelope");
            let code: Code = body["code"].as_str().expect("a code").parse().expect("one of the eleven codes");
            assert_eq!(body.as_object().unwrap().len(), 2);
            let is_range = code == Code::InvalidRequest && response.status == 416;
            assert!(code.status() == response.status || is_range, "{} {code:?}", response.status);
            assert!(response.status < 500, "a header causes a server error: {body}");
        }
        response
    }
}

/// Fields: the number of an artifact; `Range`; `If-Range`; `If-None-Match`; `If-Modified-Since`; `Content-Digest`. An
/// empty field is not sent. A field `E` is the artifact's own entity tag, and a field `D` its own digest.
pub fn any(data: &[u8]) {
    let [which, range, if_range, if_none_match, if_modified_since, digest] = split_fields(data);
    let which = usize::from(which.first().copied().unwrap_or_default());
    check_download(which, range, if_range, if_none_match, if_modified_since);
    check_upload(which, digest);
}

fn header_value(field: &[u8], tag: &str) -> Option<HeaderValue> {
    let text = match field {
        b"" => return None,
        b"E" => format!("\"{tag}\"").into_bytes(),
        _ => field.to_vec(),
    };
    HeaderValue::from_bytes(&text).ok()
}

/// A download returns what the headers select, by a second implementation here.
pub fn check_download(which: usize, range: &[u8], if_range: &[u8], if_none_match: &[u8], since: &[u8]) {
    let fixture = fixture();
    let (path, bytes, tag) = &fixture.artifacts[which % SIZES.len()];
    let fields = [
        ("range", range),
        ("if-range", if_range),
        ("if-none-match", if_none_match),
        ("if-modified-since", since),
    ];
    let values = fields.map(|(name, field)| (name, header_value(field, tag)));
    let sent: Vec<_> = values.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?))).collect();
    let response = fixture.send("GET", path, &sent, Bytes::new());
    let [range, if_range, if_none_match, since] =
        values.each_ref().map(|(_, value)| value.as_ref().map(|value| value.to_str().unwrap_or_default()));

    let own = format!("\"{tag}\"");
    if response.status < 400 {
        assert_eq!(response.header("etag"), own);
    }
    if response.status == 304 {
        assert!(response.body.is_empty());
        match (if_none_match, since) {
            (Some(list), _) => assert!(list.trim() == "*" || list.contains(&own), "{list:?} matches"),
            (None, Some(date)) => assert!(httpdate::parse_http_date(date).is_ok(), "{date:?} is not a date"),
            (None, None) => panic!("304 without a condition"),
        }
        return;
    }
    assert!(
        if_none_match.is_none_or(|list| list.trim() != "*" && list != own),
        "{if_none_match:?} is ignored"
    );

    // A condition that does not clearly name the same version gets the whole artifact.
    let same = if_range.is_none_or(|condition| condition.trim() == own);
    let dated = if_range.is_some_and(|condition| httpdate::parse_http_date(condition).is_ok());
    let selected = if same {
        range.map_or(RangeSelection::Whole, |range| select_range(range, bytes.len()))
    } else {
        RangeSelection::Whole
    };
    if dated && response.status != 200 {
        return;
    }
    match selected {
        RangeSelection::Whole => {
            assert_eq!((response.status, &response.body), (200, bytes), "{range:?} {if_range:?}");
            assert_eq!(response.header("content-range"), "");
        }
        RangeSelection::Nothing => {
            assert_eq!(response.status, 416, "{range:?}");
            assert_eq!(response.header("content-range"), format!("bytes */{}", bytes.len()));
        }
        RangeSelection::Part(first, last) => {
            assert_eq!(response.status, 206, "{range:?}");
            assert_eq!(response.body, bytes[first..=last], "{range:?}");
            let said = format!("bytes {first}-{last}/{}", bytes.len());
            assert_eq!(response.header("content-range"), said, "{range:?}");
            assert_eq!(response.header("content-length"), (last - first + 1).to_string());
        }
    }
}

/// What a range selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RangeSelection {
    Whole,
    Nothing,
    Part(usize, usize),
}

/// `Range` by the grammar of RFC 9110, for a single range.
fn select_range(range: &str, size: usize) -> RangeSelection {
    let Some((unit, set)) = range.split_once('=') else { return RangeSelection::Whole };
    let set = set.trim_matches([' ', '\t']);
    let known = unit.trim().eq_ignore_ascii_case("bytes");
    if !known || !set.bytes().all(|b| b.is_ascii_digit() || b == b'-') || set.matches('-').count() != 1 {
        return RangeSelection::Whole;
    }
    let number = |digits: &str| {
        // A number above 64 bits is the same as the largest one.
        let (digits, most) = (digits.trim_start_matches('0'), u128::from(u64::MAX));
        if digits.len() > 20 { most } else { digits.parse().unwrap_or(0).min(most) }
    };
    let (first, last) = set.split_once('-').unwrap();
    let total = size as u128;
    let (from, to) = match (first.is_empty(), last.is_empty()) {
        (true, true) => return RangeSelection::Whole,
        (true, false) if number(last) > 0 && size == 0 => return RangeSelection::Whole,
        (true, false) => (total - number(last).min(total), total),
        (false, true) => (number(first), total),
        (false, false) if number(last) < number(first) => return RangeSelection::Whole,
        (false, false) => (number(first), number(last).saturating_add(1).min(total)),
    };
    if from >= to {
        return RangeSelection::Nothing;
    }
    RangeSelection::Part(usize::try_from(from).unwrap(), usize::try_from(to - 1).unwrap())
}

/// An upload with a digest is accepted only if the digest matches the bytes.
pub fn check_upload(which: usize, digest: &[u8]) {
    let fixture = fixture();
    let (_, bytes, hex) = &fixture.artifacts[which % SIZES.len()];
    let raw = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
    let own = format!("sha-256=:{}:", BASE64.encode(&raw));
    let field = if digest == b"D" { own.as_bytes() } else { digest };
    let Ok(value) = HeaderValue::from_bytes(field) else { return };
    let response = fixture.send("PUT", "/v1/artifacts", &[("content-digest", &value)], bytes.clone());
    let text = value.to_str().unwrap_or_default();
    match response.status {
        200 => {
            // The last value of a repeated key counts, and other algorithms are ignored.
            let Some(at) = text.rfind("sha-256=:") else { return };
            let before = text[..at].trim_end_matches([' ', '\t']);
            // A quoted parameter may look like a member.
            if (before.is_empty() || before.ends_with(',')) && !before.contains('"') {
                let digits = text[at + 9..].split(':').next().unwrap().trim_end_matches('=');
                let same = &own[9..own.len() - 2];
                assert_eq!(digits.len(), same.len(), "{text:?} is accepted");
                // The last digit has two unused bits.
                assert_eq!(digits[..42], same[..42], "{text:?} is accepted");
            }
        }
        400 => assert_ne!(text, own, "the right digest is refused"),
        status => panic!("{status} for {text:?}"),
    }
}
