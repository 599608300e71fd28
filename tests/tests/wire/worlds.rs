//! Section 4, as one statement: what other tenants have and do changes nothing that a caller can see.
//!
//! Every request of a long random session goes to world A, and to world B, which is A with the data of foreign tenants, put before
//! the session and during it: the same bytes under the same names, namespaces, users, sessions and tasks; tenants that are
//! prefixes, cases and paths of one another; more rows than a page, and more than A has. Every answer must be the same byte for
//! byte: status, headers, body, counts, cursors, tags of entities, lengths. What is masked stands in `compare` alone. All else is
//! equal by construction: both stores have one clock, which is set by hand, and one key of cursors.
//!
//! What it does not cover: `runtime.info` and how long an answer takes (see the program `oracle`), and who asks for other tenants
//! by right.
//!
//! `CONFORMANCE_SEED` repeats a session.

mod compare;
mod crowd;
mod leaks;
mod requests;
mod session;
mod things;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::time::Instant;

use artifact_store_conformance::{OpenWith, Place, seed};
use artifact_store_core::{ArtifactStore, Clock, CursorKey, Gate, GateOptions};
use artifact_store_resolver::ResolverOptions;
use artifact_store_tests::flavours::{Row, rows};
use artifact_store_tests::hosted::{HandClock, Host};
use artifact_store_tests::wire::{Flavour, flavours};

use crowd::Crowd;
use leaks::{Counting, Leak, Leaky};
use session::Session;

/// A moment of 2026, in microseconds since 1970.
const NOON: i64 = 1_780_000_000_000_000;

/// Two worlds, and the places of their stores.
struct Worlds {
    // Before the places: it closes the stores.
    _host: Host,
    addrs: [SocketAddr; 2],
    clock: Arc<HandClock>,
    _places: [Box<dyn Place>; 2],
}

/// Two places of one kind, with names of one length: what names its place, as a presigned URL does, must not differ in length.
fn places(host: &Host, row: &Row) -> [Box<dyn Place>; 2] {
    let place = || host.wait(row.harness.place()).unwrap();
    let mut places = [place(), place()];
    while format!("{:?}", places[0]).len() != format!("{:?}", places[1]).len() {
        places.swap(0, 1);
        places[1] = place();
    }
    places
}

impl Worlds {
    /// World B has a store with a leak, where one is named.
    fn new(row: &Row, leak: Option<Leak>) -> Self {
        let host = Host::new();
        let clock = Arc::new(HandClock::new(NOON));
        let places = places(&host, row);
        let leaks = [None, leak];
        let addrs = [0, 1].map(|world| {
            let mut with = OpenWith { clock: Arc::<HandClock>::clone(&clock), ..OpenWith::default() };
            if leaks[world] == Some(Leak::ClockThatCounts) {
                with.clock = Arc::new(Counting(with.clock as Arc<dyn Clock>, AtomicI64::new(0)));
            }
            let mut store: Arc<dyn ArtifactStore> = host.wait(places[world].open(&with)).unwrap();
            if let Some(leak) = leaks[world] {
                store = Arc::new(Leaky(store, leak));
            }
            let cursor_key = Some(CursorKey::from_secret(b"one key for both worlds").unwrap());
            let gate = Gate::new(store, GateOptions { cursor_key, ..GateOptions::default() }).unwrap();
            // What is kept of events holds those of the caller's tenant, and by far not those of world B.
            let options = ResolverOptions { events_kept: 1024, ..ResolverOptions::default() };
            host.serve(Arc::new(gate), options)
        });
        Self { _host: host, addrs, clock, _places: places }
    }

    /// Runs a session in both, with `rows` rows of one foreign session beforehand, and with foreigners beside it where the
    /// flavour bears that.
    fn run(&self, seed: u64, requests: usize, rows: usize, beside: bool) -> Result<Session, String> {
        let mut crowd = Crowd::new(self.addrs[1], seed ^ 1);
        crowd.fill(rows);
        let mut session = Session::new(seed, self.addrs, Arc::clone(&self.clock));
        let stop = AtomicBool::new(false);
        let ran = std::thread::scope(|scope| {
            if beside {
                let crowd = Crowd::new(self.addrs[1], seed ^ 2);
                scope.spawn(|| crowd.bustle(true, &stop));
            }
            // However the session ends, the others do, too.
            let ran =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| session.run(requests, &mut crowd)));
            stop.store(true, std::sync::atomic::Ordering::Release);
            ran.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        ran?;
        assert!(crowd.rows() > session.tally.values().sum::<usize>() as u64 / 20, "world B is not larger");
        Ok(session)
    }
}

/// The first row of the matrix with this flavour.
fn row(flavour: Flavour) -> Row {
    rows().into_iter().find(|row| row.flavour == flavour).expect("every flavour has a row")
}

/// A session on one flavour, and a table of what was asked and answered.
fn proof(flavour: Flavour, seed: u64) -> Result<String, String> {
    let begun = Instant::now();
    let worlds = Worlds::new(&row(flavour), None);
    let (requests, rows) = if flavour.has_a_server() { (600, 110) } else { (2000, 250) };
    // A server over files walks its whole bucket for a listing, and fails where a deletion meets it: there all take turns.
    let session = worlds.run(seed, requests, rows, flavour != Flavour::S3sFs)?;
    let sent: usize = session.tally.values().sum();
    let mut table =
        vec![format!("{flavour}: {sent} answers alike in {:.1} s", begun.elapsed().as_secs_f32())];
    table.extend(
        session.tally.iter().map(|((kind, status), count)| format!("  {kind:<20}{status:>5}{count:>6}")),
    );
    // A session of refusals would prove nothing.
    for met in [("artifacts.get", 200), ("GET", 200), ("GET", 206), ("artifacts.list", 200), ("page", 200)] {
        assert!(session.tally.contains_key(&met), "{met:?} was not met on {flavour}");
    }
    Ok(table.join("\n"))
}

#[test]
fn a_world_with_foreign_tenants_answers_like_one_without() {
    let seed = seed();
    println!("CONFORMANCE_SEED={seed}");
    let proofs = std::thread::scope(|scope| {
        let running: Vec<_> = flavours()
            .into_iter()
            .map(|flavour| (flavour, scope.spawn(move || proof(flavour, seed))))
            .collect();
        running.into_iter().map(|(flavour, proof)| (flavour, proof.join())).collect::<Vec<_>>()
    });
    for (flavour, proof) in proofs {
        match proof {
            Ok(Ok(table)) => println!("{table}"),
            Ok(Err(difference)) => {
                panic!("the worlds differ on {flavour}; repeat with CONFORMANCE_SEED={seed}\n{difference}")
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

#[test]
fn every_leak_between_tenants_is_seen_by_the_comparison() {
    if !flavours().contains(&Flavour::Inmem) {
        return;
    }
    let row = row(Flavour::Inmem);
    for seed in [1, 2] {
        let honest = Worlds::new(&row, None).run(seed, 400, 50, false);
        assert!(honest.is_ok(), "{:?}", honest.err());
        for leak in Leak::ALL {
            let worlds = Worlds::new(&row, Some(leak));
            let difference = worlds.run(seed, 400, 50, false).err();
            let difference = difference.unwrap_or_else(|| panic!("{leak:?} is not seen, with seed {seed}"));
            println!("{leak:?}: {}", difference.lines().next().unwrap_or_default());
        }
    }
}
