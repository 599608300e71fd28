//! Keys of a provider that come and go, and a provider that fails: who is let in meanwhile, and how often it is asked.

use std::time::{Duration, Instant};

use artifact_store_protocol::Code;
use artifact_store_resolver::{Caller, Refusal};
use artifactd::identity::{Algorithm, JwksUrl, NoKeys, Verifier};
use futures_util::future::join_all;
use serde_json::json;

use crate::kit::{Signer, headers, identify, set};
use crate::provider::{Does, Provider};

/// Short enough for a test to wait for, long enough for it to act within.
const SHORT: Duration = Duration::from_millis(300);

/// A key and the name that it goes by.
struct Named(Signer, &'static str);

impl Named {
    fn new(kid: &'static str) -> Self {
        Self(Signer::new(Algorithm::Es256), kid)
    }

    fn token(&self) -> String {
        self.0.token(&json!({ "kid": self.1 }), &json!({}))
    }
}

/// The set of these keys.
fn of(keys: &[&Named]) -> String {
    set(&keys.iter().map(|Named(key, kid)| key.jwk(&json!({ "kid": kid }))).collect::<Vec<_>>())
}

async fn ask(verifier: &Verifier, token: &str) -> Result<Caller, Refusal> {
    verifier.identify_or_refresh(&headers(&[("authorization", &format!("Bearer {token}"))]), None).await
}

#[track_caller]
fn rejected(outcome: Result<Caller, Refusal>, says: &str) {
    let refusal = outcome.expect_err("it was accepted");
    assert_eq!(refusal.code(), Code::AuthRejected, "{refusal}");
    assert!(refusal.envelope().message.contains(says), "{refusal}");
}

/// Waits until `what` is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}: not within 20 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_new_key_counts_after_one_fetch_and_a_withdrawn_one_no_more_even_for_tokens_that_are_known() {
    let (a, b, c) = (Named::new("a"), Named::new("b"), Named::new("c"));
    let provider = Provider::new(Does::Gives(of(&[&a])));
    let verifier = provider.verifier(SHORT).await.unwrap();
    let (of_a, of_b) = (a.token(), b.token());
    for _ in 0..3 {
        ask(&verifier, &of_a).await.unwrap();
    }
    rejected(ask(&verifier, &of_b).await, "(kid) is not known");
    provider.now(Does::Gives(of(&[&a, &b])));
    tokio::time::sleep(SHORT).await;
    let before = provider.asked();
    ask(&verifier, &of_b).await.unwrap();
    ask(&verifier, &of_a).await.unwrap();
    assert_eq!(provider.asked(), before + 1);
    provider.now(Does::Gives(of(&[&b, &c])));
    tokio::time::sleep(SHORT).await;
    ask(&verifier, &c.token()).await.unwrap();
    assert_eq!(provider.asked(), before + 2);
    rejected(identify(&verifier, &of_a), "(kid) is not known");
    ask(&verifier, &of_b).await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_replaced_under_its_name_ends_its_tokens() {
    let (old, new) = (Named::new("a"), Named::new("a"));
    let provider = Provider::new(Does::Gives(of(&[&old])));
    let verifier = Verifier::open(&provider.settings(SHORT, SHORT)).await.unwrap();
    let (of_old, of_new) = (old.token(), new.token());
    identify(&verifier, &of_old).unwrap();
    rejected(identify(&verifier, &of_new), "signature is not valid");
    provider.now(Does::Gives(of(&[&new])));
    until("the new key", || identify(&verifier, &of_new).is_ok()).await;
    rejected(identify(&verifier, &of_old), "signature is not valid");
}

#[tokio::test]
async fn a_token_that_names_no_key_is_judged_by_the_keys_of_the_moment_though_it_is_known() {
    let (a, b) = (Named::new("a"), Named::new("b"));
    let provider = Provider::new(Does::Gives(of(&[&a])));
    let verifier = provider.verifier(SHORT).await.unwrap();
    let nameless = a.0.token(&json!({ "kid": null }), &json!({}));
    ask(&verifier, &nameless).await.unwrap();
    provider.now(Does::Gives(of(&[&a, &b])));
    tokio::time::sleep(SHORT).await;
    ask(&verifier, &b.token()).await.unwrap();
    rejected(ask(&verifier, &nameless).await, "several keys could be meant");
}

#[tokio::test]
async fn fifty_requests_with_an_unknown_key_make_one_fetch_and_all_get_in() {
    let (a, b) = (Named::new("a"), Named::new("b"));
    let provider = Provider::new(Does::Gives(of(&[&a])));
    let verifier = provider.verifier(SHORT).await.unwrap();
    provider.now(Does::GivesAfter(SHORT, of(&[&b])));
    tokio::time::sleep(SHORT).await;
    let token = b.token();
    for outcome in join_all((0..50).map(|_| ask(&verifier, &token))).await {
        outcome.unwrap();
    }
    assert_eq!(provider.asked(), 2);
}

#[tokio::test]
async fn tokens_of_made_up_keys_cannot_hammer_the_provider() {
    let (a, stranger) = (Named::new("a"), Signer::new(Algorithm::Es256));
    let provider = Provider::new(Does::Gives(of(&[&a])));
    let begun = Instant::now();
    let verifier = provider.verifier(SHORT).await.unwrap();
    let mut sent = 0;
    while begun.elapsed() < 4 * SHORT {
        let token = stranger.token(&json!({ "kid": format!("made up {sent}") }), &json!({}));
        rejected(ask(&verifier, &token).await, "(kid) is not known");
        ask(&verifier, &a.token()).await.unwrap();
        sent += 1;
    }
    let most = begun.elapsed().as_millis() / SHORT.as_millis() + 1;
    let asked = provider.asked();
    assert!(asked >= 2 && asked as u128 <= most, "{asked} fetches for {sent} tokens, and {most} are fair");
    assert!(sent > 2 * asked, "{asked} fetches for {sent} tokens show nothing");
}

#[tokio::test]
async fn a_provider_that_says_how_long_a_set_is_good_is_asked_then() {
    let (a, b) = (Named::new("a"), Named::new("b"));
    let provider = Provider::new(Does::GivesWith("Cache-Control: public, max-age=0\r\n", of(&[&a])));
    let verifier = provider.verifier(SHORT).await.unwrap();
    provider.now(Does::Gives(of(&[&b])));
    let of_b = b.token();
    until("the shorter interval", || identify(&verifier, &of_b).is_ok()).await;
    // Now it says nothing, and the configured hour counts.
    let asked = provider.asked();
    tokio::time::sleep(2 * SHORT).await;
    assert_eq!(provider.asked(), asked);
}

#[tokio::test]
async fn whatever_a_provider_does_the_last_good_keys_stay_and_fresh_ones_count_when_it_is_back() {
    let (a, b, elsewhere) =
        (Named::new("a"), Named::new("b"), Provider::new(Does::Gives(of(&[&Named::new("b")]))));
    let mut private = b.0.jwk(&json!({ "kid": "b" }));
    private["d"] = json!("AA");
    for does in [
        Does::Fails(500),
        Does::Fails(404),
        Does::Fails(204),
        Does::Redirects(elsewhere.url()),
        Does::Gives("<html>".into()),
        Does::Gives(String::new()),
        Does::Gives(set(&[])),
        Does::Gives(set(&[private])),
        Does::Gives(format!("{}{}", of(&[&b]), " ".repeat(2 << 20))),
        Does::Floods,
        Does::Breaks(of(&[&b])),
        Does::GivesWith("Content-Encoding: gzip\r\n", "\u{1f}\u{8b}".into()),
        Does::Closes,
    ] {
        let short = Duration::from_millis(50);
        let provider = Provider::new(Does::Gives(of(&[&a])));
        let verifier = provider.verifier(short).await.unwrap();
        let (of_a, of_b) = (a.token(), b.token());
        provider.now(does.clone());
        tokio::time::sleep(short).await;
        let before = provider.asked();
        rejected(ask(&verifier, &of_b).await, "(kid) is not known");
        assert!(provider.asked() > before, "{does:?}");
        ask(&verifier, &of_a).await.unwrap();
        ask(&verifier, &a.token()).await.unwrap();
        provider.now(Does::Gives(of(&[&b])));
        tokio::time::sleep(short).await;
        // The attempt under way may still be one of those that fail.
        until("the fresh keys", || identify(&verifier, &of_b).is_ok()).await;
        rejected(ask(&verifier, &of_a).await, "(kid) is not known");
    }
    assert_eq!(elsewhere.asked(), 0, "a redirect was followed");
}

#[tokio::test]
async fn a_provider_that_hangs_holds_up_nobody_whose_key_is_known() {
    let (a, b) = (Named::new("a"), Named::new("b"));
    let provider = Provider::new(Does::Gives(of(&[&a])));
    let verifier = provider.verifier(SHORT).await.unwrap();
    provider.now(Does::Hangs);
    tokio::time::sleep(SHORT).await;
    let (of_a, of_b) = (a.token(), b.token());
    let waiting = ask(&verifier, &of_b);
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(SHORT, &mut waiting).await.is_err(), "it does not wait for the fetch");
    for _ in 0..3 {
        ask(&verifier, &of_a).await.unwrap();
    }
    rejected(waiting.await, "(kid) is not known");
    assert_eq!(provider.asked(), 2);
}

#[tokio::test]
async fn without_keys_there_is_no_verifier_and_a_sentence_says_why() {
    let a = Named::new("a");
    for (does, says) in [
        (Does::Fails(500), "answered 500"),
        (Does::Redirects("http://127.0.0.1:1/".into()), "answered 302, and redirects are not followed"),
        (Does::Gives("<html>hunter2".into()), "is no JWK set ({\"keys\": […]}), line 1"),
        (Does::Gives(set(&[])), "holds no key that verifies any of"),
        (Does::Gives(" ".repeat(2 << 20)), "answered more than 1 MiB"),
        (Does::Floods, "answered more than 1 MiB"),
        (Does::Breaks(of(&[&a])), "gave no whole answer"),
        (Does::Closes, "gave no whole answer"),
        (Does::Hangs, "did not answer within 5 s"),
    ] {
        let provider = Provider::new(does.clone());
        let error = provider.verifier(SHORT).await.expect_err("there are keys");
        assert!(matches!(error, NoKeys::Provider(_)), "{does:?}: {error:?}");
        let (url, said) = (provider.url(), error.to_string());
        let shown = url.split('?').next().unwrap();
        assert!(said.starts_with(&format!("identity.jwks_url: {shown} {says}")), "{does:?}: {said}");
        assert!(said.ends_with("; a server without keys does not start"), "{does:?}: {said}");
        assert!(!said.contains("version=1") && !said.contains("hunter2"), "{does:?}: {said}");
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut settings = Provider::new(Does::Hangs).settings(SHORT, SHORT);
    settings.jwks_url = Some(JwksUrl::parse(&format!("http://{nobody}/")).unwrap());
    let said = Verifier::open(&settings).await.unwrap_err().to_string();
    assert!(said.contains("cannot be reached: "), "{said}");
}

#[tokio::test]
async fn a_verifier_that_is_gone_asks_nobody() {
    let a = Named::new("a");
    let provider = Provider::new(Does::Gives(of(&[&a])));
    let short = Duration::from_millis(50);
    let verifier = Verifier::open(&provider.settings(short, short)).await.unwrap();
    until("the interval", || provider.asked() > 2).await;
    drop(verifier);
    tokio::time::sleep(short).await;
    let asked = provider.asked();
    tokio::time::sleep(6 * short).await;
    assert_eq!(provider.asked(), asked);
}
