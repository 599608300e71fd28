//! How the operator's verbs are told what to do, and how they refuse.
#![allow(clippy::unwrap_used)] // Helpers of tests.

mod cli_kit;

use cli_kit::{MISSING, Place, SESSION, artifactd, run};

#[test]
fn wrong_usage_ends_with_2() {
    let place = Place::new("fs");
    let id = place.put(b"x", &[]);
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
        place.within(args[0], &args[1..]).expect(2);
    }
}

#[test]
fn an_empty_part_of_a_scope_is_refused() {
    let place = Place::new("fs");
    let scope = ["-", "--tenant", "", "--user", "ada", "--session", "s-1"];
    place.run("put", &scope).expect(2).says("a scope part is empty");
}

#[test]
fn a_listing_names_one_tenant_or_says_all_of_them() {
    let place = Place::new("fs");
    for flags in [
        &[][..],
        &["--user", "ada"],
        &["--tenant", "a", "--all-tenants"],
        &["--all-tenants", "--user", "ada"],
        &["--all-tenants", "--session", "s-1"],
        &["--all-tenants", "--no-task"],
    ] {
        place.run("ls", flags).expect(2);
    }
}

#[test]
fn options_that_no_store_takes_are_refused_before_a_byte_is_read() {
    let place = Place::new("fs");
    let tag = "x".repeat(70_000);
    place.within("put", &["/does/not/exist", "--tag", &tag]).expect(2).says("65536 bytes");
}

#[test]
fn a_file_that_cannot_be_read_ends_with_1_and_its_cause() {
    let place = Place::new("fs");
    let put = place.within("put", &["/does/not/exist"]);
    put.expect(1).says("artifactd: /does/not/exist cannot be read\n  caused by: No such file");
}

#[test]
fn a_place_that_cannot_be_used_ends_with_its_cause() {
    let place = Place::new("fs");
    let file = place.file("file", "x");
    let url = format!("fs:{file}/below");
    let done = run(artifactd().args(["stat", MISSING, "--store", &url]).args(SESSION), b"");
    assert!(done.errors().starts_with("artifactd: fs open: "), "{}", done.errors());
    assert!(done.errors().contains("\n  caused by: "), "{}", done.errors());
}

#[test]
fn a_store_that_is_not_named_is_asked_for() {
    let done = run(artifactd().args(["stat", MISSING]).args(SESSION), b"");
    done.expect(2).says("give --store URL or --config FILE, or set ARTIFACTD_STORE");
}

#[test]
fn the_store_may_stand_in_the_environment() {
    let place = Place::new("sqlite");
    let id = place.put(b"x", &[]);
    let done = run(artifactd().args(["get", &id]).args(SESSION).env("ARTIFACTD_STORE", &place.url), b"");
    assert_eq!(done.expect(0).text(), "x");
}

#[test]
fn a_flag_stands_over_the_environment() {
    let place = Place::new("sqlite");
    let id = place.put(b"x", &[]);
    let mut command = artifactd();
    command.args(["get", &id]).args(SESSION).args(["--store", &place.url]);
    assert_eq!(run(command.env("ARTIFACTD_STORE", "nonsense"), b"").expect(0).text(), "x");
}

#[test]
fn a_store_that_cannot_be_ends_with_2_and_repeats_no_secret() {
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
        let done = run(artifactd().args(["stat", MISSING, "--store", url]).args(SESSION), b"");
        done.expect(2);
        assert!(!done.errors().contains("hunter2"), "{}", done.errors());
    }
}

#[test]
fn a_store_in_memory_is_refused() {
    for url in ["inmem:", "sqlite::memory:"] {
        let done = run(artifactd().args(["put", "-", "--store", url]).args(SESSION), b"x");
        done.expect(2).says("lives in the memory of one process");
    }
}

#[test]
fn without_a_command_the_help_is_shown_and_ends_with_2() {
    run(&mut artifactd(), b"").expect(2).says("Usage: artifactd <COMMAND>");
}

#[test]
fn the_version_is_the_crates_with_the_commit() {
    let done = run(artifactd().arg("--version"), b"");
    let said = done.expect(0).text();
    let commit = said.strip_prefix(concat!("artifactd ", env!("CARGO_PKG_VERSION"), " (")).expect(said);
    let commit = commit.strip_suffix(")\n").expect(said);
    let is_hash = commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(is_hash || commit == "unknown" || option_env!("ARTIFACTD_COMMIT") == Some(commit), "{said}");
}

#[test]
fn a_slip_in_the_stores_path_is_told_and_makes_no_store() {
    for driver in ["fs", "sqlite"] {
        let folder = tempfile::tempdir().unwrap();
        let store = format!("{driver}:{}/typo", folder.path().display());
        let scope = ["--tenant", "acme", "--user", "ada", "--session", "s-1"];
        for args in [vec!["ls"], vec!["get", MISSING], vec!["stat", MISSING], vec!["rm", MISSING]] {
            let mut command = artifactd();
            command.args(&args).args(["--store", &store]).args(scope);
            run(&mut command, b"").expect(2).says("store at").says("check the path");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{driver}");
    }
}
