//! The steps that docs/operate.md tells its reader to follow, in the order of the page.

use std::path::{Path, PathBuf};

/// A block of the page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Commands for a shell.
    Run(String),
    /// A file and its content.
    Write(PathBuf, String),
}

/// The steps of a section.
pub(crate) fn steps(title: &str) -> Vec<Step> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operate.md");
    let page = std::fs::read_to_string(path).unwrap();
    let heading = format!("\n## {title}\n");
    let section = page.split_once(&heading).unwrap_or_else(|| panic!("no section {title:?}")).1;
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let mut steps = Vec::new();
    let mut lines = section.lines();
    let mut named_file = None;
    while let Some(line) = lines.next() {
        if let Some((_, after)) = line.split_once("file `/") {
            named_file = after.split_once('`').map(|(path, _)| Path::new("/").join(path));
        }
        let Some(language) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let block = format!("{}\n", block.join("\n"));
        match (language, named_file.take()) {
            ("sh", _) => steps.push(Step::Run(block)),
            (_, Some(path)) => steps.push(Step::Write(path, block)),
            (_, None) => {}
        }
    }
    steps
}

/// The content of the file in the steps of a section.
pub(crate) fn file(title: &str, path: &str) -> String {
    let found = steps(title).into_iter().find_map(|step| match step {
        Step::Write(written, content) if written == Path::new(path) => Some(content),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("the section {title:?} has no file {path}"))
}
