//! `artifactd ls`, `artifactd completions` and `artifactd man`: their output, which never controls a terminal.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::collections::HashSet;

use crate::support::{TestStore, artifactd, run};

/// Puts three artifacts in one session: a (1 byte, csv, q3), b (1 KiB, csv, no tag), c (4 KiB, no type, q3 and q4, from
/// a tool).
fn put_three(store: &TestStore) -> [String; 3] {
    [
        store.put(b"a", &["--mime-type", "text/csv", "--tag", "q3", "--filename", "a.csv"]),
        store.put(&[b'b'; 1024], &["--mime-type", "text/csv"]),
        store.put(&[b'c'; 4096], &["--source", "tool", "--tag", "q3", "--tag", "q4"]),
    ]
}

fn ids(store: &TestStore, flags: &[&str]) -> Vec<String> {
    let outcome = store.run("ls", &[&["--tenant", "acme", "--json"], flags].concat());
    let ids = outcome.expect(0).json().into_iter().map(|row| row["ref"]["id"].as_str().unwrap().to_owned());
    ids.collect()
}

#[test]
fn filters_select_rows_and_the_newest_come_first() {
    for store in TestStore::of_each_driver() {
        let [a, b, c] = &put_three(&store);
        let expect = |flags: &[&str], expected: &[&String]| {
            assert_eq!(ids(&store, flags).iter().collect::<Vec<_>>(), expected, "{} {flags:?}", store.url);
        };
        expect(&[], &[c, b, a]);
        expect(&["--mime-type", "text/csv"], &[b, a]);
        expect(&["--mime-type", "TEXT/*"], &[b, a]);
        expect(&["--mime-type", "*/*", "--before", "9999-12-31T23:59:59Z"], &[b, a]);
        expect(&["--after", "0001-01-01T00:00:00Z", "--before", "0001-01-01"], &[c, b, a]);
        expect(&["--source", "tool"], &[c]);
        expect(&["--source", "tool", "--source", "user_upload"], &[c, b, a]);
        expect(&["--tag", "q3"], &[c, a]);
        expect(&["--tag", "q4", "--tag", "none"], &[c]);
        expect(&["--min-size", "1KiB"], &[c, b]);
        expect(&["--max-size", "1KiB"], &[b, a]);
        expect(&["--min-size", "1025", "--max-size", "4KiB"], &[c]);
        expect(&["--tag", "q3", "--mime-type", "text/csv"], &[a]);
        expect(&["--after", "2020-01-01"], &[c, b, a]);
        expect(&["--before", "2020-01-01T00:00:00Z"], &[]);
        expect(&["--user", "bob"], &[]);
        expect(&["--session", "s-1", "--no-task"], &[c, b, a]);
        expect(&["--task", "t"], &[]);
    }
}

#[test]
fn a_line_of_json_is_a_row_of_the_protocol() {
    for store in TestStore::of_each_driver() {
        let id = store.put(b"x", &["--tag", "q3", "--metadata", r#"{"n": 1}"#]);
        let row = &store.run("ls", &["--all-tenants", "--json"]).expect(0).json()[0];
        assert_eq!(row["ref"]["id"], id.as_str());
        assert_eq!(row["tags"], serde_json::json!(["q3"]));
        assert_eq!(row["source"], "user_upload");
        assert_eq!(row["metadata"], serde_json::json!({"n": 1}));
        assert_eq!(store.url.split(':').next(), row["driver"].as_str());
        assert!(row["created_at"].as_str().unwrap().ends_with('Z'));
    }
}

#[test]
fn a_limit_counts_over_all_pages_and_a_message_says_that_there_are_more() {
    let store = TestStore::new("sqlite");
    let [_, b, c] = put_three(&store);
    let two = store.run("ls", &["--tenant", "acme", "--json", "--limit", "2"]);
    two.expect(0).expect_message("there are more than these 2 artifacts; give --limit N or --all");
    assert_eq!(ids(&store, &["--limit", "2"]), [c, b]);
    let three = store.run("ls", &["--tenant", "acme", "--limit", "3"]);
    assert_eq!(three.expect(0).stderr(), "");
    assert_eq!(ids(&store, &["--all"]).len(), 3);
    store.run("ls", &["--tenant", "acme", "--limit", "0"]).expect(2);
}

#[test]
fn a_listing_of_several_pages_shows_every_row_once() {
    let store = TestStore::new("sqlite");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        use artifact_store::prelude::*;
        let store = artifact_store::open(&store.url.parse().unwrap()).await.unwrap();
        let scope = Scope::new("acme", "ada", "s-1").unwrap();
        for n in 0..1005 {
            store.put_text(&scope, n.to_string(), PutOptions::default()).await.unwrap();
        }
        store.close().await.unwrap();
    });
    let all = ids(&store, &["--all"]);
    assert_eq!(all.len(), 1005);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 1005);
    assert_eq!(ids(&store, &["--limit", "1003"]), all[..1003]);
    let table = store.run("ls", &["--tenant", "acme", "--all"]);
    assert_eq!(table.expect(0).text().lines().count(), 1006);
}

#[test]
fn a_table_shows_only_the_columns_that_can_differ() {
    let store = TestStore::new("fs");
    put_three(&store);
    let head = |flags: &[&str]| {
        let outcome = store.run("ls", flags);
        outcome
            .expect(0)
            .text()
            .lines()
            .next()
            .unwrap()
            .split("  ")
            .filter(|t| !t.is_empty())
            .map(|t| t.trim().to_owned())
            .collect::<Vec<_>>()
    };
    let always = ["ID", "SIZE", "CREATED", "MEDIA TYPE", "FILENAME"];
    assert_eq!(head(&["--all-tenants"]), [&always[..], &["TENANT", "USER", "SESSION", "TASK"]].concat());
    assert_eq!(head(&["--tenant", "acme", "--user", "ada"]), [&always[..], &["SESSION", "TASK"]].concat());
    assert_eq!(head(&["--tenant", "acme", "--user", "ada", "--session", "s-1", "--no-task"]), always);
}

#[test]
fn a_table_has_a_row_for_each_artifact() {
    for store in TestStore::of_each_driver() {
        let [a, ..] = put_three(&store);
        let outcome =
            store.run("ls", &["--tenant", "acme", "--user", "ada", "--session", "s-1", "--no-task"]);
        let last = outcome.expect(0).text().lines().last().unwrap();
        let cells: Vec<_> = last.split_whitespace().collect();
        assert_eq!(
            (cells[0], cells[1], cells[2], cells[4], cells[5]),
            (a.as_str(), "1", "B", "text/csv", "a.csv")
        );
        assert!(cells[3].len() == 20 && cells[3].ends_with('Z'), "{last}");
    }
}

#[test]
fn an_empty_listing_prints_a_message_only_on_standard_error() {
    let store = TestStore::new("sqlite").with_other_tenant();
    let outcome = store.run("ls", &["--tenant", "acme"]);
    assert_eq!(outcome.expect(0).text(), "");
    outcome.expect_message("no artifact matches");
}

#[test]
fn control_characters_of_a_filename_do_not_reach_a_terminal() {
    for store in TestStore::of_each_driver() {
        let id = store.put(b"x", &["--filename", "a\u{1b}]0;owned\u{7}\n\u{9b}2J\u{202e}.txt"]);
        let is_unfit = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        for outcome in [
            store.run("ls", &["--tenant", "acme"]),
            store.run("ls", &["--tenant", "acme", "--json"]),
            store.run_in_session("stat", &[&id]),
            store.run_in_session("stat", &[&id, "--json"]),
        ] {
            assert!(!outcome.expect(0).text().contains(is_unfit), "{:?}", outcome.text());
        }
        let row = &store.run_in_session("stat", &[&id, "--json"]).json()[0];
        assert_eq!(row["ref"]["filename"], "a\u{1b}]0;owned\u{7}\n\u{9b}2J\u{202e}.txt");
    }
}

#[test]
fn completions_exist_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let outcome = run(artifactd().args(["completions", shell]), b"");
        assert!(outcome.expect(0).text().contains("all-tenants"), "{shell}");
    }
    run(artifactd().args(["completions", "tcsh"]), b"").expect(2);
}

#[test]
fn each_command_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("new/man1");
    run(artifactd().arg("man").arg(&pages), b"").expect(0);
    for (page, option) in [
        ("artifactd.1", "artifactd\\-put(1)"),
        ("artifactd-put.1", "\\-\\-filename"),
        ("artifactd-ls.1", "all\\-tenants"),
    ] {
        let text = std::fs::read_to_string(pages.join(page)).unwrap();
        assert!(text.contains(option), "{page}:\n{text}");
        assert!(text.starts_with(".ie") && text.contains(".TH artifactd"), "{page}:\n{text}");
    }
    run(artifactd().arg("man").arg("/dev/null/man1"), b"").expect(1);
}
