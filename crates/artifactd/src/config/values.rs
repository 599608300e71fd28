//! [`ConfigValues`]: the value that is set for each key, to find the keys in which two configurations differ.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::keys::key;

/// The value that is set for each key, whether by file, environment or flag. Some values are secret.
#[derive(Clone, Default)]
pub struct ConfigValues(pub(super) BTreeMap<String, Value>);

impl ConfigValues {
    /// The keys whose values differ between `self` and `other`, sorted by name.
    pub fn changed_keys<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let mut names: Vec<&str> = self.0.keys().chain(other.0.keys()).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| self.text(name) != other.text(name));
        names
    }

    /// The value of the key `name` as it would be written in the environment. If the key is not set, its default.
    /// `None`: the key is not set and has no default.
    fn text(&self, name: &str) -> Option<String> {
        match self.0.get(name) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(value) => Some(value.to_string()),
            None => key(name)?.default.map(ToOwned::to_owned),
        }
    }
}

impl fmt::Debug for ConfigValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
