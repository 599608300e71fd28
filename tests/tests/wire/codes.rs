//! Section 2: the codes.

use std::collections::BTreeMap;
use std::fs;

use artifact_store_protocol::Code;
use artifact_store_tests::wire::{
    CODES, Flavour, Options, Request, Response, Server, base64, on_every_driver_with, put, row,
};
use serde_json::json;

use crate::ada;

#[test]
fn the_registry_is_the_table_of_the_contract() {
    let registry: Vec<_> = Code::ALL.iter().map(|code| (code.word(), code.status())).collect();
    assert_eq!(registry, CODES);
}

#[test]
fn every_code_is_reached_by_a_real_request() {
    on_every_driver_with(&Options::new().set("protocol.max_request_bytes", 3_000_000), |server| {
        let (ada, foreign) = (ada(), json!({"tenant": "globex", "user": "ada", "session": "session-1"}));
        let own = server.store_id(&ada, b"own");
        let big = base64(&vec![7; 3_000_001]);
        let answers = [
            Request::get("/v1/artifacts/x").bearer("no.token.at.all").send(server),
            Request::get("/v1/artifacts/x").send(server),
            server.call(&ada, "artifacts.delete", &json!({"id": own})),
            server.call(&ada, "artifacts.get", &json!({"id": own, "colour": 1})),
            server.call(&ada, "artifacts.get", &json!({"id": "default_00000000000000000000000000000000"})),
            server.call(&ada, "artifacts.put", &json!({"bytes": "", "opts": {"tags": vec!["t"; 51]}})),
            server.call(&ada, "artifacts.get_ref", &json!({"id": own})),
            server.call(&ada, "artifacts.put", &json!({"bytes": big})),
            server.call(&ada, "artifacts.put", &json!({"bytes": "", "scope": foreign})),
            server.call(&ada, "start", &json!({})),
            runtime_error(server),
        ];
        let mut reached: BTreeMap<Code, String> = BTreeMap::new();
        for answer in answers.iter().filter(|answer| answer.status >= 400) {
            reached.insert(answer.code().parse().unwrap(), row(answer));
        }
        for code in Code::ALL {
            println!("{}", reached.get(code).map_or("", String::as_str));
        }
        let due = Code::ALL.iter().filter(|code| {
            // Where the capability is there, nothing is refused for lack of it.
            !(server.flavour().presigns() && **code == Code::PresignUnsupported)
        });
        assert_eq!(reached.into_keys().collect::<Vec<_>>(), due.copied().collect::<Vec<_>>());
    });
}

/// A failure of the runtime that is none of the request's.
fn runtime_error(server: &Server) -> Response {
    let ada = ada();
    if server.flavour() == Flavour::Inmem || server.flavour().has_a_server() {
        // Nothing beneath this store can fail without failing other tests, too: the limit of subscribers does.
        let mut open = Vec::new();
        loop {
            let stream = Request::get("/v1/events").by(&ada).begin(server.addr());
            if stream.response.status != 200 {
                return Request::get("/v1/events").by(&ada).send(server);
            }
            open.push(stream);
            assert!(open.len() < 1000, "there is no limit of subscribers");
        }
    }
    // More than any page cache holds, so that the reading meets the disk.
    let stored = put("", vec![1; 2_900_000]).by(&ada).send(server).ok(201);
    let id = stored["ref"]["id"].as_str().unwrap();
    overwrite(server.data().parent().unwrap());
    server.call(&ada, "artifacts.get", &json!({"id": id, "offset": 1_000_000}))
}

/// Overwrites everything that the store keeps, in place, as a failing disk would.
fn overwrite(folder: &std::path::Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            overwrite(&path);
        } else if !name.ends_with("-shm") && name != "log" && name != "artifactd.yaml" {
            let length = usize::try_from(path.metadata().unwrap().len()).unwrap();
            // Not through a new file: the server has this one open.
            let file = fs::File::options().write(true).open(&path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xaa; length], 0).unwrap();
        }
    }
}
