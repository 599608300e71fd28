//! Section 4 as one statement: what other tenants have and do changes nothing that a caller can see.
//!
//! Every request of a long random session goes to world A and to world B. World B is A with the data of foreign
//! tenants, put before the session and during it: the same bytes under the same names, namespaces, users, sessions
//! and tasks. The foreign tenants are prefixes, cases and paths of one another, and have more rows than a page and
//! more than A. Every response must be equal byte for byte: status, headers, body, counts, cursors, entity tags,
//! lengths. Only `comparison` masks anything. Everything else is equal by construction: both stores have the same
//! manual clock and the same cursor key.
//!
//! Not covered are `runtime.info`, response times (see the program `oracle`), and callers that may read other
//! tenants.
//!
//! `CONFORMANCE_SEED` repeats a session.

mod comparison;
mod foreign_traffic;
mod leaky_stores;
mod random_session;
mod requests;
mod test_data;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::time::Instant;

use artifact_store_conformance::{Backend, StoreOptions, seed};
use artifact_store_core::{ArtifactStore, Clock, CursorKey, Gate, GateOptions};
use artifact_store_resolver::ResolverOptions;
use artifact_store_tests::matrix_rows::{MatrixRow, matrix_rows};
use artifact_store_tests::server_host::{ManualClock, ServerHost};
use artifact_store_tests::wire::{Flavour, flavours};

use foreign_traffic::ForeignTraffic;
use leaky_stores::{CountingClock, Leak, LeakyStore};
use random_session::Session;

/// A time in 2026, in microseconds since 1970.
const NOON: i64 = 1_780_000_000_000_000;

/// Two worlds, and the backends of their stores.
struct Worlds {
    // Before the backends: dropping the host closes the stores.
    _host: ServerHost,
    addrs: [SocketAddr; 2],
    clock: Arc<ManualClock>,
    _backends: [Box<dyn Backend>; 2],
}

/// Two backends of one kind with names of the same length. A presigned URL contains the name, and its length must not
/// differ.
fn backends(host: &ServerHost, row: &MatrixRow) -> [Box<dyn Backend>; 2] {
    let backend = || host.block_on(row.harness.create_backend()).unwrap();
    let mut backends = [backend(), backend()];
    while format!("{:?}", backends[0]).len() != format!("{:?}", backends[1]).len() {
        backends.swap(0, 1);
        backends[1] = backend();
    }
    backends
}

impl Worlds {
    /// World B has a leaky store if a leak is given.
    fn new(row: &MatrixRow, leak: Option<Leak>) -> Self {
        let host = ServerHost::new();
        let clock = Arc::new(ManualClock::new(NOON));
        let backends = backends(&host, row);
        let leaks = [None, leak];
        let addrs = [0, 1].map(|world| {
            let mut options =
                StoreOptions { clock: Arc::<ManualClock>::clone(&clock), ..StoreOptions::default() };
            if leaks[world] == Some(Leak::CountingClock) {
                options.clock = Arc::new(CountingClock(options.clock as Arc<dyn Clock>, AtomicI64::new(0)));
            }
            let mut store: Arc<dyn ArtifactStore> = host.block_on(backends[world].open(&options)).unwrap();
            if let Some(leak) = leaks[world] {
                store = Arc::new(LeakyStore(store, leak));
            }
            let key = CursorKey::from_secret(b"one key for both worlds").unwrap();
            let gate = Gate::new(store, GateOptions::default().with_cursor_key(key)).unwrap();
            // Enough events are kept for the caller's tenant, and far too few for world B.
            let options = ResolverOptions { events_kept: 1024, ..ResolverOptions::default() };
            host.serve(Arc::new(gate), options)
        });
        Self { _host: host, addrs, clock, _backends: backends }
    }

    /// Runs a session in both worlds. World B gets `rows` rows of one foreign session beforehand, and concurrent
    /// foreign requests if `concurrent` is true.
    fn run(&self, seed: u64, requests: usize, rows: usize, concurrent: bool) -> Result<Session, String> {
        let mut foreign_traffic = ForeignTraffic::new(self.addrs[1], seed ^ 1);
        foreign_traffic.fill(rows);
        let mut session = Session::new(seed, self.addrs, Arc::clone(&self.clock));
        let stop = AtomicBool::new(false);
        let result = std::thread::scope(|scope| {
            if concurrent {
                let foreign_traffic = ForeignTraffic::new(self.addrs[1], seed ^ 2);
                scope.spawn(|| foreign_traffic.run_until(true, &stop));
            }
            // However the session ends, this ends the other thread too.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                session.run(requests, &mut foreign_traffic)
            }));
            stop.store(true, std::sync::atomic::Ordering::Release);
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        result?;
        assert!(
            foreign_traffic.row_count() > session.counts.values().sum::<usize>() as u64 / 20,
            "world B is not larger"
        );
        Ok(session)
    }
}

/// The first row of the matrix with this flavour.
fn row(flavour: Flavour) -> MatrixRow {
    matrix_rows().into_iter().find(|row| row.flavour == flavour).expect("every flavour has a row")
}

/// Runs a session on one flavour. Returns a table of the requests and their statuses.
fn compare_on_flavour(flavour: Flavour, seed: u64) -> Result<String, String> {
    let begun = Instant::now();
    let worlds = Worlds::new(&row(flavour), None);
    let (requests, rows) = if flavour.has_server() { (600, 110) } else { (2000, 250) };
    // s3s-fs reads its whole bucket for a listing, and fails if a deletion runs meanwhile. So there the requests take
    // turns.
    let session = worlds.run(seed, requests, rows, flavour != Flavour::S3sFs)?;
    let sent: usize = session.counts.values().sum();
    let mut table =
        vec![format!("{flavour}: {sent} equal responses in {:.1} s", begun.elapsed().as_secs_f32())];
    table.extend(
        session.counts.iter().map(|((kind, status), count)| format!("  {kind:<20}{status:>5}{count:>6}")),
    );
    // A session with only refusals would prove nothing.
    for met in [("artifacts.get", 200), ("GET", 200), ("GET", 206), ("artifacts.list", 200), ("page", 200)] {
        assert!(session.counts.contains_key(&met), "{met:?} did not occur on {flavour}");
    }
    Ok(table.join("\n"))
}

#[test]
fn a_server_with_foreign_tenants_responds_like_one_without() {
    let seed = seed();
    println!("CONFORMANCE_SEED={seed}");
    let results = std::thread::scope(|scope| {
        let running: Vec<_> = flavours()
            .into_iter()
            .map(|flavour| (flavour, scope.spawn(move || compare_on_flavour(flavour, seed))))
            .collect();
        running.into_iter().map(|(flavour, handle)| (flavour, handle.join())).collect::<Vec<_>>()
    });
    for (flavour, result) in results {
        match result {
            Ok(Ok(table)) => println!("{table}"),
            Ok(Err(difference)) => {
                panic!("the worlds differ on {flavour}; repeat with CONFORMANCE_SEED={seed}\n{difference}")
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

#[test]
fn the_comparison_detects_every_leak_between_tenants() {
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
            let difference =
                difference.unwrap_or_else(|| panic!("{leak:?} is not detected with seed {seed}"));
            println!("{leak:?}: {}", difference.lines().next().unwrap_or_default());
        }
    }
}
