//! Section 3: a key that cannot be used spoils no set (RFC 7517 §5).

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use artifact_store_tests::wire::{Flavour, Keys, Options, Server, control, keys, signed_with};
use serde_json::{Value, json};

use crate::ada;

fn jwk(keys: &Keys) -> Value {
    let set: Value = serde_json::from_str(&fs::read_to_string(keys.jwks()).unwrap()).unwrap();
    set["keys"][0].clone()
}

fn publish(path: &Path, keys: &[Value]) {
    // Moved into place, so that no half of it is read.
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, json!({ "keys": keys }).to_string()).unwrap();
    fs::rename(&fresh, path).unwrap();
}

fn status(server: &Server, keys: &Keys) -> u16 {
    let token = signed_with(&keys.pem, Some(&keys.kid), &ada().claims());
    control("runtime.info", &json!({})).bearer(token).send(server).status
}

#[test]
fn a_key_that_cannot_be_used_is_left_out_said_once_and_the_rest_serves() {
    let folder = tempfile::tempdir().unwrap();
    let (path, later) = (folder.path().join("jwks.json"), Keys::generate());
    let weak =
        json!({"kty": "RSA", "kid": "weak\n\u{1b}[31m", "n": format!("{}w", "_".repeat(170)), "e": "AQAB"});
    let bad = [
        weak,
        json!({"kty": "EC", "crv": "secp256k1", "kid": "curve", "x": "AA", "y": "AA"}),
        json!({"kty": "oct", "kid": "symmetric", "k": "AA"}),
        json!("no object"),
    ];
    publish(&path, &[&bad[..], &[jwk(keys())]].concat());
    let server =
        Server::start(Flavour::Inmem, &Options::new().set("identity.jwks_file", path.to_str().unwrap()));
    assert_eq!((status(&server, keys()), status(&server, &later)), (200, 401));
    // The bad ones are still there when the set changes.
    publish(&path, &[&[jwk(keys()), jwk(&later)], &bad[..]].concat());
    let begun = Instant::now();
    while status(&server, &later) != 200 {
        assert!(begun.elapsed() < Duration::from_mins(1), "the set is not taken over");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(status(&server, keys()), 200);
    let log = server.log();
    let said =
        |text: &str| log.lines().filter(|line| line.contains("left out") && line.contains(text)).count();
    assert_eq!(said("is an RSA key of"), 1, "{log}");
    assert_eq!(said("type (kty) or curve (crv)"), 1, "{log}");
    assert_eq!(said("member 'k'"), 1, "{log}");
    assert_eq!(said("is no object"), 1, "{log}");
    for kid in ["weak", "curve", "symmetric"] {
        assert_eq!(said(kid), 1, "{log}");
    }
    assert!(!log.contains('\u{1b}'), "an id from outside reaches the log as it is");
}
