//! Bearer tokens and the keys that verify them: a signed token is accepted exactly if every claim is valid, an
//! unsigned one never. A private key in a key set is never used.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use artifact_store_core::{Scope, ScopePart};
use artifact_store_identity::keys::{Minter, TokenClaims, generate};
use artifact_store_identity::{Rules, Verifier};
use artifact_store_protocol::Code;
use artifact_store_resolver::{Caller, Refusal};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use axum::http::{HeaderMap, HeaderValue};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::json::Members;
use crate::{assert_not_repeated, assert_one_line, split_field, split_fields, text, with_edits};

/// A secret that must never be printed.
pub const SECRET: &str = "hunter2-correct-horse";
/// The allowed clock skew in seconds.
const SKEW: f64 = 60.0;
/// Members that only a private or a symmetric key has.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

struct Fixture {
    verifier: Verifier,
    key: EcdsaKeyPair,
    kid: String,
    jwk: Value,
    token: String,
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let private = generate().unwrap();
        let minter = Minter::from_pem(private.reveal(), None).unwrap();
        let der = pem::parse(private.reveal()).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.contents()).unwrap();
        let (tenant, user, session) = ("t".into(), "u".into(), Some("s".into()));
        let claims = TokenClaims { tenant, user, session, ..TokenClaims::default() };
        let mut jwks: Value = serde_json::from_str(&minter.jwks()).unwrap();
        Fixture {
            verifier: Verifier::from_jwks(&minter.jwks(), Rules::default()).unwrap(),
            key,
            kid: minter.kid().to_owned(),
            jwk: jwks["keys"][0].take(),
            token: minter.mint(&claims, Duration::from_hours(24)).unwrap(),
        }
    })
}

/// Fields: `s`, the header (`E`: a valid one) and the claims of a token to sign; or `e` and edits of a token; or `k`
/// and a key set in which `@` is replaced by a secret; or `m` and members to set in a key; or a token as it is.
pub fn any(data: &[u8]) {
    let (kind, rest) = split_field(data);
    match kind {
        b"s" => {
            let [header, claims] = split_fields(rest);
            check_signed_token(header, claims);
        }
        b"e" => check_unsigned_token(&with_edits(&fixture().token, rest)),
        b"k" => check_key_set(&text(rest).replace('@', SECRET)),
        b"m" => check_overlaid_key(rest),
        _ => check_unsigned_token(&text(data)),
    }
}

fn identify(verifier: &Verifier, token: &str) -> Option<Result<Caller, Refusal>> {
    let value = HeaderValue::from_bytes(format!("Bearer {token}").as_bytes()).ok()?;
    let mut headers = HeaderMap::new();
    headers.insert("authorization", value);
    let known = verifier.identify(&headers, None);
    if let Err(refused) = &known {
        let envelope = refused.envelope();
        crate::assert_refusal(envelope, &[Code::AuthRejected, Code::IdentityRequired]);
        let part = token.split('.').max_by_key(|part| part.len()).unwrap_or_default();
        assert_not_repeated(&envelope.message, part);
    }
    Some(known)
}

/// An unsigned token is refused, and the genuine one is accepted.
pub fn check_unsigned_token(token: &str) {
    let fixture = fixture();
    let Some(known) = identify(&fixture.verifier, token) else { return };
    assert_eq!(known.is_ok(), token.trim_ascii() == fixture.token, "{token}");
}

/// A token with these claims and a valid signature is accepted exactly if the claims are valid, for the caller that
/// they name.
pub fn check_signed_token(header: &[u8], claims: &[u8]) {
    let fixture = fixture();
    let right = json!({"alg": "ES256", "kid": fixture.kid});
    let header = if header == b"E" { right.to_string().into_bytes() } else { header.to_vec() };
    let mut token = format!("{}.{}", BASE64URL_NOPAD.encode(&header), BASE64URL_NOPAD.encode(claims));
    let signature = fixture.key.sign(&SystemRandom::new(), token.as_bytes()).unwrap();
    token.push('.');
    token.push_str(&BASE64URL_NOPAD.encode(signature.as_ref()));
    let known = identify(&fixture.verifier, &token).expect("base64 is a legal header value");
    // An ignored member may contain invalid UTF-8, which only the issuer can have signed.
    if std::str::from_utf8(&header).and(std::str::from_utf8(claims)).is_err() {
        return;
    }
    let expected = if is_valid_header(&header, &fixture.kid) {
        expected_identity(claims)
    } else {
        ExpectedIdentity::Rejected
    };
    match (known, expected) {
        (_, ExpectedIdentity::WithinClockTolerance) => {}
        (Ok(caller), ExpectedIdentity::Caller(claimed)) => assert_eq!(caller, claimed),
        (Err(refused), ExpectedIdentity::Rejected) => assert_eq!(refused.envelope().code, Code::AuthRejected),
        (Err(refused), ExpectedIdentity::Incomplete) => {
            assert_eq!(refused.envelope().code, Code::IdentityRequired);
        }
        (known, expected) => panic!("{expected:?}, but {known:?}: {:?}", text(claims)),
    }
}

/// The expected result for the claims of a token.
#[derive(Debug)]
enum ExpectedIdentity {
    Caller(Caller),
    Incomplete,
    Rejected,
    /// The result depends on the moment of the check.
    WithinClockTolerance,
}

fn is_valid_header(header: &[u8], kid: &str) -> bool {
    let Some(members) = Members::of(header) else { return false };
    let given = |name: &str| members.0.iter().filter(|(is, _)| is == name).count();
    let text = |name: &str| serde_json::from_str::<String>(members.only(name)?.get()).ok();
    let named = given("kid") == 0 || text("kid").as_deref() == Some(kid);
    let types = ["jwt", "at+jwt", "application/at+jwt"];
    let is_taken_type =
        given("typ") == 0 || text("typ").is_some_and(|typ| types.contains(&&*typ.to_ascii_lowercase()));
    let encoded = given("b64") == 0 || members.only("b64").is_some_and(|value| value.get() == "true");
    text("alg").as_deref() == Some("ES256") && named && is_taken_type && encoded && given("crit") == 0
}

fn expected_identity(claims: &[u8]) -> ExpectedIdentity {
    let Some(members) = Members::of(claims) else { return ExpectedIdentity::Rejected };
    // The outer `None` means a wrong type or a repeated claim, the inner one an absent claim.
    let claim = |name: &str| match members.0.iter().filter(|(is, _)| is == name).count() {
        0 => Some(None),
        1 => serde_json::from_str::<Value>(members.only(name)?.get()).ok().map(Some),
        _ => None,
    };
    let texts = |value: &Value| value.as_array().is_some_and(|items| items.iter().all(Value::is_string));
    let is_taken_type = |name: &str, is: &dyn Fn(&Value) -> bool| match claim(name) {
        None => None,
        Some(value) => value.as_ref().is_none_or(is).then_some(value),
    };
    let (Some(tenant), Some(user), Some(session)) = (
        is_taken_type("tenant", &Value::is_string),
        is_taken_type("user", &Value::is_string),
        is_taken_type("session", &Value::is_string),
    ) else {
        return ExpectedIdentity::Rejected;
    };
    let (Some(exp), Some(nbf)) =
        (is_taken_type("exp", &Value::is_number), is_taken_type("nbf", &Value::is_number))
    else {
        return ExpectedIdentity::Rejected;
    };
    let others = [
        is_taken_type("iss", &Value::is_string),
        is_taken_type("aud", &|value| value.is_string() || texts(value)),
    ];
    let (Some(scopes), false) = (is_taken_type("scopes", &texts), others.contains(&None)) else {
        return ExpectedIdentity::Rejected;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let seconds = |value: Option<Value>| value.and_then(|value| value.as_f64());
    let (exp, nbf) = (seconds(exp), seconds(nbf));
    if [exp.map(|exp| exp + SKEW), nbf.map(|nbf| nbf - SKEW)]
        .into_iter()
        .flatten()
        .any(|at| (at - now).abs() < 5.0)
    {
        return ExpectedIdentity::WithinClockTolerance;
    }
    if exp.is_none_or(|exp| now >= exp + SKEW) || nbf.is_some_and(|nbf| now < nbf - SKEW) {
        return ExpectedIdentity::Rejected;
    }
    let parts = [tenant, user, session].map(|part| part.and_then(|part| part.as_str().map(str::to_owned)));
    let [Some(tenant), Some(user), Some(session)] = parts.map(|part| ScopePart::new(part?).ok()) else {
        return ExpectedIdentity::Incomplete;
    };
    let caller = Caller::new(&Scope::from_parts(tenant, user, session, None));
    let holds = |scope: &str| scopes.iter().filter_map(Value::as_array).flatten().any(|held| held == scope);
    let caller = if holds("admin") { caller.with_admin() } else { caller };
    ExpectedIdentity::Caller(if holds("console:fleet") { caller.with_fleet() } else { caller })
}

/// A key set is accepted only if it is valid and has a usable public key. A private key verifies nothing, and a
/// refusal repeats no value.
pub fn check_key_set(set: &str) {
    match Verifier::from_jwks(set, Rules::default()) {
        Ok(verifier) => {
            let tree: Value = serde_json::from_str(set).expect("accepted input is JSON");
            let keys = tree["keys"].as_array().expect("a set has a list of keys");
            let private = |key: &&Value| PRIVATE.iter().any(|name| key.get(name).is_some());
            let keys: Vec<&Value> = keys.iter().filter(|key| !private(key)).collect();
            assert!(
                keys.iter().any(|key| key["kty"] == "EC" || key["kty"] == "RSA"),
                "there is no usable key"
            );
            let known = identify(&verifier, &fixture().token).expect("a token is a legal header value");
            let own = keys.iter().any(|key| key["x"] == fixture().jwk["x"]);
            assert!(known.is_err() || own, "a key verifies what it has not signed");
        }
        Err(error) => {
            assert_one_line(&error.to_string(), 1000);
            assert!(!error.to_string().contains(SECRET), "{error}");
        }
    }
}

/// A key with these members (JSON) set is refused, or verifies, or does not verify. Private members are refused.
fn check_overlaid_key(members: &[u8]) {
    let Ok(Value::Object(members)) = serde_json::from_slice::<Value>(members) else { return };
    let mut jwk = fixture().jwk.clone();
    for (name, value) in &members {
        jwk[name] = value.clone();
    }
    let set = json!({"keys": [jwk]}).to_string();
    check_key_set(&set);
    let accepted = Verifier::from_jwks(&set, Rules::default());
    let touches = |names: &[&str]| members.keys().any(|name| names.contains(&name.as_str()));
    if touches(&PRIVATE) {
        assert!(accepted.is_err(), "a private key was accepted: {set}");
    } else if !touches(&["kty", "crv", "x", "y", "alg", "use", "key_ops", "kid", "k"]) {
        let known = identify(&accepted.expect("the key is valid"), &fixture().token).unwrap();
        assert!(known.is_ok(), "the key does not verify: {set}");
    }
}
