//! Section 5: `artifacts.list`.

use std::collections::BTreeSet;
use std::time::Duration;

use artifact_store_core::Timestamp;
use artifact_store_tests::wire::{Identity, Server, for_each_flavour, sha256};
use serde_json::{Value, json};

use crate::ada;

pub(crate) fn list(server: &Server, query: &Value) -> Value {
    server.call(&ada(), "artifacts.list", query).expect_json(200)
}

pub(crate) fn ids(page: &Value) -> Vec<String> {
    let rows = page["rows"].as_array().unwrap();
    rows.iter().map(|row| row["ref"]["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_row_says_what_is_known() {
    for_each_flavour(|server| {
        let opts = json!({
            "mime_type": "text/csv", "filename": "f.csv", "namespace": "n", "source": "tool", "tags": ["a", "b"],
            "metadata": {"rows": 3},
        });
        let stored = server.store(&ada(), b"1,2", &opts);
        let page = list(server, &json!({}));
        let created_at = page["rows"][0]["created_at"].clone();
        created_at.as_str().unwrap().parse::<Timestamp>().unwrap();
        let row = json!({
            "ref": stored, "tags": ["a", "b"], "source": "tool", "driver": server.driver(), "created_at": created_at,
            "metadata": {"rows": 3},
        });
        assert_eq!(page, json!({"rows": [row], "total_matched": 1, "protocol_version": "0.1.0"}));
    });
}

/// Stores artifacts that differ in everything that can be filtered. Returns a function from names to ids.
fn store_seed_artifacts(server: &Server) -> impl Fn(&[&str]) -> BTreeSet<String> {
    let seeds = [
        ("small text", 1, json!({"mime_type": "text/plain", "source": "tool", "tags": ["x", "y"]})),
        ("large text", 100, json!({"mime_type": "text/plain", "source": "planner", "tags": ["y"]})),
        ("small csv", 2, json!({"mime_type": "text/csv", "source": "tool", "tags": ["z"]})),
        ("large csv", 101, json!({"mime_type": "text/csv", "source": "system", "tags": []})),
        ("bare", 50, json!({})),
    ];
    let mut known = Vec::new();
    for (name, length, opts) in seeds {
        let bytes = vec![u8::try_from(known.len()).unwrap(); length];
        known.push((name, server.store(&ada(), &bytes, &opts)["id"].as_str().unwrap().to_owned()));
        // So that the times differ.
        std::thread::sleep(Duration::from_millis(3));
    }
    move |names| {
        names.iter().map(|name| known.iter().find(|(known, _)| known == name).unwrap().1.clone()).collect()
    }
}

#[test]
fn filters_are_or_within_a_field_and_and_between_fields() {
    for_each_flavour(|server| {
        let ids_of = store_seed_artifacts(server);
        for (query, names) in [
            (json!({}), &["small text", "large text", "small csv", "large csv", "bare"][..]),
            (json!({"mime_type": ["text/plain"]}), &["small text", "large text"]),
            (
                json!({"mime_type": ["text/plain", "text/csv"]}),
                &["small text", "large text", "small csv", "large csv"],
            ),
            (json!({"mime_type": ["text/p"]}), &[]),
            (json!({"mime_type": ["TEXT/Plain", "image/*"]}), &["small text", "large text"]),
            (json!({"source": ["tool"]}), &["small text", "small csv"]),
            (json!({"source": ["tool", "user_upload"]}), &["small text", "small csv", "bare"]),
            (json!({"tags": ["y"]}), &["small text", "large text"]),
            (json!({"tags": ["x", "z"]}), &["small text", "small csv"]),
            (json!({"tags": ["nothing"]}), &[]),
            (json!({"size_range": {"min_bytes": 100}}), &["large text", "large csv"]),
            (json!({"size_range": {"min_bytes": 101}}), &["large csv"]),
            (json!({"size_range": {"max_bytes": 2}}), &["small text", "small csv"]),
            (json!({"size_range": {"min_bytes": 2, "max_bytes": 100}}), &["large text", "small csv", "bare"]),
            (json!({"size_range": {"min_bytes": 3, "max_bytes": 2}}), &[]),
            (json!({"mime_type": ["text/csv"], "source": ["tool", "planner"]}), &["small csv"]),
            (json!({"tags": ["y"], "size_range": {"max_bytes": 1}}), &["small text"]),
            (
                json!({"mime_type": [], "source": [], "tags": [], "cursor": ""}),
                &["small text", "large text", "small csv", "large csv", "bare"],
            ),
            (
                json!({"mime_type": null, "source": null, "tags": null, "size_range": null, "created_range": null, "limit": null, "cursor": null}),
                &["small text", "large text", "small csv", "large csv", "bare"],
            ),
        ] {
            let page = list(server, &query);
            assert_eq!(ids(&page).into_iter().collect::<BTreeSet<_>>(), ids_of(names), "{query}");
            assert_eq!(page["total_matched"], names.len(), "{query}");
        }
    });
}

#[test]
fn the_limits_of_a_time_range_are_inclusive() {
    for_each_flavour(|server| {
        let _ = store_seed_artifacts(server);
        let page = list(server, &json!({}));
        let all = ids(&page);
        let at = |row: usize| page["rows"][row]["created_at"].clone();
        let micros = |row: usize| at(row).as_str().unwrap().parse::<Timestamp>().unwrap().as_micros();
        for (range, rows) in [
            (json!({"after": at(2)}), 0..3),
            (json!({"before": at(2)}), 2..5),
            (json!({"after": at(3), "before": at(1)}), 1..4),
            (json!({"after": Timestamp::from_micros(micros(2) + 1).to_string()}), 0..2),
            (json!({"before": Timestamp::from_micros(micros(2) - 1).to_string()}), 3..5),
            (json!({"after": at(1), "before": at(3)}), 0..0),
        ] {
            assert_eq!(ids(&list(server, &json!({"created_range": range}))), all[rows], "{range}");
        }
        for bad in [json!("yesterday"), json!(1), json!("2026-01-02"), json!("")] {
            let answer = server.call(&ada(), "artifacts.list", &json!({"created_range": {"after": bad}}));
            assert_eq!(answer.code(), "invalid_request", "{bad}");
        }
    });
}

#[test]
fn the_newest_is_first_and_ties_go_by_id() {
    for_each_flavour(|server| {
        // Concurrently, so that some get the same time.
        std::thread::scope(|scope| {
            for writer in 0..4_u8 {
                scope.spawn(move || {
                    for number in 0..10_u8 {
                        server.store_id(&ada(), &[writer, number]);
                    }
                });
            }
        });
        let page = list(server, &json!({}));
        let keys: Vec<_> = page["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                let created: Timestamp = row["created_at"].as_str().unwrap().parse().unwrap();
                (std::cmp::Reverse(created), row["ref"]["id"].as_str().unwrap().to_owned())
            })
            .collect();
        assert_eq!(keys.len(), 40);
        assert!(keys.is_sorted(), "{keys:?}");
    });
}

#[test]
fn a_list_counts_only_the_callers_artifacts() {
    for_each_flavour(|server| {
        for other in [
            Identity::new("globex", "ada", "session-1"),
            Identity::new("acme", "bob", "session-1"),
            Identity::new("acme", "ada", "session-2"),
        ] {
            server.store_id(&other, b"of another");
        }
        assert_eq!(
            list(server, &json!({})),
            json!({"rows": [], "total_matched": 0, "protocol_version": "0.1.0"})
        );
        let digest = sha256(b"of another");
        server.store_id(&ada(), b"mine");
        let page = list(server, &json!({"scope": {"tenant": "acme"}}));
        assert_eq!(page["total_matched"], 2);
        assert!(page.to_string().contains(&digest), "session-2 of the same user is included");
    });
}
