//! `artifactd keygen --jwks`, `keygen --add-to` and `artifactd keys`, run as processes.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Outcome, artifactd, run};
use artifact_store_identity::{Rules, Verifier};
use axum::http::HeaderMap;
use tempfile::TempDir;

/// A folder that everyone may enter, as `/etc` is.
fn open_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn call(folder: &TempDir, args: &[&str]) -> Outcome {
    run(artifactd().args(args).current_dir(folder.path()), b"")
}

/// The kids that `keys list` prints.
fn kids(folder: &TempDir) -> Vec<String> {
    let rows = call(folder, &["keys", "list", "etc/jwks.json", "--json"]).expect(0).json();
    rows.iter().map(|row| row["kid"].as_str().unwrap().to_owned()).collect()
}

/// Whether a server with the set accepts a token that is signed with the key in `dir`.
fn is_accepted(folder: &TempDir, dir: &str) -> bool {
    let key = format!("{dir}/private.pem");
    let token = call(folder, &["token", "--key", &key, "--tenant", "t", "--user", "u", "--session", "s"]);
    let set = std::fs::read_to_string(folder.path().join("etc/jwks.json")).unwrap();
    let verifier = Verifier::from_jwks(&set, Rules::default()).unwrap();
    verifier.identify(&HeaderMap::new(), Some(token.expect(0).text().trim_end())).is_ok()
}

#[test]
fn the_public_key_is_readable_by_everyone_and_the_private_one_by_its_owner_whatever_the_umask() {
    for umask in ["022", "077", "000"] {
        let folder = open_folder();
        let script = format!("umask {umask}; exec \"$0\" keygen signer --jwks etc/deep/jwks.json");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_artifactd")]).current_dir(folder.path());
        run(&mut command, b"").expect(0);
        let modes = ["signer", "signer/private.pem", "etc", "etc/deep", "etc/deep/jwks.json"]
            .map(|path| mode(&folder.path().join(path)));
        assert_eq!(modes, [0o700, 0o600, 0o755, 0o755, 0o644], "umask {umask}");
        assert!(!folder.path().join("signer/jwks.json").exists());
    }
}

#[test]
fn the_folder_above_both_keys_is_open_and_that_of_the_private_key_is_not() {
    let folder = open_folder();
    call(&folder, &["keygen", "etc/a/signer", "--jwks", "etc/a/jwks.json"]).expect(0);
    let modes = ["etc", "etc/a", "etc/a/signer"].map(|path| mode(&folder.path().join(path)));
    assert_eq!(modes, [0o755, 0o755, 0o700]);
}

#[test]
fn a_public_key_in_a_closed_folder_gives_a_warning() {
    let folder = open_folder();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let outcome = call(&folder, &["keygen", "signer", "--jwks", "etc/jwks.json"]);
    outcome.expect(0).expect_message(&format!(
        "{} is closed to other users: a server that runs as another user cannot read etc/jwks.json",
        folder.path().display()
    ));
}

#[test]
fn a_set_that_exists_is_never_overwritten_and_leaves_no_private_key() {
    let folder = open_folder();
    std::fs::write(folder.path().join("jwks.json"), "mine").unwrap();
    call(&folder, &["keygen", "signer", "--jwks", "jwks.json"]).expect(1).expect_message(
        "jwks.json exists, and a key is never overwritten; add to it with --add-to, or name another file",
    );
    call(&folder, &["keygen", "signer", "--add-to", "jwks.json"])
        .expect(1)
        .expect_message("jwks.json is not a JWK set, which is a JSON object with an array 'keys'");
    call(&folder, &["keygen", "signer", "--add-to", "no.json"])
        .expect(1)
        .expect_message("no.json cannot be read");
    assert!(!folder.path().join("signer").exists());
    assert_eq!(std::fs::read_to_string(folder.path().join("jwks.json")).unwrap(), "mine");
}

#[test]
fn a_key_is_rotated_without_a_moment_in_which_no_token_is_accepted() {
    let folder = open_folder();
    call(&folder, &["keygen", "old", "--jwks", "etc/jwks.json"]).expect(0);
    let [old] = <[String; 1]>::try_from(kids(&folder)).unwrap();
    std::fs::set_permissions(folder.path().join("etc/jwks.json"), std::fs::Permissions::from_mode(0o640))
        .unwrap();

    call(&folder, &["keygen", "new", "--add-to", "etc/jwks.json"])
        .expect(0)
        .expect_message("etc/jwks.json is closed to other users");
    assert!(is_accepted(&folder, "old") && is_accepted(&folder, "new"));
    let [first, new] = <[String; 2]>::try_from(kids(&folder)).unwrap();
    assert_eq!(first, old);
    assert_eq!(mode(&folder.path().join("etc/jwks.json")), 0o640, "the file keeps its mode");

    let table = call(&folder, &["keys", "list", "etc/jwks.json"]);
    let lines: Vec<Vec<&str>> =
        table.expect(0).text().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["KID", "ALG", "TYPE", "USABLE", "REASON"]);
    assert_eq!(lines[1], [&*old, "ES256", "EC", "P-256", "✓"]);

    call(&folder, &["keys", "retire", "nobody", "--from", "etc/jwks.json"])
        .expect(1)
        .expect_message(&format!("etc/jwks.json has no key 'nobody'; it has: {old}, {new}"));
    let retired = call(&folder, &["keys", "retire", &old, "--from", "etc/jwks.json", "--json"]);
    assert_eq!(retired.expect(0).json()[0]["kid"], old);
    assert!(!is_accepted(&folder, "old") && is_accepted(&folder, "new"));

    call(&folder, &["keys", "retire", &new, "--from", "etc/jwks.json"])
        .expect(1)
        .expect_message("is the last usable key of etc/jwks.json");
    assert_eq!(kids(&folder), [new]);
    let entries = std::fs::read_dir(folder.path().join("etc")).unwrap().count();
    assert_eq!(entries, 1, "no temporary file is left");
}

#[test]
fn a_key_whose_id_begins_with_a_hyphen_can_be_retired() {
    let folder = open_folder();
    call(&folder, &["keygen", "old", "--jwks", "etc/jwks.json"]).expect(0);
    let [old] = <[String; 1]>::try_from(kids(&folder)).unwrap();
    let set = folder.path().join("etc/jwks.json");
    let text = std::fs::read_to_string(&set).unwrap();
    std::fs::write(&set, text.replace(&old, "-2-old")).unwrap();
    call(&folder, &["keygen", "new", "--add-to", "etc/jwks.json"]).expect(0);
    call(&folder, &["keys", "retire", "-2-old", "--from", "etc/jwks.json"]).expect(0);
    assert!(!kids(&folder).contains(&"-2-old".to_owned()));
}

#[test]
fn keys_that_are_added_at_once_are_all_in_the_set() {
    let folder = open_folder();
    call(&folder, &["keygen", "0", "--jwks", "etc/jwks.json"]).expect(0);
    std::thread::scope(|scope| {
        for number in 1..=8 {
            let folder = &folder;
            scope.spawn(move || {
                call(folder, &["keygen", &number.to_string(), "--add-to", "etc/jwks.json"]).expect(0);
            });
        }
    });
    assert_eq!(kids(&folder).len(), 9);
    assert!((0..=8).all(|number| is_accepted(&folder, &number.to_string())));
}

#[test]
fn a_key_that_a_server_ignores_is_listed_with_the_reason() {
    let folder = open_folder();
    call(&folder, &["keygen", "signer", "--jwks", "etc/jwks.json"]).expect(0);
    let path = folder.path().join("etc/jwks.json");
    let mut set: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    set["note"] = "ours".into();
    let keys = set["keys"].as_array_mut().unwrap();
    keys.push(serde_json::json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed\u{1b}[31m"}));
    std::fs::write(&path, set.to_string()).unwrap();
    let rows = call(&folder, &["keys", "list", "etc/jwks.json", "--json"]).expect(0).json();
    assert_eq!((&rows[0]["usable"], &rows[1]["usable"]), (&true.into(), &false.into()));
    assert_eq!(rows[1]["reason"], "is of a type (kty) or curve (crv) that is not supported");
    assert!(rows[0].get("reason").is_none(), "{rows:?}");
    let table = call(&folder, &["keys", "list", "etc/jwks.json"]);
    assert!(!table.expect(0).text().contains('\u{1b}'), "a name of the file controls the terminal");

    call(&folder, &["keygen", "next", "--add-to", "etc/jwks.json"]).expect(0);
    let set: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(
        (&set["note"], set["keys"].as_array().unwrap().len()),
        (&"ours".into(), 3),
        "the rest is kept"
    );
}
