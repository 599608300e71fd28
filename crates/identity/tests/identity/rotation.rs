//! Rotated keys and failing providers: which tokens are accepted, and how often the provider is asked.

use std::time::{Duration, Instant};

use artifact_store_identity::{Algorithm, JwksUrl, OpenError, Verifier};
use artifact_store_protocol::Code;
use artifact_store_resolver::{Caller, Refusal};
use futures_util::future::join_all;
use serde_json::json;

use crate::common::{Signer, headers, identify, jwk_set};
use crate::provider::{Behavior, Provider};

/// An interval between fetches. A few requests fit in it, and a test can wait for its end.
const SHORT: Duration = Duration::from_millis(300);

/// A key and its key id.
struct NamedKey(Signer, &'static str);

impl NamedKey {
    fn new(kid: &'static str) -> Self {
        Self(Signer::new(Algorithm::Es256), kid)
    }

    fn token(&self) -> String {
        self.0.token(&json!({ "kid": self.1 }), &json!({}))
    }
}

/// The JWK set of these keys.
fn key_set(keys: &[&NamedKey]) -> String {
    jwk_set(&keys.iter().map(|NamedKey(key, kid)| key.jwk(&json!({ "kid": kid }))).collect::<Vec<_>>())
}

async fn identify_or_refresh(verifier: &Verifier, token: &str) -> Result<Caller, Refusal> {
    verifier.identify_or_refresh(&headers(&[("authorization", &format!("Bearer {token}"))]), None).await
}

#[track_caller]
fn assert_rejected(outcome: Result<Caller, Refusal>, expected: &str) {
    let refusal = outcome.expect_err("the token was accepted");
    assert_eq!(refusal.code(), Code::AuthRejected, "{refusal}");
    assert!(refusal.envelope().message.contains(expected), "{refusal}");
}

/// Waits until the condition is true, at most 20 s.
async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}: not within 20 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_new_key_is_accepted_after_one_fetch_and_a_withdrawn_one_is_rejected_even_for_cached_tokens() {
    let (a, b, c) = (NamedKey::new("a"), NamedKey::new("b"), NamedKey::new("c"));
    let provider = Provider::new(Behavior::Serve(key_set(&[&a])));
    let verifier = provider.verifier(SHORT).await.unwrap();
    let (token_a, token_b) = (a.token(), b.token());
    for _ in 0..3 {
        identify_or_refresh(&verifier, &token_a).await.unwrap();
    }
    assert_rejected(identify_or_refresh(&verifier, &token_b).await, "(kid) is not known");
    provider.set_behavior(Behavior::Serve(key_set(&[&a, &b])));
    tokio::time::sleep(SHORT).await;
    let before = provider.request_count();
    identify_or_refresh(&verifier, &token_b).await.unwrap();
    identify_or_refresh(&verifier, &token_a).await.unwrap();
    assert_eq!(provider.request_count(), before + 1);
    provider.set_behavior(Behavior::Serve(key_set(&[&b, &c])));
    tokio::time::sleep(SHORT).await;
    identify_or_refresh(&verifier, &c.token()).await.unwrap();
    assert_eq!(provider.request_count(), before + 2);
    assert_rejected(identify(&verifier, &token_a), "(kid) is not known");
    identify_or_refresh(&verifier, &token_b).await.unwrap();
}

#[tokio::test]
async fn tokens_of_a_key_that_is_replaced_under_the_same_id_are_rejected() {
    let (old, new) = (NamedKey::new("a"), NamedKey::new("a"));
    let provider = Provider::new(Behavior::Serve(key_set(&[&old])));
    let verifier = Verifier::open(&provider.settings(SHORT, SHORT)).await.unwrap();
    let (token_old, token_new) = (old.token(), new.token());
    identify(&verifier, &token_old).unwrap();
    assert_rejected(identify(&verifier, &token_new), "signature is not valid");
    provider.set_behavior(Behavior::Serve(key_set(&[&new])));
    wait_until("the new key", || identify(&verifier, &token_new).is_ok()).await;
    assert_rejected(identify(&verifier, &token_old), "signature is not valid");
}

#[tokio::test]
async fn a_cached_token_without_a_key_id_is_verified_against_the_current_keys() {
    let (a, b) = (NamedKey::new("a"), NamedKey::new("b"));
    let provider = Provider::new(Behavior::Serve(key_set(&[&a])));
    let verifier = provider.verifier(SHORT).await.unwrap();
    let without_kid = a.0.token(&json!({ "kid": null }), &json!({}));
    identify_or_refresh(&verifier, &without_kid).await.unwrap();
    provider.set_behavior(Behavior::Serve(key_set(&[&a, &b])));
    tokio::time::sleep(SHORT).await;
    identify_or_refresh(&verifier, &b.token()).await.unwrap();
    assert_rejected(identify_or_refresh(&verifier, &without_kid).await, "several keys could be meant");
}

#[tokio::test]
async fn fifty_requests_with_an_unknown_key_make_one_fetch_and_all_are_accepted() {
    let (a, b) = (NamedKey::new("a"), NamedKey::new("b"));
    let provider = Provider::new(Behavior::Serve(key_set(&[&a])));
    let verifier = provider.verifier(SHORT).await.unwrap();
    provider.set_behavior(Behavior::ServeAfter(SHORT, key_set(&[&b])));
    tokio::time::sleep(SHORT).await;
    let token = b.token();
    for outcome in join_all((0..50).map(|_| identify_or_refresh(&verifier, &token))).await {
        outcome.unwrap();
    }
    assert_eq!(provider.request_count(), 2);
}

#[tokio::test]
async fn tokens_of_unknown_keys_cannot_cause_many_fetches() {
    let (a, unknown_signer) = (NamedKey::new("a"), Signer::new(Algorithm::Es256));
    let provider = Provider::new(Behavior::Serve(key_set(&[&a])));
    let started = Instant::now();
    let verifier = provider.verifier(SHORT).await.unwrap();
    let mut sent = 0;
    while started.elapsed() < 4 * SHORT {
        let token = unknown_signer.token(&json!({ "kid": format!("made up {sent}") }), &json!({}));
        assert_rejected(identify_or_refresh(&verifier, &token).await, "(kid) is not known");
        identify_or_refresh(&verifier, &a.token()).await.unwrap();
        sent += 1;
    }
    let limit = started.elapsed().as_millis() / SHORT.as_millis() + 1;
    let fetches = provider.request_count();
    assert!(
        fetches >= 2 && fetches as u128 <= limit,
        "{fetches} fetches for {sent} tokens, and the limit is {limit}"
    );
    assert!(sent > 2 * fetches, "{sent} tokens are too few to prove anything: {fetches} fetches");
}

#[tokio::test]
async fn a_shorter_max_age_of_the_provider_shortens_the_interval() {
    let (a, b) = (NamedKey::new("a"), NamedKey::new("b"));
    let provider =
        Provider::new(Behavior::ServeWithHeaders("Cache-Control: public, max-age=0\r\n", key_set(&[&a])));
    let verifier = provider.verifier(SHORT).await.unwrap();
    provider.set_behavior(Behavior::Serve(key_set(&[&b])));
    let token_b = b.token();
    wait_until("the shorter interval", || identify(&verifier, &token_b).is_ok()).await;
    // The provider no longer sends max-age, so the configured interval of one hour applies.
    let fetches = provider.request_count();
    tokio::time::sleep(2 * SHORT).await;
    assert_eq!(provider.request_count(), fetches);
}

#[tokio::test]
async fn a_failing_provider_leaves_the_last_good_keys_and_its_new_keys_are_accepted_when_it_recovers() {
    let (a, b, redirect_target) = (
        NamedKey::new("a"),
        NamedKey::new("b"),
        Provider::new(Behavior::Serve(key_set(&[&NamedKey::new("b")]))),
    );
    let mut private = b.0.jwk(&json!({ "kid": "b" }));
    private["d"] = json!("AA");
    for behavior in [
        Behavior::Status(500),
        Behavior::Status(404),
        Behavior::Status(204),
        Behavior::Redirect(redirect_target.url()),
        Behavior::Serve("<html>".into()),
        Behavior::Serve(String::new()),
        Behavior::Serve(jwk_set(&[])),
        Behavior::Serve(jwk_set(&[private])),
        Behavior::Serve(format!("{}{}", key_set(&[&b]), " ".repeat(2 << 20))),
        Behavior::EndlessBody,
        Behavior::TruncatedBody(key_set(&[&b])),
        Behavior::ServeWithHeaders("Content-Encoding: gzip\r\n", "\u{1f}\u{8b}".into()),
        Behavior::CloseConnection,
    ] {
        let interval = Duration::from_millis(50);
        let provider = Provider::new(Behavior::Serve(key_set(&[&a])));
        let verifier = provider.verifier(interval).await.unwrap();
        let (token_a, token_b) = (a.token(), b.token());
        provider.set_behavior(behavior.clone());
        tokio::time::sleep(interval).await;
        let before = provider.request_count();
        assert_rejected(identify_or_refresh(&verifier, &token_b).await, "(kid) is not known");
        assert!(provider.request_count() > before, "{behavior:?}");
        identify_or_refresh(&verifier, &token_a).await.unwrap();
        identify_or_refresh(&verifier, &a.token()).await.unwrap();
        provider.set_behavior(Behavior::Serve(key_set(&[&b])));
        tokio::time::sleep(interval).await;
        // An attempt that was already running may still fail, so the first request is not enough.
        wait_until("the fresh keys", || identify(&verifier, &token_b).is_ok()).await;
        assert_rejected(identify_or_refresh(&verifier, &token_a).await, "(kid) is not known");
    }
    assert_eq!(redirect_target.request_count(), 0, "a redirect was followed");
}

#[tokio::test]
async fn a_provider_that_hangs_delays_no_token_of_a_known_key() {
    let (a, b) = (NamedKey::new("a"), NamedKey::new("b"));
    let provider = Provider::new(Behavior::Serve(key_set(&[&a])));
    let verifier = provider.verifier(SHORT).await.unwrap();
    provider.set_behavior(Behavior::Hang);
    tokio::time::sleep(SHORT).await;
    let (token_a, token_b) = (a.token(), b.token());
    let waiting = identify_or_refresh(&verifier, &token_b);
    tokio::pin!(waiting);
    assert!(
        tokio::time::timeout(SHORT, &mut waiting).await.is_err(),
        "the request did not wait for the fetch"
    );
    for _ in 0..3 {
        identify_or_refresh(&verifier, &token_a).await.unwrap();
    }
    assert_rejected(waiting.await, "(kid) is not known");
    assert_eq!(provider.request_count(), 2);
}

#[tokio::test]
async fn a_verifier_without_keys_does_not_open_and_the_error_says_why() {
    let a = NamedKey::new("a");
    for (behavior, expected) in [
        (Behavior::Status(500), "answered 500"),
        (Behavior::Redirect("http://127.0.0.1:1/".into()), "answered 302, and redirects are not followed"),
        (Behavior::Serve("<html>hunter2".into()), "is not a JWK set ({\"keys\": […]}), line 1"),
        (Behavior::Serve(jwk_set(&[])), "holds no key that verifies any of"),
        (Behavior::Serve(" ".repeat(2 << 20)), "answered with more than 1 MiB"),
        (Behavior::EndlessBody, "answered with more than 1 MiB"),
        (Behavior::TruncatedBody(key_set(&[&a])), "sent no complete response"),
        (Behavior::CloseConnection, "sent no complete response"),
        (Behavior::Hang, "did not answer within 5 s"),
    ] {
        let provider = Provider::new(behavior.clone());
        let error = provider.verifier(SHORT).await.expect_err("the verifier opened");
        assert!(matches!(error, OpenError::Provider(_)), "{behavior:?}: {error:?}");
        let (url, message) = (provider.url(), error.to_string());
        let shown = url.split('?').next().unwrap();
        assert!(
            message.starts_with(&format!("identity.jwks_url: {shown} {expected}")),
            "{behavior:?}: {message}"
        );
        assert!(message.ends_with("; a server without keys does not start"), "{behavior:?}: {message}");
        assert!(!message.contains("version=1") && !message.contains("hunter2"), "{behavior:?}: {message}");
    }
    let closed_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut settings = Provider::new(Behavior::Hang).settings(SHORT, SHORT);
    settings.jwks_url = Some(JwksUrl::parse(&format!("http://{closed_port}/")).unwrap());
    let message = Verifier::open(&settings).await.unwrap_err().to_string();
    assert!(message.contains("cannot be reached: "), "{message}");
}

#[tokio::test]
async fn a_dropped_verifier_asks_no_provider() {
    let a = NamedKey::new("a");
    let provider = Provider::new(Behavior::Serve(key_set(&[&a])));
    let interval = Duration::from_millis(50);
    let verifier = Verifier::open(&provider.settings(interval, interval)).await.unwrap();
    wait_until("the interval", || provider.request_count() > 2).await;
    drop(verifier);
    tokio::time::sleep(interval).await;
    let fetches = provider.request_count();
    tokio::time::sleep(6 * interval).await;
    assert_eq!(provider.request_count(), fetches);
}
