//! `artifactd sweep`: it removes the leftovers of a killed process, and a dry run changes nothing.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{SESSION, TestStore, artifactd, pseudorandom_bytes, run};
use serde_json::Value;

/// Kills a put before it is complete.
fn kill_a_put(store: &TestStore) {
    let mut put = artifactd()
        .args(["put", "-", "--store", &store.url])
        .args(SESSION)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut pipe = put.stdin.take().unwrap();
    pipe.write_all(&pseudorandom_bytes(8 << 20)).unwrap();
    pipe.flush().unwrap();
    let begun = Instant::now();
    while count(store) == 0 {
        assert!(begun.elapsed() < Duration::from_mins(1), "the put has staged nothing");
        std::thread::sleep(Duration::from_millis(20));
        if store.url.starts_with("sqlite") && begun.elapsed() > Duration::from_secs(2) {
            break; // In sqlite, the rows of a put are not counted while it is running.
        }
    }
    put.kill().unwrap();
    put.wait().unwrap();
    drop(pipe);
}

/// The number of leftovers and of running uploads that a dry run counts.
fn count(store: &TestStore) -> u64 {
    let row = sweep(store, &["--dry-run"]);
    row["leftovers"].as_u64().unwrap() + row["spared"].as_u64().unwrap()
}

fn sweep(store: &TestStore, args: &[&str]) -> Value {
    store.run("sweep", &[args, &["--json"]].concat()).expect(0).json()[0].clone()
}

/// The names, sizes and times of everything in the directory.
fn listing(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::metadata(&path).unwrap();
            // The index of the log of sqlite is shared memory. sqlite may write this file again, and the file contains
            // no data of its own.
            let modified = (!path.to_str().unwrap().ends_with("-shm")).then(|| metadata.modified().unwrap());
            lines.push(format!("{} {} {modified:?}", path.display(), metadata.len()));
            if metadata.is_dir() {
                dirs.push(path);
            }
        }
    }
    lines.sort();
    lines
}

#[test]
fn a_dry_run_changes_nothing_and_the_sweep_removes_what_it_counted() {
    for store in TestStore::of_each_driver().map(TestStore::with_other_tenant) {
        kill_a_put(&store);
        let dir = store.path("");
        let before = listing(&dir);
        let found = sweep(&store, &["--dry-run"]);
        assert_eq!(listing(&dir), before, "{}", store.url);
        assert!(found["leftovers"].as_u64().unwrap() > 0, "{}: {found}", store.url);
        assert!(found["bytes"].as_u64().unwrap() > 0, "{}: {found}", store.url);
        assert_eq!((&found["dry_run"], &found["busy"]), (&true.into(), &false.into()));
        let removed = sweep(&store, &[]);
        for field in ["leftovers", "bytes", "spared", "busy"] {
            assert_eq!(removed[field], found[field], "{}: {field}", store.url);
        }
        for args in [&["--dry-run"][..], &[]] {
            assert_eq!(store.run("sweep", args).expect(0).text(), "no leftovers\n", "{}", store.url);
        }
        let theirs = ["--tenant", "other", "--user", "bob", "--session", "s-9", "--json"];
        assert_eq!(store.run("ls", &theirs).expect(0).json().len(), 1, "{}", store.url);
    }
}

#[test]
fn a_dry_run_of_a_cleanly_closed_store_creates_no_file() {
    for store in TestStore::of_each_driver().map(TestStore::with_other_tenant) {
        let before = listing(&store.path(""));
        assert_eq!(store.run("sweep", &["--dry-run"]).expect(0).text(), "no leftovers\n");
        assert_eq!(listing(&store.path("")), before, "{}", store.url);
    }
}

#[test]
fn a_second_sweep_reports_that_another_one_is_running() {
    for (store, lock) in TestStore::of_each_driver()
        .map(TestStore::with_other_tenant)
        .into_iter()
        .zip(["store/FORMAT", "store-sweep"])
    {
        store.run("sweep", &[]).expect(0);
        let lock_file = File::open(store.path(lock)).unwrap();
        lock_file.lock().unwrap();
        for args in [&["--dry-run"][..], &[]] {
            assert!(store.run("sweep", args).expect(0).text().starts_with("another sweep"), "{}", store.url);
            assert_eq!(sweep(&store, args)["busy"], true);
        }
        drop(lock_file);
        assert_eq!(sweep(&store, &[])["busy"], false);
    }
}

#[test]
fn a_sweep_does_not_create_a_missing_store() {
    for store in TestStore::of_each_driver() {
        for args in [&["--dry-run"][..], &[]] {
            store.run("sweep", args).expect(2);
            assert!(listing(&store.path("")).is_empty(), "{}", store.url);
        }
    }
    run(artifactd().arg("sweep"), b"").expect(2);
}
