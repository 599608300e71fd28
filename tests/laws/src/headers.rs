//! The headers that select bytes: `Range`, `If-Range`, `If-None-Match`, `If-Modified-Since`, and `Content-Digest` of an upload.
//! Asked of the real routes, over a store with a few artifacts.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use artifact_store_protocol::Code;
use artifact_store_resolver::{Resolver, ResolverOptions};
use artifactd::config::{EventStreamSettings, ServerSettings};
use artifactd::http::{App, router};
use artifactd::identity::keys::{Minter, TokenClaims, generate};
use artifactd::identity::{Rules, Verifier};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Request};
use data_encoding::BASE64;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::{block_on, fields};

const SIZES: [usize; 4] = [0, 1, 10, 1000];

struct Fixture {
    router: Router,
    token: HeaderValue,
    /// Path, bytes, and the digest in hex.
    artifacts: Vec<(String, Bytes, String)>,
}

struct Answered {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answered {
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
    /// Sends a request; whatever fails is an envelope whose status is its code's.
    fn send(&self, verb: &str, path: &str, headers: &[(&str, &HeaderValue)], body: Bytes) -> Answered {
        let mut request = Request::builder().method(verb).uri(path).header("authorization", &self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).unwrap();
        let (head, body) = block_on(async {
            let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
            (head, to_bytes(body, 1 << 20).await.expect("a body ends whole"))
        });
        let answered = Answered { status: head.status.as_u16(), headers: head.headers, body };
        if answered.status >= 400 {
            let body: Value = serde_json::from_slice(&answered.body).expect("an envelope");
            let code: Code = body["code"].as_str().expect("a code").parse().expect("one of eleven");
            assert_eq!(body.as_object().unwrap().len(), 2);
            let is_range = code == Code::InvalidRequest && answered.status == 416;
            assert!(code.status() == answered.status || is_range, "{} {code:?}", answered.status);
            assert!(answered.status < 500, "a header brings the server down: {body}");
        }
        answered
    }
}

/// Fields: the number of an artifact; `Range`; `If-Range`; `If-None-Match`; `If-Modified-Since`; `Content-Digest`. An empty one
/// is not sent; a field `E` is the artifact's own entity tag, one `D` its own digest field.
pub fn any(data: &[u8]) {
    let [which, range, if_range, if_none_match, if_modified_since, digest] = fields(data);
    let which = usize::from(which.first().copied().unwrap_or_default());
    download_holds(which, range, if_range, if_none_match, if_modified_since);
    upload_holds(which, digest);
}

fn value(field: &[u8], tag: &str) -> Option<HeaderValue> {
    let text = match field {
        b"" => return None,
        b"E" => format!("\"{tag}\"").into_bytes(),
        _ => field.to_vec(),
    };
    HeaderValue::from_bytes(&text).ok()
}

/// A download answers what the headers select, as they are read here once more.
pub fn download_holds(which: usize, range: &[u8], if_range: &[u8], if_none_match: &[u8], since: &[u8]) {
    let fixture = fixture();
    let (path, bytes, tag) = &fixture.artifacts[which % SIZES.len()];
    let fields = [
        ("range", range),
        ("if-range", if_range),
        ("if-none-match", if_none_match),
        ("if-modified-since", since),
    ];
    let values = fields.map(|(name, field)| (name, value(field, tag)));
    let sent: Vec<_> = values.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?))).collect();
    let answered = fixture.send("GET", path, &sent, Bytes::new());
    let [range, if_range, if_none_match, since] =
        values.each_ref().map(|(_, value)| value.as_ref().map(|value| value.to_str().unwrap_or_default()));

    let own = format!("\"{tag}\"");
    if answered.status < 400 {
        assert_eq!(answered.header("etag"), own);
    }
    if answered.status == 304 {
        assert!(answered.body.is_empty());
        match (if_none_match, since) {
            (Some(list), _) => assert!(list.trim() == "*" || list.contains(&own), "{list:?} matches"),
            (None, Some(date)) => assert!(httpdate::parse_http_date(date).is_ok(), "{date:?} is no date"),
            (None, None) => panic!("not modified since nothing"),
        }
        return;
    }
    assert!(
        if_none_match.is_none_or(|list| list.trim() != "*" && list != own),
        "{if_none_match:?} is passed over"
    );

    // What is not plainly the same version gets the whole.
    let same = if_range.is_none_or(|condition| condition.trim() == own);
    let dated = if_range.is_some_and(|condition| httpdate::parse_http_date(condition).is_ok());
    let selected = if same {
        range.map_or(Selected::Whole, |range| select(range, bytes.len()))
    } else {
        Selected::Whole
    };
    if dated && answered.status != 200 {
        return;
    }
    match selected {
        Selected::Whole => {
            assert_eq!((answered.status, &answered.body), (200, bytes), "{range:?} {if_range:?}");
            assert_eq!(answered.header("content-range"), "");
        }
        Selected::Nothing => {
            assert_eq!(answered.status, 416, "{range:?}");
            assert_eq!(answered.header("content-range"), format!("bytes */{}", bytes.len()));
        }
        Selected::Part(first, last) => {
            assert_eq!(answered.status, 206, "{range:?}");
            assert_eq!(answered.body, bytes[first..=last], "{range:?}");
            let said = format!("bytes {first}-{last}/{}", bytes.len());
            assert_eq!(answered.header("content-range"), said, "{range:?}");
            assert_eq!(answered.header("content-length"), (last - first + 1).to_string());
        }
    }
}

/// What a range selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Selected {
    Whole,
    Nothing,
    Part(usize, usize),
}

/// `Range` by the grammar of RFC 9110, one range alone.
fn select(range: &str, size: usize) -> Selected {
    let Some((unit, set)) = range.split_once('=') else { return Selected::Whole };
    let set = set.trim_matches([' ', '\t']);
    let known = unit.trim().eq_ignore_ascii_case("bytes");
    if !known || !set.bytes().all(|b| b.is_ascii_digit() || b == b'-') || set.matches('-').count() != 1 {
        return Selected::Whole;
    }
    let number = |digits: &str| {
        // A number past 64 bits is as good as the largest.
        let (digits, most) = (digits.trim_start_matches('0'), u128::from(u64::MAX));
        if digits.len() > 20 { most } else { digits.parse().unwrap_or(0).min(most) }
    };
    let (first, last) = set.split_once('-').unwrap();
    let total = size as u128;
    let (from, to) = match (first.is_empty(), last.is_empty()) {
        (true, true) => return Selected::Whole,
        (true, false) if number(last) > 0 && size == 0 => return Selected::Whole,
        (true, false) => (total - number(last).min(total), total),
        (false, true) => (number(first), total),
        (false, false) if number(last) < number(first) => return Selected::Whole,
        (false, false) => (number(first), number(last).saturating_add(1).min(total)),
    };
    if from >= to {
        return Selected::Nothing;
    }
    Selected::Part(usize::try_from(from).unwrap(), usize::try_from(to - 1).unwrap())
}

/// An upload with a digest is taken only where the digest is that of the bytes.
pub fn upload_holds(which: usize, digest: &[u8]) {
    let fixture = fixture();
    let (_, bytes, hex) = &fixture.artifacts[which % SIZES.len()];
    let raw = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
    let own = format!("sha-256=:{}:", BASE64.encode(&raw));
    let field = if digest == b"D" { own.as_bytes() } else { digest };
    let Ok(value) = HeaderValue::from_bytes(field) else { return };
    let answered = fixture.send("PUT", "/v1/artifacts", &[("content-digest", &value)], bytes.clone());
    let text = value.to_str().unwrap_or_default();
    match answered.status {
        200 => {
            // Of a key that stands twice the last counts, and other algorithms are passed over.
            let Some(at) = text.rfind("sha-256=:") else { return };
            let before = text[..at].trim_end_matches([' ', '\t']);
            // A parameter's text in quotes may look like a member.
            if (before.is_empty() || before.ends_with(',')) && !before.contains('"') {
                let digits = text[at + 9..].split(':').next().unwrap().trim_end_matches('=');
                let same = &own[9..own.len() - 2];
                assert_eq!(digits.len(), same.len(), "{text:?} is taken");
                // The last digit holds two bits that nobody looks at.
                assert_eq!(digits[..42], same[..42], "{text:?} is taken");
            }
        }
        400 => assert_ne!(text, own, "the right digest is refused"),
        status => panic!("{status} for {text:?}"),
    }
}
