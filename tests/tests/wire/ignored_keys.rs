//! Section 3: an unusable key does not invalidate its key set (RFC 7517 §5).

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use artifact_store_tests::wire::{
    Flavour, Server, ServerOptions, SigningKey, control, sign_token_with, signing_key,
};
use serde_json::{Value, json};

use crate::ada;

fn jwk(keys: &SigningKey) -> Value {
    let set: Value = serde_json::from_str(&fs::read_to_string(keys.jwks()).unwrap()).unwrap();
    set["keys"][0].clone()
}

fn publish(path: &Path, keys: &[Value]) {
    // Renamed into place, so that the server never reads half of the file.
    let temporary = path.with_extension("fresh");
    fs::write(&temporary, json!({ "keys": keys }).to_string()).unwrap();
    fs::rename(&temporary, path).unwrap();
}

fn status_with(server: &Server, keys: &SigningKey) -> u16 {
    let token = sign_token_with(&keys.pem, Some(&keys.kid), &ada().claims());
    control("runtime.info", &json!({})).bearer(token).send(server).status
}

#[test]
fn an_unusable_key_is_left_out_and_logged_once_and_the_others_work() {
    let folder = tempfile::tempdir().unwrap();
    let (path, later) = (folder.path().join("jwks.json"), SigningKey::generate());
    let weak =
        json!({"kty": "RSA", "kid": "weak\n\u{1b}[31m", "n": format!("{}w", "_".repeat(170)), "e": "AQAB"});
    let bad = [
        weak,
        json!({"kty": "EC", "crv": "secp256k1", "kid": "curve", "x": "AA", "y": "AA"}),
        json!({"kty": "oct", "kid": "symmetric", "k": "AA"}),
        json!("no object"),
    ];
    publish(&path, &[&bad[..], &[jwk(signing_key())]].concat());
    let server = Server::start(
        Flavour::Inmem,
        &ServerOptions::new().set("identity.jwks_file", path.to_str().unwrap()),
    );
    assert_eq!((status_with(&server, signing_key()), status_with(&server, &later)), (200, 401));
    // The bad keys are still there when the set changes.
    publish(&path, &[&[jwk(signing_key()), jwk(&later)], &bad[..]].concat());
    let begun = Instant::now();
    while status_with(&server, &later) != 200 {
        assert!(begun.elapsed() < Duration::from_mins(1), "the new key set is not loaded");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(status_with(&server, signing_key()), 200);
    let log = server.log();
    let warnings =
        |text: &str| log.lines().filter(|line| line.contains("left out") && line.contains(text)).count();
    assert_eq!(warnings("is an RSA key of"), 1, "{log}");
    assert_eq!(warnings("type (kty) or curve (crv)"), 1, "{log}");
    assert_eq!(warnings("member 'k'"), 1, "{log}");
    assert_eq!(warnings("is not an object"), 1, "{log}");
    for kid in ["weak", "curve", "symmetric"] {
        assert_eq!(warnings(kid), 1, "{log}");
    }
    assert!(!log.contains('\u{1b}'), "an id from outside reaches the log unescaped");
}
