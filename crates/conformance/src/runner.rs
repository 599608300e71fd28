//! Runs checks and reports their results: [`run`] and [`Report`].
//!
//! Every check gets its own runtime and its own backend. After the check, the raw storage must contain no residue (see
//! [`Backend::residue`](crate::Backend::residue)), both before and after the check's stores are closed. After the
//! close, no task may be alive.
//!
//! This module must never know a check by its name.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::check::{Check, CheckContext, CheckResult, Failure, Outcome};
use crate::harness::Harness;

/// How long a check may take. A longer check fails, because it probably hangs.
const CHECK_TIMEOUT: Duration = Duration::from_mins(5);

/// The result of one check on one flavour.
#[derive(Debug, Clone)]
pub struct CheckReport {
    /// The check.
    pub check: Check,
    /// The result of the check.
    pub result: CheckResult,
    /// How long the check took.
    pub duration: Duration,
}

/// The results of all checks on one flavour.
#[derive(Debug, Clone)]
pub struct Report {
    /// The name of the flavour.
    pub flavour: String,
    /// The seed of every random value. Set `CONFORMANCE_SEED` to this number to repeat the run.
    pub seed: u64,
    /// The result of each check, in the order in which the checks ran.
    pub checks: Vec<CheckReport>,
}

impl Report {
    /// The number of checks that passed.
    pub fn passed(&self) -> usize {
        self.checks.iter().filter(|report| report.result == Ok(Outcome::Passed)).count()
    }

    /// The number of checks with the outcome [`NotPromised`](Outcome::NotPromised).
    pub fn not_promised(&self) -> usize {
        self.checks.iter().filter(|report| report.result == Ok(Outcome::NotPromised)).count()
    }

    /// The checks that failed, each with the reason.
    pub fn failures(&self) -> impl Iterator<Item = (&Check, &Failure)> {
        self.checks
            .iter()
            .filter_map(|report| report.result.as_ref().err().map(|failure| (&report.check, failure)))
    }

    /// Asserts that no check failed.
    ///
    /// # Panics
    /// If a check failed, or if no check ran. The panic message names every failed check, with the reason.
    #[allow(clippy::panic)]
    pub fn assert_conforms(&self) {
        assert!(!self.checks.is_empty(), "{}: no check ran", self.flavour);
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

/// The seed of this run: `CONFORMANCE_SEED` if it is set to a number, otherwise a number from the clock.
pub fn seed() -> u64 {
    let configured = std::env::var("CONFORMANCE_SEED").ok().and_then(|seed| seed.parse().ok());
    configured.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        // Two runs in the same second differ in the nanoseconds.
        u64::from(now.subsec_nanos()) ^ (now.as_secs() << 20)
    })
}

/// Runs every check of the suite on one flavour. Call this function outside a Tokio runtime, because it builds a
/// runtime for each check.
///
/// # Examples
/// The whole test of a driver:
/// ```no_run
/// # use artifact_store_conformance::Harness;
/// # fn harness() -> Box<dyn Harness> { Box::new(artifact_store_conformance::liars::HonestHarness) }
/// #[test]
/// fn conforms() {
///     artifact_store_conformance::run(&*harness()).assert_conforms();
/// }
/// ```
pub fn run(harness: &dyn Harness) -> Report {
    run_checks(harness, &crate::checks::all(), seed(), |_| ())
}

/// Runs `checks` on one flavour with this seed. Calls `progress` with the report of each check when the check ends.
/// Call this function outside a Tokio runtime, because it builds a runtime for each check.
pub fn run_checks(
    harness: &dyn Harness,
    checks: &[Check],
    seed: u64,
    mut progress: impl FnMut(&CheckReport),
) -> Report {
    let flavour = harness.flavour();
    let mut reports = Vec::with_capacity(checks.len());
    for check in checks {
        let started = Instant::now();
        let result = run_check(harness, *check, seed);
        let report = CheckReport { check: *check, result, duration: started.elapsed() };
        progress(&report);
        reports.push(report);
    }
    Report { flavour, seed, checks: reports }
}

/// Runs one check in its own runtime and on its own backend. If the check passes, also ensures that no residue and no
/// task is left.
fn run_check(harness: &dyn Harness, check: Check, seed: u64) -> CheckResult {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    let result = runtime.block_on(async {
        let backend = harness
            .create_backend()
            .await
            .map_err(|error| Failure::new(format!("cannot create the backend: {error}")))?;
        let ctx = Arc::new(CheckContext::new(backend, seed));
        let task = tokio::spawn({
            let ctx = Arc::clone(&ctx);
            async move { (check.run)(&ctx).await }
        });
        let outcome = match tokio::time::timeout(CHECK_TIMEOUT, task).await {
            Ok(Ok(result)) => result?,
            Ok(Err(panic)) => return Err(Failure::new(format!("the check panicked: {panic}"))),
            Err(_elapsed) => {
                return Err(Failure::new(format!("the check hung for {} s", CHECK_TIMEOUT.as_secs())));
            }
        };
        // The stores are still open here. An open store must delete the residue of the check by itself. It must not
        // wait for the next open of the backend.
        ctx.ensure_no_residue().await?;
        ctx.close_all().await?;
        ctx.ensure_no_residue().await?;
        ensure_no_task_alive().await?;
        Ok(outcome)
    });
    // A check that hangs may block a thread of the runtime forever. So this call waits at most 5 seconds, and then the
    // next check runs.
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}

/// Waits until no task of the runtime is alive, at most 2 seconds.
async fn ensure_no_task_alive() -> Result<(), Failure> {
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
