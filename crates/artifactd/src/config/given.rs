//! What was given for each key, to tell two configurations apart by their keys: [`Given`].

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::keys::key;

/// What was given for each key, whoever gave it. Some of it is secret.
#[derive(Clone, Default)]
pub struct Given(pub(super) BTreeMap<String, Value>);

impl Given {
    /// The keys that have another value in `other`, in order.
    pub fn changed<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let mut names: Vec<&str> = self.0.keys().chain(other.0.keys()).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| self.text(name) != other.text(name));
        names
    }

    /// A key's value as it would be written in the environment; its default where none is given.
    fn text(&self, name: &str) -> Option<String> {
        match self.0.get(name) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(value) => Some(value.to_string()),
            None => key(name)?.default.map(ToOwned::to_owned),
        }
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
