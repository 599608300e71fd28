//! Which algorithms a key verifies, and which JWK sets are refused.

use artifact_store_identity::{Algorithm, IdentitySettings, JwksUrl, OpenError, Rules, Verifier};
use artifact_store_protocol::Code;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::common::{Signer, identify, jwk_set, with_changes};

#[test]
fn a_key_verifies_only_the_algorithms_that_it_allows_and_only_tokens_that_select_it() {
    let (es, rs, spare) =
        (Signer::new(Algorithm::Es256), Signer::new(Algorithm::Rs256), Signer::new(Algorithm::Es256));
    let header = |kid: Value| json!({ "kid": kid });
    let spare_jwk = spare.jwk(&json!({"kid": "spare"}));
    for (what, keys, signer, kid, accepted) in [
        ("an RSA key without alg", vec![rs.jwk(&json!({"alg": null}))], &rs, json!("k1"), true),
        ("key_ops verify", vec![es.jwk(&json!({"key_ops": ["verify"]}))], &es, json!("k1"), true),
        ("an RSA key for RS512", vec![rs.jwk(&json!({"alg": "RS512"}))], &rs, json!("k1"), false),
        (
            "an RSA key for PS256",
            vec![rs.jwk(&json!({"alg": "PS256"})), spare_jwk.clone()],
            &rs,
            json!("k1"),
            false,
        ),
        (
            "a key for encryption",
            vec![es.jwk(&json!({"use": "enc"})), spare_jwk.clone()],
            &es,
            json!("k1"),
            false,
        ),
        (
            "a key that signs only",
            vec![es.jwk(&json!({"key_ops": ["sign"]})), spare_jwk.clone()],
            &es,
            json!("k1"),
            false,
        ),
        (
            "no kid and one key that fits",
            vec![es.jwk(&json!({})), rs.jwk(&json!({}))],
            &es,
            json!(null),
            true,
        ),
        ("no kid and two that fit", vec![es.jwk(&json!({})), spare_jwk.clone()], &es, json!(null), false),
        ("no kid and none that fits", vec![rs.jwk(&json!({}))], &es, json!(null), false),
        ("one kid for two types", vec![es.jwk(&json!({})), rs.jwk(&json!({}))], &rs, json!("k1"), true),
        ("a kid, and a key without one", vec![es.jwk(&json!({"kid": null}))], &es, json!("k1"), false),
        ("another key's kid", vec![es.jwk(&json!({})), spare_jwk.clone()], &es, json!("spare"), false),
    ] {
        let verifier = Verifier::from_jwks(&jwk_set(&keys), Rules::default()).unwrap();
        match identify(&verifier, &signer.token(&header(kid), &json!({}))) {
            Ok(_) => assert!(accepted, "{what} was accepted"),
            Err(refusal) => {
                assert!(!accepted, "{what}: {refusal}");
                assert_eq!(refusal.code(), Code::AuthRejected, "{what}");
            }
        }
    }
}

#[test]
fn a_bad_key_set_is_refused_with_a_sentence() {
    let (es, rs) = (Signer::new(Algorithm::Es256), Signer::new(Algorithm::Rs256));
    let key = |changes: Value| jwk_set(&[es.jwk(&changes)]);
    let short = BASE64URL_NOPAD.encode(&[0xff; 128]);
    let algorithms = "RS256, RS384, RS512, ES256, ES384, ES512";
    for (what, json, expected) in [
        ("no JSON", "nope".to_owned(), "is not a JWK set ({\"keys\": […]}), line 1".to_owned()),
        ("a bare key", es.jwk(&json!({})).to_string(), "is not a JWK set ({\"keys\": […]}), line 1".into()),
        ("no keys", jwk_set(&[]), format!("holds no key that verifies any of {algorithms}")),
        (
            "an unknown type",
            jwk_set(&[json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"})]),
            format!("holds no key that verifies any of {algorithms}"),
        ),
        (
            "an unknown curve",
            key(json!({"crv": "secp256k1"})),
            format!("holds no key that verifies any of {algorithms}"),
        ),
        (
            "a private key",
            key(json!({"d": "AA"})),
            "holds a private key (key 0 has the member 'd'); give the server public keys only".into(),
        ),
        (
            "a symmetric key",
            jwk_set(&[json!({"kty": "oct", "k": "AA"})]),
            "holds a private key (key 0 has the member 'k'); give the server public keys only".into(),
        ),
        (
            "a short RSA key",
            jwk_set(&[rs.jwk(&json!({"n": short}))]),
            "key 0 is an RSA key of 1024 bits; it takes 2048 to 8192".into(),
        ),
        (
            "an even exponent",
            jwk_set(&[rs.jwk(&json!({"e": "Ag"}))]),
            "key 0 is not a valid key of its type".into(),
        ),
        (
            "a point off the curve",
            key(json!({"x": BASE64URL_NOPAD.encode(&[7; 32])})),
            "key 0 is not a valid key of its type".into(),
        ),
        (
            "a short coordinate",
            key(json!({"x": "AAAA"})),
            "key 0 has coordinates of a wrong size; those of its curve have 32 bytes".into(),
        ),
        ("padding", key(json!({"y": "AAA="})), "key 0 has a 'y' that is not base64url".into()),
        ("no coordinate", key(json!({"y": null})), "key 0 has no 'y'".into()),
        ("no type", key(json!({"kty": null})), "key 0 has no 'kty'".into()),
        ("a number as kid", key(json!({"kid": 1})), "key 0 has a 'kid' that is not a string".into()),
        ("a key that is not an object", jwk_set(&[json!("key")]), "key 0 is not an object".into()),
    ] {
        let error = Verifier::from_jwks(&json, Rules::default()).err().unwrap_or_else(|| panic!("{what}"));
        assert_eq!(error.to_string(), format!("the JWK set {expected}"), "{what}");
    }
}

#[test]
fn an_unusable_key_is_ignored_and_the_others_verify() {
    let (es, rs) = (Signer::new(Algorithm::Es256), Signer::new(Algorithm::Rs256));
    let twin = Signer::new(Algorithm::Es256);
    let short = BASE64URL_NOPAD.encode(&[0xff; 128]);
    let bad = |changes: Value| with_changes(es.jwk(&json!({"kid": "bad"})), &changes);
    for (what, key) in [
        ("an unknown type", json!({"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "bad"})),
        ("an unknown curve", bad(json!({"crv": "secp256k1"}))),
        ("a private key", bad(json!({"d": "AA"}))),
        ("a symmetric key", json!({"kty": "oct", "k": "AA", "kid": "bad"})),
        ("a short RSA key", rs.jwk(&json!({"n": short, "kid": "bad"}))),
        ("a point off the curve", bad(json!({"x": BASE64URL_NOPAD.encode(&[7; 32])}))),
        ("no coordinate", bad(json!({"y": null}))),
        ("no type", bad(json!({"kty": null}))),
        ("a number as kid", bad(json!({"kid": 1}))),
        ("a number as alg", bad(json!({"alg": 1}))),
        ("a text as key_ops", bad(json!({"key_ops": "verify"}))),
        ("for encryption", bad(json!({"use": "enc"}))),
        ("no object", json!(null)),
        ("the kid of another key", twin.jwk(&json!({}))),
    ] {
        let good = [es.jwk(&json!({})), rs.jwk(&json!({"kid": "rs"}))];
        // The twin must come later, because the first key of an id is used. Any other key is ignored at any position.
        let sets: &[Vec<Value>] = if what == "the kid of another key" {
            &[[&good[..], &[key]].concat()]
        } else {
            &[
                [&good[..], std::slice::from_ref(&key)].concat(),
                [std::slice::from_ref(&key), &good[..]].concat(),
            ]
        };
        for keys in sets {
            let verifier = Verifier::from_jwks(&jwk_set(keys), Rules::default())
                .unwrap_or_else(|why| panic!("{what}: {why}"));
            for (signer, kid) in [(&es, "k1"), (&rs, "rs")] {
                let token = signer.token(&json!({"kid": kid}), &json!({}));
                identify(&verifier, &token).unwrap_or_else(|refusal| panic!("{what}: {refusal}"));
            }
            let token = es.token(&json!({"kid": "bad"}), &json!({}));
            let refusal = identify(&verifier, &token).err().unwrap_or_else(|| panic!("{what} verifies"));
            assert_eq!(refusal.code(), Code::AuthRejected, "{what}");
            let token = twin.token(&json!({}), &json!({}));
            assert_eq!(identify(&verifier, &token).unwrap_err().code(), Code::AuthRejected, "{what}");
        }
    }
}

fn settings(jwks_file: Option<&std::path::Path>) -> IdentitySettings {
    let defaults = IdentitySettings::default();
    IdentitySettings { jwks_file: jwks_file.map(Into::into), ..defaults }
}

#[tokio::test]
async fn the_configured_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (es, path) = (Signer::new(Algorithm::Es256), dir.path().join("jwks.json"));
    std::fs::write(&path, es.minter().jwks()).unwrap();
    let verifier = Verifier::open(&settings(Some(&path))).await.unwrap();
    identify(&verifier, &es.token(&json!({}), &json!({}))).unwrap();
}

#[tokio::test]
async fn an_error_names_the_file_that_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let shown = path.display();
    let open_error = async |settings| {
        let error = Verifier::open(&settings).await.unwrap_err();
        assert!(matches!(error, OpenError::Config(_)), "{error:?}");
        error.to_string()
    };
    assert_eq!(
        open_error(settings(None)).await,
        "identity.jwks_file and identity.jwks_url are not set, and a server without keys does not start; make keys with \
         'artifactd keygen DIR' and set identity.jwks_file to DIR/jwks.json, or set identity.jwks_url to the JWK set of the issuer \
         of the tokens"
    );
    assert_eq!(
        open_error(settings(Some(&path))).await,
        format!("identity.jwks_file: {shown} cannot be opened: No such file or directory (os error 2)")
    );
    std::fs::write(&path, " ".repeat((1 << 20) + 1)).unwrap();
    assert_eq!(
        open_error(settings(Some(&path))).await,
        format!("identity.jwks_file: {shown} is larger than 1 MiB, the limit for a JWK set")
    );
    std::fs::write(&path, Signer::new(Algorithm::Es256).minter().jwks()).unwrap();
    let only_rsa = IdentitySettings { jwt_algorithms: vec![Algorithm::Rs256], ..settings(Some(&path)) };
    assert_eq!(
        open_error(only_rsa).await,
        format!("identity.jwks_file: {shown} holds no key that verifies any of RS256")
    );
    let url = JwksUrl::parse("https://login.example/keys").unwrap();
    assert_eq!(
        open_error(IdentitySettings { jwks_url: Some(url), ..settings(Some(&path)) }).await,
        "identity.jwks_url: identity.jwks_file is set too, and keys come from one source; remove one of the two"
    );
}
