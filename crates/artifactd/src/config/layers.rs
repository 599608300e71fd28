//! What was given for each key, by whom: file, environment and flags laid over each other.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::ConfigError;
use super::environment::{self, KEY_PREFIX, PREFIX};
use super::file;
use super::given::Given;
use super::keys::{KEYS, Key, Kind, OPTIONS, key};

/// How much of a value an error repeats, in characters.
const MAX_SHOWN: usize = 80;

/// From which likeness on a name is taken for a slip of another one.
const NEAR: f64 = 0.85;

/// Who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    File(String),
    Env(String),
    Flags,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{path}"),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flags => f.write_str("command line"),
        }
    }
}

/// The values by dotted name; the driver's options under `artifacts.options.` and their own. Has no debug output, because some
/// are secrets.
#[derive(Default)]
pub(super) struct Layers(BTreeMap<String, (Source, Value)>);

impl Layers {
    /// Lays a file over what is there.
    pub(super) fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let source = Source::File(one_line(&path.display().to_string(), usize::MAX));
        let tree = file::read(path).map_err(|why| refuse(&source, &why))?;
        match tree {
            Value::Null => Ok(()),
            Value::Object(_) => self.section(&source, "", tree),
            _ => Err(refuse(
                &source,
                "a configuration is made of sections, such as server: with bind_addr: below it",
            )),
        }
    }

    /// Lays those variables over it that are this program's. One that has its prefix and is nobody's is refused.
    pub(super) fn environment(
        &mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), ConfigError> {
        for (variable, value) in variables {
            let variable = variable.to_string_lossy();
            if !variable.starts_with(PREFIX) {
                continue;
            }
            let source = Source::Env(one_line(&variable, usize::MAX));
            let Some(rest) = variable.strip_prefix(KEY_PREFIX) else {
                if environment::is_known(&variable, &value.to_string_lossy()) {
                    continue;
                }
                return Err(refuse(&source, &environment::unknown(&variable)));
            };
            let name = rest.to_lowercase().replace("__", ".");
            // Two spellings of one key would leave to chance which of them counts.
            if name.to_uppercase().replace('.', "__") != rest {
                return Err(refuse(&source, "the names of variables are upper case"));
            }
            let value = value.into_string().map_err(|_| refuse(&source, "the value is no UTF-8"))?;
            self.one(source, &name, Value::String(value))?;
        }
        Ok(())
    }

    /// What was given for each key.
    pub(super) fn given(&self) -> Given {
        Given(self.0.iter().map(|(name, (_, value))| (name.clone(), value.clone())).collect())
    }

    /// Lays flags over it: dotted name and value. The last one of a name counts.
    pub(super) fn flags(&mut self, flags: &[(String, String)]) -> Result<(), ConfigError> {
        for (name, value) in flags {
            self.one(Source::Flags, name, Value::String(value.clone()))?;
        }
        Ok(())
    }

    /// The value of `name` read by `parse`, its default where there is none; `None` where it has no default either.
    pub(super) fn get<T>(
        &self,
        name: &str,
        parse: fn(&Kind, &Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(key) = key(name) else {
            return Err(ConfigError(format!(
                "the table of keys has no row '{name}': a mistake of this program"
            )));
        };
        if let Some((source, value)) = self.0.get(name) {
            return parse(&key.kind, value).map(Some).ok_or_else(|| illegal(source, key, value));
        }
        let Some(default) = key.default else { return Ok(None) };
        parse(&key.kind, &Value::String(default.to_owned())).map(Some).ok_or_else(|| {
            ConfigError(format!("the default of '{name}' is not legal: a mistake of this program"))
        })
    }

    /// As [`get`](Self::get), for a key that has a default.
    pub(super) fn need<T>(
        &self,
        name: &str,
        parse: fn(&Kind, &Value) -> Option<T>,
    ) -> Result<T, ConfigError> {
        self.get(name, parse)?
            .ok_or_else(|| ConfigError(format!("'{name}' has no default: a mistake of this program")))
    }

    /// An error about the value of `name`; where it was not given, about its default.
    pub(super) fn refuse(&self, name: &str, why: &str) -> ConfigError {
        match self.0.get(name) {
            Some((source, _)) => refuse(source, &format!("{name}: {why}")),
            None => ConfigError(format!("{name}: {why}")),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The driver's options: own name, dotted name, value.
    pub(super) fn options(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        self.0.iter().filter_map(|(name, (_, value))| Some((option_of(name)?, name.as_str(), value)))
    }

    fn section(&mut self, source: &Source, name: &str, value: Value) -> Result<(), ConfigError> {
        match value {
            // A section whose keys are all commented out.
            Value::Null => Ok(()),
            Value::Object(members) => {
                for (member, value) in members {
                    let name = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
                    if member.contains('.') {
                        return Err(refuse(
                            source,
                            &format!(
                                "the key '{}' has a dot; keys are written as sections, such as server: with bind_addr: below it",
                                one_line(&member, MAX_SHOWN)
                            ),
                        ));
                    }
                    if is_section(&name) {
                        self.section(source, &name, value)?;
                    } else {
                        self.one(source.clone(), &name, value)?;
                    }
                }
                Ok(())
            }
            _ => Err(refuse(source, &format!("{name} is a section; its keys are written below it"))),
        }
    }

    fn one(&mut self, source: Source, name: &str, value: Value) -> Result<(), ConfigError> {
        if option_of(name).is_none() {
            match key(name) {
                None => return Err(unknown(&source, name)),
                Some(Key { kind: Kind::Absent(why), .. }) => {
                    return Err(refuse(&source, &format!("{name}: {why}")));
                }
                Some(Key { kind: Kind::Options, .. }) => {
                    return Err(refuse(
                        &source,
                        &format!("{name} is a section; its keys are written one by one, such as {name}.sync"),
                    ));
                }
                Some(_) => {}
            }
        }
        if value.is_null() {
            let why = format!("{name}: there is no value; leave the key out for its default");
            return Err(refuse(&source, &why));
        }
        self.0.insert(name.to_owned(), (source, value));
        Ok(())
    }
}

/// The driver's name of the option that is called `name` in full.
fn option_of(name: &str) -> Option<&str> {
    name.strip_prefix(OPTIONS)?.strip_prefix('.').filter(|option| !option.is_empty())
}

fn is_section(name: &str) -> bool {
    name == OPTIONS
        || KEYS.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

fn unknown(source: &Source, name: &str) -> ConfigError {
    let shown = one_line(name, MAX_SHOWN);
    if is_section(name) {
        return refuse(source, &format!("{shown} is a section; its keys are written below it"));
    }
    let mut sections: Vec<&str> =
        KEYS.iter().filter_map(|key| key.name.split_once('.')).map(|(of, _)| of).collect();
    sections.dedup();
    let section = name.split_once('.').map_or("", |(section, _)| section);
    let near = KEYS
        .iter()
        .map(|key| key.name)
        .chain(sections.iter().copied().filter(|_| section.is_empty()))
        .map(|near| (strsim::jaro_winkler(name, near), near))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(nearness, _)| *nearness > NEAR);
    if let Some((_, near)) = near {
        return refuse(source, &format!("there is no key '{shown}'; did you mean '{near}'?"));
    }
    let known: Vec<&str> = KEYS
        .iter()
        .map(|key| key.name)
        .filter(|name| name.split_once('.').is_some_and(|(of, _)| of == section))
        .collect();
    if known.is_empty() {
        return refuse(
            source,
            &format!("there is no key '{shown}'; the sections are {}", sections.join(", ")),
        );
    }
    refuse(source, &format!("there is no key '{shown}'; known: {}", known.join(", ")))
}

fn illegal(source: &Source, key: &Key, value: &Value) -> ConfigError {
    let shown = match value {
        _ if key.secret => "the value".to_owned(),
        Value::String(text) => format!("'{}'", one_line(text, MAX_SHOWN)),
        other => one_line(&other.to_string(), MAX_SHOWN),
    };
    let hint = match (&key.kind, value) {
        (Kind::Text, Value::Number(_) | Value::Bool(_)) => "; write it in quotes",
        _ => "",
    };
    refuse(source, &format!("{}: {shown} is not legal; it takes {}{hint}", key.name, key.kind.legal()))
}

fn refuse(source: &Source, why: &str) -> ConfigError {
    ConfigError(format!("{source}: {}", one_line(why, usize::MAX)))
}

/// `text` on one line and not too long, whatever is in it.
fn one_line(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for (count, letter) in text.chars().enumerate() {
        if count == most {
            shown.push('…');
            break;
        }
        if letter.is_control() { shown.extend(letter.escape_default()) } else { shown.push(letter) }
    }
    shown
}
