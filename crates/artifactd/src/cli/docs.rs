//! `artifactd docs`: writes the generated pages of the documentation into a directory, or compares the pages with the
//! files of the directory. This module must never know the content of a page.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use artifact_store::Registry;

use super::error::CommandError;
use super::output_file::{IfExists, OutputFile};
use super::printable::printable;
use super::stderr::print_message;
use super::stdout;
use crate::pages::{Page, pages};

const NOTES: &str = "\
The pages describe this build: with fewer drivers compiled in, capabilities.md has fewer rows. Files in the directory that are
neither .md nor .json are ignored.

Examples:
  artifactd docs
  artifactd docs --check";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(super) struct DocsArgs {
    /// Write nothing, and fail if a page differs or is missing, or if a file is not a page
    #[arg(long)]
    check: bool,
    /// The directory of the pages; created if it does not exist
    #[arg(default_value = "docs/protocol")]
    dir: PathBuf,
}

pub(super) async fn run(args: DocsArgs, registry: &Registry) -> Result<(), CommandError> {
    let pages = pages(registry)?;
    if args.check { check(&args.dir, &pages) } else { write(&args.dir, &pages).await }
}

/// Writes the pages that differ from their files, and prints the paths of these files. Warns about files that are not
/// pages.
async fn write(dir: &Path, pages: &[Page]) -> Result<(), CommandError> {
    let shown = dir.display();
    fs::create_dir_all(dir)
        .map_err(|error| CommandError::caused_by(format!("{shown} cannot be created"), &error))?;
    let mut written = String::new();
    for page in pages {
        let path = dir.join(page.name);
        if read_file(&path)?.as_deref() == Some(page.text.as_bytes()) {
            continue;
        }
        let mut file = OutputFile::new(&path, IfExists::Replace)?.create().await?;
        file.write(page.text.as_bytes()).await?;
        file.finish().await?;
        // Writing into a `String` cannot fail.
        let _ = writeln!(written, "{}", printable(&path.display().to_string()));
    }
    stdout::print(&written).await?;
    print_message(&format!("{shown}: {} pages, {} of them written", pages.len(), written.lines().count()));
    for stray in stray_files(dir, pages)? {
        print_message(&stray_message(&stray));
    }
    Ok(())
}

/// Compares the pages with the files in `dir`. Returns an error that lists each page that differs or is missing, and
/// each file that is not a page.
fn check(dir: &Path, pages: &[Page]) -> Result<(), CommandError> {
    let mut wrong = String::new();
    for page in pages {
        let path = dir.join(page.name);
        match read_file(&path)? {
            None => {
                let _ = writeln!(wrong, "  {} is missing", path.display());
            }
            Some(found) if found != page.text.as_bytes() => {
                let found = String::from_utf8_lossy(&found);
                let difference = first_difference(&page.text, &found);
                let _ = writeln!(wrong, "  {} differs {difference}", path.display());
            }
            Some(_) => {}
        }
    }
    let shown = dir.display();
    let is_any_page_wrong = !wrong.is_empty();
    for stray in stray_files(dir, pages)? {
        let _ = writeln!(wrong, "  {}", stray_message(&stray));
    }
    if is_any_page_wrong {
        let _ = writeln!(wrong, "run `artifactd docs {shown}` to write the pages");
    }
    if wrong.is_empty() {
        print_message(&format!("{shown}: {} pages, as this build generates them", pages.len()));
        return Ok(());
    }
    Err(CommandError::failed(format!("{shown} differs from the pages that this build generates\n{wrong}")))
}

/// The content of the file. `None` if the file does not exist.
fn read_file(path: &Path) -> Result<Option<Vec<u8>>, CommandError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CommandError::caused_by(format!("{} cannot be read", path.display()), &error)),
    }
}

/// The `.md` and `.json` files in `dir` that are not pages.
fn stray_files(dir: &Path, pages: &[Page]) -> Result<Vec<PathBuf>, CommandError> {
    let failed =
        |error: io::Error| CommandError::caused_by(format!("{} cannot be read", dir.display()), &error);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut strays = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let is_page = pages.iter().any(|page| path.file_name().is_some_and(|name| name == page.name));
        if !is_page && path.extension().is_some_and(|extension| extension == "md" || extension == "json") {
            strays.push(path);
        }
    }
    strays.sort();
    Ok(strays)
}

fn stray_message(stray: &Path) -> String {
    format!("{} is not a generated page: remove it", stray.display())
}

/// Describes the first line in which two different texts differ: its number, the expected text and the found text.
fn first_difference(expected: &str, found: &str) -> String {
    let (mut expected_lines, mut found_lines) = (expected.split('\n'), found.split('\n'));
    let mut number = 0;
    loop {
        number += 1;
        // `None` after the last line of a text.
        let (expected_line, found_line) = (expected_lines.next(), found_lines.next());
        // The second condition ends the loop even if the texts are equal.
        if expected_line != found_line || expected_line.is_none() {
            return format!(
                "in line {number}\n    expected: {}\n    found:    {}",
                shown_line(expected_line),
                shown_line(found_line)
            );
        }
    }
}

/// The text that stands for a line in a message. `None` is the end of the file.
fn shown_line(line: Option<&str>) -> &str {
    match line {
        None => "(the end of the file)",
        Some("") => "(an empty line)",
        Some(line) => line,
    }
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn the_first_line_that_differs_is_shown() {
        let shown = first_difference("a\nb\nc\n", "a\nx\ny\n");
        assert_eq!(shown, "in line 2\n    expected: b\n    found:    x");
    }

    #[test]
    fn the_end_of_a_text_is_shown() {
        assert!(first_difference("a\nb\n", "a\n").ends_with("expected: b\n    found:    (an empty line)"));
        assert!(
            first_difference("a\n", "a")
                .ends_with("expected: (an empty line)\n    found:    (the end of the file)")
        );
    }
}
