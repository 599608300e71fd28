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
fn every_route_is_described() {
    let pages = page("protocol.md") + &page("operate.md");
    for route in artifactd::http::ROUTES {
        for verb in route.verbs {
            let known =
                pages.contains(&format!("{verb} {}", route.path)) || pages.contains(&format!("`{verb}`"));
            assert!(known && pages.contains(route.path), "no page describes {verb} {}", route.path);
        }
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
