//! What docs/new-driver.md says: its snippets are parts of the third-party driver, whose own tests are a step of
//! tests/run, and the template fails the suite until its verbs are written.
//!
//! The template is built by cargo outside the workspace, with the versions of its lock file.
#![allow(clippy::panic, clippy::unwrap_used)] // Helpers of tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
}

fn page() -> String {
    fs::read_to_string(root().join("docs/new-driver.md")).unwrap()
}

/// Creates an empty folder for a crate `name`, beside a link to the checkout with the name that the page uses.
fn create_crate_folder(name: &str) -> PathBuf {
    // The artifacts of the build stay from one run to the next.
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-driver");
    let folder = parent.join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("src")).unwrap();
    let link = parent.join("artifact-store");
    if fs::canonicalize(&link).ok() != Some(root()) {
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(root(), &link).unwrap();
    }
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    folder
}

/// Runs `cargo test` in `folder`. Returns whether it succeeded, and its output.
fn cargo_test(folder: &Path) -> (bool, String) {
    // The folder is below that of the workspace, but no member.
    let manifest = folder.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, format!("{text}\n[workspace]\n")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["test", "--no-fail-fast", "--color", "never"])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", folder.with_file_name("target"))
        .env("RUSTFLAGS", "-D warnings")
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    (output.status.success(), text.concat())
}

/// The page's snippets of files: the path of the file in the third-party driver, and the code.
fn snippets(page: &str) -> Vec<(&str, &str)> {
    let mut snippets = Vec::new();
    // Snippets in lists are commands and messages.
    for block in page.split("\n```").skip(1).step_by(2) {
        let (language, code) = block.split_once('\n').unwrap();
        let mark = match language {
            "rust,ignore" => "// ",
            "toml" => "# ",
            _ => continue,
        };
        let (first, code) = code.split_once('\n').unwrap();
        let path = first.strip_prefix(mark).unwrap_or_else(|| panic!("no file for the snippet {first}"));
        snippets.push((path, code));
    }
    snippets
}

#[test]
fn the_snippets_of_the_page_are_parts_of_the_third_party_driver() {
    let page = page();
    let snippets = snippets(&page);
    assert!(snippets.len() >= 15, "{} snippets", snippets.len());
    for (path, code) in snippets {
        let file = root().join("examples/third-party-driver").join(path);
        let file = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
        // A line with an ellipsis stands for what is left out.
        let mut parts = vec![String::new()];
        for line in code.lines() {
            if line.trim() == "// …" || line.trim() == "# …" {
                parts.push(String::new());
            } else {
                let part = parts.last_mut().unwrap();
                part.push('\n');
                part.push_str(line);
            }
        }
        let mut rest = file.as_str();
        for part in parts {
            let part = format!("{part}\n");
            let start =
                rest.find(&part).unwrap_or_else(|| panic!("{path} has no such part, in this order:{part}"));
            // The line break at the end may be the first character of the next part.
            rest = &rest[start + part.len() - 1..];
        }
    }
}

#[test]
fn every_file_that_the_page_and_the_essay_name_is_in_the_third_party_driver_and_in_the_template() {
    let driver = root().join("examples/third-party-driver");
    let page = page();
    let words = page.split('`').skip(1).step_by(2);
    let mut count = 0;
    let is_source = |word: &&str| {
        word.starts_with("src/") && Path::new(word).extension().is_some_and(|extension| extension == "rs")
    };
    for word in words.filter(is_source) {
        // Another driver's file: the table says so.
        if word != "src/layout.rs" {
            assert!(driver.join(word).is_file(), "the page names {word}");
            count += 1;
        }
    }
    assert!(count > 6, "{count} files");
    for (name, _) in files_of_template() {
        let is_source =
            name.starts_with("src") && name.extension().is_some_and(|extension| extension == "rs");
        if is_source && !name.ends_with("name.rs") {
            assert!(driver.join(&name).is_file(), "the third-party driver has no {}", name.display());
        }
    }
}

/// Every file of the template, by its path in the template.
fn files_of_template() -> BTreeMap<PathBuf, String> {
    let template = root().join("examples/driver-template");
    let mut files = BTreeMap::new();
    let mut folders = vec![template.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&template).unwrap().to_owned();
            if name == Path::new("target") || name == Path::new("Cargo.lock") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(name, fs::read_to_string(path).unwrap());
            }
        }
    }
    files
}

#[test]
fn the_template_fails_every_check_and_names_what_to_write() {
    let folder = create_crate_folder("artifact-store-template");
    for (name, text) in files_of_template() {
        let path = folder.join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // The template is two folders below the checkout; the copy is beside it.
        fs::write(path, text.replace("\"../../crates", "\"../artifact-store/crates")).unwrap();
    }
    let (success, output) = cargo_test(&folder);
    assert!(!success && output.contains("test template_conforms ... FAILED"), "{output}");

    let failures: Vec<_> = output.lines().filter(|line| line.starts_with("template: ")).collect();
    let (summary, failures): (Vec<&str>, Vec<&str>) =
        failures.into_iter().partition(|line| line.contains(" passed, "));
    assert!(
        summary.iter().all(|line| line.starts_with("template: 0 passed, 0 not promised, ")),
        "{summary:?}"
    );
    assert!(failures.len() > 60, "{} checks failed:\n{output}", failures.len());
    for failure in &failures {
        assert!(failure.contains("` is not written yet: in "), "{failure}");
    }
    let verbs = failures.iter().filter(|failure| failure.contains(": the verb `")).count();
    assert!(verbs + 5 > failures.len(), "{verbs} of {} failures name a verb:\n{output}", failures.len());
    let page = page();
    let example = page.lines().map(str::trim).find(|line| line.starts_with("template: ")).unwrap();
    let (shown, _) = example.split_once(" …").unwrap();
    assert!(output.contains(shown), "the page shows {shown}\n{output}");
}

/// cargo-generate replaces a file by the one beside it that ends in `.liquid`.
#[test]
fn the_template_as_generated_is_the_template_with_other_names() {
    let files = files_of_template();
    let mut count = 0;
    for (name, text) in &files {
        let Some(plain) = name.to_str().unwrap().strip_suffix(".liquid") else {
            assert!(!text.contains("{{"), "{}: a placeholder in a file that must compile", name.display());
            continue;
        };
        let mut rendered = text.clone();
        for (placeholder, value) in [
            ("project-name", "artifact-store-template"),
            ("crate_name", "artifact_store_template"),
            ("driver", "template"),
            ("artifact_store", "../.."),
        ] {
            rendered = rendered.replace(&format!("{{{{{placeholder}}}}}"), value);
        }
        assert_eq!(Some(&rendered), files.get(Path::new(plain)), "{plain}.liquid differs from {plain}");
        count += 1;
    }
    assert_eq!(count, 3);
    let prompts = &files[Path::new("cargo-generate.toml")];
    for name in ["driver", "artifact_store"] {
        assert!(prompts.contains(&format!("[placeholders.{name}]")), "nobody asks for {name}");
    }
}
