//! Runs checks and tells how they ended: [`run`] and the [`Report`].
//!
//! Every check gets a runtime and a place of its own; after it, its stores are closed, the raw storage must hold no
//! residue, and no task may be alive.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::check::{Check, CheckResult, Failure, Lab, Outcome};
use crate::harness::Harness;

/// A check that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_mins(5);

/// How one check ended on one flavour.
#[derive(Debug, Clone)]
pub struct Line {
    /// The check.
    pub check: Check,
    /// How it ended.
    pub result: CheckResult,
    /// How long it took.
    pub took: Duration,
}

/// How all checks ended on one flavour.
#[derive(Debug, Clone)]
pub struct Report {
    /// The flavour's name.
    pub flavour: String,
    /// The seed of everything random: set `CONFORMANCE_SEED` to it to repeat the run.
    pub seed: u64,
    /// A line for each check, in the order of the list.
    pub lines: Vec<Line>,
}

impl Report {
    /// How many passed.
    pub fn passed(&self) -> usize {
        self.lines.iter().filter(|line| line.result == Ok(Outcome::Passed)).count()
    }

    /// How many are not promised; the probe of the opposite passed for each.
    pub fn not_promised(&self) -> usize {
        self.lines.iter().filter(|line| line.result == Ok(Outcome::NotPromised)).count()
    }

    /// The failed ones.
    pub fn failures(&self) -> impl Iterator<Item = (&Check, &Failure)> {
        self.lines.iter().filter_map(|line| line.result.as_ref().err().map(|failure| (&line.check, failure)))
    }

    /// Ends the test with every failure named, unless all checks passed.
    ///
    /// # Panics
    /// Where a check failed: this is the assertion of a driver's test.
    #[allow(clippy::panic)]
    pub fn assert_conforms(&self) {
        assert!(!self.lines.is_empty(), "{}: no check ran", self.flavour);
        assert!(self.failures().next().is_none(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (check, failure) in self.failures() {
            writeln!(f, "{}: {check:?} failed: {failure}", self.flavour)?;
        }
        write!(
            f,
            "{}: {} passed, {} not promised, {} failed (seed {})",
            self.flavour,
            self.passed(),
            self.not_promised(),
            self.failures().count(),
            self.seed
        )
    }
}

/// The seed of this run: `CONFORMANCE_SEED` where it is set, the clock otherwise.
pub fn seed() -> u64 {
    let given = std::env::var("CONFORMANCE_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::from(now.subsec_nanos()) ^ (now.as_secs() << 20)
    })
}

/// Runs every check of the suite on one flavour. Call it outside of any runtime: each check builds its own.
///
/// # Examples
/// A driver's whole test:
/// ```no_run
/// # use artifact_store_conformance::Harness;
/// # fn harness() -> Box<dyn Harness> { Box::new(artifact_store_conformance::liars::Honest) }
/// #[test]
/// fn conforms() {
///     artifact_store_conformance::run(&*harness()).assert_conforms();
/// }
/// ```
pub fn run(harness: &dyn Harness) -> Report {
    run_checks(harness, &crate::checks::all(), seed(), |_| ())
}

/// Runs some checks on one flavour and tells of each as it ends.
pub fn run_checks(
    harness: &dyn Harness,
    checks: &[Check],
    seed: u64,
    mut progress: impl FnMut(&Line),
) -> Report {
    let flavour = harness.flavour();
    let mut lines = Vec::with_capacity(checks.len());
    for check in checks {
        let begun = Instant::now();
        let result = run_one(harness, *check, seed);
        let line = Line { check: *check, result, took: begun.elapsed() };
        progress(&line);
        lines.push(line);
    }
    Report { flavour, seed, lines }
}

fn run_one(harness: &dyn Harness, check: Check, seed: u64) -> CheckResult {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    let result = runtime.block_on(async {
        let place = harness
            .place()
            .await
            .map_err(|error| Failure::new(format!("no place could be made: {error}")))?;
        let lab = Arc::new(Lab::new(place, seed));
        let task = tokio::spawn({
            let lab = Arc::clone(&lab);
            async move { (check.run)(&lab).await }
        });
        let outcome = match tokio::time::timeout(PATIENCE, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(Failure::new(format!("the check panicked: {panic}"))),
            Err(_) => Err(Failure::new(format!("the check hung for {} s", PATIENCE.as_secs()))),
        }?;
        // While the stores are open first: what a check left must go without a reopening.
        lab.no_residue().await?;
        lab.close_all().await?;
        lab.no_residue().await?;
        no_task_alive().await?;
        Ok(outcome)
    });
    // A hung check may hold a blocking thread for ever; the report must still be written.
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}

async fn no_task_alive() -> Result<(), Failure> {
    let metrics = tokio::runtime::Handle::current().metrics();
    for _ in 0..200 {
        if metrics.num_alive_tasks() == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(Failure::new(format!(
        "{} tasks are alive 2 s after every store was closed",
        metrics.num_alive_tasks()
    )))
}
