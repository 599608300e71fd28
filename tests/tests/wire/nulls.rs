//! Section 1: `null` for an optional member means absent, in every method.

use artifact_store_tests::wire::{base64, for_each_flavour};
use serde_json::{Value, json};

use crate::ada;

/// Every optional member of a method, as a path from its body.
const MEMBERS: &[(&str, &[&str])] = &[
    (
        "artifacts.put",
        &[
            "scope",
            "scope.tenant",
            "scope.user",
            "scope.session",
            "scope.task",
            "opts",
            "opts.mime_type",
            "opts.filename",
            "opts.namespace",
            "opts.source",
            "opts.tags",
            "opts.metadata",
        ],
    ),
    (
        "artifacts.get",
        &["scope", "scope.tenant", "scope.user", "scope.session", "scope.task", "offset", "max_bytes"],
    ),
    ("artifacts.get_ref", &["scope", "scope.tenant", "scope.user", "scope.session", "scope.task", "expiry"]),
    (
        "artifacts.list",
        &[
            "scope",
            "scope.tenant",
            "scope.user",
            "scope.session",
            "scope.task",
            "mime_type",
            "source",
            "size_range",
            "size_range.min_bytes",
            "size_range.max_bytes",
            "created_range",
            "created_range.after",
            "created_range.before",
            "tags",
            "limit",
            "cursor",
        ],
    ),
    ("artifacts.delete", &["scope", "scope.tenant", "scope.user", "scope.session", "scope.task"]),
    ("runtime.info", &["identity", "identity.tenant", "identity.user", "identity.session"]),
    ("runtime.health", &["identity", "identity.tenant", "identity.user", "identity.session"]),
    ("runtime.drivers", &["identity", "identity.tenant", "identity.user", "identity.session"]),
];

/// `body` with null at `path`.
fn with_null(mut body: Value, path: &str) -> Value {
    let value = path.split('.').fold(&mut body, |value, name| &mut value[name]);
    *value = Value::Null;
    body
}

#[test]
fn null_means_absent_for_every_optional_member_of_every_method() {
    for_each_flavour(|server| {
        let admin = ada().with_admin();
        for (method, members) in MEMBERS {
            for path in *members {
                let id = server.store_id(&ada(), b"null");
                let bare = match *method {
                    "artifacts.put" => json!({"bytes": base64(b"null")}),
                    "artifacts.list" | "runtime.info" | "runtime.health" | "runtime.drivers" => json!({}),
                    _ => json!({"id": id}),
                };
                // A delete removes the artifact, so it is stored again before each call.
                let same = |body: &Value| {
                    server.store_id(&ada(), b"null");
                    let answer = server.call(&admin, method, body);
                    let mut json = answer.json();
                    for volatile in ["uptime_seconds", "presigned_url", "expires_at"] {
                        json.as_object_mut().unwrap().remove(volatile);
                    }
                    if let Some(row) = json.pointer_mut("/rows/0/created_at") {
                        row.take();
                    }
                    (answer.status, json)
                };
                let absent = same(&bare);
                assert!(matches!(absent.0, 200 | 501), "{method}: {absent:?}");
                assert_eq!(same(&with_null(bare.clone(), path)), absent, "{method} with {path}: null");
            }
        }
    });
}
