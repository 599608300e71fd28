//! Section 5: `artifacts.delete`.

use artifact_store_tests::wire::{on_every_driver, put};
use serde_json::json;

use crate::ada;

#[test]
fn what_was_deleted_is_gone_everywhere() {
    on_every_driver(|server| {
        let admin = ada().admin();
        let id = server.store_id(&ada(), b"to go");
        let stays = server.store_id(&ada(), b"to stay");
        let answer = server.call(&admin, "artifacts.delete", &json!({"id": id})).ok(200);
        assert_eq!(answer, json!({"deleted": true, "protocol_version": "0.1.0"}));
        server.call(&admin, "artifacts.delete", &json!({"id": id})).refused("not_found");
        server.call(&ada(), "artifacts.get", &json!({"id": id})).refused("not_found");
        server.call(&ada(), "artifacts.get_ref", &json!({"id": id})).refused("not_found");
        server.download(&ada(), &id).refused("not_found");
        let page = server.call(&ada(), "artifacts.list", &json!({})).ok(200);
        assert_eq!((&page["total_matched"], &page["rows"][0]["ref"]["id"]), (&json!(1), &json!(stays)));
        // And may come again, as new.
        put("", "to go").by(&ada()).send(server).ok(201);
    });
}

#[test]
fn of_many_that_delete_at_once_one_has_done_it() {
    on_every_driver(|server| {
        let id = server.store_id(&ada(), b"to go");
        let mut statuses: Vec<_> = std::thread::scope(|scope| {
            let delete = || server.call(&ada().admin(), "artifacts.delete", &json!({"id": id})).status;
            let threads: Vec<_> = (0..10).map(|_| scope.spawn(delete)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        statuses.sort_unstable();
        assert_eq!(statuses, [vec![200], vec![404; 9]].concat());
    });
}
