//! `artifactd drivers`: what there is, and what an opened store is.
#![allow(clippy::unwrap_used)] // Helpers of tests.

mod cli_kit;

use artifact_store::Flag;
use cli_kit::{Place, artifactd, run};

#[test]
fn drivers_shows_every_flag_and_every_driver() {
    let done = run(artifactd().arg("drivers"), b"");
    let text = done.expect(0).text();
    let head = text.lines().next().unwrap();
    for flag in Flag::ALL {
        assert!(head.contains(flag.word()), "{flag} is not in {head}");
    }
    let names: Vec<_> = text.lines().skip(1).map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(names, ["fs", "inmem", "postgres", "s3", "sqlite"]);
    assert!(!text.contains('\u{1b}'), "colours only on a terminal");
}

#[test]
fn drivers_tells_what_each_promises_by_default() {
    let done = run(artifactd().args(["drivers", "--json"]), b"");
    let json = done.expect(0).json();
    let forgetful: Vec<_> = json.iter().filter(|row| row["capabilities"]["durable"] == false).collect();
    assert_eq!(forgetful.iter().map(|row| row["driver"].as_str().unwrap()).collect::<Vec<_>>(), ["inmem"]);
}

#[test]
fn drivers_shows_every_option_when_asked() {
    let done = run(artifactd().args(["drivers", "--options"]), b"");
    let text = done.expect(0).text();
    for driver in artifact_store::drivers().unwrap().drivers() {
        for option in driver.info().options {
            assert!(text.lines().any(|line| line.starts_with(option.name)), "{}", option.name);
        }
    }
}

#[test]
fn every_driver_says_how_its_url_is_written() {
    let json = run(artifactd().args(["drivers", "--json"]), b"").expect(0).json();
    let urls: Vec<_> = json.iter().map(|row| row["url"].as_str().unwrap()).collect();
    assert_eq!(urls, ["fs:root", "inmem:", "postgres://…", "s3://bucket/prefix", "sqlite:path"]);
    assert!(json.iter().all(|row| row.get("abilities").is_none()), "nothing was opened");
}

#[test]
fn the_options_stand_below_the_form_of_the_url() {
    let done = run(artifactd().args(["drivers", "--options"]), b"");
    let text = done.expect(0).text();
    for line in ["\nfs (as a URL: fs:root)\n", "\ns3 (as a URL: s3://bucket/prefix)\n", "\npresign_endpoint "]
    {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
}

#[test]
fn the_environment_alone_names_no_store_to_open() {
    let done = run(artifactd().arg("drivers").env("ARTIFACTD_STORE", "nonsense"), b"");
    assert_eq!(done.expect(0).text(), run(artifactd().arg("drivers"), b"").text());
}

#[test]
fn a_store_that_is_named_stands_alone_as_it_was_opened() {
    for place in Place::of_each_driver().map(Place::made) {
        let url = format!("{}?max_artifact_bytes=4KiB", place.url);
        let row = &run(artifactd().args(["drivers", "--json", "--store", &url]), b"").expect(0).json()[0];
        assert_eq!(row["driver"], place.url.split(':').next().unwrap());
        assert_eq!(row["capabilities"]["max_artifact_bytes"], 4096);
        assert_eq!(row["abilities"], serde_json::json!([]), "storages of these drivers do not differ");
        let table = run(artifactd().args(["drivers", "--store", &url]), b"");
        assert_eq!(table.expect(0).text().lines().count(), 2);
    }
}

#[test]
fn the_store_of_a_configuration_file_is_opened_with_its_options() {
    let place = Place::new("sqlite").made();
    let store = place.path("store");
    let file = place.file(
        "a.yaml",
        format!(
            "artifacts: {{driver: sqlite, dsn: '{}', options: {{synchronous: normal}}}}",
            store.display()
        ),
    );
    let row = &run(artifactd().args(["drivers", "--json", "--config", &file]), b"").expect(0).json()[0];
    assert_eq!(row["capabilities"]["durable"], false, "{row}");
}

#[test]
fn looking_at_a_store_that_is_not_there_makes_none() {
    let place = Place::new("fs");
    place.run("drivers", &[]).expect(2).says("there is no fs store");
    assert!(!place.path("store").exists());
}

#[test]
fn a_store_in_memory_may_be_looked_at() {
    let row = &run(artifactd().args(["drivers", "--json", "--store", "inmem:"]), b"").expect(0).json()[0];
    assert_eq!(row["driver"], "inmem");
}
