//! `GET /openapi.json`: the document is true. Its examples are sent, and the responses are validated against its
//! schemas.

use std::collections::BTreeSet;

use artifact_store_protocol::Method;
use artifact_store_tests::wire::{
    Connection, EventStream, Flavour, Request, Response, Server, ServerOptions, control, for_each_flavour,
    put, sign_token, unix_time,
};
use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

use crate::ada;
use crate::codes::overwrite;

/// Members that differ between servers or moments, and members that differ between drivers.
const VARYING_MEMBERS: [&str; 7] = [
    "created_at",
    "expires_at",
    "presigned_url",
    "instance_id",
    "uptime_seconds",
    "build_version",
    "build_commit",
];
const DRIVER_MEMBERS: [&str; 4] = ["driver", "capabilities", "active", "bus"];

fn fetch_document(server: &Server) -> Value {
    Request::get("/openapi.json").send(server).expect_json(200)
}

/// Forbids additional members in every object schema that lists its members.
fn close_objects(shape: &mut Value) {
    match shape {
        Value::Object(members) => {
            members.values_mut().for_each(close_objects);
            if members.contains_key("properties") && !members.contains_key("additionalProperties") {
                members.insert("additionalProperties".into(), json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close_objects),
        _ => {}
    }
}

/// A validator for a schema of the document that allows no additional members.
fn validator(document: &Value, reference: &Value) -> Validator {
    let mut root = json!({"$ref": reference, "components": {"schemas": document["components"]["schemas"]}});
    close_objects(&mut root["components"]);
    let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
    options.build(&root).unwrap_or_else(|error| panic!("{reference} is not a schema: {error}"))
}

#[track_caller]
fn assert_valid(shape: &Validator, value: &Value) {
    let faults: Vec<String> = shape.iter_errors(value).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{faults:?} in {value}");
}

/// The JSON content of a request or response: a validator for its schema, and its one example.
fn json_content<'a>(document: &'a Value, content: &'a Value) -> (Validator, &'a Value) {
    let json = &content["content"]["application/json"];
    let example = json["examples"].as_object().and_then(|all| all.values().next()).expect("an example");
    (validator(document, &json["schema"]["$ref"]), &example["value"])
}

/// Whether everything in the example is also in the real value.
fn matches_example(example: &Value, real: &Value, varying: &[&str]) -> bool {
    match (example, real) {
        (Value::Object(example), Value::Object(real)) => example.iter().all(|(name, value)| {
            let real = real.get(name);
            real.is_some_and(|real| varying.contains(&name.as_str()) || matches_example(value, real, varying))
        }),
        (Value::Array(example), Value::Array(real)) => {
            example.iter().all(|item| real.iter().any(|real| matches_example(item, real, varying)))
        }
        _ => example == real,
    }
}

#[test]
fn the_document_is_the_one_that_is_kept_and_needs_no_token() {
    for_each_flavour(|server| {
        let answer = Request::get("/openapi.json").send(server);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(String::from_utf8(answer.body).unwrap(), artifact_store_server::openapi::text());
        assert_eq!(Request::new("HEAD", "/openapi.json").send(server).status, 200);
        Request::get("/openapi.json?colour=red").send(server).expect_refusal("invalid_request");
    });
}

#[test]
fn every_example_of_a_method_gets_the_documented_response() {
    for_each_flavour(|server| {
        let document = fetch_document(server);
        let mut varying = VARYING_MEMBERS.to_vec();
        if server.flavour() != Flavour::Sqlite {
            varying.extend(DRIVER_MEMBERS);
        }
        for method in Method::ALL {
            let operation = &document["paths"][format!("/v1/control/{method}")]["post"];
            let (asks, request) = json_content(&document, &operation["requestBody"]);
            assert_valid(&asks, request);
            let who = if *method == Method::ArtifactsDelete { ada().with_admin() } else { ada() };
            let answer = server.call(&who, method.name(), request);
            if *method == Method::ArtifactsGetRef && !server.flavour().supports_presign() {
                answer.expect_refusal("presign_unsupported");
                continue;
            }
            let (shape, example) = json_content(&document, &operation["responses"]["200"]);
            let real = answer.expect_json(200);
            assert_valid(&shape, &real);
            assert_valid(&shape, example);
            assert!(
                matches_example(example, &real, &varying),
                "{method}: the example is {example}, but the response is {real}"
            );
        }
    });
}

#[test]
fn the_members_of_a_request_are_those_that_its_method_declares() {
    for_each_flavour(|server| {
        let document = fetch_document(server);
        for method in Method::ALL {
            let operation = &document["paths"][format!("/v1/control/{method}")]["post"];
            let reference =
                operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
            let shape = document.pointer(reference.unwrap().trim_start_matches('#')).unwrap();
            assert_eq!(shape["additionalProperties"], false, "{method}");
            let described: BTreeSet<&str> =
                shape["properties"].as_object().unwrap().keys().map(String::as_str).collect();
            let said =
                server.call(&ada(), method.name(), &json!({"colour": 1})).expect_refusal("invalid_request");
            let declared = said.split_once("declared are ").expect("the declared members").1;
            let declared: BTreeSet<&str> = declared.split('`').skip(1).step_by(2).collect();
            assert_eq!(described, declared, "{method}");
        }
    });
}

#[test]
fn bytes_and_probes_get_the_documented_responses() {
    for_each_flavour(|server| {
        let document = fetch_document(server);
        let described_response = |path: &str, verb: &str, status: u16| {
            document["paths"][path][verb]["responses"][status.to_string()].clone()
        };
        let assert_headers = |described: &Value, answer: &Response| {
            for name in described["headers"].as_object().unwrap().keys() {
                assert!(answer.header(&name.to_lowercase()).is_some(), "no {name}: {answer:?}");
            }
        };
        for status in [201, 200] {
            let described = described_response("/v1/artifacts", "put", status);
            let upload = put("?filename=hello.txt&source=tool&tag=greeting", "hello, harbor\n");
            let answer = upload.header("Content-Type", "text/plain").identity(&ada()).send(server);
            let (shape, example) = json_content(&document, &described);
            assert_valid(&shape, &answer.expect_json(status));
            assert!(matches_example(example, &answer.json(), &VARYING_MEMBERS), "{answer:?}");
            assert_headers(&described, &answer);
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
                let answer = Request::new(verb, path).header(name, value).identity(&ada()).send(server);
                assert_eq!(answer.status, status, "{verb} {name}: {value}");
                assert_headers(
                    &described_response("/v1/artifacts/{id}", &verb.to_lowercase(), status),
                    &answer,
                );
            }
        }
        for path in ["/healthz", "/readyz"] {
            let described =
                &described_response(path, "get", 200)["content"]["application/json"]["schema"]["$ref"];
            assert_valid(&validator(&document, described), &Request::get(path).send(server).expect_json(200));
        }
    });
}

#[test]
fn an_event_has_the_shape_that_is_described() {
    for_each_flavour(|server| {
        let document = fetch_document(server);
        let described =
            &document["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]["text/event-stream"];
        let (frame, data) = (
            validator(&document, &described["schema"]["contentSchema"]["$ref"]),
            validator(&document, &json!("#/components/schemas/EventData")),
        );
        let mut stream =
            EventStream::open(server, &Request::get("/v1/events?admin=1").identity(&ada().with_admin()));
        let mut expect_event = |kind: &str| {
            let event = stream.next_event();
            assert_valid(&frame, &json!({"id": event.id, "event": event.event, "data": event.data}));
            assert_valid(&data, &event.json());
            assert_eq!(event.event.as_deref(), Some(kind));
        };
        expect_event("audit.admin_scope_used");
        let id = server.store_id(&ada(), b"told");
        expect_event("artifacts.uploaded");
        server.call(&ada().with_admin(), "artifacts.delete", &json!({"id": id})).expect_json(200);
        expect_event("artifacts.deleted");
    });
}

/// The documented refusals, each with status, code and message.
fn refusal_examples(document: &Value) -> BTreeSet<(String, String, String)> {
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
fn every_example_of_a_refusal_is_what_a_request_gets() {
    for_each_flavour(|server| {
        let mut refusals = BTreeSet::new();
        let document = fetch_document(server);
        let envelope = validator(&document, &json!("#/components/schemas/Envelope"));
        let mut record = |answer: &Response| {
            assert_valid(&envelope, &answer.json());
            refusals.insert((answer.status.to_string(), answer.code(), answer.message()));
        };
        let mut expired = ada().claims();
        expired["exp"] = json!(unix_time() - 600);
        let own = server.store_id(&ada(), b"own");
        let call = |method: &str, body: Value| server.call(&ada(), method, &body);
        let foreign = json!({"tenant": "globex", "user": "ada", "session": "session-1"});
        record(&control("runtime.info", &json!({})).bearer(sign_token(&expired)).send(server));
        record(&control("runtime.info", &json!({})).send(server));
        record(&call("artifacts.delete", json!({"id": own})));
        record(&Request::get("/healthz?colour=red").send(server));
        record(&call("artifacts.get", json!({"id": "missing"})));
        record(&call("artifacts.put", json!({"bytes": "", "opts": {"tags": vec!["t"; 51]}})));
        let mut announced = Connection::open(server.addr());
        announced.send(&put("", "").identity(&ada()).head(Some((1 << 30) + 1)));
        record(&announced.read_response(false).0);
        record(&call("artifacts.put", json!({"bytes": "", "scope": foreign})));
        record(&call("start", json!({})));
        let range = Request::get(format!("/v1/artifacts/{own}")).header("Range", "bytes=99-");
        record(&range.identity(&ada()).send(server));
        record(&put("", "bytes").identity(&ada()).header("If-Match", "*").send(server));
        if !server.flavour().supports_presign() {
            record(&call("artifacts.get_ref", json!({"id": own})));
        }
        let events = || Request::get("/v1/events").identity(&ada());
        let _open: Vec<_> = (0..16).map(|_| EventStream::open(server, &events())).collect();
        record(&events().send(server));
        // Must be last: the store is unusable afterwards. The message for a corrupted storage depends on the driver.
        if server.flavour() == Flavour::Fs {
            overwrite(server.data().as_path());
            record(&call("artifacts.get", json!({"id": own})));
            let expected: BTreeSet<_> = refusal_examples(&document)
                .into_iter()
                // A server that is shutting down responds 503. The tests of shutdown check it.
                .filter(|(status, ..)| status != "503")
                .collect();
            assert_eq!(refusals, expected);
        } else {
            let expected = refusal_examples(&document);
            let unknown: Vec<_> = refusals.difference(&expected).collect();
            assert!(unknown.is_empty(), "no example for {unknown:?}");
        }
    });
}

#[test]
fn a_server_of_another_configuration_has_the_same_document() {
    let other =
        ServerOptions::new().set("protocol.max_request_bytes", 12345).set("telemetry.service_name", "other");
    let server = Server::start(Flavour::Inmem, &other);
    assert_eq!(fetch_document(&server), artifact_store_server::openapi::document());
}
