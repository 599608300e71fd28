//! Random histories: the same random steps on a store and on a plain map must have the same results.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use artifact_store_core::{
    ArtifactStore, ArtifactStoreExt, Body, ByteRange, Digest, Filter, ListQuery, Namespace, PutOptions,
    PutOutcome, Record, Scope, ScopePart, ScopePattern, Source,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use super::check_group;
use crate::bodies::{chunked_body, read_to_end};
use crate::check::{CheckContext, CheckResult, Failure, Outcome, ensure, ensure_eq};
use crate::fixtures::{KIB, list_all_rows, random_bytes};

check_group! { "model":
    random_histories_agree_with_a_plain_map,
}

/// One step of a history.
///
/// `scope`, `bytes`, `namespace` and `source` are indexes into short lists. The lists are short so that several steps
/// use the same artifact. `range` is the start and the end of a range; `None` means the whole artifact. If
/// `whole_tenant` is true, the step lists the whole tenant instead of `scope`. `limit` is the largest number of rows in
/// a page. If the `source` of a listing is `None`, the listing includes every source.
#[derive(Debug, Clone)]
enum Step {
    Put { scope: usize, bytes: usize, namespace: usize, streamed: bool, source: usize },
    Get { scope: usize, bytes: usize, namespace: usize, range: Option<(u64, u64)> },
    Delete { scope: usize, bytes: usize, namespace: usize },
    List { scope: usize, whole_tenant: bool, source: Option<usize>, limit: u32 },
}

/// Generates histories of 1 to 39 steps. The number before `=>` is the relative frequency of the step.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_usize, 0..5_usize, 0..2_usize, any::<bool>(), 0..4_usize).prop_map(
            |(scope, bytes, namespace, streamed, source)| Step::Put { scope, bytes, namespace, streamed, source }
        ),
        3 => (0..3_usize, 0..5_usize, 0..2_usize, proptest::option::of((0..400_000_u64, 0..400_000_u64)))
            .prop_map(|(scope, bytes, namespace, range)| Step::Get { scope, bytes, namespace, range }),
        2 => (0..3_usize, 0..5_usize, 0..2_usize)
            .prop_map(|(scope, bytes, namespace)| Step::Delete { scope, bytes, namespace }),
        2 => (0..3_usize, any::<bool>(), proptest::option::of(0..4_usize), 1..4_u32)
            .prop_map(|(scope, whole_tenant, source, limit)| Step::List { scope, whole_tenant, source, limit }),
    ];
    proptest::collection::vec(step, 1..40)
}

/// The number of histories in one run.
const HISTORIES: u32 = 24;

async fn random_histories_agree_with_a_plain_map(ctx: &CheckContext) -> CheckResult {
    let store = ctx.open().await?;
    let seed = ctx.seed;
    let runtime = tokio::runtime::Handle::current();
    let result = tokio::task::spawn_blocking(move || {
        let config = Config { cases: HISTORIES, failure_persistence: None, ..Config::default() };
        // ChaCha takes a seed of 32 bytes. The seed of the check fills the first 8 bytes.
        let mut rng_seed = [0; 32];
        rng_seed[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &rng_seed);
        let mut runner = TestRunner::new_with_rng(config, rng);
        let next_history = AtomicU32::new(0);
        runner.run(&steps(), |steps| {
            // Every history has its own tenant, so it does not see the artifacts of other histories. After a failure,
            // proptest tries shorter histories. Each of them has a new tenant too.
            let tenant = format!("history {}", next_history.fetch_add(1, Ordering::Relaxed));
            runtime
                .block_on(replay(&store, &tenant, seed, &steps))
                .map_err(|failure| TestCaseError::fail(failure.to_string()))
        })
    });
    match result.await? {
        Ok(()) => Ok(Outcome::Passed),
        Err(error) => Err(Failure::new(format!("the shortest history with different results: {error}"))),
    }
}

/// The plain map: the record and the bytes of each artifact, by its scope and its id.
type Model = BTreeMap<(Scope, String), (Record, bytes::Bytes)>;

/// Performs `steps` on the store and on a new [`Model`], and compares the results. All scopes are in `tenant`. `seed`
/// generates the bytes of the artifacts.
async fn replay(
    store: &Arc<dyn ArtifactStore>,
    tenant: &str,
    seed: u64,
    steps: &[Step],
) -> Result<(), Failure> {
    let scopes = [
        Scope::new(tenant, "u", "s")?,
        Scope::new(tenant, "u", "s")?.with_task("k")?,
        Scope::new(tenant, "u1", "s")?,
    ];
    let contents: Vec<_> = [0, 1, 1000, 300 * KIB, 600 * KIB]
        .into_iter()
        .enumerate()
        .map(|(n, length)| random_bytes(seed + n as u64, length))
        .collect();
    let namespaces = [Namespace::new("a")?, Namespace::new("b")?];
    let mut model = Model::new();
    let id = |namespace: usize, bytes: usize| {
        artifact_store_core::ArtifactId::new(&namespaces[namespace], &Digest::of(&contents[bytes]))
    };
    for step in steps {
        match step {
            Step::Put { scope, bytes, namespace, streamed, source } => {
                let options = PutOptions {
                    namespace: namespaces[*namespace].clone(),
                    source: Source::ALL[*source],
                    ..PutOptions::default()
                };
                let data = &contents[*bytes];
                let body =
                    if *streamed { chunked_body(data, 70_000) } else { Body::from_bytes(data.clone()) };
                let put = store.put(&scopes[*scope], body, options).await?;
                let key = (scopes[*scope].clone(), id(*namespace, *bytes).as_str().to_owned());
                let existing = model.get(&key).map(|(record, _)| record);
                let expected =
                    if existing.is_some() { PutOutcome::AlreadyExists } else { PutOutcome::Created };
                ensure_eq!(put.outcome, expected, "{step:?}");
                if let Some(existing) = existing {
                    ensure_eq!(&put.record, existing, "{step:?}: the existing record");
                }
                model.entry(key).or_insert((put.record, data.clone()));
            }
            Step::Get { scope, bytes, namespace, range } => {
                let id = id(*namespace, *bytes);
                let range = range.map(|(start, end)| ByteRange::Bounded { start, end });
                let get = store.get(&scopes[*scope], &id, range).await?;
                let expected = model.get(&(scopes[*scope].clone(), id.as_str().to_owned()));
                match (get, expected) {
                    (None, None) => {}
                    (Some(get), Some((record, data))) => {
                        let served = range.map_or(0..record.size, |range| range.resolve(record.size));
                        ensure_eq!(
                            (&get.record, &get.range),
                            (record, &served),
                            "{step:?}: record and range"
                        );
                        let indexes = usize::try_from(served.start)?..usize::try_from(served.end)?;
                        ensure!(read_to_end(get).await? == data.slice(indexes), "{step:?}: the bytes");
                    }
                    (get, expected) => {
                        // The artifact exists in the store or in the map, but not in both.
                        let (in_store, in_map) = (get.is_some(), expected.is_some());
                        return Err(Failure::new(format!(
                            "{step:?}: the artifact exists in the store: {in_store}, in the map: {in_map}"
                        )));
                    }
                }
            }
            Step::Delete { scope, bytes, namespace } => {
                let id = id(*namespace, *bytes);
                let deleted = store.delete(&scopes[*scope], &id).await?;
                let expected = model.remove(&(scopes[*scope].clone(), id.as_str().to_owned())).is_some();
                ensure_eq!(deleted, expected, "{step:?}: whether the artifact existed");
                ensure!(
                    !store.exists(&scopes[*scope], &id).await?,
                    "{step:?}: the artifact exists after the delete"
                );
            }
            Step::List { scope, whole_tenant, source, limit } => {
                let pattern = if *whole_tenant {
                    ScopePattern::tenant(ScopePart::new(tenant)?)
                } else {
                    ScopePattern::exactly(&scopes[*scope])
                };
                let sources = source.map(|source| Source::ALL[source]).into_iter().collect();
                let query = ListQuery::new(pattern).with_filter(Filter { sources, ..Filter::default() });
                let rows = list_all_rows(&**store, &query, *limit).await?;
                let mut expected: Vec<&Record> =
                    model.values().map(|(record, _)| record).filter(|record| query.matches(record)).collect();
                expected.sort_by_key(|record| artifact_store_core::Position::of(record));
                ensure_eq!(rows.iter().collect::<Vec<_>>(), expected, "{step:?}: the rows");
                let total = store.list(&query.with_total()).await?.total;
                ensure_eq!(total, Some(expected.len() as u64), "{step:?}: the total");
            }
        }
    }
    // Delete all artifacts of this history, so that the store does not grow.
    for (scope, id) in model.keys() {
        store.delete(scope, &id.parse()?).await?;
    }
    Ok(())
}
