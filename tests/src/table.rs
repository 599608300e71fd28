//! Prints the matrix: one line for each check, one column for each flavour.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal;

use artifact_store_conformance::{Outcome, Report};

/// The result of one check, as a coloured mark.
fn mark(outcome: Option<&artifact_store_conformance::CheckResult>, colour: bool) -> String {
    let (mark, code) = match outcome {
        Some(Ok(Outcome::Passed)) => ("✓", "32"),
        Some(Ok(Outcome::NotPromised)) => ("–", "33"),
        Some(Err(_)) => ("✗", "31;1"),
        None => ("?", "31;1"),
    };
    if colour { format!("\u{1b}[{code}m{mark}\u{1b}[0m") } else { mark.to_owned() }
}

/// Prints pairs of reports, bare and gated, of each flavour. Uses colours only on a terminal.
pub fn print(pairs: &[(Report, Report)]) {
    let colour = std::io::stdout().is_terminal();
    let Some((first, _)) = pairs.first() else { return };
    let legend = "✓ passed, – not promised, ✗ failed; bare gated";
    let names = first.checks.iter().map(|line| line.check.name.len() + 2);
    let wide = names.chain([legend.chars().count()]).max().unwrap_or_default();
    let mut out = String::new();
    let _ = write!(out, "\n{legend:wide$}");
    for (bare, _) in pairs {
        let _ = write!(out, "  {}", bare.flavour);
    }
    out.push('\n');
    let mut group = "";
    for (row, line) in first.checks.iter().enumerate() {
        if line.check.group != group {
            group = line.check.group;
            let _ = writeln!(out, "{group}");
        }
        let _ = write!(out, "  {:width$}", line.check.name.replace('_', " "), width = wide - 2);
        for (bare, gated) in pairs {
            let marks =
                [bare, gated].map(|report| mark(report.checks.get(row).map(|line| &line.result), colour));
            let pad = bare.flavour.chars().count().saturating_sub(3);
            let _ = write!(out, "  {} {}{:pad$}", marks[0], marks[1], "");
        }
        out.push('\n');
    }
    print!("{out}");
}

/// Prints how many checks passed, are not promised, and failed, one line for each report.
pub fn print_counts(pairs: &[(Report, Report)]) {
    println!("\n{:<24}{:>8}{:>14}{:>8}{:>10}", "flavour", "passed", "not promised", "failed", "seconds");
    let mut sum = BTreeMap::new();
    for report in pairs.iter().flat_map(|(bare, gated)| [bare, gated]) {
        let failed = report.failures().count();
        let seconds: f64 = report.checks.iter().map(|line| line.duration.as_secs_f64()).sum();
        println!(
            "{:<24}{:>8}{:>14}{failed:>8}{seconds:>10.1}",
            report.flavour,
            report.passed(),
            report.not_promised()
        );
        *sum.entry("passed").or_insert(0) += report.passed();
        *sum.entry("not promised").or_insert(0) += report.not_promised();
        *sum.entry("failed").or_insert(0) += failed;
    }
    let count = |word| sum.get(word).copied().unwrap_or_default();
    println!("{:<24}{:>8}{:>14}{:>8}", "all", count("passed"), count("not promised"), count("failed"));
}
