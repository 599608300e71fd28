//! The arguments of the commands, and the errors for wrong ones.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use crate::support::{MISSING, SESSION, TestStore, artifactd, run};

#[test]
fn wrong_usage_ends_with_2() {
    let store = TestStore::new("fs");
    let id = store.put(b"x", &[]);
    for args in [
        vec!["put", "-", "--metadata", "[1]"],
        vec!["put", "-", "--source", "elsewhere"],
        vec!["put", "-", "--namespace", ".hidden"],
        vec!["put", "-", "--filename", "a", "--no-filename"],
        vec!["get", &id, "--range", "5-4"],
        vec!["get", &id, "--force"],
        vec!["rm"],
        vec!["stat", &id, "--config", "also"],
    ] {
        store.run_in_session(args[0], &args[1..]).expect(2);
    }
}

#[test]
fn an_empty_part_of_a_scope_is_refused() {
    let store = TestStore::new("fs");
    let scope = ["-", "--tenant", "", "--user", "ada", "--session", "s-1"];
    store.run("put", &scope).expect(2).expect_message("a scope part is empty");
}

#[test]
fn a_listing_needs_a_tenant_or_all_tenants() {
    let store = TestStore::new("fs");
    for flags in [
        &[][..],
        &["--user", "ada"],
        &["--tenant", "a", "--all-tenants"],
        &["--all-tenants", "--user", "ada"],
        &["--all-tenants", "--session", "s-1"],
        &["--all-tenants", "--no-task"],
    ] {
        store.run("ls", flags).expect(2);
    }
}

#[test]
fn options_that_no_store_accepts_are_refused_before_a_byte_is_read() {
    let store = TestStore::new("fs");
    let tag = "x".repeat(70_000);
    store.run_in_session("put", &["/does/not/exist", "--tag", &tag]).expect(2).expect_message("65536 bytes");
}

#[test]
fn a_file_that_cannot_be_read_ends_with_1_and_its_cause() {
    let store = TestStore::new("fs");
    let put = store.run_in_session("put", &["/does/not/exist"]);
    put.expect(1).expect_message("artifactd: /does/not/exist cannot be read\n  caused by: No such file");
}

#[test]
fn a_storage_that_cannot_be_opened_ends_with_its_cause() {
    let store = TestStore::new("fs");
    let file = store.file("file", "x");
    let url = format!("fs:{file}/below");
    let outcome = run(artifactd().args(["stat", MISSING, "--store", &url]).args(SESSION), b"");
    assert!(outcome.stderr().starts_with("artifactd: fs open: "), "{}", outcome.stderr());
    assert!(outcome.stderr().contains("\n  caused by: "), "{}", outcome.stderr());
}

#[test]
fn without_a_store_the_error_says_how_to_name_one() {
    let outcome = run(artifactd().args(["stat", MISSING]).args(SESSION), b"");
    outcome.expect(2).expect_message("give --store URL or --config FILE, or set ARTIFACTD_STORE");
}

#[test]
fn the_environment_can_name_the_store() {
    let store = TestStore::new("sqlite");
    let id = store.put(b"x", &[]);
    let outcome = run(artifactd().args(["get", &id]).args(SESSION).env("ARTIFACTD_STORE", &store.url), b"");
    assert_eq!(outcome.expect(0).text(), "x");
}

#[test]
fn a_flag_overrides_the_environment() {
    let store = TestStore::new("sqlite");
    let id = store.put(b"x", &[]);
    let mut command = artifactd();
    command.args(["get", &id]).args(SESSION).args(["--store", &store.url]);
    assert_eq!(run(command.env("ARTIFACTD_STORE", "nonsense"), b"").expect(0).text(), "x");
}

#[test]
fn an_invalid_store_url_ends_with_2_and_no_secret_is_printed() {
    for url in [
        "nosuchdriver:x?password=hunter2",
        "hunter2",
        "fs:/tmp/x?key=hunter2",
        "fs://hunter2/x",
        "mysql://ada:hunter2@db/x",
        "postgres:ada:hunter2@db/x",
        "postgres://ada:hunter2@db/x?max_connections=hunter2",
        "postgres://ada:hunter2#@db/x",
        "s3://id:hunter2@bucket",
        "s3://bucket?secret_access_key=hunter2&regoin=hunter2",
        "s3:?access_key_id=id&secret_access_key=hunter2",
    ] {
        let outcome = run(artifactd().args(["stat", MISSING, "--store", url]).args(SESSION), b"");
        outcome.expect(2);
        assert!(!outcome.stderr().contains("hunter2"), "{}", outcome.stderr());
    }
}

#[test]
fn a_store_in_memory_is_refused() {
    for url in ["inmem:", "sqlite::memory:"] {
        let outcome = run(artifactd().args(["put", "-", "--store", url]).args(SESSION), b"x");
        outcome.expect(2).expect_message("is in the memory of one process");
    }
}

#[test]
fn without_a_command_the_help_is_shown_and_ends_with_2() {
    run(&mut artifactd(), b"").expect(2).expect_message("Usage: artifactd <COMMAND>");
}

#[test]
fn the_version_is_that_of_the_crate_with_the_commit() {
    let outcome = run(artifactd().arg("--version"), b"");
    let version = outcome.expect(0).text();
    let commit = version.strip_prefix(concat!("artifactd ", env!("CARGO_PKG_VERSION"), " (")).expect(version);
    let commit = commit.strip_suffix(")\n").expect(version);
    let is_hash = commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(is_hash || commit == "unknown" || option_env!("ARTIFACTD_COMMIT") == Some(commit), "{version}");
}

#[test]
fn a_typing_error_in_the_path_of_a_store_is_an_error_and_creates_no_store() {
    for driver in ["fs", "sqlite"] {
        let dir = tempfile::tempdir().unwrap();
        let store = format!("{driver}:{}/typo", dir.path().display());
        let scope = ["--tenant", "acme", "--user", "ada", "--session", "s-1"];
        for args in [vec!["ls"], vec!["get", MISSING], vec!["stat", MISSING], vec!["rm", MISSING]] {
            let mut command = artifactd();
            command.args(&args).args(["--store", &store]).args(scope);
            run(&mut command, b"").expect(2).expect_message("store at").expect_message("check the path");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{driver}");
    }
}
