//! The examples of the OpenAPI document. A test sends each example to a real server. The real response must have every
//! member of the example's response, with the same value. The test ignores values that differ between servers or over
//! time.

use artifact_store_protocol::{BUS_CLOSED_STATUS, Code, Method, PROTOCOL_VERSION, SUBSCRIBER_LIMIT_STATUS};
use serde_json::{Value, json};

use crate::routes::unknown_method;
use utoipa::openapi::example::{Example, ExampleBuilder};

/// A request of a control method, and its response.
pub(super) struct MethodExample {
    /// A short name.
    pub(super) name: &'static str,
    pub(super) request: Value,
    pub(super) response: Value,
}

/// The id of the artifact in all examples.
const ID: &str = "default_3fa544f46fbee0bfcad16448071dd15f";
/// The bytes of the artifact, in base64.
const HELLO: &str = "aGVsbG8sIGhhcmJvcgo=";

/// Returns the example of a control method.
pub(super) fn for_method(method: Method) -> MethodExample {
    let (name, request, response) = match method {
        Method::ArtifactsPut => ("hello", put_request(), json!({"ref": reference()})),
        Method::ArtifactsGet => (
            "hello",
            json!({"id": ID, "max_bytes": 5}),
            json!({
                "ref": reference(), "content": "aGVsbG8=", "offset": 0, "returned_bytes": 5, "total_size_bytes": 14,
                "truncated": true,
            }),
        ),
        Method::ArtifactsGetRef => (
            "hello",
            json!({"id": ID, "expiry": 3_600_000_000_000_u64}),
            json!({
                "ref": reference(),
                "presigned_url": "https://artifacts.s3.eu-central-1.amazonaws.com/a/…?X-Amz-Algorithm=AWS4-HMAC-SHA256&…",
                "expires_at": "2026-01-02T04:04:05Z",
            }),
        ),
        Method::ArtifactsList => (
            "greetings",
            json!({"tags": ["greeting"], "created_range": {"after": "2026-01-01T00:00:00Z"}, "limit": 20}),
            json!({
                "rows": [{
                    "ref": reference(), "tags": ["greeting"], "source": "tool", "driver": "sqlite",
                    "created_at": "2026-01-02T03:04:05Z", "metadata": {"step": 3},
                }],
                "total_matched": 1,
            }),
        ),
        Method::ArtifactsDelete => ("hello", json!({"id": ID}), json!({"deleted": true})),
        Method::RuntimeInfo => ("sqlite", json!({}), info_response()),
        Method::RuntimeHealth => (
            "ready",
            json!({}),
            json!({
                "status": "ready",
                "subsystems": [
                    {"subsystem": "artifacts", "status": "ready"},
                    {"subsystem": "events", "status": "ready"},
                ],
            }),
        ),
        Method::RuntimeDrivers => ("sqlite", json!({}), drivers_response()),
    };
    let mut example = MethodExample { name, request, response };
    example.response["protocol_version"] = json!(PROTOCOL_VERSION);
    example
}

/// The request of `artifacts.put`.
fn put_request() -> Value {
    json!({
        "bytes": HELLO,
        "opts": {
            "filename": "hello.txt", "mime_type": "text/plain", "source": "tool", "tags": ["greeting"],
            "metadata": {"step": 3},
        },
    })
}

/// The ref of the artifact in all examples.
fn reference() -> Value {
    json!({
        "id": ID, "mime_type": "text/plain", "size_bytes": 14, "filename": "hello.txt",
        "sha256": "3fa544f46fbee0bfcad16448071dd15f32f416968b4502d220157a6b171b57c7", "namespace": "default",
        "scope": {"tenant": "acme", "user": "ada", "session": "session-1"},
    })
}

/// The response of `runtime.info`.
fn info_response() -> Value {
    json!({
        "instance_id": "5f0c1d0e6b7a4c0f9a3e2d1c0b9a8f7e", "build_version": "0.1.0", "build_commit": "unknown",
        "uptime_seconds": 12, "capabilities": ["artifacts", "runtime", "bytes", "events"],
        "max_request_bytes": 4_194_304, "max_upload_bytes": 1_073_741_824,
        "artifacts": {"driver": "sqlite", "capabilities": sqlite_capabilities()},
        "events": {"bus": "local"},
    })
}

/// The capabilities of the driver sqlite.
fn sqlite_capabilities() -> Value {
    json!({
        "presign_get": false, "presign_put": false, "durable": true, "shared": true,
        "max_artifact_bytes": 1_099_511_627_776_u64,
    })
}

/// The response of `runtime.drivers`.
fn drivers_response() -> Value {
    json!({
        "drivers": [
            {
                "driver": "inmem", "active": false,
                "about": "Artifacts in the memory of one process, gone with it: for tests and development.",
                "capabilities": {"presign_get": false, "presign_put": false, "durable": false, "shared": false},
            },
            {
                "driver": "sqlite", "active": true,
                "about": "Artifacts in one SQLite database: a file that several processes may share, or memory.",
                "capabilities": sqlite_capabilities(),
            },
        ],
    })
}

/// Returns the example of an error with this code and status.
pub(super) fn error(code: Code, status: u16) -> Example {
    with_value(json!({"code": code, "message": message(code, status)}))
}

/// Returns an example with this value.
pub(super) fn with_value(value: Value) -> Example {
    ExampleBuilder::new().value(Some(value)).build()
}

/// Returns a message that a real refusal with this code and status can have.
fn message(code: Code, status: u16) -> &'static str {
    match (code, status) {
        (_, 412) => "a condition of the request does not hold; nothing was done",
        (_, 416) => "the range covers no byte of this artifact",
        (_, SUBSCRIBER_LIMIT_STATUS) => {
            "this session has 16 event streams open, which is the most; close one first"
        }
        (_, BUS_CLOSED_STATUS) => "the runtime is shutting down; connect again in a moment",
        (Code::AuthRejected, _) => "the bearer token has expired; send a fresh one",
        (Code::IdentityRequired, _) => "the request has no bearer token; send Authorization: Bearer <JWT>",
        (Code::IdentityScopeRequired, _) => {
            "this needs a token with the scope admin, or artifacts:delete for artifacts of its own session"
        }
        (Code::InvalidRequest, _) => "the query parameter `colour` is not declared; declared are none",
        (Code::NotFound, _) => "there is no such artifact in this scope",
        (Code::PayloadInvalid, _) => "tags holds a list of more than 50 items",
        (Code::PresignUnsupported, _) => {
            "this runtime's store has no presigned URLs; download through GET /v1/artifacts/{id}"
        }
        (Code::RequestTooLarge, _) => {
            "the body is larger than this runtime takes (protocol.max_upload_bytes is 1073741824); \
             send a smaller one, or raise that key of the server"
        }
        (Code::RuntimeError, _) => {
            "the artifact store holds other bytes than were put; report this to its operator"
        }
        (Code::ScopeMismatch, _) => "a change in another tenant needs the scope admin",
        (Code::UnknownMethod, _) => unknown_method(),
    }
}
