//! Section 1: times are any RFC 3339 times. The zero time of Go clients means no time.

use artifact_store_core::Timestamp;
use artifact_store_tests::wire::{Server, for_each_flavour};
use serde_json::{Value, json};

use crate::ada;
use crate::list::{ids, list};

/// The number of artifacts in a time range.
fn count_in_range(server: &Server, range: &Value) -> usize {
    ids(&list(server, &json!({ "created_range": range }))).len()
}

/// Stores an artifact and returns its creation time without the final `Z`: `2026-01-02T03:04:05.000006`.
fn store_and_get_created_at(server: &Server) -> String {
    server.store_id(&ada(), b"at a moment");
    let page = list(server, &json!({}));
    let at = page["rows"][0]["created_at"].as_str().unwrap();
    assert_eq!(at.len(), "2026-01-02T03:04:05.000006Z".len(), "{at}");
    at.trim_end_matches('Z').to_owned()
}

#[test]
fn the_zero_time_of_go_is_an_open_limit_on_either_side() {
    for_each_flavour(|server| {
        store_and_get_created_at(server);
        for zero in ["0001-01-01T00:00:00Z", "0001-01-01t00:00:00.000z", "0001-01-01T01:30:00+01:30"] {
            for range in [
                json!({"after": "2020-01-01T00:00:00Z", "before": zero}),
                json!({"after": zero, "before": "9000-01-01T00:00:00Z"}),
                json!({"after": zero, "before": zero}),
                json!({"after": null, "before": zero}),
            ] {
                assert_eq!(count_in_range(server, &range), 1, "{range}");
            }
        }
        assert_eq!(count_in_range(server, &json!({"before": "0001-01-01T00:00:01Z"})), 0);
        assert_eq!(count_in_range(server, &json!({"before": "0001-01-01T00:00:00.000000001Z"})), 0);
    });
}

#[test]
fn every_time_of_the_years_1_to_9999_is_legal() {
    for_each_flavour(|server| {
        store_and_get_created_at(server);
        for (range, count) in [
            (json!({"before": "9999-12-31T23:59:59Z"}), 1),
            (json!({"before": "9999-12-31T23:59:59.999999999999999999-23:59"}), 1),
            (json!({"after": "9999-12-31T23:59:59Z"}), 0),
            (json!({"after": "0001-01-01T00:00:00+23:59"}), 1),
            (json!({"after": "0001-01-01T00:00:00-23:59", "before": "9999-12-30T22:00:01z"}), 1),
            (json!({"after": "2016-12-31T23:59:60Z"}), 1),
            (json!({"before": "2016-12-31T23:59:60.5Z"}), 0),
            (json!({"after": "2020-02-29t12:00:00.1+05:45"}), 1),
        ] {
            assert_eq!(count_in_range(server, &range), count, "{range}");
        }
        for bad in
            ["10000-01-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00"]
        {
            let answer = server.call(&ada(), "artifacts.list", &json!({"created_range": {"before": bad}}));
            answer.expect_refusal("invalid_request");
        }
    });
}

#[test]
fn a_limit_finer_than_a_microsecond_is_compared_exactly() {
    for_each_flavour(|server| {
        let at = store_and_get_created_at(server);
        let micros = format!("{at}Z").parse::<Timestamp>().unwrap().as_micros();
        let before = Timestamp::from_micros(micros - 1).to_string();
        let before = before.trim_end_matches('Z');
        for (range, count) in [
            (json!({"after": format!("{at}000Z")}), 1),
            (json!({"after": format!("{at}001Z")}), 0),
            (json!({"after": format!("{at}000000000001Z")}), 0),
            (json!({"after": format!("{before}999Z")}), 1),
            (json!({"before": format!("{at}000Z")}), 1),
            (json!({"before": format!("{at}001Z")}), 1),
            (json!({"before": format!("{before}999Z")}), 0),
        ] {
            assert_eq!(count_in_range(server, &range), count, "{range}");
        }
    });
}
