//! The driver matrix: every flavour × every check, bare and gated, as a table with counts.
//!
//! `matrix [--only inmem,fs] [--check NAME] [--json]`; exit code 0 where nothing failed, 1 otherwise, 2 for usage.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A program of the command line.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use artifact_store_conformance::{Check, Gated, Harness, Line, Outcome, Report, checks, run_checks, seed};
use artifact_store_tests::flavours::{self, Row};
use artifact_store_tests::table;

struct Arguments {
    rows: Vec<Row>,
    checks: Vec<Check>,
    narrowed: bool,
    json: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments { rows: flavours::rows(), checks: checks(), narrowed: false, json: false };
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
                        "there is no flavour '{unknown}' in the matrix; known: {}",
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
                    return Err(format!("no check has '{value}' in its name"));
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
    let mut pairs = Vec::new();
    for row in &arguments.rows {
        let bare = run(&*row.harness, &arguments.checks, seed);
        let gated = run(&Gated(Arc::clone(&row.harness)), &arguments.checks, seed);
        pairs.push((bare, gated));
    }
    let failed = report(&arguments, &pairs, seed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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

/// Prints what happened; how many failed.
fn report(arguments: &Arguments, pairs: &[(Report, Report)], seed: u64) -> usize {
    let reports = || pairs.iter().flat_map(|(bare, gated)| [bare, gated]);
    let failed: usize = reports().map(|report| report.failures().count()).sum();
    if arguments.json {
        for report in reports() {
            report.lines.iter().for_each(|line| println!("{}", json(&report.flavour, line, seed)));
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

fn json(flavour: &str, line: &Line, seed: u64) -> serde_json::Value {
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
        "seconds": line.took.as_secs_f64(),
        "seed": seed,
    })
}
