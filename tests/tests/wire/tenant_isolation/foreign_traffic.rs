//! The foreign tenants of world B. They fill it before a session and send requests during it, in turn with the
//! session or concurrently.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use artifact_store_tests::wire::{Request, Response, base64, control, encode, put};
use serde_json::json;

use super::random_session::KeepAliveClient;
use super::test_data::{self, FOREIGN_ONLY, NAMESPACES, Random, SHARED, TASKS, TestCaller};

/// The callers of all foreign tenants.
#[derive(Debug)]
pub(super) struct ForeignTraffic {
    world: KeepAliveClient,
    random: Random,
    callers: Vec<TestCaller>,
}

impl ForeignTraffic {
    pub(super) fn new(addr: SocketAddr, seed: u64) -> Self {
        Self {
            world: KeepAliveClient::new(addr),
            random: Random::new(seed),
            callers: test_data::foreign_callers(),
        }
    }

    fn send(&mut self, caller: usize, request: Request) -> Response {
        let answer = self.world.send(&request.bearer(&self.callers[caller].token));
        assert!(answer.status < 500 || answer.status == 501, "a foreign request gets {answer:?}");
        answer
    }

    /// Puts what the session will look for, and `rows` more rows into a single foreign session.
    pub(super) fn fill(&mut self, rows: usize) {
        for number in 0..FOREIGN_ONLY {
            for namespace in NAMESPACES {
                let query = format!("?namespace={namespace}");
                self.send(0, put(&query, test_data::foreign_only(number)));
            }
        }
        for caller in 0..self.callers.len() {
            self.put(caller);
        }
        for number in 0..rows {
            let task = TASKS[number % TASKS.len()];
            let opts = test_data::opts(&mut self.random);
            let body = json!({
                "scope": {"task": task}, "bytes": base64(format!("row {number}").as_bytes()), "opts": opts,
            });
            assert_eq!(self.send(0, control("artifacts.put", &body)).status, 200);
        }
    }

    fn put(&mut self, caller: usize) {
        let bytes = if self.random.percent(80) {
            test_data::shared(self.random.below(SHARED))
        } else {
            test_data::foreign_only(self.random.below(FOREIGN_ONLY))
        };
        let (task, opts) = (self.random.pick(&TASKS), test_data::opts(&mut self.random));
        let body = json!({"scope": {"task": task}, "bytes": base64(&bytes), "opts": opts});
        assert_eq!(self.send(caller, control("artifacts.put", &body)).status, 200);
    }

    /// Sends one foreign request, which may be a delete if `deletes` is true.
    pub(super) fn send_one(&mut self, deletes: bool) {
        let caller = self.random.below(self.callers.len());
        let id = test_data::id(self.random.pick(&NAMESPACES), &test_data::shared(self.random.below(SHARED)));
        let task = self.random.pick(&TASKS);
        match self.random.below(10) {
            0 if deletes => {
                let body = json!({"scope": {"task": task}, "id": id});
                let mut scope = self.callers[caller].identity.scope();
                scope["task"] = task.into();
                let body = if self.random.percent(50) { body } else { json!({"scope": scope, "id": id}) };
                self.send(caller, control("artifacts.delete", &body));
            }
            1 => drop(self.send(caller, control("artifacts.list", &json!({"limit": 5})))),
            2 => drop(self.send(caller, control("artifacts.get", &json!({"id": id})))),
            3 => {
                self.send(caller, Request::get(format!("/v1/artifacts/{id}?task={}", encode(task))));
            }
            _ => self.put(caller),
        }
    }

    /// Sends requests concurrently with a session until `stop` is set.
    pub(super) fn run_until(mut self, deletes: bool, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            self.send_one(deletes);
            // The requests should have an effect without using all of the machine.
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The number of rows of a foreign session.
    pub(super) fn row_count(&mut self) -> u64 {
        let body = json!({"scope": {"tenant": self.callers[0].identity.tenant, "user": "", "session": ""}, "limit": 1});
        self.send(0, control("artifacts.list", &body)).expect_json(200)["total_matched"].as_u64().unwrap()
    }
}
