//! `artifactd drivers`: every driver of the build, and an open store.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use crate::support::{TestStore, artifactd, run};
use artifact_store::Flag;

#[test]
fn drivers_shows_every_flag_and_every_driver() {
    let outcome = run(artifactd().arg("drivers"), b"");
    let text = outcome.expect(0).text();
    let head = text.lines().next().unwrap();
    for flag in Flag::ALL {
        assert!(head.contains(flag.as_str()), "{flag} is not in {head}");
    }
    let names: Vec<_> = text.lines().skip(1).map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(names, ["azure", "fs", "gcs", "inmem", "postgres", "s3", "sqlite"]);
    assert!(!text.contains('\u{1b}'), "the output has colours and is not on a terminal");
}

#[test]
fn drivers_prints_the_default_capabilities_of_each_driver() {
    let outcome = run(artifactd().args(["drivers", "--json"]), b"");
    let json = outcome.expect(0).json();
    let not_durable: Vec<_> = json.iter().filter(|row| row["capabilities"]["durable"] == false).collect();
    assert_eq!(not_durable.iter().map(|row| row["driver"].as_str().unwrap()).collect::<Vec<_>>(), ["inmem"]);
}

#[test]
fn drivers_shows_every_option_if_the_flag_options_is_set() {
    let outcome = run(artifactd().args(["drivers", "--options"]), b"");
    let text = outcome.expect(0).text();
    for driver in artifact_store::drivers().unwrap().drivers() {
        for option in driver.info().options {
            assert!(text.lines().any(|line| line.starts_with(option.name)), "{}", option.name);
        }
    }
}

#[test]
fn every_driver_shows_the_form_of_its_url() {
    let json = run(artifactd().args(["drivers", "--json"]), b"").expect(0).json();
    let urls: Vec<_> = json.iter().map(|row| row["url"].as_str().unwrap()).collect();
    assert_eq!(
        urls,
        [
            "az://container/prefix",
            "fs:root",
            "gs://bucket/prefix",
            "inmem:",
            "postgres://…",
            "s3://bucket/prefix",
            "sqlite:path"
        ]
    );
    assert!(
        json.iter().all(|row| row.get("abilities").is_none()),
        "features are shown although no store was opened"
    );
}

#[test]
fn the_options_are_below_the_form_of_the_url() {
    let outcome = run(artifactd().args(["drivers", "--options"]), b"");
    let text = outcome.expect(0).text();
    for line in ["\nfs (as a URL: fs:root)\n", "\ns3 (as a URL: s3://bucket/prefix)\n", "\npresign_endpoint "]
    {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
}

#[test]
fn arguments_override_the_store_of_the_environment() {
    run(artifactd().arg("drivers").env("ARTIFACTD_STORE", "nonsense"), b"").expect(2);
    let all = run(artifactd().arg("drivers").env("ARTIFACTD_STORE", ""), b"");
    assert_eq!(all.expect(0).text(), run(artifactd().arg("drivers"), b"").text());
    let (fs, sqlite) =
        (TestStore::new("fs").with_other_tenant(), TestStore::new("sqlite").with_other_tenant());
    let drivers_of_variable = || {
        let mut command = artifactd();
        command.args(["drivers", "--json"]).env("ARTIFACTD_STORE", &fs.url);
        command
    };
    assert_eq!(run(&mut drivers_of_variable(), b"").expect(0).json()[0]["driver"], "fs");
    let named = run(drivers_of_variable().args(["--store", &sqlite.url]), b"");
    assert_eq!(named.expect(0).json()[0]["driver"], "sqlite");
}

#[test]
fn a_probe_needs_a_store() {
    run(artifactd().args(["drivers", "--probe"]), b"").expect(2);
    for store in TestStore::of_each_driver().map(TestStore::with_other_tenant) {
        let rows = store.run("drivers", &["--probe", "--json"]).expect(0).json();
        assert_eq!(rows[0]["abilities"], serde_json::json!([]));
    }
}

#[test]
fn a_named_store_is_shown_alone_with_its_configuration() {
    for store in TestStore::of_each_driver().map(TestStore::with_other_tenant) {
        let url = format!("{}?max_artifact_bytes=4KiB", store.url);
        let row = &run(artifactd().args(["drivers", "--json", "--store", &url]), b"").expect(0).json()[0];
        assert_eq!(row["driver"], store.url.split(':').next().unwrap());
        assert_eq!(row["capabilities"]["max_artifact_bytes"], 4096);
        assert_eq!(row["abilities"], serde_json::json!([]), "these drivers have no optional features");
        let table = run(artifactd().args(["drivers", "--store", &url]), b"");
        assert_eq!(table.expect(0).text().lines().count(), 2);
    }
}

#[test]
fn the_store_of_a_configuration_file_is_opened_with_its_options() {
    let store = TestStore::new("sqlite").with_other_tenant();
    let path = store.path("store");
    let file = store.file(
        "a.yaml",
        format!("artifacts: {{driver: sqlite, dsn: '{}', options: {{synchronous: normal}}}}", path.display()),
    );
    let row = &run(artifactd().args(["drivers", "--json", "--config", &file]), b"").expect(0).json()[0];
    assert_eq!(row["capabilities"]["durable"], false, "{row}");
}

#[test]
fn drivers_does_not_create_a_missing_store() {
    let store = TestStore::new("fs");
    store.run("drivers", &[]).expect(2).expect_message("there is no fs store");
    assert!(!store.path("store").exists());
}

#[test]
fn drivers_shows_a_store_in_memory() {
    let row = &run(artifactd().args(["drivers", "--json", "--store", "inmem:"]), b"").expect(0).json()[0];
    assert_eq!(row["driver"], "inmem");
}

#[test]
fn an_error_of_opening_names_the_option_as_the_user_wrote_it() {
    let store = TestStore::new("fs");
    let yaml = |name: &str, keys: &str| store.file(name, format!("artifacts: {{{keys}}}"));
    let s3 = "driver: s3, s3_bucket: b-1, s3_access_key_id: a, s3_secret_access_key: s, s3_endpoint: 'http://127.0.0.1:1'";
    let files = [
        ("driver: fs, fs_root: a, options: {sync: maybe}", "a.yaml:1: artifacts.options.sync is not legal"),
        (
            "driver: sqlite, dsn: a.db, options: {page_size: 1000}",
            "artifacts.options.page_size in FILE:1 takes a power of two",
        ),
        (
            "driver: postgres, dsn: 'postgres://h/d', options: {max_connections: 1}",
            "artifacts.options.max_connections in FILE:1 must be 2",
        ),
        (
            "driver: postgres, dsn: 'postgres://h/d?colour=red'",
            "artifacts.dsn in FILE:1 has an unknown parameter",
        ),
        ("driver: s3, s3_bucket: a/b", "artifacts.s3_bucket in FILE:1 is not a bucket name"),
        (
            "driver: s3, s3_bucket: b-1, s3_region: 'x y'",
            "artifacts.s3_region in FILE:1 is not a region name",
        ),
        (
            "driver: s3, s3_bucket: b-1, options: {part_size: 1KiB}",
            "artifacts.options.part_size in FILE:1 must be 5242880 to",
        ),
        (s3, "check artifacts.s3_endpoint in FILE:1"),
    ];
    for (keys, message) in files {
        let file = yaml("a.yaml", keys);
        let outcome = run(artifactd().args(["drivers", "--config", &file]), b"");
        let exit = if keys == s3 { 1 } else { 2 };
        outcome.expect(exit).expect_message(&message.replace("FILE", &file));
    }
    for (keys, variable, value, message) in [
        ("driver: s3", "S3_BUCKET", "a/b", "is not a bucket name"),
        ("driver: sqlite, dsn: a.db", "OPTIONS__PAGE_SIZE", "1000", "takes a power of two"),
        ("driver: postgres", "DSN", "postgres://h/d?colour=red", "has an unknown parameter"),
    ] {
        let file = yaml("b.yaml", keys);
        let variable = format!("ARTIFACTD__ARTIFACTS__{variable}");
        let outcome = run(artifactd().args(["drivers", "--config", &file]).env(&variable, value), b"");
        outcome.expect(2).expect_message(&format!("the environment variable {variable} {message}"));
    }
    for (url, message) in [
        ("fs:a?sync=maybe", "the parameter 'sync' of the URL in SOURCE is not legal"),
        ("fs:", "the root in SOURCE (fs:root) is missing"),
        ("sqlite:a.db?page_size=1000", "the parameter 'page_size' of the URL in SOURCE takes a power of two"),
        ("postgres://h/d?colour=red", "the URL in SOURCE has an unknown parameter"),
        (
            "postgres://h/d?max_connections=1",
            "the parameter 'max_connections' of the URL in SOURCE must be 2",
        ),
        ("s3://a%2Fb", "the bucket in SOURCE (s3://bucket/prefix) is not a bucket name"),
        ("s3://bucket/a%2F%2Fb", "the prefix in SOURCE (s3://bucket/prefix) takes letters"),
        (
            "s3://bucket?endpoint=nowhere",
            "the parameter 'endpoint' of the URL in SOURCE is not an http or https URL",
        ),
    ] {
        let outcome = run(artifactd().args(["drivers", "--store", url]), b"");
        outcome.expect(2).expect_message(&message.replace("SOURCE", "--store"));
        let outcome = run(artifactd().arg("drivers").env("ARTIFACTD_STORE", url), b"");
        outcome.expect(2).expect_message(&message.replace("SOURCE", "ARTIFACTD_STORE"));
    }
}
