//! `artifactd keygen` and `artifactd token`, run as a process.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use artifact_store_identity::{Rules, Verifier};
use axum::http::HeaderMap;

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_artifactd")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

/// A directory with a new key pair, and the path of the private key.
fn keys() -> (tempfile::TempDir, String) {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("keys");
    assert!(run(&["keygen", dir.to_str().unwrap()]).status.success());
    let key = dir.join("private.pem").to_str().unwrap().to_owned();
    (parent, key)
}

/// The caller whom `token` identifies, verified with the keys in `parent`.
fn identify(parent: &Path, token: &Output, session: Option<&str>) -> artifact_store_resolver::Caller {
    assert!(token.status.success(), "{}", text(&token.stderr));
    let jwks = std::fs::read_to_string(parent.join("keys/jwks.json")).unwrap();
    let verifier = Verifier::from_jwks(&jwks, Rules::default()).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", text(&token.stdout).trim_end()).parse().unwrap());
    if let Some(session) = session {
        headers.insert("x-harbor-session", session.parse().unwrap());
    }
    verifier.identify(&headers, None).unwrap()
}

#[test]
fn only_the_owner_can_read_the_private_key() {
    let (parent, key) = keys();
    assert_eq!(mode(&parent.path().join("keys")), 0o700);
    assert_eq!(mode(Path::new(&key)), 0o600);
    assert!(std::fs::read_to_string(key).unwrap().starts_with("-----BEGIN PRIVATE KEY-----\n"));
}

#[test]
fn keygen_prints_the_next_steps() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().to_str().unwrap();
    let out = text(&run(&["keygen", dir]).stdout);
    assert!(out.contains(&format!("jwks_file: \"{dir}/jwks.json\"")), "{out}");
    assert!(out.contains(&format!("artifactd token --key {dir}/private.pem --tenant acme")), "{out}");
}

#[test]
fn keygen_never_overwrites() {
    for name in ["private.pem", "jwks.json"] {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join(name);
        std::fs::write(&path, "mine").unwrap();
        let output = run(&["keygen", parent.path().to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            text(&output.stderr),
            format!(
                "artifactd: {} exists, and a key is never overwritten; name another directory\n",
                path.display()
            )
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1, "no other file is created");
    }
}

#[test]
fn keygen_does_not_follow_a_dangling_link() {
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("elsewhere");
    std::os::unix::fs::symlink(&target, parent.path().join("private.pem")).unwrap();
    assert_eq!(run(&["keygen", parent.path().to_str().unwrap()]).status.code(), Some(1));
    assert!(!target.exists());
}

#[test]
fn keygen_names_the_directory_that_it_cannot_create() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = run(&["keygen", file.join("keys").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("file/keys cannot be created: "), "{}", text(&output.stderr));
}

#[test]
fn a_token_is_printed_alone_and_verifies() {
    let (parent, key) = keys();
    let token = run(&[
        "token",
        "--key",
        &key,
        "--tenant",
        "acme",
        "--user",
        "ada",
        "--session",
        "s-1",
        "--scope",
        "admin",
        "--scope",
        "console:fleet",
        "--scope",
        "artifacts:delete",
        "--ttl",
        "5m",
    ]);
    assert_eq!(text(&token.stdout).lines().count(), 1);
    assert_eq!(text(&token.stderr), "");
    let caller = identify(parent.path(), &token, None);
    assert_eq!(
        (caller.tenant().as_str(), caller.user().as_str(), caller.session().as_str()),
        ("acme", "ada", "s-1")
    );
    assert!(caller.is_admin() && caller.has_fleet() && caller.has_delete());
}

#[test]
fn a_token_without_a_session_lets_each_request_name_one() {
    let (parent, key) = keys();
    let token = run(&["token", "--key", &key, "--tenant", "acme", "--user", "ada"]);
    assert_eq!(identify(parent.path(), &token, Some("s-9")).session().as_str(), "s-9");
}

#[test]
fn wrong_arguments_of_token_are_usage_errors_and_print_no_token() {
    let (_folder, key) = keys();
    let long = "x".repeat(257);
    for (args, message) in [
        (["--tenant", "", "--user", "u", "--ttl", "1h"], "--tenant: a scope part is empty"),
        (["--tenant", "t", "--user", &long, "--ttl", "1h"], "--user: a scope part has 257 bytes"),
        (
            ["--tenant", "t", "--user", "u", "--session", "a\nb"],
            "--session: a scope part holds a control character",
        ),
        (
            ["--tenant", "t", "--user", "u", "--ttl", "5"],
            "it takes a duration from 1s, such as 15m, 1h or 30d",
        ),
        (
            ["--tenant", "t", "--user", "u", "--ttl", "0s"],
            "it takes a duration from 1s, such as 15m, 1h or 30d",
        ),
        (
            ["--tenant", "t", "--user", "u", "--scope", "root"],
            "[possible values: admin, console:fleet, artifacts:delete]",
        ),
    ] {
        let output = run(&[&["token", "--key", &key][..], &args[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(message), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn a_key_that_cannot_be_read_or_used_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("key.pem");
    let key = path.to_str().unwrap();
    let call = || run(&["token", "--key", key, "--tenant", "t", "--user", "u"]);
    let missing = call();
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(
        text(&missing.stderr),
        format!("artifactd: {key} cannot be read: No such file or directory (os error 2)\n")
    );
    std::fs::write(&path, "hunter2").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let unusable = call();
    assert_eq!(unusable.status.code(), Some(1));
    assert_eq!(
        text(&unusable.stderr),
        format!("artifactd: {key}: the PEM must contain exactly one private key\n")
    );
}

#[test]
fn a_key_that_other_users_can_read_gives_a_warning() {
    let (parent, key) = keys();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let token = run(&["token", "--key", &key, "--tenant", "t", "--user", "u", "--session", "s"]);
    assert_eq!(
        text(&token.stderr),
        format!("artifactd: warning: {key} can be read by others on this machine; chmod 600 it\n")
    );
    identify(parent.path(), &token, None);
}

#[test]
fn the_key_id_issuer_and_audience_of_a_token_can_be_chosen() {
    let (_folder, key) = keys();
    let token = run(&[
        "token",
        "--key",
        &key,
        "--tenant",
        "t",
        "--user",
        "u",
        "--session",
        "s",
        "--kid",
        "k",
        "--issuer",
        "i",
        "--audience",
        "a",
    ]);
    let minter = artifact_store_identity::keys::Minter::from_pem(
        &std::fs::read_to_string(&key).unwrap(),
        Some("k".into()),
    );
    let rules = Rules { issuer: Some("i".into()), audience: Some("a".into()), ..Rules::default() };
    let verifier = Verifier::from_jwks(&minter.unwrap().jwks(), rules).unwrap();
    verifier.identify(&HeaderMap::new(), Some(text(&token.stdout).trim_end())).unwrap();
}
