//! Tests of the whole router, without connections.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use artifact_store_resolver::{Resolver, ResolverOptions};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderMap, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{Request, StatusCode};
use axum::routing::get;
use serde_json::Value;
use tower::ServiceExt as _;

use super::{ConnectionContext, HttpService, response, router};
use crate::app::App;
use crate::routes::ROUTES;
use crate::settings::{EventStreamSettings, ServerSettings};
use artifact_store_identity::keys::{Minter, TokenClaims, generate};
use artifact_store_identity::{Rules, Verifier};

/// The largest response that these tests read, in bytes.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

struct Fixture {
    app: Arc<App>,
    service: HttpService,
    token: String,
}

struct TestResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl TestResponse {
    /// Returns the code of an error response. Checks that the response is a complete envelope that is not cached.
    fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        let members: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["code", "message"]);
        assert_eq!(self.headers[CONTENT_TYPE], "application/json");
        assert_eq!(self.headers["cache-control"], "no-store");
        body["code"].as_str().unwrap().to_owned()
    }
}

impl Fixture {
    async fn new(origins: &[&str]) -> Self {
        let store = artifact_store::open(&"inmem:".parse().unwrap()).await.unwrap();
        let minter = Minter::from_pem(generate().unwrap().reveal(), None).unwrap();
        let claims = TokenClaims {
            tenant: "t".into(),
            user: "u".into(),
            session: Some("s".into()),
            ..TokenClaims::default()
        };
        let token = minter.mint(&claims, Duration::from_mins(5)).unwrap();
        let verifier = Verifier::from_jwks(&minter.jwks(), Rules::default()).unwrap();
        let settings = ServerSettings {
            bind_addr: ([127, 0, 0, 1], 0).into(),
            shutdown_grace_period: Duration::from_secs(1),
            allowed_origins: origins.iter().map(ToString::to_string).collect(),
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
        let service = HttpService::new(&app, &settings);
        Self { app, service, token }
    }

    async fn send(&self, verb: &str, path: &str, headers: &[(&str, &str)]) -> TestResponse {
        let mut request = Request::builder().method(verb).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let (head, body) = self.service.respond(request, ConnectionContext::default()).await.into_parts();
        // An event stream does not end, so its body is not read.
        let is_event_stream = head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
        let body = if is_event_stream {
            Bytes::new()
        } else {
            to_bytes(Body::new(body), MAX_RESPONSE_BYTES).await.unwrap()
        };
        TestResponse { status: head.status, headers: head.headers, body }
    }

    async fn send_verified(&self, verb: &str, path: &str) -> TestResponse {
        self.send(verb, path, &[(AUTHORIZATION.as_str(), &format!("Bearer {}", self.token))]).await
    }
}

/// Replaces the names in braces in the path of a route by legal values.
fn example(path: &str) -> String {
    path.replace("{method}", "runtime.info").replace("{id}", "default_00000000000000000000000000000000")
}

#[tokio::test]
async fn every_route_that_needs_a_token_refuses_without_one_and_the_others_respond() {
    let fixture = Fixture::new(&[]).await;
    for route in ROUTES {
        for verb in route.verbs.iter().filter(|verb| **verb != "HEAD") {
            let response = fixture.send(verb, &example(route.path), &[]).await;
            if route.token {
                assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{verb} {}", route.path);
                assert_eq!(response.code(), "identity_required");
                assert_eq!(response.headers[WWW_AUTHENTICATE], "Bearer");
            } else {
                assert_eq!(response.status, StatusCode::OK, "{verb} {}", route.path);
            }
        }
    }
}

#[tokio::test]
async fn every_other_verb_of_a_route_is_unknown_and_the_allowed_ones_are_named() {
    let fixture = Fixture::new(&[]).await;
    for route in ROUTES {
        for verb in ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            if !route.verbs.contains(&verb) {
                let response = fixture.send(verb, &example(route.path), &[]).await;
                assert_eq!(response.status, StatusCode::NOT_FOUND, "{verb} {}", route.path);
                assert_eq!(response.code(), "unknown_method");
                assert_eq!(response.headers[ALLOW], route.verbs.join(", "));
            }
        }
    }
}

#[tokio::test]
async fn a_path_without_a_route_is_unknown_even_without_a_token() {
    let fixture = Fixture::new(&[]).await;
    for path in ["/v1", "/v1/control/", "/v1/control/a/b", "/v1/artifacts/", "/v1/artifacts/a/b", "/%ff"] {
        let response = fixture.send("GET", path, &[]).await;
        assert_eq!(
            (response.status, response.code().as_str()),
            (StatusCode::NOT_FOUND, "unknown_method"),
            "{path}"
        );
        assert!(!response.headers.contains_key(ALLOW), "{path}");
    }
}

#[tokio::test]
async fn the_root_describes_the_server_and_belongs_to_the_application_that_mounts_the_router() {
    let fixture = Fixture::new(&[]).await;
    let body: Value = serde_json::from_slice(&fixture.send("GET", "/", &[]).await.body).unwrap();
    assert_eq!(body["openapi"], "openapi.json");
    let mounted = Router::new()
        .route("/", get(async || "my runtime"))
        .merge(router(&fixture.app, &ServerSettings::default()));
    let response = mounted.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(to_bytes(response.into_body(), 100).await.unwrap(), "my runtime");
}

#[tokio::test]
async fn json_ends_with_a_line_feed_that_the_length_counts() {
    let fixture = Fixture::new(&[]).await;
    for (verb, path) in [
        ("GET", "/"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/openapi.json"),
        ("GET", "/nowhere"),
        ("DELETE", "/healthz"),
        ("POST", "/v1/control/runtime.info"),
        ("POST", "/v1/control/nothing"),
        ("PUT", "/v1/artifacts"),
    ] {
        let response = fixture.send_verified(verb, path).await;
        assert!(response.body.ends_with(b"}\n"), "{verb} {path}: {:?}", response.body);
        if let Some(length) = response.headers.get("content-length") {
            assert_eq!(length.to_str().unwrap(), response.body.len().to_string(), "{verb} {path}");
        }
    }
}

#[tokio::test]
async fn the_message_for_a_wrong_path_verb_or_method_names_the_right_one() {
    let fixture = Fixture::new(&[]).await;
    for (verb, path, right) in [
        (
            "GET",
            "/v1/artifacts",
            "this path takes PUT, not this verb; a listing is POST /v1/control/artifacts.list",
        ),
        (
            "DELETE",
            "/v1/artifacts/x",
            "takes GET or HEAD, not this verb; to delete, POST /v1/control/artifacts.delete",
        ),
        ("GET", "/v1/control/runtime.info", "this path takes POST"),
        ("GET", "/artifacts", "it serves POST /v1/control/{method}, GET /v1/events, PUT /v1/artifacts"),
        ("POST", "/v1/control/artifact.put", "it serves artifacts.put, artifacts.get"),
    ] {
        let response = fixture.send_verified(verb, path).await;
        assert_eq!(response.code(), "unknown_method", "{verb} {path}");
        let body = String::from_utf8_lossy(&response.body).into_owned();
        assert!(body.contains(right), "{verb} {path}: {body}");
    }
}

#[tokio::test]
async fn every_route_refuses_a_query_parameter_that_is_not_declared() {
    let fixture = Fixture::new(&[]).await;
    for route in ROUTES {
        let path = format!("{}?colour=red", example(route.path));
        let response = fixture.send_verified(route.verbs[0], &path).await;
        assert_eq!(response.code(), "invalid_request", "{}", route.path);
        assert!(String::from_utf8_lossy(&response.body).contains("`colour`"));
    }
}

#[tokio::test]
async fn an_id_or_method_that_is_not_utf_8_is_not_found() {
    let fixture = Fixture::new(&[]).await;
    assert_eq!(fixture.send_verified("GET", "/v1/artifacts/%ff").await.code(), "not_found");
    assert_eq!(fixture.send_verified("GET", "/v1/artifacts/%zz").await.code(), "not_found");
    assert_eq!(fixture.send_verified("POST", "/v1/control/%ff").await.code(), "unknown_method");
    assert_eq!(fixture.send("POST", "/v1/control/%ff", &[]).await.code(), "identity_required");
}

#[tokio::test]
async fn every_response_has_its_own_id_and_forbids_sniffing() {
    let fixture = Fixture::new(&["https://console.example"]).await;
    let mut ids = HashSet::new();
    for (verb, path) in [
        ("GET", "/healthz"),
        ("HEAD", "/healthz"),
        ("GET", "/nowhere"),
        ("DELETE", "/healthz"),
        ("OPTIONS", "/v1/artifacts"),
        ("GET", "/v1/events"),
        ("POST", "/v1/control/runtime.info"),
    ] {
        let response = fixture.send_verified(verb, path).await;
        assert_eq!(response.headers["x-content-type-options"], "nosniff", "{verb} {path}");
        let id = response.headers["x-request-id"].to_str().unwrap().to_owned();
        assert_eq!(id.len(), 32, "{id}");
        assert!(ids.insert(id), "{verb} {path}");
    }
}

#[tokio::test]
async fn a_well_formed_request_id_is_kept_and_any_other_is_replaced() {
    let fixture = Fixture::new(&[]).await;
    let longest = "x".repeat(128);
    for id in ["a", "0af7651916cd43dd8448eb211c80319c", "Root=1-67891233-abcdef;x/y+z~", &longest] {
        let response = fixture.send("GET", "/healthz", &[("x-request-id", id)]).await;
        assert_eq!(response.headers["x-request-id"], id);
    }
    // Any other id is replaced by a random id, which has 32 hex digits.
    let too_long = "x".repeat(129);
    for id in ["", "a b", "a\tb", "\"a\"", "it's", "\u{e9}", &too_long] {
        let response = fixture.send("GET", "/healthz", &[("x-request-id", id)]).await;
        assert_eq!(response.headers["x-request-id"].len(), 32, "{id}");
    }
    let twice = fixture.send("GET", "/healthz", &[("x-request-id", "a"), ("x-request-id", "b")]).await;
    assert_eq!(twice.headers["x-request-id"].len(), 32);
}

#[tokio::test]
async fn only_the_configured_origins_may_read_responses() {
    let fixture = Fixture::new(&["https://console.example"]).await;
    let allowed = async |origin: &str| {
        let response = fixture.send("GET", "/nowhere", &[(ORIGIN.as_str(), origin)]).await;
        response.headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(allowed("https://console.example").await.as_deref(), Some("https://console.example"));
    for other in
        ["https://console.example.evil", "http://console.example", "null", "https://console.example:8443"]
    {
        assert_eq!(allowed(other).await, None, "{other}");
    }
}

#[tokio::test]
async fn without_origins_there_is_no_cors() {
    let fixture = Fixture::new(&[]).await;
    let response = fixture.send("GET", "/healthz", &[(ORIGIN.as_str(), "https://console.example")]).await;
    assert!(response.headers.keys().all(|name| !name.as_str().starts_with("access-control")));
}

#[tokio::test]
async fn a_runtime_that_shuts_down_is_alive_and_not_ready() {
    let fixture = Fixture::new(&[]).await;
    fixture.app.is_shutting_down.store(true, Ordering::Release);
    assert_eq!(fixture.send("GET", "/healthz", &[]).await.status, StatusCode::OK);
    let ready = fixture.send("GET", "/readyz", &[]).await;
    assert_eq!((ready.status.as_u16(), ready.code().as_str()), (500, "runtime_error"));
}

#[tokio::test]
async fn a_closed_bus_refuses_streams_with_a_retry_time() {
    let fixture = Fixture::new(&[]).await;
    fixture.app.resolver.close_events().await;
    let response = fixture.send_verified("GET", "/v1/events").await;
    assert_eq!((response.status.as_u16(), response.code().as_str()), (503, "runtime_error"));
    assert!(response.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_request_counts_as_in_flight_until_its_response_has_ended_and_a_stream_does_not() {
    let fixture = Fixture::new(&[]).await;
    let count = || fixture.app.in_flight.get();
    let request = |path: &str| {
        let request = Request::builder().uri(path).header(AUTHORIZATION, format!("Bearer {}", fixture.token));
        fixture.service.respond(request.body(Body::empty()).unwrap(), ConnectionContext::default())
    };
    let alive = request("/healthz").await;
    assert_eq!(count(), 1);
    drop(alive);
    assert_eq!(count(), 0);
    let stream = request("/v1/events").await;
    assert_eq!((stream.status(), count()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn a_panic_becomes_an_error_response_without_its_message() {
    async fn panics() -> StatusCode {
        panic!("secret")
    }
    let router: Router = Router::new().route("/", get(panics)).layer(response::catch_panic());
    let (head, body) = router.oneshot(Request::new(Body::empty())).await.unwrap().into_parts();
    let body = to_bytes(body, MAX_RESPONSE_BYTES).await.unwrap();
    let response = TestResponse { status: head.status, headers: head.headers, body };
    assert_eq!((response.status.as_u16(), response.code().as_str()), (500, "runtime_error"));
    assert!(!String::from_utf8_lossy(&response.body).contains("secret"));
}
