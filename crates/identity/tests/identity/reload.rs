//! A JWK set file that changes while it is in use.

use std::path::Path;
use std::time::{Duration, Instant};

use artifact_store_identity::{Algorithm, IdentitySettings, Verifier};
use serde_json::json;

use crate::common::{Signer, identify, jwk_set};

fn settings(path: &Path) -> IdentitySettings {
    IdentitySettings { jwks_file: Some(path.into()), ..IdentitySettings::default() }
}

/// Waits until the token is accepted, at most 20 s.
async fn wait_until_accepted(what: &str, verifier: &Verifier, token: &str) {
    let started = Instant::now();
    while let Err(refusal) = identify(verifier, token) {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}: {refusal}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_changed_file_is_loaded_however_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (path, fresh) = (dir.path().join("jwks.json"), dir.path().join("fresh.json"));
    let keys: Vec<Signer> = (0..4).map(|_| Signer::new(Algorithm::Es256)).collect();
    // All sets have the same key id and length: only the key differs.
    let content = |key: &Signer| jwk_set(&[key.jwk(&json!({}))]);
    let tokens: Vec<String> = keys.iter().map(|key| key.token(&json!({}), &json!({}))).collect();
    std::fs::write(&path, content(&keys[0])).unwrap();
    let verifier = Verifier::open(&settings(&path)).await.unwrap();
    identify(&verifier, &tokens[0]).unwrap();

    std::fs::write(&path, content(&keys[1])).unwrap();
    wait_until_accepted("written in place", &verifier, &tokens[1]).await;
    identify(&verifier, &tokens[0]).unwrap_err();

    std::fs::write(&fresh, content(&keys[2])).unwrap();
    std::fs::rename(&fresh, &path).unwrap();
    wait_until_accepted("replaced by a rename", &verifier, &tokens[2]).await;
    identify(&verifier, &tokens[1]).unwrap_err();

    // Kubernetes updates a file in this way: the path is a symlink to a symlink, and a rename replaces the first
    // symlink.
    std::fs::write(&fresh, content(&keys[3])).unwrap();
    let (link, new_link) = (dir.path().join("link"), dir.path().join("new_link"));
    std::os::unix::fs::symlink(&fresh, &link).unwrap();
    std::os::unix::fs::symlink(&link, &new_link).unwrap();
    std::fs::rename(&new_link, &path).unwrap();
    wait_until_accepted("a replaced symlink", &verifier, &tokens[3]).await;
    identify(&verifier, &tokens[2]).unwrap_err();
}

#[tokio::test]
async fn a_file_that_becomes_invalid_leaves_the_previous_keys() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let (old, new) = (Signer::new(Algorithm::Es256), Signer::new(Algorithm::Es256));
    let (token_old, token_new) = (old.token(&json!({}), &json!({})), new.token(&json!({}), &json!({})));
    std::fs::write(&path, old.minter().jwks()).unwrap();
    let verifier = Verifier::open(&settings(&path)).await.unwrap();
    let (half, private) = (new.minter().jwks(), jwk_set(&[new.jwk(&json!({ "d": "AA" }))]));
    for broken in [Some(&half[..half.len() / 2]), Some(""), Some("{\"keys\": []}"), Some(&private), None] {
        match broken {
            Some(content) => std::fs::write(&path, content).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        // Longer than the poll interval of 500 ms.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        identify(&verifier, &token_old).unwrap_or_else(|refusal| panic!("{broken:?}: {refusal}"));
        identify(&verifier, &token_new).unwrap_err();
    }
    std::fs::write(&path, new.minter().jwks()).unwrap();
    wait_until_accepted("repaired", &verifier, &token_new).await;
    identify(&verifier, &token_old).unwrap_err();
}
