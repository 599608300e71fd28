//! Measures whether the response time distinguishes a foreign id from a missing one.
//!
//! Each flavour is measured in process (the resolver over the gated store) and over the wire (a server in this
//! process, one keep-alive connection on loopback), for each verb that takes an id. A pair is one foreign and one
//! missing id, in random order, so that other load on the machine affects both alike. The foreign ids belong to
//! artifacts of 16 KiB that another tenant has under the same user and session. There are as many ids of one kind as
//! of the other, and they are requested equally often. There are many, because ids differ among themselves: 256
//! missing ids can be a nanosecond faster to miss in a map than 256 others. `--seed` selects other ids.
//!
//! Prints for each verb the mean over the missing ids, the shift of the foreign ones, and Welch's t: raw, and without
//! the slowest 1 % of both kinds together. There are two controls. Missing ids against missing ids show the noise.
//! Own ids against missing ids show that a difference would be detected. The exit code is 1 if |t| of foreign ids
//! reached 4.5, raw or cropped.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command-line program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A failed setup ends the program.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use artifact_store_conformance::StoreOptions;
use artifact_store_core::{ArtifactId, ArtifactStore, Digest, Gate, GateOptions, Namespace, Scope};
use artifact_store_protocol::{DeleteRequest, GetRefRequest, GetRequest, PutRequest, RequestScope};
use artifact_store_resolver::{Caller, Resolver, ResolverOptions};
use artifact_store_tests::corpus;
use artifact_store_tests::matrix_rows::matrix_rows;
use artifact_store_tests::server_host::ServerHost;
use artifact_store_tests::welch::{Comparison, compare, compare_without_slowest};
use artifact_store_tests::wire::{Connection, Flavour, Identity, Request, control};
use serde_json::json;

/// |t| from which a difference counts as real.
const T_LIMIT: f64 = 4.5;
/// The share of the slowest measurements that is cropped.
const SLOWEST_SHARE: f64 = 0.01;
/// The number of ids of each kind.
const IDS_PER_KIND: u64 = 2048;
const BYTES: usize = 16 * 1024;

const USAGE: &str = "usage: oracle [--pairs N] [--seed N] [--only FLAVOURS] [--json]";

/// The kind of ids that is compared with missing ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IdKind {
    Foreign,
    Missing,
    Own,
}

/// The operation that looks an id up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Stat,
    Get,
    GetRef,
    Delete,
    WireHead,
    WireGet,
    WireControlGet,
    WireGetRef,
}

impl Verb {
    const ALL: [Self; 8] = [
        Self::Stat,
        Self::Get,
        Self::GetRef,
        Self::Delete,
        Self::WireHead,
        Self::WireGet,
        Self::WireControlGet,
        Self::WireGetRef,
    ];

    /// The transport and the name of the operation, as printed.
    const fn names(self) -> [&'static str; 2] {
        match self {
            Self::Stat => ["process", "stat"],
            Self::Get => ["process", "get"],
            Self::GetRef => ["process", "get_ref"],
            Self::Delete => ["process", "delete, by admin"],
            Self::WireHead => ["wire", "HEAD"],
            Self::WireGet => ["wire", "GET"],
            Self::WireControlGet => ["wire", "artifacts.get"],
            Self::WireGetRef => ["wire", "artifacts.get_ref"],
        }
    }
}

fn main() -> ExitCode {
    let (mut pairs, mut seed, mut json) = (20_000, 0, false);
    let mut only: Vec<Flavour> = Flavour::ALL.into();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => json = true,
            "--pairs" | "--seed" => {
                let Some(number) = arguments.next().and_then(|text| text.parse::<u32>().ok()) else {
                    return usage();
                };
                *(if argument == "--pairs" { &mut pairs } else { &mut seed }) = u64::from(number);
            }
            "--only" => {
                let names = arguments.next().unwrap_or_default();
                let Ok(flavours) = names.split(',').map(str::parse).collect() else { return usage() };
                only = flavours;
            }
            _ => return usage(),
        }
    }
    if !json {
        println!(
            "{pairs} pairs each; times in ns; shift: mean of the other ids minus mean of the missing ids; \
             cropped: without the slowest {:.0} % of both kinds \
             together\n{:<10}{:<9}{:<19}{:<9}{:>8}{:>11}{:>11}{:>9}{:>12}{:>9}",
            SLOWEST_SHARE * 100.0,
            "flavour",
            "way",
            "verb",
            "ids",
            "n",
            "mean",
            "shift",
            "t",
            "crop. shift",
            "crop. t",
        );
    }
    let mut differs = false;
    for flavour in only {
        let mut timing_bench = TimingBench::new(flavour, seed);
        for verb in Verb::ALL {
            let controls = matches!(verb, Verb::Stat | Verb::WireHead);
            let kinds: &[IdKind] =
                if controls { &[IdKind::Foreign, IdKind::Missing, IdKind::Own] } else { &[IdKind::Foreign] };
            for kind in kinds {
                let [raw, cropped] = timing_bench.measure(verb, *kind, pairs);
                let reached = raw.t.abs() >= T_LIMIT || cropped.t.abs() >= T_LIMIT;
                differs |= *kind == IdKind::Foreign && reached;
                print(json, flavour, verb, *kind, [raw, cropped]);
            }
        }
    }
    ExitCode::from(u8::from(differs))
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}\nflavours: {}", Flavour::names(", "));
    ExitCode::from(2)
}

fn print(json: bool, flavour: Flavour, verb: Verb, kind: IdKind, [raw, cropped]: [Comparison; 2]) {
    let [way, verb] = verb.names();
    let kind = match kind {
        IdKind::Foreign => "foreign",
        IdKind::Missing => "missing",
        IdKind::Own => "own",
    };
    if json {
        let of = |comparison: Comparison| json!({"n": comparison.n, "mean_ns": comparison.mean, "shift_ns": comparison.shift, "t": comparison.t});
        let line = json!({
            "flavour": flavour.name(), "way": way, "verb": verb, "ids": kind, "raw": of(raw), "cropped": of(cropped),
            "slowest_cropped": SLOWEST_SHARE,
        });
        println!("{line}");
    } else {
        println!(
            "{:<10}{way:<9}{verb:<19}{kind:<9}{:>8}{:>11.0}{:>11.1}{:>9.2}{:>12.1}{:>9.2}",
            flavour.name(),
            raw.n,
            raw.mean,
            raw.shift,
            raw.t,
            cropped.shift,
            cropped.t,
        );
    }
}

/// A store with own and foreign artifacts, and everything needed to query it.
struct TimingBench {
    // Before the backend: dropping the host closes the store.
    host: ServerHost,
    resolver: Resolver,
    callers: [Caller; 2],
    tokens: [String; 2],
    addr: SocketAddr,
    connection: Option<Connection>,
    ids: [Vec<String>; 3],
    missing_controls: Vec<String>,
    _backend: Box<dyn artifact_store_conformance::Backend>,
}

fn id(number: u64) -> String {
    ArtifactId::new(&Namespace::default(), &Digest::of(&bytes(number))).to_string()
}

fn bytes(number: u64) -> Vec<u8> {
    corpus::bytes(number, BYTES).to_vec()
}

impl TimingBench {
    fn new(flavour: Flavour, seed: u64) -> Self {
        let row = matrix_rows().into_iter().find(|row| row.flavour == flavour);
        let row = row.expect("the flavour is selected");
        let host = ServerHost::new();
        let backend = host.block_on(row.harness.create_backend()).unwrap();
        let bare = host.block_on(backend.open(&StoreOptions::default())).unwrap();
        let store: Arc<dyn ArtifactStore> = Arc::new(Gate::new(bare, GateOptions::default()).unwrap());
        let addr = host.serve(Arc::clone(&store), ResolverOptions::default());
        let resolver = Resolver::new(store, ResolverOptions::default());
        let [own, foreign] = ["acme", "globex"].map(|tenant| Scope::new(tenant, "ada", "s-1").unwrap());
        let numbers = |kind: u64| (4 * seed + kind) * IDS_PER_KIND..(4 * seed + kind + 1) * IDS_PER_KIND;
        for (scope, kind) in [(&foreign, 0), (&own, 2)] {
            for number in numbers(kind) {
                let request = PutRequest { bytes: bytes(number).into(), ..PutRequest::default() };
                host.block_on(resolver.put(&Caller::new(scope), request)).unwrap();
            }
        }
        let ids = |kind| numbers(kind).map(id).collect::<Vec<_>>();
        let who = Identity::new("acme", "ada", "s-1");
        Self {
            resolver,
            callers: [Caller::new(&own), Caller::new(&own).with_admin()],
            tokens: [who.token(), who.with_admin().token()],
            addr,
            connection: None,
            ids: [ids(0), ids(1), ids(2)],
            missing_controls: ids(3),
            host,
            _backend: backend,
        }
    }

    /// Measures pairs of an id of this kind and a missing one. Returns the comparison raw, and without the slowest.
    #[allow(clippy::cast_possible_truncation)] // Below IDS_PER_KIND.
    fn measure(&mut self, verb: Verb, kind: IdKind, pairs: u64) -> [Comparison; 2] {
        let first = match kind {
            IdKind::Foreign => self.ids[0].clone(),
            // Other missing ids than those they are compared with.
            IdKind::Missing => self.missing_controls.clone(),
            IdKind::Own => self.ids[2].clone(),
        };
        let missing = self.ids[1].clone();
        let mut times = [Vec::new(), Vec::new()];
        let warm = pairs / 20;
        for pair in 0..pairs + warm {
            let which = |salt: u64| corpus::choice(pair ^ salt, IDS_PER_KIND) as usize;
            let pair_of_ids = [&first[which(1 << 40)], &missing[which(1 << 41)]];
            let flip = corpus::choice(pair ^ (1 << 42), 2) as usize;
            for turn in 0..2 {
                let at = turn ^ flip;
                let (nanos, found) = self.measure_one(verb, pair_of_ids[at]);
                assert_eq!(found, at == 0 && kind == IdKind::Own, "{verb:?} of {}", pair_of_ids[at]);
                if pair >= warm {
                    times[at].push(nanos);
                }
            }
        }
        let [first, missing] = &times;
        [compare(first, missing), compare_without_slowest(first, missing, SLOWEST_SHARE)]
    }

    /// Returns how long the lookup took in nanoseconds, and whether it found anything.
    fn measure_one(&mut self, verb: Verb, id: &str) -> (f64, bool) {
        let (text, scope) = (id.to_owned(), RequestScope::default());
        let path = format!("/v1/artifacts/{id}");
        let [token, _] = &self.tokens;
        let request = match verb {
            Verb::Stat | Verb::Get | Verb::GetRef | Verb::Delete => {
                let (resolver, [caller, admin]) = (&self.resolver, &self.callers);
                let begun = Instant::now();
                let found = self.host.block_on(async {
                    match verb {
                        Verb::Stat => resolver.stat(caller, "", id).await.is_ok(),
                        Verb::Get => {
                            let request = GetRequest { id: text, scope, ..GetRequest::default() };
                            resolver.get(caller, request).await.is_ok()
                        }
                        Verb::GetRef => {
                            let request = GetRefRequest { id: text, scope, expiry: None };
                            resolver.get_ref(caller, request).await.is_ok()
                        }
                        _ => resolver.delete(admin, DeleteRequest { id: text, scope }).await.is_ok(),
                    }
                });
                return (elapsed_nanos(begun), found);
            }
            Verb::WireHead => Request::new("HEAD", path).bearer(token),
            Verb::WireGet => Request::get(path).bearer(token),
            Verb::WireControlGet => control("artifacts.get", &json!({"id": id})).bearer(token),
            Verb::WireGetRef => control("artifacts.get_ref", &json!({"id": id})).bearer(token),
        };
        let connection = self.connection.take().unwrap_or_else(|| Connection::open(self.addr));
        let begun = Instant::now();
        let (response, connection) = request.send_on(connection);
        let time = elapsed_nanos(begun);
        self.connection = Some(connection);
        (time, response.status == 200)
    }
}

#[allow(clippy::cast_precision_loss)] // Far below 2^52 ns.
fn elapsed_nanos(begun: Instant) -> f64 {
    begun.elapsed().as_nanos() as f64
}
