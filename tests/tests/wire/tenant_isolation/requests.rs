//! The requests of a session: every verb, valid and broken, about artifacts of the caller, of foreign tenants and of
//! nobody.

use artifact_store_tests::wire::{Request, base64, control, digest_field, encode, put};
use serde_json::{Value, json};

use super::random_session::{KnownArtifact, Session};
use super::test_data::{
    self, FOREIGN, FOREIGN_ONLY, MEDIA_TYPES, NAMESPACES, SESSIONS, SHARED, SOURCES, TAGS, TASKS, TENANT,
    USERS,
};

/// A request, and what the session must know about it.
#[derive(Debug)]
pub(super) struct PlannedRequest {
    pub(super) request: Request,
    pub(super) caller: usize,
    pub(super) kind: &'static str,
    /// Whether the response names an artifact of the caller's own session.
    pub(super) is_put: bool,
    /// The body of a listing.
    pub(super) listing: Option<Value>,
}

const MALFORMED: [&str; 9] = [
    "nonsense",
    "default_",
    "default_XYZ",
    "..",
    "a/b",
    "\\",
    "%00",
    "💥",
    "default_0123456789ABCDEF0123456789ABCDEF",
];

impl Session {
    /// The next request.
    pub(super) fn next_request(&mut self) -> PlannedRequest {
        let caller = self.random.below(self.callers.len());
        let planned = |kind, request| PlannedRequest { request, caller, kind, is_put: false, listing: None };
        match self.random.below(100) {
            0..18 => PlannedRequest { is_put: true, ..planned("artifacts.put", self.put_json()) },
            18..32 => PlannedRequest { is_put: true, ..planned("PUT", self.put_bytes()) },
            32..52 => self.list(caller),
            52..90 => {
                let known = self.any_id(caller);
                // Most of the time the artifact's own caller sends the request.
                let caller = if self.random.percent(80) { known.caller } else { caller };
                let (kind, request) = self.by_id(&known);
                PlannedRequest { caller, ..planned(kind, request) }
            }
            90..95 => {
                let (kind, request) = self.naming_a_foreign_tenant(caller);
                planned(kind, request)
            }
            _ => {
                let (kind, request) = self.other_request();
                planned(kind, request)
            }
        }
    }

    fn put_json(&mut self) -> Request {
        let bytes = test_data::shared(self.random.below(SHARED));
        let (task, opts) = (self.random.pick(&TASKS), test_data::opts(&mut self.random));
        control("artifacts.put", &json!({"scope": {"task": task}, "bytes": base64(&bytes), "opts": opts}))
    }

    fn put_bytes(&mut self) -> Request {
        let bytes = test_data::shared(self.random.below(SHARED));
        let query = format!(
            "?namespace={}&source={}&task={}&tag={}",
            self.random.pick(&NAMESPACES),
            self.random.pick(&SOURCES),
            self.random.pick(&TASKS),
            encode(self.random.pick(&TAGS))
        );
        let mut request = put(&query, bytes.clone()).header("Content-Type", self.random.pick(&MEDIA_TYPES));
        match self.random.below(8) {
            0 => request = request.header("Content-Digest", digest_field(&bytes)),
            1 => request = request.header("Content-Digest", digest_field(b"other bytes")),
            2 => request = request.chunked(),
            _ => {}
        }
        request
    }

    fn list(&mut self, caller: usize) -> PlannedRequest {
        let planned = |caller, body: Value| PlannedRequest {
            request: control("artifacts.list", &body),
            caller,
            kind: "artifacts.list",
            is_put: false,
            listing: Some(body),
        };
        if !self.pages.is_empty() && self.random.percent(50) {
            let (owner, mut body) = self.pages[self.random.below(self.pages.len())].clone();
            if self.random.percent(20) {
                body["limit"] = self.random.below(9).into();
            }
            if self.random.percent(5) {
                // An altered cursor, or one of another query.
                body["tags"] = json!(["other"]);
            }
            // Another caller of the tenant may use the cursor too.
            return planned(if self.random.percent(90) { owner } else { caller }, body);
        }
        let user = self.callers[caller].identity.user.clone();
        let scope = match self.random.below(4) {
            0 => json!({}),
            1 => json!({"tenant": TENANT, "user": "", "session": ""}),
            2 => json!({"tenant": TENANT, "user": user, "session": ""}),
            _ => {
                json!({"tenant": TENANT, "user": self.random.pick(&USERS), "session": self.random.pick(&SESSIONS)})
            }
        };
        let mut body = json!({"scope": scope});
        if self.random.percent(30) {
            body["mime_type"] = json!(self.random.pick_some(&MEDIA_TYPES));
        }
        if self.random.percent(30) {
            body["source"] = json!(self.random.pick_some(&SOURCES));
        }
        if self.random.percent(30) {
            body["tags"] = json!(self.random.pick_some(&TAGS));
        }
        if self.random.percent(20) {
            body["size_range"] = json!({"min_bytes": self.random.below(1500)});
        }
        if self.random.percent(80) {
            body["limit"] = self.random.pick(&[&0, &1, &3, &7, &50, &5000]).to_owned().into();
        }
        planned(caller, body)
    }

    /// An id of an artifact that was put here, of one that may have been, of one that only foreign tenants have, or
    /// of none.
    fn any_id(&mut self, caller: usize) -> KnownArtifact {
        let sha256 = "0".repeat(64);
        let artifact = |id: String, task: &str| KnownArtifact {
            caller,
            task: task.to_owned(),
            id,
            sha256: sha256.clone(),
        };
        let (namespace, task) = (self.random.pick(&NAMESPACES), self.random.pick(&TASKS));
        match self.random.below(10) {
            0..6 if !self.known.is_empty() => self.known[self.random.below(self.known.len())].clone(),
            0..7 => artifact(test_data::id(namespace, &test_data::shared(self.random.below(SHARED))), task),
            7..9 => {
                let bytes = test_data::foreign_only(self.random.below(FOREIGN_ONLY));
                let sha256 = artifact_store_tests::wire::sha256(&bytes);
                KnownArtifact { sha256, ..artifact(test_data::id(namespace, &bytes), task) }
            }
            _ => artifact(self.random.pick(&MALFORMED).to_owned(), task),
        }
    }

    fn by_id(&mut self, known: &KnownArtifact) -> (&'static str, Request) {
        let mut body = json!({"scope": {"task": known.task}, "id": known.id});
        match self.random.below(16) {
            0..4 => {
                if self.random.percent(50) {
                    body["offset"] = self.random.below(3000).into();
                    body["max_bytes"] = self.random.below(200_000).into();
                }
                ("artifacts.get", control("artifacts.get", &body))
            }
            4..7 => {
                if self.random.percent(30) {
                    body["expiry"] =
                        self.random.pick(&[&60_000_000_000_u64, &1, &3_600_000_000_000]).to_owned().into();
                }
                ("artifacts.get_ref", control("artifacts.get_ref", &body))
            }
            7..9 => ("artifacts.delete", control("artifacts.delete", &body)),
            number => {
                let verb = if number < 12 { "HEAD" } else { "GET" };
                let mut path = format!("/v1/artifacts/{}?task={}", encode(&known.id), encode(&known.task));
                path += if self.random.percent(20) { "&disposition=inline" } else { "" };
                (verb, self.conditions(Request::new(verb, path), known))
            }
        }
    }

    fn conditions(&mut self, mut request: Request, known: &KnownArtifact) -> Request {
        let tag = format!("\"{}\"", known.sha256);
        if self.random.percent(50) {
            let range =
                ["bytes=0-9", "bytes=5-", "bytes=-7", "bytes=999999999-", "bytes=0-0,5-6", "octets=1"];
            request = request.header("Range", self.random.pick(&range));
        }
        match self.random.below(8) {
            0 => request.header("If-None-Match", tag),
            1 => request.header("If-None-Match", "*"),
            2 => request.header("If-Range", tag),
            3 => request.header("If-Match", tag),
            _ => request,
        }
    }

    /// Content is never readable across tenants. The rest is refused without `admin` and `console:fleet`. With these
    /// scopes the foreign tenant is visible on purpose, so such callers do not send these requests.
    fn naming_a_foreign_tenant(&mut self, caller: usize) -> (&'static str, Request) {
        let scope = json!({
            "tenant": self.random.pick(&FOREIGN), "user": self.random.pick(&USERS), "session": self.random.pick(&SESSIONS),
        });
        let bytes = test_data::foreign_only(self.random.below(FOREIGN_ONLY));
        let id = test_data::id(self.random.pick(&NAMESPACES), &bytes);
        let by_id = json!({"scope": scope, "id": id});
        let has_scopes = !self.callers[caller].identity.scopes.is_empty();
        match self.random.below(5) {
            0 if !has_scopes => ("foreign list", control("artifacts.list", &json!({"scope": scope}))),
            1 if !has_scopes => {
                let body = json!({"scope": scope, "bytes": base64(&bytes)});
                ("foreign put", control("artifacts.put", &body))
            }
            2 if !has_scopes => ("foreign delete", control("artifacts.delete", &by_id)),
            3 => ("foreign get_ref", control("artifacts.get_ref", &by_id)),
            _ => ("foreign get", control("artifacts.get", &by_id)),
        }
    }

    fn other_request(&mut self) -> (&'static str, Request) {
        match self.random.below(8) {
            0 => ("runtime.health", control("runtime.health", &json!({}))),
            1 => ("runtime.drivers", control("runtime.drivers", &json!({"identity": {}}))),
            2 => ("probe", Request::get(self.random.pick(&["/healthz", "/readyz"]))),
            3 => ("no method", control("start", &json!({}))),
            4 => ("no route", Request::get("/v1/tenants")),
            5 => ("no JSON", Request::new("POST", "/v1/control/artifacts.list").body("{\"limit\":")),
            6 => ("no member", control("artifacts.list", &json!({"tenants": FOREIGN}))),
            _ => ("no scope", control("artifacts.list", &json!({"scope": {"tenant": "", "user": "ada"}}))),
        }
    }
}
