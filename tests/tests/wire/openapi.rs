//! `GET /openapi.json`: what it says is so. Its examples are sent, and what comes back is held against its shapes.

use std::collections::BTreeSet;

use artifact_store_protocol::Method;
use artifact_store_tests::wire::{
    EventStream, Flavour, Options, Request, Response, Server, control, now, on_every_driver, put, signed,
};
use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

use crate::ada;
use crate::codes::overwrite;

/// What differs from one server or moment to the next, and from one driver to another.
const VARYING: [&str; 7] = [
    "created_at",
    "expires_at",
    "presigned_url",
    "instance_id",
    "uptime_seconds",
    "build_version",
    "build_commit",
];
const OF_THE_DRIVER: [&str; 4] = ["driver", "capabilities", "active", "bus"];

fn document(server: &Server) -> Value {
    Request::get("/openapi.json").send(server).ok(200)
}

/// Closes every object that names its members: what it does not name must not come.
fn close(shape: &mut Value) {
    match shape {
        Value::Object(members) => {
            members.values_mut().for_each(close);
            if members.contains_key("properties") && !members.contains_key("additionalProperties") {
                members.insert("additionalProperties".into(), json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// What holds values against a shape of the document, with nothing besides.
fn shape(document: &Value, reference: &Value) -> Validator {
    let mut root = json!({"$ref": reference, "components": {"schemas": document["components"]["schemas"]}});
    close(&mut root["components"]);
    let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
    options.build(&root).unwrap_or_else(|error| panic!("{reference} is no schema: {error}"))
}

#[track_caller]
fn is_of(shape: &Validator, value: &Value) {
    let faults: Vec<String> = shape.iter_errors(value).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{faults:?} in {value}");
}

/// The JSON of a content: its shape, and its one example.
fn content<'a>(document: &'a Value, content: &'a Value) -> (Validator, &'a Value) {
    let json = &content["content"]["application/json"];
    let example = json["examples"].as_object().and_then(|all| all.values().next()).expect("an example");
    (shape(document, &json["schema"]["$ref"]), &example["value"])
}

/// Whether everything that the example says is so in what came.
fn agrees(example: &Value, real: &Value, varying: &[&str]) -> bool {
    match (example, real) {
        (Value::Object(example), Value::Object(real)) => example.iter().all(|(name, value)| {
            let real = real.get(name);
            real.is_some_and(|real| varying.contains(&name.as_str()) || agrees(value, real, varying))
        }),
        (Value::Array(example), Value::Array(real)) => {
            example.iter().all(|item| real.iter().any(|real| agrees(item, real, varying)))
        }
        _ => example == real,
    }
}

#[test]
fn the_document_is_the_one_that_is_kept_and_needs_no_token() {
    on_every_driver(|server| {
        let answer = Request::get("/openapi.json").send(server);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(String::from_utf8(answer.body).unwrap(), artifactd::openapi::text());
        assert_eq!(Request::new("HEAD", "/openapi.json").send(server).status, 200);
        Request::get("/openapi.json?colour=red").send(server).refused("invalid_request");
    });
}

#[test]
fn every_example_of_a_method_is_answered_as_it_stands() {
    on_every_driver(|server| {
        let document = document(server);
        let mut varying = VARYING.to_vec();
        if server.flavour() != Flavour::Sqlite {
            varying.extend(OF_THE_DRIVER);
        }
        for method in Method::ALL {
            let operation = &document["paths"][format!("/v1/control/{method}")]["post"];
            let (asks, request) = content(&document, &operation["requestBody"]);
            is_of(&asks, request);
            let who = if *method == Method::ArtifactsDelete { ada().admin() } else { ada() };
            let answer = server.call(&who, method.name(), request);
            if *method == Method::ArtifactsGetRef && !server.flavour().presigns() {
                answer.refused("presign_unsupported");
                continue;
            }
            let (shape, example) = content(&document, &operation["responses"]["200"]);
            let real = answer.ok(200);
            is_of(&shape, &real);
            is_of(&shape, example);
            assert!(
                agrees(example, &real, &varying),
                "{method}: the example says {example}, and it is {real}"
            );
        }
    });
}

#[test]
fn the_members_of_a_request_are_those_that_its_method_declares() {
    on_every_driver(|server| {
        let document = document(server);
        for method in Method::ALL {
            let operation = &document["paths"][format!("/v1/control/{method}")]["post"];
            let reference =
                operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
            let shape = document.pointer(reference.unwrap().trim_start_matches('#')).unwrap();
            assert_eq!(shape["additionalProperties"], false, "{method}");
            let described: BTreeSet<&str> =
                shape["properties"].as_object().unwrap().keys().map(String::as_str).collect();
            let said = server.call(&ada(), method.name(), &json!({"colour": 1})).refused("invalid_request");
            let declared = said.split_once("declared are ").expect("the declared members").1;
            let declared: BTreeSet<&str> = declared.split('`').skip(1).step_by(2).collect();
            assert_eq!(described, declared, "{method}");
        }
    });
}

#[test]
fn bytes_and_probes_are_answered_as_they_are_described() {
    on_every_driver(|server| {
        let document = document(server);
        let told = |path: &str, verb: &str, status: u16| {
            document["paths"][path][verb]["responses"][status.to_string()].clone()
        };
        let carries = |described: &Value, answer: &Response| {
            for name in described["headers"].as_object().unwrap().keys() {
                assert!(answer.header(&name.to_lowercase()).is_some(), "no {name}: {answer:?}");
            }
        };
        for status in [201, 200] {
            let described = told("/v1/artifacts", "put", status);
            let upload = put("?filename=hello.txt&source=tool&tag=greeting", "hello, harbor\n");
            let answer = upload.header("Content-Type", "text/plain").by(&ada()).send(server);
            let (shape, example) = content(&document, &described);
            is_of(&shape, &answer.ok(status));
            assert!(agrees(example, &answer.json(), &VARYING), "{answer:?}");
            carries(&described, &answer);
        }
        let path = "/v1/artifacts/default_3fa544f46fbee0bfcad16448071dd15f";
        let tag = "\"3fa544f46fbee0bfcad16448071dd15f32f416968b4502d220157a6b171b57c7\"";
        for verb in ["GET", "HEAD"] {
            for (name, value, status) in [
                ("Accept", "*/*", 200),
                ("If-None-Match", tag, 304),
                ("If-Match", "\"other\"", 412),
                ("Range", "bytes=0-4", if verb == "HEAD" { 200 } else { 206 }),
                ("Range", "bytes=99-", if verb == "HEAD" { 200 } else { 416 }),
            ] {
                let answer = Request::new(verb, path).header(name, value).by(&ada()).send(server);
                assert_eq!(answer.status, status, "{verb} {name}: {value}");
                carries(&told("/v1/artifacts/{id}", &verb.to_lowercase(), status), &answer);
            }
        }
        for path in ["/healthz", "/readyz"] {
            let described = &told(path, "get", 200)["content"]["application/json"]["schema"]["$ref"];
            is_of(&shape(&document, described), &Request::get(path).send(server).ok(200));
        }
    });
}

#[test]
fn an_event_has_the_shape_that_is_described() {
    on_every_driver(|server| {
        let document = document(server);
        let described =
            &document["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]["text/event-stream"];
        let (frame, data) = (
            shape(&document, &described["schema"]["contentSchema"]["$ref"]),
            shape(&document, &json!("#/components/schemas/EventData")),
        );
        let mut stream = EventStream::open(server, &Request::get("/v1/events?admin=1").by(&ada().admin()));
        let mut hear = |kind: &str| {
            let event = stream.event();
            is_of(&frame, &json!({"id": event.id, "event": event.event, "data": event.data}));
            is_of(&data, &event.json());
            assert_eq!(event.event.as_deref(), Some(kind));
        };
        hear("audit.admin_scope_used");
        let id = server.store_id(&ada(), b"told");
        hear("artifacts.uploaded");
        server.call(&ada().admin(), "artifacts.delete", &json!({"id": id})).ok(200);
        hear("artifacts.deleted");
    });
}

/// The examples of the document's refusals, each as an operation's path, its status and its code.
fn refusals(document: &Value) -> BTreeSet<(String, String, String)> {
    let mut all = BTreeSet::new();
    for operation in
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
    {
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let json = &answer["content"]["application/json"];
            if json["schema"]["$ref"] == "#/components/schemas/Envelope" {
                for (code, example) in json["examples"].as_object().unwrap() {
                    assert_eq!(example["value"]["code"], *code);
                    let message = example["value"]["message"].as_str().unwrap();
                    all.insert((status.clone(), code.clone(), message.to_owned()));
                }
            }
        }
    }
    all
}

#[test]
fn every_example_of_a_refusal_is_what_a_request_is_told() {
    on_every_driver(|server| {
        let mut told = BTreeSet::new();
        let document = document(server);
        let envelope = shape(&document, &json!("#/components/schemas/Envelope"));
        let mut hear = |answer: &Response| {
            is_of(&envelope, &answer.json());
            told.insert((answer.status.to_string(), answer.code(), answer.message()));
        };
        let mut expired = ada().claims();
        expired["exp"] = json!(now() - 600);
        let own = server.store_id(&ada(), b"own");
        let call = |method: &str, body: Value| server.call(&ada(), method, &body);
        let foreign = json!({"tenant": "globex", "user": "ada", "session": "session-1"});
        hear(&control("runtime.info", &json!({})).bearer(signed(&expired)).send(server));
        hear(&control("runtime.info", &json!({})).send(server));
        hear(&call("artifacts.delete", json!({"id": own})));
        hear(&Request::get("/healthz?colour=red").send(server));
        hear(&call("artifacts.get", json!({"id": "missing"})));
        hear(&call("artifacts.put", json!({"bytes": "", "opts": {"tags": vec!["t"; 51]}})));
        hear(&put("", vec![0; 4 * 1024 * 1024 + 1]).by(&ada()).send(server));
        hear(&call("artifacts.put", json!({"bytes": "", "scope": foreign})));
        hear(&call("start", json!({})));
        let range = Request::get(format!("/v1/artifacts/{own}")).header("Range", "bytes=99-");
        hear(&range.by(&ada()).send(server));
        hear(&put("", "bytes").by(&ada()).header("If-Match", "*").send(server));
        if !server.flavour().presigns() {
            hear(&call("artifacts.get_ref", json!({"id": own})));
        }
        let events = || Request::get("/v1/events").by(&ada());
        let _open: Vec<_> = (0..16).map(|_| EventStream::open(server, &events())).collect();
        hear(&events().send(server));
        // Last: the store is of no use afterwards. Which sentence a storage in ruins gets is its driver's affair.
        if server.flavour() == Flavour::Fs {
            overwrite(server.data().as_path());
            hear(&call("artifacts.get", json!({"id": own})));
            let due: BTreeSet<_> = refusals(&document)
                .into_iter()
                // A server that is stopping answers so; the tests of shutdown see it.
                .filter(|(status, ..)| status != "503")
                .collect();
            assert_eq!(told, due);
        } else {
            let due = refusals(&document);
            let strange: Vec<_> = told.difference(&due).collect();
            assert!(strange.is_empty(), "no example says {strange:?}");
        }
    });
}

#[test]
fn a_server_of_another_configuration_has_the_same_document() {
    let other =
        Options::new().set("protocol.max_request_bytes", 12345).set("telemetry.service_name", "other");
    let server = Server::start(Flavour::Inmem, &other);
    assert_eq!(document(&server), artifactd::openapi::document());
}
