//! The store verbs with the server's configuration file instead of a URL.
#![allow(clippy::unwrap_used)] // Helpers of tests.

mod cli_kit;

use cli_kit::{Done, Place, SESSION, artifactd, run};

/// `artifactd VERB ARGS --config FILE` within the session, where `store` is the section of artifacts in the file.
fn with_config(place: &Place, store: &str, verb: &str, args: &[&str], stdin: &[u8]) -> Done {
    let file = place.file("artifactd.yaml", format!("artifacts:\n{store}"));
    run(artifactd().arg(verb).args(args).args(SESSION).args(["--config", &file]), stdin)
}

#[test]
fn every_verb_works_on_the_store_of_a_configuration_file() {
    for (driver, key) in [("fs", "fs_root"), ("sqlite", "dsn")] {
        let place = Place::new(driver);
        let store = format!("  driver: {driver}\n  {key}: '{}'\n", place.path("store").display());
        let with = |verb: &str, args: &[&str], stdin: &[u8]| with_config(&place, &store, verb, args, stdin);
        let put = with("put", &["-"], b"configured");
        let id = put.expect(0).text().trim_end();
        assert_eq!(with("get", &[id], b"").expect(0).bytes(), b"configured");
        assert!(with("ls", &[], b"").expect(0).text().contains(id));
        assert!(with("stat", &[id], b"").expect(0).text().contains(id));
        // It is the store that the URL names, too.
        assert_eq!(place.within("get", &[id]).expect(0).bytes(), b"configured");
        with("rm", &[id], b"").expect(0);
        with("get", &[id], b"").expect(4);
    }
}

#[test]
fn a_configuration_file_with_a_mistake_is_named_with_its_key() {
    let place = Place::new("fs");
    with_config(&place, "  driver: fs\n  bogus: 1\n", "ls", &[], b"")
        .expect(2)
        .says("artifactd.yaml: there is no key 'artifacts.bogus'");
}

#[test]
fn a_configured_store_that_lives_in_one_process_is_refused() {
    let place = Place::new("fs");
    with_config(&place, "  driver: inmem\n", "ls", &[], b"")
        .expect(2)
        .says("lives in the memory of one process");
}
