//! A running server removes the leftovers of killed processes from its store.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{TestStore, artifactd};

#[test]
fn a_running_server_removes_orphans_of_other_processes_and_no_running_upload() {
    let store = TestStore::new("fs").with_other_tenant();
    let root = store.path("store");
    let root_key = format!("artifacts.fs_root={}", root.display());
    let mut server = artifactd()
        .args(["dev", "--listen", "127.0.0.1:0", "--set", "artifacts.driver=fs", "--set", &root_key])
        .args(["--set", "artifacts.sweep_interval=300ms", "--data-dir"])
        .arg(store.path("data"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Opening the store also deletes orphans. In the second and third round, only the sweeps at intervals delete
    // orphans.
    let mut result = Ok(());
    for round in 0..3 {
        let orphan = root.join(format!("tmp/put-{round:032x}"));
        let locked = root.join(format!("tmp/put-{:032x}", round + 100));
        let lock = fs::File::create(&locked).unwrap();
        lock.lock().unwrap();
        fs::write(&orphan, "half").unwrap();
        let begun = Instant::now();
        while orphan.exists() && result.is_ok() {
            if begun.elapsed() > Duration::from_mins(1) {
                result = Err("the orphan was not removed");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if !locked.exists() {
            result = Err("a file with a lock was removed");
        }
        drop(lock);
    }
    server.kill().unwrap();
    server.wait().unwrap();
    result.unwrap();
    let theirs = ["--tenant", "other", "--user", "bob", "--session", "s-9", "--json"];
    assert_eq!(store.run("ls", &theirs).expect(0).json().len(), 1);
}

#[test]
fn a_sweep_that_cannot_open_its_store_names_the_key_of_the_configuration() {
    let store = TestStore::new("fs");
    let root = store.path("store");
    let log = store.path("log");
    let mut server = artifactd()
        .args(["dev", "--listen", "127.0.0.1:0", "--set", "artifacts.driver=fs", "--set"])
        .arg(format!("artifacts.fs_root={}", root.display()))
        .args(["--set", "artifacts.sweep_interval=300ms", "--data-dir"])
        .arg(store.path("data"))
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    // A file where the directory was: each sweep opens the storage again, and fails.
    let begun = Instant::now();
    let mut line = None;
    let mut moved = false;
    while line.is_none() && begun.elapsed() < Duration::from_mins(1) {
        let text = fs::read_to_string(&log).unwrap();
        if !moved && text.contains("listening") {
            fs::rename(&root, store.path("moved")).unwrap();
            fs::write(&root, "a file").unwrap();
            moved = true;
        }
        line = text.lines().find(|line| line.contains("the sweep of the store failed")).map(str::to_owned);
        std::thread::sleep(Duration::from_millis(20));
    }
    server.kill().unwrap();
    server.wait().unwrap();
    let line = line.unwrap();
    assert!(line.contains("artifacts.fs_root"), "{line}");
    assert!(!line.contains("option 'root'"), "{line}");
}
