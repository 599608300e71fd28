//! Commands that use the store of a configuration file instead of a URL.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use crate::support::{Outcome, SESSION, TestStore, artifactd, run};

/// Runs `artifactd COMMAND ARGS --config FILE` in the scope of the session. `section` is the section `artifacts` of the
/// file.
fn with_config(store: &TestStore, section: &str, command: &str, args: &[&str], stdin: &[u8]) -> Outcome {
    let file = store.file("artifactd.yaml", format!("artifacts:\n{section}"));
    run(artifactd().arg(command).args(args).args(SESSION).args(["--config", &file]), stdin)
}

#[test]
fn every_command_works_on_the_store_of_a_configuration_file() {
    for (driver, key) in [("fs", "fs_root"), ("sqlite", "dsn")] {
        let store = TestStore::new(driver);
        let section = format!("  driver: {driver}\n  {key}: '{}'\n", store.path("store").display());
        let with =
            |command: &str, args: &[&str], stdin: &[u8]| with_config(&store, &section, command, args, stdin);
        let put = with("put", &["-"], b"configured");
        let id = put.expect(0).text().trim_end();
        assert_eq!(with("get", &[id], b"").expect(0).bytes(), b"configured");
        assert!(with("ls", &[], b"").expect(0).text().contains(id));
        assert!(with("stat", &[id], b"").expect(0).text().contains(id));
        // The URL names the same store.
        assert_eq!(store.run_in_session("get", &[id]).expect(0).bytes(), b"configured");
        with("rm", &[id], b"").expect(0);
        with("get", &[id], b"").expect(4);
    }
}

#[test]
fn a_configuration_file_with_a_mistake_is_named_with_its_key() {
    let store = TestStore::new("fs");
    with_config(&store, "  driver: fs\n  bogus: 1\n", "ls", &[], b"")
        .expect(2)
        .expect_message("artifactd.yaml:3: there is no key 'artifacts.bogus'");
}

#[test]
fn a_configured_store_in_memory_is_refused() {
    let store = TestStore::new("fs");
    with_config(&store, "  driver: inmem\n", "ls", &[], b"")
        .expect(2)
        .expect_message("is in the memory of one process");
}
