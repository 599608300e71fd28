//! The processor time of what the core does for every put, get and page: hashes, key tokens, records as JSON, cursors.
//!
//! `cargo bench -p artifact-store-core --bench inner_loops`; with a part of a name, `-- record`. There is no dependency
//! of this program alone, so that it adds nothing to the build of the tests.
#![allow(clippy::print_stdout, clippy::unwrap_used)] // A program that a developer runs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact_store_core::{
    ArtifactId, ArtifactStore, ArtifactStoreExt, Digest, Gate, GateOptions, KeyToken, ListQuery, Namespace,
    PutOptions, Record, Scope, ScopePattern, Source, Timestamp, TreeHasher,
};
use artifact_store_inmem::{InmemConfig, InmemStore};

/// How long one round of a benchmark runs.
const ROUND: Duration = Duration::from_millis(100);
const ROUNDS: usize = 7;

/// Prints the time of one call of `work`: the median and the least of several rounds. `bytes` is the number of bytes that
/// a call processes, or 0.
fn measure<T>(name: &str, bytes: u32, mut work: impl FnMut() -> T) {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if wanted.is_some_and(|part| !name.contains(&part)) {
        return;
    }
    let mut nanos: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (start, mut calls) = (Instant::now(), 0_u32);
            while start.elapsed() < ROUND {
                // The clock is read once for several calls, because reading it takes as long as a short call.
                for _ in 0..16 {
                    black_box(work());
                }
                calls += 16;
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
        })
        .collect();
    nanos.sort_by(f64::total_cmp);
    let (least, median) = (nanos[0], nanos[ROUNDS / 2]);
    let rate = if bytes == 0 { String::new() } else { format!("  {:.2} GB/s", f64::from(bytes) / median) };
    println!("{name:32} {median:12.1} ns  (least {least:.1}){rate}");
}

fn main() {
    let scope = Scope::new("acme", "ada", "session-1").unwrap().with_task("build").unwrap();
    for size in [1024, 32 * 1024, 1024 * 1024_u32] {
        let bytes = vec![7; size as usize];
        measure(&format!("hash: SHA-256, {size} B"), size, || Digest::of(black_box(&bytes)));
        measure(&format!("hash: BLAKE3 tree, {size} B"), size, || {
            let mut hasher = TreeHasher::new();
            hasher.update(black_box(&bytes));
            hasher.finish()
        });
    }
    let digest = Digest::of(b"bytes");
    let id = ArtifactId::new(&Namespace::default(), &digest);
    measure("id: from a digest", 0, || ArtifactId::new(&Namespace::default(), black_box(&digest)));
    measure("key: tokens of a scope", 0, || KeyToken::of_scope(black_box(&scope)));
    measure("key: token of an id", 0, || KeyToken::of_id(black_box(&id)));

    let options = PutOptions::new()
        .with_media_type("text/csv; charset=utf-8")
        .with_filename("report.csv")
        .with_source(Source::Tool)
        .with_tag("q3")
        .with_metadata("rows", 3);
    measure("options: validate", 0, || black_box(&options).validate());
    let record =
        Record::new(scope.clone(), options, digest, 5, Timestamp::from_micros(1_767_323_045_000_006));
    let json = serde_json::to_vec(&record).unwrap();
    measure("record: to JSON", 0, || serde_json::to_vec(black_box(&record)).unwrap());
    measure("record: from JSON", 0, || serde_json::from_slice::<Record>(black_box(&json)).unwrap());

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let gate = Gate::new(Arc::new(InmemStore::new(InmemConfig::new())), GateOptions::default()).unwrap();
    for number in 0..200_u32 {
        let bytes = number.to_le_bytes().to_vec();
        runtime.block_on(gate.put_bytes(&scope, bytes, PutOptions::default())).unwrap();
    }
    let page = |query: &ListQuery| runtime.block_on(gate.list(query)).unwrap();
    let one_row = ListQuery::new(ScopePattern::exactly(&scope)).with_limit(1).with_total();
    let after_one_row = one_row.clone().with_cursor(page(&one_row).next);
    // The cursor alone is not public. These pages differ by its verification.
    measure("cursor: signed, page of 1 row", 0, || page(black_box(&one_row)));
    measure("cursor: verified and signed", 0, || page(black_box(&after_one_row)));
    let whole_page = one_row.with_limit(100);
    measure("page: 100 rows through the gate", 0, || page(black_box(&whole_page)));
}
