//! Two processes put the same bytes at the same moment: exactly one of them gets `created`, for every size and on every
//! storage.
//!
//! Each writer is a process: this test program, started again with the environment variable `RACE_WRITER`. A writer
//! starts a round when it reads the round's number from its standard input. So both writers start together. Each one
//! prints the result of each put.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // Helpers of tests.

mod harness;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use artifact_store_backends::{Proxy, ProxyMode, RequestCounter, S3Kind};
use artifact_store_core::{ArtifactStore, Body, Bytes, ListQuery, PutOptions, PutOutcome, ScopePattern};
use artifact_store_s3::{ConditionalCreate, S3Config, S3Store};
use futures_util::stream;
use harness::{MIB, TestBucket, fresh_bucket_and_prefix, scope, server};

const VARIABLE: &str = "RACE_WRITER";
/// The size of the bodies in bytes, and the number of rounds: less than a part, 2 parts, 40 parts. A part is 5 MiB.
const SIZES: [(usize, u32); 3] = [(64 * 1024, 64), (8 * MIB, 64), (198 * MIB, 64)];
/// The number of rounds with the largest size, unless `RACES=all` is set. All 64 rounds would send 25 GiB to the
/// storage.
const LONG_ROUNDS: u32 = 4;

/// The body of a round: a stream without an announced length or digest.
fn body(round: u32, size: usize) -> Body {
    let piece = Bytes::from(vec![u8::try_from(round % 251).unwrap(); MIB.min(size)]);
    let mut first = round.to_le_bytes().to_vec();
    first.resize(piece.len(), 0);
    let pieces =
        std::iter::once(Bytes::from(first)).chain(std::iter::repeat_n(piece, size / MIB.min(size) - 1));
    Body::from_stream(stream::iter(pieces.map(Ok::<_, std::io::Error>)))
}

/// The writer. It runs one round for each line of its input.
#[test]
#[ignore = "a process that the races start, not a test"]
fn writer() {
    let arguments = std::env::var(VARIABLE).unwrap();
    let mut arguments = arguments.split(' ').map(str::to_owned);
    let mut next = || arguments.next().unwrap();
    let (name, size) = (next(), next().parse().unwrap());
    let config = S3Config::bucket(next()).prefix(next()).endpoint(next()).region(next()).path_style(true);
    let config = config.keys(next(), next()).part_size(5 * MIB as u64).max_attempts(10);
    let config = match next().as_str() {
        "no" => config.conditional_create(ConditionalCreate::No),
        _ => config,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = S3Store::open(config).await.unwrap();
        println!("\nready");
        for line in std::io::stdin().lines() {
            let round: u32 = line.unwrap().parse().unwrap();
            let options = PutOptions { filename: Some(format!("{name}-{round}")), ..PutOptions::default() };
            let put = store.put(&scope(), body(round, size), options).await.unwrap();
            let outcome = if put.outcome == PutOutcome::Created { "created" } else { "stored" };
            println!("\nround {outcome} {}", put.record.options.filename.unwrap());
        }
        store.close().await.unwrap();
    });
}

struct Writer {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Writer {
    fn start(arguments: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture", "--ignored"])
            .env(VARIABLE, arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn send(&mut self, round: u32) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{round}").unwrap();
    }

    fn read_line(&mut self, start: &str) -> String {
        let mut output = String::new();
        for line in &mut self.lines {
            let line = line.unwrap();
            if line.starts_with(start) {
                return line;
            }
            let _ = writeln!(output, "{line}");
        }
        panic!("the writer ended: {output}");
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn one_of_two_creates(kind: S3Kind, conditional: &str, size: usize, rounds: u32) {
    let server = server(kind).await;
    let (bucket, prefix) = fresh_bucket_and_prefix(server).await.unwrap();
    let conditional = conditional.to_owned();
    let shown = conditional.clone();
    let arguments = move |name: &str| {
        format!(
            "{name} {size} {bucket} {prefix} {} {} {} {} {conditional}",
            server.endpoint(),
            server.region(),
            server.access_key_id(),
            server.secret_access_key()
        )
    };
    let outcome = tokio::task::spawn_blocking(move || {
        let mut writers = [Writer::start(&arguments("first")), Writer::start(&arguments("second"))];
        for writer in &mut writers {
            writer.read_line("ready");
        }
        let mut wrong = Vec::new();
        let mut won = [0, 0];
        for round in 0..rounds {
            for writer in &mut writers {
                writer.send(round);
            }
            let lines = writers.each_mut().map(|writer| writer.read_line("round"));
            let created = lines.each_ref().map(|line| line.contains("created"));
            let names = lines.each_ref().map(|line| line.rsplit(' ').next().unwrap().to_owned());
            // Exactly one put creates the artifact, and both puts return the options of that put.
            if created[0] == created[1] || names[0] != names[1] {
                wrong.push(lines.join(" | "));
            }
            won[usize::from(created[1])] += 1;
        }
        (wrong, won)
    })
    .await
    .unwrap();
    println!("{kind:?} ({shown}), {size} bytes: {rounds} races; wins of first and second: {:?}", outcome.1);
    assert_eq!(outcome.0, Vec::<String>::new(), "{kind:?}, {size} bytes: not exactly one created");
}

async fn races(kind: S3Kind, conditional: &str) {
    let all = std::env::var("RACES").is_ok_and(|races| races == "all");
    for (size, rounds) in SIZES {
        let rounds = if all || size < 100 * MIB { rounds } else { LONG_ROUNDS };
        one_of_two_creates(kind, conditional, size, rounds).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_processes_creates_on_garage() {
    races(S3Kind::Garage, "probe").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_processes_creates_on_s3s_fs() {
    races(S3Kind::S3sFs, "probe").await;
}

// moto honours the condition, but checks before it writes: both puts in a race may get `created`. So this test sets
// `conditional_create`, as an operator would.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_processes_creates_on_moto_without_its_conditions() {
    races(S3Kind::Moto, "no").await;
}

/// The claim of a dead process blocks other puts no longer than the requests of a put may take.
#[tokio::test(flavor = "multi_thread")]
async fn the_claim_of_a_dead_process_is_deleted_after_its_lease() {
    use ConditionalCreate::{Probe, Put};
    for (kind, conditional) in [(S3Kind::Garage, Probe), (S3Kind::S3sFs, Put)] {
        let test_bucket = TestBucket::new(server(kind).await).await;
        let config = test_bucket
            .config()
            .conditional_create(conditional)
            .request_timeout(Duration::from_millis(500))
            .max_attempts(1);
        let store = S3Store::open(config).await.unwrap();
        let put = store.put(&scope(), Body::from("claimed"), PutOptions::default()).await.unwrap();
        let key = test_bucket.artifact().await;
        assert!(store.delete(&scope(), &put.record.id).await.unwrap());
        let (claim, metadata) = match conditional {
            Probe => (format!("{key}.{}", "0".repeat(32)), [].into()),
            _ => (key, [("artifact-claim".to_owned(), "0".repeat(32))].into()),
        };
        test_bucket.replace(&claim, b"", metadata).await;
        assert_eq!(
            store.stat(&scope(), &put.record.id).await.unwrap(),
            None,
            "a claim is reported as an artifact"
        );
        let page = store.list(&ListQuery::new(ScopePattern::exactly(&scope())).with_total()).await.unwrap();
        assert!(page.rows.is_empty());
        let scope = scope();
        let again = store.put(&scope, Body::from("claimed"), PutOptions::default());
        let again = tokio::time::timeout(Duration::from_secs(20), again).await.unwrap().unwrap();
        assert_eq!(again.outcome, PutOutcome::Created, "{kind:?}");
        assert_eq!(test_bucket.residue().await, Vec::<String>::new(), "{kind:?}");
    }
}

/// A put that is slow, but within its timeouts, keeps its claim. So another put waits, and does not create the artifact
/// a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_put_keeps_its_claim() {
    let race = async |kind: S3Kind| {
        let test_bucket = TestBucket::new(server(kind).await).await;
        let proxy = Proxy::start(test_bucket.server.address()).await.unwrap();
        let slow = test_bucket.config_at(&format!("http://{}", proxy.address()));
        let slow = S3Store::open(slow.conditional_create(ConditionalCreate::No)).await.unwrap();
        let fast =
            S3Store::open(test_bucket.config().conditional_create(ConditionalCreate::No)).await.unwrap();
        // The put takes 10 s. A put of 4 MiB may take 18 s, and each other request 2 s.
        proxy.set_mode(ProxyMode::Throttle { bytes_per_second: 400 * 1024 });
        let (scope, body) = (scope(), || Body::from(vec![7; 4 * MIB]));
        let slow_put = slow.put(&scope, body(), PutOptions::default());
        let fast_put = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            fast.put(&scope, body(), PutOptions::default()).await
        };
        let (slow_put, fast_put) = tokio::join!(slow_put, fast_put);
        let outcomes = (slow_put.unwrap().outcome, fast_put.unwrap().outcome);
        assert_eq!(outcomes, (PutOutcome::Created, PutOutcome::AlreadyExists), "{kind:?}");
        test_bucket.wait_until_clean().await;
    };
    tokio::join!(race(S3Kind::S3sFs), race(S3Kind::Moto));
}

/// While a put waits for another claim, its own claim grows older. Then the put claims the key again, because otherwise
/// the lease of its claim might end before the artifact is created.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_has_grown_old_is_replaced_before_the_artifact_is_created() {
    let test_bucket = TestBucket::new(server(S3Kind::S3sFs).await).await;
    let counter = RequestCounter::start(test_bucket.server.address()).await.unwrap();
    let config = test_bucket.config_at(&counter.endpoint()).conditional_create(ConditionalCreate::No);
    let config = config.request_timeout(Duration::from_secs(1)).max_attempts(1);
    let store = S3Store::open(config).await.unwrap();
    let put = store.put(&scope(), Body::from("claimed"), PutOptions::default()).await.unwrap();
    let key = test_bucket.artifact().await;
    assert!(store.delete(&scope(), &put.record.id).await.unwrap());
    // The claim of a dead process. Every other claim sorts before it, so the put keeps its claim and waits 4 s.
    test_bucket.replace(&format!("{key}.{}", "f".repeat(32)), b"", [].into()).await;
    counter.take();
    let put = store.put(&scope(), Body::from("claimed"), PutOptions::default()).await.unwrap();
    assert_eq!(put.outcome, PutOutcome::Created);
    let is_claim = |target: &str| target.contains(&format!("{key}."));
    let requests = counter.take();
    let claims = requests.iter().filter(|request| request.method == "PUT" && is_claim(&request.target));
    assert_eq!(claims.count(), 2, "{requests:#?}");
    test_bucket.wait_until_clean().await;
}
