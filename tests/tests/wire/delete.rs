//! Section 5: `artifacts.delete`.

use artifact_store_tests::wire::{for_each_flavour, put};
use serde_json::json;

use crate::ada;

#[test]
fn a_deleted_artifact_is_gone_everywhere() {
    for_each_flavour(|server| {
        let admin = ada().with_admin();
        let id = server.store_id(&ada(), b"to go");
        let stays = server.store_id(&ada(), b"to stay");
        let answer = server.call(&admin, "artifacts.delete", &json!({"id": id})).expect_json(200);
        assert_eq!(answer, json!({"deleted": true, "protocol_version": "0.1.0"}));
        server.call(&admin, "artifacts.delete", &json!({"id": id})).expect_refusal("not_found");
        server.call(&ada(), "artifacts.get", &json!({"id": id})).expect_refusal("not_found");
        server.call(&ada(), "artifacts.get_ref", &json!({"id": id})).expect_refusal("not_found");
        server.download(&ada(), &id).expect_refusal("not_found");
        let page = server.call(&ada(), "artifacts.list", &json!({})).expect_json(200);
        assert_eq!((&page["total_matched"], &page["rows"][0]["ref"]["id"]), (&json!(1), &json!(stays)));
        // The same bytes may be stored again as a new artifact.
        put("", "to go").identity(&ada()).send(server).expect_json(201);
    });
}

#[test]
fn of_many_concurrent_deletes_one_succeeds() {
    for_each_flavour(|server| {
        let id = server.store_id(&ada(), b"to go");
        let mut statuses: Vec<_> = std::thread::scope(|scope| {
            let delete = || server.call(&ada().with_admin(), "artifacts.delete", &json!({"id": id})).status;
            let threads: Vec<_> = (0..10).map(|_| scope.spawn(delete)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        statuses.sort_unstable();
        assert_eq!(statuses, [vec![200], vec![404; 9]].concat());
    });
}
