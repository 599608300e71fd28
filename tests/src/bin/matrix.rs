//! The driver matrix: every flavour × every check, bare and gated, as a table with counts.
//!
//! `matrix [--only inmem,fs] [--check NAME] [--json]`: the exit code is 0 if nothing failed, 1 if something failed,
//! and 2 for a usage error.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command-line program.

use std::io::{IsTerminal, Write};
use std::panic::resume_unwind;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{iter, thread};

use artifact_store_conformance::{
    Check, CheckReport, GatedHarness, Harness, Outcome, Report, checks, run_checks, seed,
};
use artifact_store_tests::matrix_rows::{self, MatrixRow};
use artifact_store_tests::table;

struct Arguments {
    rows: Vec<MatrixRow>,
    checks: Vec<Check>,
    narrowed: bool,
    json: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments =
        Arguments { rows: matrix_rows::matrix_rows(), checks: checks(), narrowed: false, json: false };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--json" => arguments.json = true,
            "--only" => {
                let value = value()?;
                let mut known: Vec<&str> = arguments.rows.iter().map(|row| row.flavour.name()).collect();
                known.dedup();
                if let Some(unknown) = value.split(',').find(|name| !known.contains(name)) {
                    return Err(format!(
                        "unknown flavour '{unknown}' in the matrix; known: {}",
                        known.join(", ")
                    ));
                }
                arguments.rows.retain(|row| value.split(',').any(|name| name == row.flavour.name()));
                arguments.narrowed = true;
            }
            "--check" => {
                let value = value()?;
                arguments.checks.retain(|check| check.name.contains(&value));
                if arguments.checks.is_empty() {
                    return Err(format!("no check has a name with '{value}'"));
                }
                arguments.narrowed = true;
            }
            other => return Err(format!("unknown argument '{other}'")),
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("matrix: {error}\nusage: matrix [--only FLAVOUR,…] [--check PART_OF_NAME] [--json]");
            return ExitCode::from(2);
        }
    };
    let seed = seed();
    let pairs = run_all(&arguments, seed);
    let failed = report(&arguments, &pairs, seed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the checks on every row, bare and gated, and returns the reports. As many run at once as there are
/// processors.
fn run_all(arguments: &Arguments, seed: u64) -> Vec<(Report, Report)> {
    let gated = |row: &MatrixRow| Arc::new(GatedHarness(Arc::clone(&row.harness))) as Arc<dyn Harness>;
    let harnesses: Vec<Arc<dyn Harness>> =
        arguments.rows.iter().flat_map(|row| [Arc::clone(&row.harness), gated(row)]).collect();
    let workers = thread::available_parallelism().map_or(1, usize::from).min(harnesses.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(harness) = harnesses.get(index) else { return done };
            done.push((index, run(&**harness, &arguments.checks, seed)));
        }
    };
    let mut reports: Vec<(usize, Report)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    reports.sort_by_key(|(index, _)| *index);
    let mut reports = reports.into_iter().map(|(_, report)| report);
    iter::from_fn(|| reports.next().zip(reports.next())).collect()
}

fn run(harness: &dyn Harness, checks: &[Check], seed: u64) -> Report {
    let live = std::io::stderr().is_terminal();
    let (flavour, mut done) = (harness.flavour(), 0);
    let report = run_checks(harness, checks, seed, |line| {
        done += 1;
        if live {
            eprint!("\r\u{1b}[K{flavour} {done}/{} {}", checks.len(), line.check.name);
            let _ = std::io::stderr().flush();
        }
    });
    if live {
        eprint!("\r\u{1b}[K");
    } else {
        eprintln!("{report}");
    }
    report
}

/// Prints the reports and returns the number of failures.
fn report(arguments: &Arguments, pairs: &[(Report, Report)], seed: u64) -> usize {
    let reports = || pairs.iter().flat_map(|(bare, gated)| [bare, gated]);
    let failed: usize = reports().map(|report| report.failures().count()).sum();
    if arguments.json {
        for report in reports() {
            report.checks.iter().for_each(|line| println!("{}", json(&report.flavour, line, seed)));
        }
        return failed;
    }
    table::print(pairs);
    table::print_counts(pairs);
    for report in reports() {
        for (check, failure) in report.failures() {
            println!("\n{}: {check:?} failed: {failure}", report.flavour);
        }
    }
    if failed > 0 {
        println!("\nrun again with CONFORMANCE_SEED={seed}");
    }
    if arguments.narrowed {
        println!("\nnarrowed on purpose: this was not the whole matrix");
    }
    failed
}

fn json(flavour: &str, line: &CheckReport, seed: u64) -> serde_json::Value {
    let (outcome, reason) = match &line.result {
        Ok(Outcome::Passed) => ("passed", None),
        Ok(Outcome::NotPromised) => ("not_promised", None),
        Err(failure) => ("failed", Some(failure.to_string())),
    };
    serde_json::json!({
        "flavour": flavour,
        "check": line.check.name,
        "group": line.check.group,
        "outcome": outcome,
        "reason": reason,
        "seconds": line.duration.as_secs_f64(),
        "seed": seed,
    })
}
