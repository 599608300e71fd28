//! `config.md`: the keys of the configuration. This module must never know a value that is set.

use crate::config::keys::{KEYS, Key, ValueKind};

use super::markdown::{Markdown, code};

const LAYERS: &str = "\
The configuration of `artifactd serve` is one file (YAML, TOML or JSON by its extension), the environment, and flags. The
environment overrides the file, and flags override both. A key that is not set has its default. An unknown key, an unknown
variable that begins with `ARTIFACTD_`, or an illegal value stops the start with exit code 2. The message has a line for each
mistake: where it is, what is wrong and what is legal.";

pub(super) fn page() -> String {
    let mut page = Markdown::with_title("Configuration");
    page.paragraph(LAYERS);
    page.table(&["where", "how `artifacts.driver` is set to `fs`"], &spellings());
    page.paragraph(
        "In the environment and on the command line a value is a text: `true`, `10s`, `64MiB`, and a list has commas. \
         Sizes take `64MiB`, `64 MiB` and `64M` alike (`64MB` is 64000000 bytes); durations need a unit; words may be in \
         upper case. \
         A driver's own option is a key of the section `artifacts.options`. Its variable begins with \
         `ARTIFACTD__ARTIFACTS__OPTIONS__`.",
    );
    page.heading(2, "Keys");
    page.table(&["key", "type", "default", "meaning"], &KEYS.iter().map(row).collect::<Vec<_>>());
    let secrets: Vec<_> = KEYS.iter().filter(|key| key.secret).map(|key| code(key.name)).collect();
    page.paragraph(&format!("Never printed, not even in an error: {}.", secrets.join(", ")));
    page.finish()
}

/// The rows that show how a key is set in each source.
fn spellings() -> Vec<Vec<String>> {
    [
        ("the file", "`driver: fs` in the section `artifacts:`"),
        ("the environment", "`ARTIFACTD__ARTIFACTS__DRIVER=fs`: `ARTIFACTD__SECTION__KEY`, in upper case"),
        ("a flag", "`--set artifacts.driver=fs`"),
    ]
    .into_iter()
    .map(|(source, syntax)| vec![source.into(), syntax.into()])
    .collect()
}

/// The row of a key.
fn row(key: &Key) -> Vec<String> {
    let kind = match key.kind {
        ValueKind::Unsupported(_) => "refused".to_owned(),
        _ => key.kind.expected(),
    };
    vec![code(key.name), kind, key.default.map_or_else(|| "none".to_owned(), code), key.about.to_owned()]
}
