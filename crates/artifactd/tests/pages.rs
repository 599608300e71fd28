//! The pages under docs/ keep up with the program.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::path::Path;
use std::process::Command;

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)).unwrap()
}

#[test]
fn the_table_of_keys_is_the_programs_own() {
    let table = artifactd::config::keys::markdown();
    assert!(page("operate.md").contains(&table), "docs/operate.md does not hold this table:\n{table}");
}

#[test]
fn the_table_of_flags_is_the_drivers_own() {
    let table = artifactd::cli::drivers_markdown().unwrap();
    assert!(page("operate.md").contains(&table), "docs/operate.md does not hold this table:\n{table}");
}

#[test]
fn every_route_is_described() {
    let pages = page("protocol.md") + &page("operate.md");
    for route in artifactd::http::ROUTES {
        let (first, rest) = route.verbs.split_first().unwrap();
        let words = format!("{first} {}", route.path);
        assert!(pages.contains(&words), "no page describes {words}");
        // What is there besides is the same without its bytes.
        assert!(rest.iter().all(|verb| *verb == "HEAD"), "{rest:?} of {} are not described", route.path);
    }
}

#[test]
fn the_numbers_of_the_configuration_and_of_the_page_are_the_resolvers() {
    let resolver = artifact_store_resolver::ResolverOptions::default();
    let settings = artifactd::config::Settings::from_layers(None, std::iter::empty(), &[]).unwrap();
    assert_eq!(settings.protocol.max_request_bytes, resolver.max_request_bytes);
    assert_eq!(settings.artifacts.fetch_default_max_bytes, resolver.fetch_default_max_bytes);
    assert_eq!(settings.artifacts.fetch_hard_max_bytes, resolver.fetch_hard_max_bytes);
    let page = page("operate.md");
    for row in [
        format!("| event streams | {} a session |", resolver.subscribers_per_session),
        format!("| events kept for those who come back | {} |", resolver.events_kept),
    ] {
        assert!(page.contains(&row), "docs/operate.md lacks {row}");
    }
}

#[test]
fn every_command_is_in_the_operators_page() {
    let page = page("operate.md");
    let help = Command::new(env!("CARGO_BIN_EXE_artifactd")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    for command in commands.lines().filter_map(|line| line.split_whitespace().next()) {
        assert!(
            command == "help" || page.contains(&format!("artifactd {command}")),
            "docs/operate.md lacks artifactd {command}"
        );
    }
}
