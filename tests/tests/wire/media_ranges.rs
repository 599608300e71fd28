//! Section 5: media types in a listing compare type and subtype case-insensitively, and may be ranges.

use std::collections::BTreeSet;

use artifact_store_tests::wire::for_each_flavour;
use serde_json::json;

use crate::ada;
use crate::list::{ids, list};

#[test]
fn a_media_type_is_found_without_case_with_any_parameters_and_by_its_range() {
    for_each_flavour(|server| {
        let types = ["text/plain; charset=utf-8", "Text/Plain", "text/csv", "image/png", ""];
        let known: Vec<String> = (0..types.len())
            .map(|n| {
                let stored = server.store(&ada(), types[n].as_bytes(), &json!({"mime_type": types[n]}));
                stored["id"].as_str().unwrap().to_owned()
            })
            .collect();
        for (media_types, found) in [
            (json!(["text/plain"]), &[0, 1][..]),
            (json!(["TEXT/PLAIN"]), &[0, 1]),
            (json!(["text/plain; charset=UTF-8"]), &[0]),
            (json!(["text/plain;charset=\"utf-8\""]), &[0]),
            (json!(["text/plain; charset=latin1"]), &[]),
            (json!(["text/*"]), &[0, 1, 2]),
            (json!(["image/*", "text/csv"]), &[2, 3]),
            (json!(["*/*"]), &[0, 1, 2, 3]),
            (json!([]), &[0, 1, 2, 3, 4]),
        ] {
            let page = list(server, &json!({ "mime_type": media_types }));
            let expected: BTreeSet<_> = found.iter().map(|n| known[*n].clone()).collect();
            assert_eq!(ids(&page).into_iter().collect::<BTreeSet<_>>(), expected, "{media_types}");
            assert_eq!(page["total_matched"], found.len(), "{media_types}");
        }
        // A cursor is valid only with the filter it was issued for.
        let first = list(server, &json!({"mime_type": ["text/*"], "limit": 1}));
        let next = |range: &str| {
            let query = json!({"mime_type": [range], "limit": 9, "cursor": first["next_cursor"]});
            server.call(&ada(), "artifacts.list", &query)
        };
        assert_eq!(ids(&next("text/*").expect_json(200)).len(), 2);
        next("text/plain").expect_refusal("invalid_request");
        for bad in [
            "",
            "text",
            "text/",
            "*/plain",
            "text/pl*",
            "text/plain; charset",
            "a b/c",
            "text/plain, text/csv",
        ] {
            let answer = server.call(&ada(), "artifacts.list", &json!({"mime_type": [bad]}));
            let message = answer.expect_refusal("invalid_request");
            assert!(message.contains("`mime_type[0]`") && message.contains("image/*"), "{bad}: {message}");
        }
    });
}
