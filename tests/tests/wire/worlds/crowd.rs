//! The foreign tenants of world B: they fill it before a session, and work in it during one, in turn and beside it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use artifact_store_tests::wire::{Request, Response, base64, control, encode, put};
use serde_json::json;

use super::session::Asker;
use super::things::{self, Caller, FOREIGN_ONLY, NAMESPACES, Random, SHARED, TASKS};

/// All foreign tenants' callers.
#[derive(Debug)]
pub(super) struct Crowd {
    world: Asker,
    random: Random,
    callers: Vec<Caller>,
}

impl Crowd {
    pub(super) fn new(addr: SocketAddr, seed: u64) -> Self {
        Self { world: Asker::new(addr), random: Random::new(seed), callers: things::foreign() }
    }

    fn ask(&mut self, caller: usize, request: Request) -> Response {
        let answer = self.world.ask(&request.bearer(&self.callers[caller].token));
        assert!(answer.status < 500 || answer.status == 501, "a foreigner is answered {answer:?}");
        answer
    }

    /// Puts what the session will look for, and so many rows more into one foreign session alone.
    pub(super) fn fill(&mut self, rows: usize) {
        for number in 0..FOREIGN_ONLY {
            for namespace in NAMESPACES {
                let query = format!("?namespace={namespace}");
                self.ask(0, put(&query, things::foreign_only(number)));
            }
        }
        for caller in 0..self.callers.len() {
            self.put(caller);
        }
        for number in 0..rows {
            let task = TASKS[number % TASKS.len()];
            let opts = things::opts(&mut self.random);
            let body = json!({
                "scope": {"task": task}, "bytes": base64(format!("row {number}").as_bytes()), "opts": opts,
            });
            assert_eq!(self.ask(0, control("artifacts.put", &body)).status, 200);
        }
    }

    fn put(&mut self, caller: usize) {
        let bytes = if self.random.percent(80) {
            things::shared(self.random.below(SHARED))
        } else {
            things::foreign_only(self.random.below(FOREIGN_ONLY))
        };
        let (task, opts) = (self.random.of(&TASKS), things::opts(&mut self.random));
        let body = json!({"scope": {"task": task}, "bytes": base64(&bytes), "opts": opts});
        assert_eq!(self.ask(caller, control("artifacts.put", &body)).status, 200);
    }

    /// One thing that a foreigner does. `deletes`: that may be to delete.
    pub(super) fn act(&mut self, deletes: bool) {
        let caller = self.random.below(self.callers.len());
        let id = things::id(self.random.of(&NAMESPACES), &things::shared(self.random.below(SHARED)));
        let task = self.random.of(&TASKS);
        match self.random.below(10) {
            0 if deletes => {
                let body = json!({"scope": {"task": task}, "id": id});
                let mut scope = self.callers[caller].who.scope();
                scope["task"] = task.into();
                let body = if self.random.percent(50) { body } else { json!({"scope": scope, "id": id}) };
                self.ask(caller, control("artifacts.delete", &body));
            }
            1 => drop(self.ask(caller, control("artifacts.list", &json!({"limit": 5})))),
            2 => drop(self.ask(caller, control("artifacts.get", &json!({"id": id})))),
            3 => {
                self.ask(caller, Request::get(format!("/v1/artifacts/{id}?task={}", encode(task))));
            }
            _ => self.put(caller),
        }
    }

    /// Goes on until `stop`, beside a session.
    pub(super) fn bustle(mut self, deletes: bool, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            self.act(deletes);
            // It should be heard, and not be all that the machine does.
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// How many rows a foreign session has.
    pub(super) fn rows(&mut self) -> u64 {
        let body =
            json!({"scope": {"tenant": self.callers[0].who.tenant, "user": "", "session": ""}, "limit": 1});
        self.ask(0, control("artifacts.list", &body)).ok(200)["total_matched"].as_u64().unwrap()
    }
}
