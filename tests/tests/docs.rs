//! Checks that the pages under docs/ match the code. Their Rust code runs as documentation tests of this package.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::fs;
use std::path::Path;

use artifact_store_conformance::checks;
use artifact_store_core::{Flag, OptionKind};

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)).unwrap()
}

#[test]
fn the_contract_names_every_check() {
    let page = page("contract.md");
    for check in checks() {
        assert!(page.contains(&format!("`{}`", check.name)), "docs/contract.md does not name {}", check.name);
    }
}

#[test]
fn every_test_that_the_pages_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut code = String::new();
    let mut folders = vec![root.join("crates"), root.join("drivers"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                code.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    for name in ["contract.md", "drivers.md", "new-driver.md", "decisions.md"] {
        for word in page(name).split('`').skip(1).step_by(2) {
            let sentence = word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if sentence && word.matches('_').count() >= 3 {
                assert!(
                    code.contains(&format!("fn {word}(")),
                    "docs/{name} names `{word}`, which is not a function"
                );
            }
        }
    }
}

#[test]
fn the_contract_lists_every_flag_with_its_description() {
    let page = page("contract.md");
    for flag in Flag::ALL {
        let row = format!(
            "| `{flag}` | {} | {} |",
            format!("{:?}", flag.kind()).to_lowercase(),
            flag.description()
        );
        assert!(page.contains(&row), "docs/contract.md lacks the row {row}");
    }
}

#[test]
fn the_drivers_page_lists_every_option_with_its_type_and_default() {
    let page = page("drivers.md");
    for driver in artifact_store::drivers().unwrap().drivers() {
        let info = driver.info();
        let section =
            page.split(&format!("\n## {}\n", info.name)).nth(1).unwrap().split("\n## ").next().unwrap();
        for option in info.options {
            let kind = match option.kind {
                OptionKind::Text => "text".to_owned(),
                OptionKind::Size => "size".to_owned(),
                OptionKind::Duration => "duration".to_owned(),
                OptionKind::Count => "count".to_owned(),
                OptionKind::Bool => "switch".to_owned(),
                OptionKind::Choice(words) => {
                    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
                }
            };
            let default = match (option.default, option.required) {
                (Some(default), _) => format!("`{default}`"),
                (None, true) => "required".to_owned(),
                (None, false) => "unset".to_owned(),
            };
            let row = format!("| `{}` | {kind} | {default} |", option.name);
            assert!(section.contains(&row), "docs/drivers.md, {}, lacks the row {row}", info.name);
        }
    }
}

#[test]
fn every_path_in_the_architecture_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = page("architecture.md");
    let paths = page.split('`').skip(1).step_by(2).filter(|code| {
        let starts = ["crates/", "drivers/", "tests/", "docs/", ".ci/"];
        starts.iter().any(|start| code.starts_with(start))
            && !code.contains(['*', ' '])
            && !code.contains("NAME")
    });
    let mut count = 0;
    for path in paths {
        assert!(root.join(path).exists(), "docs/architecture.md names `{path}`, which does not exist");
        count += 1;
    }
    assert!(count > 40, "{count} paths");
}
