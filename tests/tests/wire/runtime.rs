//! Section 5: the methods about the runtime, and names that are not methods.

use artifact_store_tests::wire::{
    Request, Server, ServerOptions, flavours, for_each_flavour, for_each_flavour_with,
};
use serde_json::{Value, json};

use crate::ada;

#[test]
fn info_says_which_runtime_this_is() {
    let options = ServerOptions::new()
        .set("telemetry.service_name", "the test's")
        .set("protocol.max_request_bytes", 12345);
    for_each_flavour_with(&options, |server| {
        let info = server.call(&ada(), "runtime.info", &json!({})).expect_json(200);
        assert_eq!(info["display_name"], "the test's");
        assert_eq!(info["protocol_version"], "0.1.0");
        assert_eq!(info["max_request_bytes"], 12345);
        assert_eq!(info["max_upload_bytes"], 12345);
        assert_eq!(info["artifacts"]["driver"], server.driver());
        for member in ["instance_id", "build_version", "build_commit"] {
            assert!(info[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {info}");
        }
        assert!(info["uptime_seconds"].as_u64().is_some_and(|seconds| seconds < 60), "{info}");
        let surfaces: Vec<_> =
            info["capabilities"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        assert!(surfaces.contains(&"artifacts") && surfaces.contains(&"runtime"), "{surfaces:?}");
        assert_flags(&info["artifacts"]["capabilities"]);
        assert_eq!(info["artifacts"]["capabilities"]["presign_get"], server.driver() == "s3");
    });
}

/// Checks that flags are booleans or numbers.
fn assert_flags(capabilities: &Value) {
    let capabilities = capabilities.as_object().unwrap();
    assert!(!capabilities.is_empty());
    for (flag, value) in capabilities {
        assert!(value.is_boolean() || value.is_u64(), "{flag}: {value}");
    }
}

#[test]
fn a_runtime_without_a_name_has_none() {
    for_each_flavour(|server| {
        let info = server.call(&ada(), "runtime.info", &json!({})).expect_json(200);
        assert_eq!(info.get("display_name"), None);
        assert_eq!(info["max_request_bytes"], 4 * 1024 * 1024);
        assert_eq!(info["max_upload_bytes"], 1024 * 1024 * 1024);
    });
}

#[test]
fn another_start_is_another_instance() {
    for flavour in flavours() {
        let mut server = Server::start(flavour, &ServerOptions::new());
        let instance = |server: &Server| {
            server.call(&ada(), "runtime.info", &json!({})).expect_json(200)["instance_id"].clone()
        };
        let before = instance(&server);
        assert_eq!(instance(&server), before);
        server.restart();
        assert_ne!(instance(&server), before);
    }
}

#[test]
fn health_says_how_each_subsystem_is() {
    for_each_flavour(|server| {
        let health = server.call(&ada(), "runtime.health", &json!({})).expect_json(200);
        assert_eq!(health["status"], "ready");
        let subsystems = health["subsystems"].as_array().unwrap();
        assert!(subsystems.iter().any(|subsystem| subsystem["subsystem"] == "artifacts"), "{health}");
        assert!(subsystems.iter().all(|subsystem| subsystem["status"] == "ready"), "{health}");
    });
}

#[test]
fn drivers_lists_every_driver_and_which_is_active() {
    for_each_flavour(|server| {
        let drivers = server.call(&ada(), "runtime.drivers", &json!({})).expect_json(200);
        let rows = drivers["drivers"].as_array().unwrap();
        let names: Vec<_> = rows.iter().map(|row| row["driver"].as_str().unwrap()).collect();
        assert_eq!(names, ["azure", "fs", "gcs", "inmem", "postgres", "s3", "sqlite"]);
        for row in rows {
            assert_eq!(row["active"], row["driver"] == server.driver(), "{row}");
            assert_flags(&row["capabilities"]);
        }
    });
}

#[test]
fn the_caller_may_repeat_its_identity_and_no_other() {
    for_each_flavour(|server| {
        for method in ["runtime.info", "runtime.health", "runtime.drivers"] {
            for identity in [
                json!({}),
                json!(null),
                ada().scope(),
                json!({"tenant": "acme"}),
                json!({"tenant": "", "user": ""}),
            ] {
                server.call(&ada(), method, &json!({"identity": identity})).expect_json(200);
            }
            for identity in
                [json!({"tenant": "globex"}), json!({"user": "bob"}), json!({"session": "session-2"})]
            {
                server
                    .call(&ada(), method, &json!({"identity": identity}))
                    .expect_refusal("identity_required");
                server
                    .call(&ada().with_admin(), method, &json!({"identity": identity}))
                    .expect_refusal("identity_required");
            }
            server.call(&ada(), method, &json!({"identity": "ada"})).expect_refusal("invalid_request");
        }
    });
}

#[test]
fn a_name_that_is_no_method_is_unknown() {
    for_each_flavour(|server| {
        let long = "x".repeat(3000);
        for method in [
            "start",
            "cancel",
            "pause",
            "resume",
            "redirect",
            "inject_context",
            "approve",
            "reject",
            "events.subscribe",
            "sessions.list",
            "artifacts",
            "artifacts.",
            "artifacts.PUT",
            "artifacts.put2",
            "Artifacts.put",
            "artifacts%2Eput2",
            ".",
            "%00",
            "💥",
            "artifacts.presign_put",
            &long,
        ] {
            let path = format!("/v1/control/{}", method.replace('💥', "%F0%9F%92%A5"));
            for body in ["{}", "no json", ""] {
                let request = Request::new("POST", &path).identity(&ada()).body(body);
                let answer = request.send(server);
                assert_eq!(answer.code(), "unknown_method", "{method} {body}: {answer:?}");
                assert!(!answer.message().contains(&long), "the message repeats a long name");
            }
            Request::new("POST", &path).body("{}").send(server).expect_refusal("identity_required");
        }
    });
}
