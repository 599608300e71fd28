//! What an unknown key was probably meant to be. This module must never know a value.

use std::fmt;

use super::driver_keys::key_of_option;
use super::keys::{KEYS, OPTIONS};

/// The similarity, from 0 to 1, above which a name is suggested.
const MIN_SIMILARITY: f64 = 0.85;

/// A suggestion for an unknown key. It is displayed as the end of an error message.
#[derive(Debug)]
pub(super) enum Suggestion {
    /// The key or section that was probably meant.
    Key(String),
    /// The keys of the section, or all sections, as the end of a sentence. No name is similar to the unknown key.
    Names(String),
}

impl Suggestion {
    /// The suggestion for the unknown key `name`. `option_names` are the names of the options of all drivers.
    pub(super) fn of(name: &str, option_names: &[&str]) -> Self {
        if let Some(known) = nearest(name, option_names) {
            return Self::Key(known);
        }
        let section = name.split_once('.').map_or("", |(section, _)| section);
        let known: Vec<&str> = key_names().filter(|known| section_of(known) == Some(section)).collect();
        if known.is_empty() {
            return Self::Names(format!("the sections are {}", sections().join(", ")));
        }
        Self::Names(format!("known: {}", known.join(", ")))
    }
}

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(known) => write!(f, "did you mean '{known}'?"),
            Self::Names(names) => f.write_str(names),
        }
    }
}

/// The key or section that `name` was probably meant to be. `None` if nothing is similar enough.
fn nearest(name: &str, option_names: &[&str]) -> Option<String> {
    let (section, member) = name.rsplit_once('.').unwrap_or(("", name));
    // The last part of `name` is the last part of a key, so only the section is wrong or missing.
    if let Some(known) =
        key_names().find(|known| known.rsplit_once('.').is_some_and(|(_, last)| last == member))
    {
        return Some(known.to_owned());
    }
    if section == "artifacts" {
        // The user may have written an option of a driver directly in the section `artifacts`, as in `artifacts.root`.
        if let Some(key) = key_of_option(member) {
            return Some(key.to_owned());
        }
        if option_names.contains(&member) {
            return Some(format!("{OPTIONS}.{member}"));
        }
    }
    // A name without a dot may be meant as a section.
    let sections = if section.is_empty() { sections() } else { Vec::new() };
    key_names()
        .chain(sections)
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .filter(|(similarity, _)| *similarity > MIN_SIMILARITY)
        .map(|(_, known)| known.to_owned())
}

fn key_names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.name)
}

/// The first part of a dotted name. `None` if the name has no dot.
fn section_of(key: &'static str) -> Option<&'static str> {
    key.split_once('.').map(|(section, _)| section)
}

/// The sections, each once.
fn sections() -> Vec<&'static str> {
    let mut sections: Vec<&str> = key_names().filter_map(section_of).collect();
    // The table of keys is ordered by section, so duplicates are adjacent.
    sections.dedup();
    sections
}
