//! Several servers on one store, if the storage is a server itself.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;

use artifact_store_tests::corpus;
use artifact_store_tests::wire::{Server, ServerOptions, flavours, put};
use serde_json::json;

use crate::ada;

fn for_each_server_pair(test: impl Fn(&Server, &Server)) {
    for flavour in flavours().into_iter().filter(|flavour| flavour.has_server()) {
        println!("on {flavour}");
        let one = Server::start(flavour, &ServerOptions::new());
        let other = one.start_replica();
        test(&one, &other);
    }
}

#[test]
fn each_server_serves_what_the_other_stored() {
    for_each_server_pair(|one, other| {
        for length in [0, 100, 3_000_000] {
            let bytes = corpus::bytes(length as u64, length);
            let id = one.store_id(&ada(), &bytes);
            other.download(&ada(), &id).expect_bytes(&bytes);
            let page = other.call(&ada(), "artifacts.list", &json!({})).expect_json(200);
            assert_eq!(page["rows"][0]["ref"]["id"], json!(id));
            other.call(&ada().with_admin(), "artifacts.delete", &json!({"id": id})).expect_json(200);
            one.download(&ada(), &id).expect_refusal("not_found");
        }
    });
}

#[test]
fn sixteen_racing_puts_of_the_same_bytes_make_one_artifact() {
    for_each_server_pair(|one, other| {
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
                            put("", bytes.to_vec()).identity(&ada()).send(server)
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
            assert_eq!(created, 1, "number of responses 201");
            let page = one.call(&ada(), "artifacts.list", &json!({"limit": 1000})).expect_json(200);
            assert_eq!(page["total_matched"], json!(round + 1));
            other.download(&ada(), ids.first().unwrap()).expect_bytes(&bytes);
        }
    });
}

#[test]
fn a_list_continues_at_the_other_server_if_they_share_a_secret() {
    for flavour in flavours().into_iter().filter(|flavour| flavour.has_server()) {
        let options = ServerOptions::new().set("artifacts.cursor_secret", "0123456789abcdef0123");
        let one = Server::start(flavour, &options);
        let other = one.start_replica();
        let ids: BTreeSet<String> = (0..5_u8).map(|number| one.store_id(&ada(), &[number])).collect();
        let first = one.call(&ada(), "artifacts.list", &json!({"limit": 3})).expect_json(200);
        let second = other
            .call(&ada(), "artifacts.list", &json!({"limit": 3, "cursor": first["next_cursor"]}))
            .expect_json(200);
        let listed = [&first, &second].map(|page| page["rows"].as_array().unwrap().clone()).concat();
        let listed: BTreeSet<String> =
            listed.iter().map(|row| row["ref"]["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(listed, ids);
    }
}
