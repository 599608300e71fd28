//! A file of keys that changes while it is in use.

use std::path::Path;
use std::time::{Duration, Instant};

use artifactd::config::{IdentitySettings, Settings};
use artifactd::identity::{Algorithm, Verifier};
use serde_json::json;

use crate::kit::{Signer, identify, set};

fn settings(path: &Path) -> IdentitySettings {
    IdentitySettings {
        jwks_file: Some(path.into()),
        ..Settings::from_layers(None, [], &[]).unwrap().identity
    }
}

/// Waits until a token is taken.
async fn taken(what: &str, verifier: &Verifier, token: &str) {
    let begun = Instant::now();
    while let Err(refusal) = identify(verifier, token) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}: {refusal}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_file_that_changes_is_taken_over_however_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (path, fresh) = (folder.path().join("jwks.json"), folder.path().join("fresh.json"));
    let keys: Vec<Signer> = (0..4).map(|_| Signer::new(Algorithm::Es256)).collect();
    // All have one name and one length, so that nothing but the key tells them apart.
    let content = |key: &Signer| set(&[key.jwk(&json!({}))]);
    let tokens: Vec<String> = keys.iter().map(|key| key.token(&json!({}), &json!({}))).collect();
    std::fs::write(&path, content(&keys[0])).unwrap();
    let verifier = Verifier::open(&settings(&path)).await.unwrap();
    identify(&verifier, &tokens[0]).unwrap();

    std::fs::write(&path, content(&keys[1])).unwrap();
    taken("written in place", &verifier, &tokens[1]).await;
    identify(&verifier, &tokens[0]).unwrap_err();

    std::fs::write(&fresh, content(&keys[2])).unwrap();
    std::fs::rename(&fresh, &path).unwrap();
    taken("put in its place", &verifier, &tokens[2]).await;
    identify(&verifier, &tokens[1]).unwrap_err();

    // As Kubernetes does: the path is a link to a link that is turned round.
    std::fs::write(&fresh, content(&keys[3])).unwrap();
    let (link, turned) = (folder.path().join("link"), folder.path().join("turned"));
    std::os::unix::fs::symlink(&fresh, &link).unwrap();
    std::os::unix::fs::symlink(&link, &turned).unwrap();
    std::fs::rename(&turned, &path).unwrap();
    taken("a link in its place", &verifier, &tokens[3]).await;
    identify(&verifier, &tokens[2]).unwrap_err();
}

#[tokio::test]
async fn a_file_that_breaks_leaves_the_keys_from_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let (old, new) = (Signer::new(Algorithm::Es256), Signer::new(Algorithm::Es256));
    let (of_old, of_new) = (old.token(&json!({}), &json!({})), new.token(&json!({}), &json!({})));
    std::fs::write(&path, old.minter().jwks()).unwrap();
    let verifier = Verifier::open(&settings(&path)).await.unwrap();
    let (half, private) = (new.minter().jwks(), set(&[new.jwk(&json!({ "d": "AA" }))]));
    for broken in [Some(&half[..half.len() / 2]), Some(""), Some("{\"keys\": []}"), Some(&private), None] {
        match broken {
            Some(content) => std::fs::write(&path, content).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        // Longer than the pause between two looks.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        identify(&verifier, &of_old).unwrap_or_else(|refusal| panic!("{broken:?}: {refusal}"));
        identify(&verifier, &of_new).unwrap_err();
    }
    std::fs::write(&path, new.minter().jwks()).unwrap();
    taken("mended", &verifier, &of_new).await;
    identify(&verifier, &of_old).unwrap_err();
}
