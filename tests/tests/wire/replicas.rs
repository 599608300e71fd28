//! Several servers on one store, where the storage is a server itself.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;

use artifact_store_tests::corpus;
use artifact_store_tests::wire::{Options, Server, flavours, put};
use serde_json::json;

use crate::ada;

fn on_two_servers(test: impl Fn(&Server, &Server)) {
    for flavour in flavours().into_iter().filter(|flavour| flavour.has_a_server()) {
        println!("on {flavour}");
        let one = Server::start(flavour, &Options::new());
        let other = one.start_beside();
        test(&one, &other);
    }
}

#[test]
fn each_serves_what_the_other_took() {
    on_two_servers(|one, other| {
        for length in [0, 100, 3_000_000] {
            let bytes = corpus::bytes(length as u64, length);
            let id = one.store_id(&ada(), &bytes);
            other.download(&ada(), &id).ok_bytes(&bytes);
            let page = other.call(&ada(), "artifacts.list", &json!({})).ok(200);
            assert_eq!(page["rows"][0]["ref"]["id"], json!(id));
            other.call(&ada().admin(), "artifacts.delete", &json!({"id": id})).ok(200);
            one.download(&ada(), &id).refused("not_found");
        }
    });
}

#[test]
fn sixteen_racing_puts_of_the_same_bytes_make_one_artifact() {
    on_two_servers(|one, other| {
        for round in 0..8 {
            let bytes = corpus::bytes(round, 200_000);
            let barrier = Barrier::new(16);
            let answers: Vec<_> = thread::scope(|scope| {
                let racers: Vec<_> = (0..16)
                    .map(|racer| {
                        let (server, bytes, barrier) =
                            (if racer % 2 == 0 { one } else { other }, &bytes, &barrier);
                        scope.spawn(move || {
                            barrier.wait();
                            put("", bytes.to_vec()).by(&ada()).send(server)
                        })
                    })
                    .collect();
                racers.into_iter().map(|racer| racer.join().unwrap()).collect()
            });
            let ids: BTreeSet<String> = answers
                .iter()
                .map(|answer| {
                    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
                    answer.json()["ref"]["id"].as_str().unwrap().to_owned()
                })
                .collect();
            assert_eq!(ids.len(), 1);
            let created = answers.iter().filter(|answer| answer.status == 201).count();
            // A store that cannot create conditionally may tell two processes at once that theirs is the first.
            let most = if one.flavour().creates_once() { 1 } else { 2 };
            assert!((1..=most).contains(&created), "{created} were told that it is new");
            let page = one.call(&ada(), "artifacts.list", &json!({"limit": 1000})).ok(200);
            assert_eq!(page["total_matched"], json!(round + 1));
            other.download(&ada(), ids.first().unwrap()).ok_bytes(&bytes);
        }
    });
}

#[test]
fn a_list_goes_on_at_the_other_where_they_share_a_secret() {
    for flavour in flavours().into_iter().filter(|flavour| flavour.has_a_server()) {
        let options = Options::new().set("artifacts.cursor_secret", "0123456789abcdef0123");
        let one = Server::start(flavour, &options);
        let other = one.start_beside();
        let ids: BTreeSet<String> = (0..5_u8).map(|number| one.store_id(&ada(), &[number])).collect();
        let first = one.call(&ada(), "artifacts.list", &json!({"limit": 3})).ok(200);
        let second = other
            .call(&ada(), "artifacts.list", &json!({"limit": 3, "cursor": first["next_cursor"]}))
            .ok(200);
        let listed = [&first, &second].map(|page| page["rows"].as_array().unwrap().clone()).concat();
        let listed: BTreeSet<String> =
            listed.iter().map(|row| row["ref"]["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(listed, ids);
    }
}
