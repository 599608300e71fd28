//! Section 5: the pages of `artifacts.list` and their cursors.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use artifact_store_tests::wire::{Flavour, Options, Server, Who, on_every_driver};
use serde_json::{Value, json};

use crate::ada;
use crate::list::{ids, list};

/// Every page of a query.
fn walk(server: &Server, query: &Value) -> Vec<String> {
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
    on_every_driver(|server| {
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
    // The ceiling stands above the drivers; filling each with so many would take long.
    let server = Server::start(Flavour::Inmem, &Options::new());
    (0..1001_u16).for_each(|number| drop(server.store_id(&ada(), &number.to_le_bytes())));
    for limit in [json!(1000), json!(1001), json!(u64::MAX)] {
        let page = list(&server, &json!({"limit": limit}));
        assert_eq!((ids(&page).len(), &page["total_matched"]), (1000, &json!(1001)), "{limit}");
    }
    assert_eq!(walk(&server, &json!({"limit": 1001})).len(), 1001);
}

#[test]
fn pages_put_together_are_the_whole_list() {
    on_every_driver(|server| {
        let stored: BTreeSet<_> = (0..30_u8).map(|number| server.store_id(&ada(), &[number])).collect();
        let whole = ids(&list(server, &json!({})));
        assert_eq!(whole.iter().cloned().collect::<BTreeSet<_>>(), stored);
        for limit in [1, 7, 10, 15, 29, 30, 31] {
            assert_eq!(walk(server, &json!({"limit": limit})), whole, "pages of {limit}");
        }
        // The last page is known to be the last, and every page knows the sum.
        let page = list(server, &json!({"limit": 15}));
        let page = list(server, &json!({"limit": 15, "cursor": page["next_cursor"]}));
        assert_eq!((page.get("next_cursor"), &page["total_matched"]), (None, &json!(30)));
    });
}

#[test]
fn a_cursor_that_was_altered_or_made_up_is_refused() {
    on_every_driver(|server| {
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
            server.call(&ada(), "artifacts.list", &json!({"cursor": cursor})).refused("invalid_request");
        }
    });
}

#[test]
fn a_cursor_is_good_for_its_own_query_alone() {
    on_every_driver(|server| {
        (0..5_u8).for_each(|number| drop(server.store_id(&ada(), &[number])));
        let bob = Who::new("acme", "bob", "session-1");
        (0..5_u8).for_each(|number| drop(server.store_id(&bob, &[number])));
        let cursor = list(server, &json!({"limit": 2}))["next_cursor"].clone();
        for (who, query) in [
            (ada(), json!({"mime_type": ["text/plain"]})),
            (ada(), json!({"size_range": {"min_bytes": 1}})),
            (ada(), json!({"tags": ["x"]})),
            (ada(), json!({"scope": {"tenant": "acme"}})),
            (bob.clone(), json!({})),
            (Who::new("globex", "ada", "session-1"), json!({})),
            (ada().admin(), json!({"scope": bob.scope()})),
        ] {
            let mut query = query;
            query["cursor"] = cursor.clone();
            query["limit"] = json!(2);
            let answer = server.call(&who, "artifacts.list", &query);
            assert_eq!(answer.code(), "invalid_request", "{who:?} {query}");
        }
    });
}

#[test]
fn a_cursor_tells_nothing_of_what_is_stored() {
    on_every_driver(|server| {
        (0..3_u8).for_each(|number| drop(server.store_id(&ada(), &[number])));
        let cursor = list(server, &json!({"limit": 1}))["next_cursor"].as_str().unwrap().to_owned();
        let decoded = [
            data_encoding::BASE64URL_NOPAD.decode(cursor.as_bytes()),
            data_encoding::BASE64.decode(cursor.as_bytes()),
        ];
        let texts = decoded.into_iter().flatten().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        for text in texts.chain([cursor.clone()]) {
            for word in ["acme", "session-1", "/data"] {
                assert!(!text.contains(word), "{text:?} tells {word}");
            }
        }
    });
}

#[test]
fn what_stands_throughout_is_shown_once_while_others_come_and_go() {
    on_every_driver(|server| {
        let standing: Vec<_> = (0..40_u8).map(|number| server.store_id(&ada(), &[number])).collect();
        let (ended, admin) = (AtomicBool::new(false), ada().admin());
        std::thread::scope(|scope| {
            // However the walks end, the other thread ends with them.
            let _ends = Ends(&ended);
            scope.spawn(|| {
                for number in 0.. {
                    // A few stay, so that there are more pages with each walk, but not without end.
                    let id = server.store_id(&ada(), format!("passing {number}").as_bytes());
                    if number % 2 == 0 || number > 80 {
                        server.call(&admin, "artifacts.delete", &json!({"id": id})).ok(200);
                    }
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
            for _ in 0..3 {
                let shown = walk(server, &json!({"limit": 4}));
                let distinct: BTreeSet<_> = shown.iter().collect();
                let all_there = standing.iter().all(|id| distinct.contains(id));
                assert_eq!(distinct.len(), shown.len(), "shown twice");
                assert!(all_there, "skipped");
            }
        });
    });
}

/// Sets a flag when it goes.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_cursor_survives_the_deletion_of_the_row_it_stands_on() {
    on_every_driver(|server| {
        (0..6_u8).for_each(|number| drop(server.store_id(&ada(), &[number])));
        let whole = ids(&list(server, &json!({})));
        let page = list(server, &json!({"limit": 3}));
        server.call(&ada().admin(), "artifacts.delete", &json!({"id": whole[2]})).ok(200);
        let page = list(server, &json!({"limit": 3, "cursor": page["next_cursor"]}));
        assert_eq!(ids(&page), whole[3..]);
        assert_eq!(page["total_matched"], 5);
    });
}
