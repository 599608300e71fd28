//! Private keys and the tokens that they sign. The crate `jsonwebtoken`, another implementation, checks keys and tokens
//! too.

use std::time::Duration;

use artifact_store_identity::keys::{Minter, TokenClaims, generate};
use artifact_store_identity::{Algorithm, Rules, Verifier};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;

use crate::common::{Signer, identify, identity_parts};

#[test]
fn a_generated_key_mints_tokens_that_are_accepted() {
    let pem = generate().unwrap();
    let minter = Minter::from_pem(pem.reveal(), None).unwrap();
    let claims = TokenClaims {
        tenant: "t".into(),
        user: "u".into(),
        session: Some("s".into()),
        scopes: vec!["admin".into()],
        issuer: Some("i".into()),
        audience: Some("a".into()),
    };
    let rules = Rules { issuer: Some("i".into()), audience: Some("a".into()), ..Rules::default() };
    let verifier = Verifier::from_jwks(&minter.jwks(), rules).unwrap();
    let caller = identify(&verifier, &minter.mint(&claims, Duration::from_mins(1)).unwrap()).unwrap();
    assert_eq!(identity_parts(&caller), ["t", "u", "s"]);
    assert!(caller.is_admin() && !caller.has_fleet());
}

#[test]
fn every_kind_of_private_key_mints() {
    let claims = TokenClaims {
        tenant: "t".into(),
        user: "u".into(),
        session: Some("s".into()),
        ..TokenClaims::default()
    };
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::Es512, Algorithm::Rs256] {
        let minter = Signer::new(algorithm).minter();
        assert_eq!(minter.algorithm(), algorithm);
        let verifier = Verifier::from_jwks(&minter.jwks(), Rules::default()).unwrap();
        identify(&verifier, &minter.mint(&claims, Duration::from_mins(1)).unwrap())
            .unwrap_or_else(|error| panic!("{algorithm}: {error}"));
    }
}

#[test]
fn a_key_that_cannot_sign_is_refused_with_a_sentence() {
    let es = Signer::new(Algorithm::Es256);
    let block = |tag: &str, der: &[u8]| pem::encode(&pem::Pem::new(tag, der));
    let unsupported = "the key is of a type that is not supported; it takes EC P-256, P-384 or P-521, or RSA from 2048 bits";
    let ed25519 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    for (text, expected) in [
        ("hunter2".to_owned(), "the PEM must contain exactly one private key"),
        (format!("{}{}", es.pem, es.pem), "the PEM must contain exactly one private key"),
        (block("PUBLIC KEY", &es.pkcs8), "the PEM must contain exactly one private key"),
        (block("ENCRYPTED PRIVATE KEY", &es.pkcs8), "the key is encrypted; decrypt it first"),
        (block("OPENSSH PRIVATE KEY", &es.pkcs8), unsupported),
        (block("PRIVATE KEY", &es.pkcs8[..40]), unsupported),
        (block("PRIVATE KEY", ed25519.as_ref()), unsupported),
        (es.pem.replace("-----END PRIVATE KEY-----", "-----END KEY-----"), "the key is not PEM"),
    ] {
        assert_eq!(Minter::from_pem(&text, None).unwrap_err().to_string(), expected);
    }
}

/// Compares with the crate `jsonwebtoken`, another implementation of the same standards.
mod jsonwebtoken_interop {
    use jsonwebtoken::jwk::{JwkSet, ThumbprintHash};
    use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, decode, encode};

    use std::time::Duration;

    use artifact_store_identity::keys::{Minter, TokenClaims};
    use artifact_store_identity::{Algorithm, Rules};
    use serde_json::Value;

    use crate::common::{Signer, identify, valid_claims};

    #[test]
    fn tokens_of_jsonwebtoken_are_accepted() {
        for (algorithm, their_algorithm) in [
            (Algorithm::Es256, jsonwebtoken::Algorithm::ES256),
            (Algorithm::Es384, jsonwebtoken::Algorithm::ES384),
            (Algorithm::Rs256, jsonwebtoken::Algorithm::RS256),
            (Algorithm::Rs384, jsonwebtoken::Algorithm::RS384),
            (Algorithm::Rs512, jsonwebtoken::Algorithm::RS512),
        ] {
            let signer = Signer::new(algorithm);
            let key = match algorithm {
                Algorithm::Es256 | Algorithm::Es384 => EncodingKey::from_ec_pem(signer.pem.as_bytes()),
                _ => EncodingKey::from_rsa_pem(signer.pem.as_bytes()),
            };
            let header = Header { kid: Some("k1".into()), ..Header::new(their_algorithm) };
            let token = encode(&header, &valid_claims(), &key.unwrap()).unwrap();
            identify(&signer.verifier(Rules::default()), &token)
                .unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        }
    }

    #[test]
    fn jsonwebtoken_accepts_minted_tokens_and_computes_the_same_thumbprint() {
        let claims = TokenClaims { tenant: "t".into(), user: "u".into(), ..TokenClaims::default() };
        for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::Rs256] {
            let minter = Minter::from_pem(&Signer::new(algorithm).pem, None).unwrap();
            let set: JwkSet = serde_json::from_str(&minter.jwks()).unwrap();
            let jwk = set.find(minter.kid()).unwrap();
            assert_eq!(jwk.thumbprint(ThumbprintHash::SHA256).unwrap(), minter.kid(), "{algorithm}");
            let token = minter.mint(&claims, Duration::from_mins(1)).unwrap();
            let rules = Validation::new(algorithm.name().parse().unwrap());
            let key = DecodingKey::from_jwk(jwk).unwrap();
            let decoded = decode::<Value>(&token, &key, &rules).unwrap();
            assert_eq!(decoded.claims["tenant"], "t", "{algorithm}");
        }
    }
}
