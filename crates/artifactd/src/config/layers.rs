//! [`Layers`]: the value that is set for each key, its source, and the mistakes in names and values. The command
//! line overrides the environment, and the environment overrides the file. This module must never know what a value
//! means.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use artifact_store_identity::JwksUrl;
use serde_json::Value;

use super::environment::{self, KEY_PREFIX, PREFIX};
use super::error::{Mistake, one_line};
use super::hint::hint;
use super::keys::{KEYS, Key, OPTIONS, ValueKind, key};
use super::source::{Position, ValueSource};
use super::suggest::Suggestion;
use super::tree::{Member, Node};
use super::values::ConfigValues;
use super::{file, parse};

/// The longest part of a name or value that an error repeats, in characters.
const MAX_SHOWN_CHARS: usize = 80;

/// The values by dotted name. An option of the driver has the name `artifacts.options.OPTION`. The type does not
/// implement `Debug`, because some values are secret.
#[derive(Default)]
pub(super) struct Layers {
    /// The names of the options of all drivers, to suggest one for an unknown key.
    option_names: Vec<&'static str>,
    values: BTreeMap<String, (ValueSource, Value)>,
    /// The keys with an illegal value, and the source of the value. Such a key is treated as set, but has no value.
    illegal: BTreeMap<String, ValueSource>,
    /// The keys and sections that are not reported as missing, because another mistake about them is already reported:
    /// a mistyped name, a key that occurs twice, or a value in place of a section.
    reported: BTreeSet<String>,
    /// Whether the file could not be read or parsed, or does not consist of sections. If so, its keys are not known.
    file_is_unusable: bool,
    mistakes: Vec<Mistake>,
}

impl Layers {
    /// Layers without a value. `option_names` are the names of the options of all drivers.
    pub(super) fn new(option_names: Vec<&'static str>) -> Self {
        Self { option_names, ..Self::default() }
    }

    /// Adds the values of a file.
    pub(super) fn add_file(&mut self, path: &Path) {
        let name = one_line(&path.display().to_string(), usize::MAX).into();
        match file::read(path) {
            Ok(Node::Section(members)) => self.add_section(&ValueSource::File(name, None), "", members),
            // An empty file.
            Ok(Node::Leaf(Value::Null)) => {}
            Ok(Node::Leaf(_)) => {
                self.file_is_unusable = true;
                self.add_mistake(
                    &ValueSource::File(name, None),
                    "a configuration consists of sections with keys, such as 'bind_addr' in the section 'server'",
                );
            }
            Err(mistakes) => {
                self.file_is_unusable = true;
                for mistake in mistakes {
                    let source = ValueSource::File(Arc::clone(&name), mistake.position);
                    self.add_mistake(&source, &mistake.reason);
                }
            }
        }
    }

    /// Adds the values of variables that begin with `ARTIFACTD__`. A variable that begins with `ARTIFACTD_` and is
    /// unknown is a mistake.
    pub(super) fn add_environment(&mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) {
        for (variable, value) in variables {
            let variable = variable.to_string_lossy();
            if !variable.starts_with(PREFIX) {
                continue;
            }
            let source = ValueSource::Env(one_line(&variable, usize::MAX));
            let Some(key_part) = variable.strip_prefix(KEY_PREFIX) else {
                if !environment::is_known(&variable, &value.to_string_lossy()) {
                    self.add_mistake(&source, &environment::unknown_variable(&variable));
                }
                continue;
            };
            let name = key_part.to_lowercase().replace("__", ".");
            // Only one spelling of a name is legal. If two spellings were legal, the order of the variables would
            // determine which value is used.
            if name.to_uppercase().replace('.', "__") != key_part {
                self.add_mistake(&source, "the name of a variable must be in upper case");
                continue;
            }
            match value.into_string() {
                Ok(value) => self.add_value(source, &name, Value::String(value)),
                Err(_) => self.add_mistake(&source, "the value is not UTF-8"),
            }
        }
    }

    /// Adds the values of the command line: dotted name and value. If a name occurs several times, the last value is
    /// used.
    pub(super) fn add_arguments(&mut self, arguments: &[(String, String)]) {
        for (name, value) in arguments {
            self.add_value(ValueSource::CommandLine, name, Value::String(value.clone()));
        }
    }

    /// Removes the values that are not legal, and returns all mistakes so far.
    pub(super) fn check_values(&mut self) -> Vec<Mistake> {
        for (name, (source, value)) in &self.values {
            // An option of the driver has no row in the table of keys: the driver checks its value.
            let Some(key) = key(name) else { continue };
            if parse::is_legal(&key.kind, value) {
                continue;
            }
            let reason = illegal_value(key, value);
            self.mistakes.push(Mistake::at(source, &format!("{name}: {reason}")));
            self.illegal.insert(name.clone(), source.clone());
        }
        self.values.retain(|name, _| !self.illegal.contains_key(name));
        std::mem::take(&mut self.mistakes)
    }

    /// The value that is set for each key.
    pub(super) fn values(&self) -> ConfigValues {
        let values = self.values.iter().map(|(name, (_, value))| (name.clone(), value.clone()));
        ConfigValues(values.collect())
    }

    /// The value of `name`, parsed by `parse`. If no legal value is set, the default of `name`, or `None` if `name` has
    /// no default. Must be called after [`check_values`](Self::check_values), which removes illegal values.
    ///
    /// # Errors
    /// A bug in the table of keys.
    pub(super) fn get<T>(
        &self,
        name: &str,
        parse: fn(&ValueKind, &Value) -> Option<T>,
    ) -> Result<Option<T>, Mistake> {
        let Some(key) = key(name) else { return Err(bug(&format!("the table of keys has no row '{name}'"))) };
        if let Some((source, value)) = self.values.get(name) {
            let value = parse(&key.kind, value);
            return value
                .map(Some)
                .ok_or_else(|| Mistake::at(source, &format!("{name}: the value is not legal")));
        }
        let Some(default) = key.default else { return Ok(None) };
        let value = parse(&key.kind, &Value::String(default.to_owned()));
        value.map(Some).ok_or_else(|| bug(&format!("the default of '{name}' is not legal")))
    }

    /// The value of a key or of an option of the driver, if a text is set.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.1.as_str()
    }

    /// The same as [`get`](Self::get), for a key that has a default.
    pub(super) fn require<T>(
        &self,
        name: &str,
        parse: fn(&ValueKind, &Value) -> Option<T>,
    ) -> Result<T, Mistake> {
        self.get(name, parse)?.ok_or_else(|| bug(&format!("'{name}' has no default")))
    }

    /// A mistake in the value of `name`, with the source of the value if `name` is set.
    pub(super) fn mistake(&self, name: &str, reason: &str) -> Mistake {
        self.mistake_with_sentence(name, &format!("{name}: {reason}"))
    }

    /// Like [`mistake`](Self::mistake), with a whole sentence in place of the reason.
    pub(super) fn mistake_with_sentence(&self, name: &str, sentence: &str) -> Mistake {
        match self.source(name) {
            Some(source) => Mistake::at(source, sentence),
            None => Mistake::without_source(sentence),
        }
    }

    /// Where `name` is set, as part of a sentence, such as `server.bind_addr on the command line`. If `name` is not
    /// set, only `name`.
    pub(super) fn location(&self, name: &str) -> String {
        match self.source(name) {
            Some(source @ ValueSource::File(..)) => format!("{name} in {source}"),
            Some(ValueSource::Env(variable)) => format!("the environment variable {variable}"),
            Some(ValueSource::CommandLine) => format!("{name} on the command line"),
            None => name.to_owned(),
        }
    }

    /// The source of `name`, even if the value is not legal. `None` if `name` is not set.
    fn source(&self, name: &str) -> Option<&ValueSource> {
        self.values.get(name).map(|(source, _)| source).or_else(|| self.illegal.get(name))
    }

    /// Whether `name` is set, even to a value that is not legal.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.source(name).is_some()
    }

    /// Whether to report `name` as missing. False if `name` is set, or if another mistake about `name` or its section
    /// is already reported.
    pub(super) fn is_missing(&self, name: &str) -> bool {
        let section = name.split_once('.').map_or(name, |(section, _)| section);
        let is_reported = self.reported.contains(name) || self.reported.contains(section);
        !self.is_set(name) && !is_reported
    }

    /// Whether the file is unusable, so that its keys are not known. If so, the checks that need the whole
    /// configuration are skipped.
    pub(super) fn file_is_unusable(&self) -> bool {
        self.file_is_unusable
    }

    /// Returns false if one of `names` has an illegal value. That value is already reported, so checks that depend on
    /// the value are skipped. A name that is not set counts as legal.
    pub(super) fn are_legal(&self, names: &[&str]) -> bool {
        !names.iter().any(|name| self.illegal.contains_key(*name))
    }

    /// The options of the driver: name of the option, dotted name, value.
    pub(super) fn options(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        self.values.iter().filter_map(|(name, (_, value))| Some((option_of(name)?, name.as_str(), value)))
    }

    /// Adds the members of the section `section` of a file. The name of the outermost section is empty.
    fn add_section(&mut self, file: &ValueSource, section: &str, members: Vec<Member>) {
        let mut seen = BTreeSet::new();
        for Member { key: member, line, node } in members {
            let source = match file {
                ValueSource::File(path, _) => {
                    ValueSource::File(Arc::clone(path), Some(Position::at_line(line)))
                }
                other => other.clone(),
            };
            let name = if section.is_empty() { member.clone() } else { format!("{section}.{member}") };
            if !seen.insert(member.clone()) {
                let shown = one_line(&name, MAX_SHOWN_CHARS);
                self.add_mistake(&source, &format!("duplicate key '{shown}'; write it once"));
                // It is not known which of the two values is meant, so neither is used.
                self.values.remove(&name);
                self.illegal.insert(name.clone(), source);
                self.reported.insert(name);
            } else if member.contains('.') {
                let reason = format!(
                    "the key '{}' has a dot; write it as a section with a key, such as 'bind_addr' in the section 'server'",
                    one_line(&member, MAX_SHOWN_CHARS)
                );
                self.add_mistake(&source, &reason);
            } else if is_section(&name) {
                match node {
                    Node::Section(members) => self.add_section(&source, &name, members),
                    // The section has no keys, for example because all are commented out.
                    Node::Leaf(Value::Null) => {}
                    Node::Leaf(_) => {
                        self.add_mistake(&source, &format!("{name} is a section; write its keys below it"));
                        self.reported.insert(name);
                    }
                }
            } else {
                self.add_value(source, &name, node.into_value());
            }
        }
    }

    /// Adds the value of a key or of an option of the driver. Whether the value is legal is checked later, in
    /// [`check_values`](Self::check_values).
    fn add_value(&mut self, source: ValueSource, name: &str, value: Value) {
        if let Some(reason) = self.reason_to_refuse(name, &value) {
            self.add_mistake(&source, &reason);
        } else {
            // A key that occurs twice in the file is illegal. A value of the environment or of the command line
            // makes the key legal again.
            self.illegal.remove(name);
            self.values.insert(name.to_owned(), (source, value));
        }
    }

    /// Why a value cannot be added: `name` cannot be set, or the value is null. `None` if the value can be added. For
    /// an unknown key, this also notes which key the user probably meant.
    fn reason_to_refuse(&mut self, name: &str, value: &Value) -> Option<String> {
        let is_option = option_of(name).is_some();
        if !is_option {
            match key(name) {
                None => return Some(self.unknown_key(name)),
                Some(Key { kind: ValueKind::Unsupported(reason), .. }) => {
                    return Some(format!("{name}: {reason}"));
                }
                Some(Key { kind: ValueKind::Options, .. }) => {
                    return Some(format!("{name} is a section; set one of its keys, such as {name}.sync"));
                }
                Some(_) => {}
            }
        }
        value.is_null().then(|| format!("{name}: there is no value; leave the key out for its default"))
    }

    /// The message about an unknown key. Also notes which key the user probably meant, so that this key is not reported
    /// as missing.
    fn unknown_key(&mut self, name: &str) -> String {
        let shown = one_line(name, MAX_SHOWN_CHARS);
        if is_section(name) {
            return format!("{shown} is a section; write its keys below it");
        }
        let suggestion = Suggestion::of(name, &self.option_names);
        if let Suggestion::Key(known) = &suggestion {
            self.reported.insert(known.clone());
        }
        format!("there is no key '{shown}'; {suggestion}")
    }

    fn add_mistake(&mut self, source: &ValueSource, reason: &str) {
        self.mistakes.push(Mistake::at(source, reason));
    }
}

/// The name of the driver's option that the dotted `name` sets. `None` if `name` is not in the section of options.
fn option_of(name: &str) -> Option<&str> {
    name.strip_prefix(OPTIONS)?.strip_prefix('.').filter(|option| !option.is_empty())
}

/// Whether there are keys below the dotted `name`.
fn is_section(name: &str) -> bool {
    name == OPTIONS
        || KEYS.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// What is wrong with a value that is not legal.
fn illegal_value(key: &Key, value: &Value) -> String {
    if let (ValueKind::JwksUrl, Some(url)) = (&key.kind, parse::text(&key.kind, value))
        && let Err(reason) = JwksUrl::parse(&url)
    {
        return reason;
    }
    let shown = match value {
        _ if key.secret => "the value".to_owned(),
        Value::String(text) => format!("'{}'", one_line(text, MAX_SHOWN_CHARS)),
        other => one_line(&other.to_string(), MAX_SHOWN_CHARS),
    };
    format!("{shown} is not legal; it takes {}{}", key.kind.expected(), hint(&key.kind, value))
}

/// The mistake that the program itself is wrong.
fn bug(what: &str) -> Mistake {
    Mistake::without_source(format!("{what}; this is a bug in artifactd"))
}
