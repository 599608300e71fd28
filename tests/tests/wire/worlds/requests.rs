//! The requests of a session: every verb, sound and broken, about what is the caller's, what is foreign and what is nobody's.

use artifact_store_tests::wire::{Request, base64, control, digest_field, encode, put};
use serde_json::{Value, json};

use super::session::{Known, Session};
use super::things::{
    self, FOREIGN, FOREIGN_ONLY, MEDIA_TYPES, NAMESPACES, SESSIONS, SHARED, SOURCES, TAGS, TASKS, TENANT,
    USERS,
};

/// What is asked, and what the session has to know of it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) caller: usize,
    pub(super) kind: &'static str,
    /// Whether the answer names an artifact of the caller's own session.
    pub(super) puts: bool,
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
    pub(super) fn next(&mut self) -> Asked {
        let caller = self.random.below(self.callers.len());
        let asked = |kind, request| Asked { request, caller, kind, puts: false, listing: None };
        match self.random.below(100) {
            0..18 => Asked { puts: true, ..asked("artifacts.put", self.put_json()) },
            18..32 => Asked { puts: true, ..asked("PUT", self.put_bytes()) },
            32..52 => self.list(caller),
            52..90 => {
                let known = self.any_id(caller);
                // The artifact's own caller asks most of the time.
                let caller = if self.random.percent(80) { known.caller } else { caller };
                let (kind, request) = self.by_id(&known);
                Asked { caller, ..asked(kind, request) }
            }
            90..95 => {
                let (kind, request) = self.naming_a_foreign_tenant(caller);
                asked(kind, request)
            }
            _ => {
                let (kind, request) = self.other();
                asked(kind, request)
            }
        }
    }

    fn put_json(&mut self) -> Request {
        let bytes = things::shared(self.random.below(SHARED));
        let (task, opts) = (self.random.of(&TASKS), things::opts(&mut self.random));
        control("artifacts.put", &json!({"scope": {"task": task}, "bytes": base64(&bytes), "opts": opts}))
    }

    fn put_bytes(&mut self) -> Request {
        let bytes = things::shared(self.random.below(SHARED));
        let query = format!(
            "?namespace={}&source={}&task={}&tag={}",
            self.random.of(&NAMESPACES),
            self.random.of(&SOURCES),
            self.random.of(&TASKS),
            encode(self.random.of(&TAGS))
        );
        let mut request = put(&query, bytes.clone()).header("Content-Type", self.random.of(&MEDIA_TYPES));
        match self.random.below(8) {
            0 => request = request.header("Content-Digest", digest_field(&bytes)),
            1 => request = request.header("Content-Digest", digest_field(b"other bytes")),
            2 => request = request.chunked(),
            _ => {}
        }
        request
    }

    fn list(&mut self, caller: usize) -> Asked {
        let asked = |caller, body: Value| Asked {
            request: control("artifacts.list", &body),
            caller,
            kind: "artifacts.list",
            puts: false,
            listing: Some(body),
        };
        if !self.pages.is_empty() && self.random.percent(50) {
            let (owner, mut body) = self.pages[self.random.below(self.pages.len())].clone();
            if self.random.percent(20) {
                body["limit"] = self.random.below(9).into();
            }
            if self.random.percent(5) {
                // Altered, or of another query.
                body["tags"] = json!(["other"]);
            }
            // Another caller of the tenant may hold the cursor, too.
            return asked(if self.random.percent(90) { owner } else { caller }, body);
        }
        let user = self.callers[caller].who.user.clone();
        let scope = match self.random.below(4) {
            0 => json!({}),
            1 => json!({"tenant": TENANT, "user": "", "session": ""}),
            2 => json!({"tenant": TENANT, "user": user, "session": ""}),
            _ => {
                json!({"tenant": TENANT, "user": self.random.of(&USERS), "session": self.random.of(&SESSIONS)})
            }
        };
        let mut body = json!({"scope": scope});
        if self.random.percent(30) {
            body["mime_type"] = json!(self.random.some(&MEDIA_TYPES));
        }
        if self.random.percent(30) {
            body["source"] = json!(self.random.some(&SOURCES));
        }
        if self.random.percent(30) {
            body["tags"] = json!(self.random.some(&TAGS));
        }
        if self.random.percent(20) {
            body["size_range"] = json!({"min_bytes": self.random.below(1500)});
        }
        if self.random.percent(80) {
            body["limit"] = self.random.of(&[&0, &1, &3, &7, &50, &5000]).to_owned().into();
        }
        asked(caller, body)
    }

    /// An id: of an artifact that was put here, of one that may have been, of one that only foreigners have, or of none.
    fn any_id(&mut self, caller: usize) -> Known {
        let sha256 = "0".repeat(64);
        let of = |id: String, task: &str| Known { caller, task: task.to_owned(), id, sha256: sha256.clone() };
        let (namespace, task) = (self.random.of(&NAMESPACES), self.random.of(&TASKS));
        match self.random.below(10) {
            0..6 if !self.known.is_empty() => self.known[self.random.below(self.known.len())].clone(),
            0..7 => of(things::id(namespace, &things::shared(self.random.below(SHARED))), task),
            7..9 => {
                let bytes = things::foreign_only(self.random.below(FOREIGN_ONLY));
                let sha256 = artifact_store_tests::wire::sha256(&bytes);
                Known { sha256, ..of(things::id(namespace, &bytes), task) }
            }
            _ => of(self.random.of(&MALFORMED).to_owned(), task),
        }
    }

    fn by_id(&mut self, known: &Known) -> (&'static str, Request) {
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
                        self.random.of(&[&60_000_000_000_u64, &1, &3_600_000_000_000]).to_owned().into();
                }
                ("artifacts.get_ref", control("artifacts.get_ref", &body))
            }
            7..9 => ("artifacts.delete", control("artifacts.delete", &body)),
            way => {
                let verb = if way < 12 { "HEAD" } else { "GET" };
                let mut path = format!("/v1/artifacts/{}?task={}", encode(&known.id), encode(&known.task));
                path += if self.random.percent(20) { "&disposition=inline" } else { "" };
                (verb, self.conditions(Request::new(verb, path), known))
            }
        }
    }

    fn conditions(&mut self, mut request: Request, known: &Known) -> Request {
        let tag = format!("\"{}\"", known.sha256);
        if self.random.percent(50) {
            let range =
                ["bytes=0-9", "bytes=5-", "bytes=-7", "bytes=999999999-", "bytes=0-0,5-6", "octets=1"];
            request = request.header("Range", self.random.of(&range));
        }
        match self.random.below(8) {
            0 => request.header("If-None-Match", tag),
            1 => request.header("If-None-Match", "*"),
            2 => request.header("If-Range", tag),
            3 => request.header("If-Match", tag),
            _ => request,
        }
    }

    /// Content is not widened, whoever asks; the rest is refused without `admin` and `console:fleet`. With them the foreign
    /// tenant is seen on purpose, and so they are not asked here.
    fn naming_a_foreign_tenant(&mut self, caller: usize) -> (&'static str, Request) {
        let scope = json!({
            "tenant": self.random.of(&FOREIGN), "user": self.random.of(&USERS), "session": self.random.of(&SESSIONS),
        });
        let bytes = things::foreign_only(self.random.below(FOREIGN_ONLY));
        let id = things::id(self.random.of(&NAMESPACES), &bytes);
        let by_id = json!({"scope": scope, "id": id});
        let ranks = !self.callers[caller].who.scopes.is_empty();
        match self.random.below(5) {
            0 if !ranks => ("foreign list", control("artifacts.list", &json!({"scope": scope}))),
            1 if !ranks => {
                let body = json!({"scope": scope, "bytes": base64(&bytes)});
                ("foreign put", control("artifacts.put", &body))
            }
            2 if !ranks => ("foreign delete", control("artifacts.delete", &by_id)),
            3 => ("foreign get_ref", control("artifacts.get_ref", &by_id)),
            _ => ("foreign get", control("artifacts.get", &by_id)),
        }
    }

    fn other(&mut self) -> (&'static str, Request) {
        match self.random.below(8) {
            0 => ("runtime.health", control("runtime.health", &json!({}))),
            1 => ("runtime.drivers", control("runtime.drivers", &json!({"identity": {}}))),
            2 => ("probe", Request::get(self.random.of(&["/healthz", "/readyz"]))),
            3 => ("no method", control("start", &json!({}))),
            4 => ("no route", Request::get("/v1/tenants")),
            5 => ("no JSON", Request::new("POST", "/v1/control/artifacts.list").body("{\"limit\":")),
            6 => ("no member", control("artifacts.list", &json!({"tenants": FOREIGN}))),
            _ => ("no scope", control("artifacts.list", &json!({"scope": {"tenant": "", "user": "ada"}}))),
        }
    }
}
