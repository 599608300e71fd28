//! The command line of both programs: which groups they have, and measuring one group.
//!
//! Results go to standard output, one JSON line for each measurement. `benches/peers/run` calls the programs in turn.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::case::{Case, Group};
use crate::store::{Error, Measured};

const USAGE: &str = "usage: PROGRAM groups PATTERN quick|full
       PROGRAM measure PATTERN quick|full GROUP DIR ROUND MILLIS";
/// One measurement with its preparation must end within this time: filling a listing of 10^6 rows takes minutes.
const TIMEOUT: Duration = Duration::from_mins(15);

/// Where the stores of a group are opened.
#[derive(Debug, Clone)]
pub struct Place {
    /// The group.
    pub group: Group,
    /// An existing directory. That of listings is the same in all rounds.
    pub dir: PathBuf,
}

/// Which cases are measured.
struct Selection<'a> {
    pattern: &'a str,
    quick: bool,
}

impl Selection<'_> {
    fn cases(&self, group: Group) -> Vec<Case> {
        group.cases(self.quick).into_iter().filter(|case| case.is_selected(self.pattern)).collect()
    }
}

/// Runs the program with `arguments`, without its name. `open` opens all stores of a group.
///
/// The exit code is 0, 1 if a measurement failed or no case is selected, or 2 for wrong arguments.
pub async fn run(
    arguments: Vec<String>,
    open: impl AsyncFn(&Place) -> Result<Vec<Box<dyn Measured>>, Error>,
) -> ExitCode {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [command, pattern, size, rest @ ..] = arguments.as_slice() else {
        print_error(USAGE);
        return ExitCode::from(2);
    };
    let selection = Selection { pattern, quick: *size == "quick" };
    let result = match (*command, rest) {
        ("groups", []) => print_groups(&selection),
        ("measure", [group, dir, round, millis]) => {
            measure_group(&selection, group, dir, round, millis, open).await
        }
        _ => {
            print_error(USAGE);
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            print_error(&with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

/// The names of the groups with a selected case. False if there is none.
fn print_groups(selection: &Selection<'_>) -> Result<bool, Error> {
    let groups: Vec<Group> = Group::all().filter(|group| !selection.cases(*group).is_empty()).collect();
    for group in &groups {
        writeln!(std::io::stdout(), "{group}")?;
    }
    Ok(!groups.is_empty())
}

/// Measures the selected cases of a group. False if one failed.
async fn measure_group(
    selection: &Selection<'_>,
    group: &str,
    dir: &str,
    round: &str,
    millis: &str,
    open: impl AsyncFn(&Place) -> Result<Vec<Box<dyn Measured>>, Error>,
) -> Result<bool, Error> {
    let (round, target): (usize, _) = (round.parse()?, Duration::from_millis(millis.parse()?));
    let group = Group::all().find(|known| known.to_string() == group).ok_or("no such group")?;
    let mut stores = open(&Place { group, dir: dir.into() }).await?;
    // No store is always measured first, when the machine is perhaps still busy with something else.
    let first = round % stores.len().max(1);
    stores.rotate_left(first);
    let mut all_succeeded = true;
    for case in &selection.cases(group) {
        for store in stores.iter().filter(|store| store.supports(case)) {
            let result = tokio::time::timeout(TIMEOUT, store.measure(case, target)).await;
            let sample = match result.unwrap_or_else(|_| Err("timed out".into())) {
                Ok(sample) => sample,
                Err(error) => {
                    all_succeeded = false;
                    print_error(&format!("{case}, {}: {}", store.name(), with_causes(&*error)));
                    continue;
                }
            };
            let line = json!({
                "case": case.to_string(),
                "backend": case.backend,
                "store": store.name(),
                "kind": store.kind().as_str(),
                "round": round,
                "bytes": case.bytes(),
                "operations": sample.operations,
                "seconds": sample.elapsed.as_secs_f64(),
                "cpu_seconds": sample.cpu.as_secs_f64(),
                "context_switches": sample.switches,
                "p50_seconds": sample.p50.map(|p50| p50.as_secs_f64()),
            });
            writeln!(std::io::stdout(), "{line}")?;
        }
    }
    for store in stores {
        store.close().await?;
    }
    Ok(all_succeeded)
}

fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn print_error(message: &str) {
    writeln!(std::io::stderr(), "{message}").unwrap_or_default();
}
