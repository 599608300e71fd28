//! Section 5: the pages of `artifacts.list` and their cursors.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use artifact_store_tests::wire::{Flavour, Identity, Server, ServerOptions, for_each_flavour};
use serde_json::{Value, json};

use crate::ada;
use crate::list::{ids, list};

/// The ids on all pages of a query.
fn collect_pages(server: &Server, query: &Value) -> Vec<String> {
    let (mut query, mut all) = (query.clone(), Vec::new());
    loop {
        let page = list(server, &query);
        all.extend(ids(&page));
        match page.get("next_cursor") {
            Some(cursor) => query["cursor"] = cursor.clone(),
            None => return all,
        }
    }
}

#[test]
fn a_page_has_100_rows_by_default() {
    for_each_flavour(|server| {
        (0..101_u8).for_each(|number| drop(server.store_id(&ada(), &[number])));
        for limit in [json!({}), json!({"limit": 0}), json!({"limit": null})] {
            let page = list(server, &limit);
            assert_eq!((ids(&page).len(), &page["total_matched"]), (100, &json!(101)), "{limit}");
            assert!(page["next_cursor"].is_string());
        }
        let page = list(server, &json!({"limit": 101}));
        assert_eq!(ids(&page).len(), 101);
        assert_eq!(page.get("next_cursor"), None);
        for limit in [json!(-1), json!(1.5), json!("10")] {
            let answer = server.call(&ada(), "artifacts.list", &json!({"limit": limit}));
            assert_eq!(answer.code(), "invalid_request", "{limit}");
        }
    });
}

#[test]
fn a_page_has_1000_rows_at_most() {
    // The maximum is enforced above the drivers. Storing so many artifacts on each driver would take long.
    let server = Server::start(Flavour::Inmem, &ServerOptions::new());
    (0..1001_u16).for_each(|number| drop(server.store_id(&ada(), &number.to_le_bytes())));
    for limit in [json!(1000), json!(1001), json!(u64::MAX)] {
        let page = list(&server, &json!({"limit": limit}));
        assert_eq!((ids(&page).len(), &page["total_matched"]), (1000, &json!(1001)), "{limit}");
    }
    assert_eq!(collect_pages(&server, &json!({"limit": 1001})).len(), 1001);
}

#[test]
fn pages_put_together_are_the_whole_list() {
    for_each_flavour(|server| {
        let stored: BTreeSet<_> = (0..30_u8).map(|number| server.store_id(&ada(), &[number])).collect();
        let whole = ids(&list(server, &json!({})));
        assert_eq!(whole.iter().cloned().collect::<BTreeSet<_>>(), stored);
        for limit in [1, 7, 10, 15, 29, 30, 31] {
            assert_eq!(collect_pages(server, &json!({"limit": limit})), whole, "pages of {limit}");
        }
        // The last page has no cursor, and every page has the total.
        let page = list(server, &json!({"limit": 15}));
        let page = list(server, &json!({"limit": 15, "cursor": page["next_cursor"]}));
        assert_eq!((page.get("next_cursor"), &page["total_matched"]), (None, &json!(30)));
    });
}

#[test]
fn a_cursor_that_was_altered_or_made_up_is_refused() {
    for_each_flavour(|server| {
        (0..5_u8).for_each(|number| drop(server.store_id(&ada(), &[number])));
        let cursor = list(server, &json!({"limit": 2}))["next_cursor"].as_str().unwrap().to_owned();
        let mut bad = vec![
            "x".to_owned(),
            "AAAA".into(),
            "💥".into(),
            cursor.repeat(2),
            cursor[1..].into(),
            "x".repeat(100_000),
        ];
        for at in (0..cursor.len()).step_by(cursor.len() / 12 + 1) {
            let other = if &cursor[at..=at] == "A" { "B" } else { "A" };
            bad.push(format!("{}{other}{}", &cursor[..at], &cursor[at + 1..]));
        }
        for cursor in bad {
            let answer = server.call(&ada(), "artifacts.list", &json!({"limit": 2, "cursor": cursor}));
            assert_eq!(answer.code(), "invalid_request", "{cursor}");
        }
        for cursor in [json!(1), json!({}), json!(["x"])] {
            server
                .call(&ada(), "artifacts.list", &json!({"cursor": cursor}))
                .expect_refusal("invalid_request");
        }
    });
}

#[test]
fn a_cursor_is_valid_only_for_its_own_query() {
    for_each_flavour(|server| {
        (0..5_u8).for_each(|number| drop(server.store_id(&ada(), &[number])));
        let bob = Identity::new("acme", "bob", "session-1");
        (0..5_u8).for_each(|number| drop(server.store_id(&bob, &[number])));
        let cursor = list(server, &json!({"limit": 2}))["next_cursor"].clone();
        for (identity, query) in [
            (ada(), json!({"mime_type": ["text/plain"]})),
            (ada(), json!({"size_range": {"min_bytes": 1}})),
            (ada(), json!({"tags": ["x"]})),
            (ada(), json!({"scope": {"tenant": "acme"}})),
            (bob.clone(), json!({})),
            (Identity::new("globex", "ada", "session-1"), json!({})),
            (ada().with_admin(), json!({"scope": bob.scope()})),
        ] {
            let mut query = query;
            query["cursor"] = cursor.clone();
            query["limit"] = json!(2);
            let answer = server.call(&identity, "artifacts.list", &query);
            assert_eq!(answer.code(), "invalid_request", "{identity:?} {query}");
        }
    });
}

#[test]
fn a_cursor_reveals_nothing_of_what_is_stored() {
    for_each_flavour(|server| {
        (0..3_u8).for_each(|number| drop(server.store_id(&ada(), &[number])));
        let cursor = list(server, &json!({"limit": 1}))["next_cursor"].as_str().unwrap().to_owned();
        let decoded = [
            data_encoding::BASE64URL_NOPAD.decode(cursor.as_bytes()),
            data_encoding::BASE64.decode(cursor.as_bytes()),
        ];
        let texts = decoded.into_iter().flatten().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        for text in texts.chain([cursor.clone()]) {
            for word in ["acme", "session-1", "/data"] {
                assert!(!text.contains(word), "{text:?} reveals {word}");
            }
        }
    });
}

#[test]
fn permanent_rows_are_listed_once_while_others_come_and_go() {
    for_each_flavour(|server| {
        let permanent: Vec<_> = (0..40_u8).map(|number| server.store_id(&ada(), &[number])).collect();
        let (ended, admin) = (AtomicBool::new(false), ada().with_admin());
        std::thread::scope(|scope| {
            // However the walks end, this ends the other thread too.
            let _set_on_drop = SetOnDrop(&ended);
            scope.spawn(|| {
                for number in 0.. {
                    // Some stay, so that each walk has more pages, but their number is limited.
                    let id = server.store_id(&ada(), format!("passing {number}").as_bytes());
                    if number % 2 == 0 || number > 80 {
                        server.call(&admin, "artifacts.delete", &json!({"id": id})).expect_json(200);
                    }
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
            for _ in 0..3 {
                let shown = collect_pages(server, &json!({"limit": 4}));
                let distinct: BTreeSet<_> = shown.iter().collect();
                let none_skipped = permanent.iter().all(|id| distinct.contains(id));
                assert_eq!(distinct.len(), shown.len(), "shown twice");
                assert!(none_skipped, "skipped");
            }
        });
    });
}

/// Sets a flag when it is dropped.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_cursor_survives_the_deletion_of_the_row_it_points_to() {
    for_each_flavour(|server| {
        (0..6_u8).for_each(|number| drop(server.store_id(&ada(), &[number])));
        let whole = ids(&list(server, &json!({})));
        let page = list(server, &json!({"limit": 3}));
        server.call(&ada().with_admin(), "artifacts.delete", &json!({"id": whole[2]})).expect_json(200);
        let page = list(server, &json!({"limit": 3, "cursor": page["next_cursor"]}));
        assert_eq!(ids(&page), whole[3..]);
        // The total is that of the first page.
        assert_eq!(page["total_matched"], 6);
    });
}
