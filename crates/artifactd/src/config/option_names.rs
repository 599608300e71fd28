//! [`OptionNames`]: where the user wrote or would write each option of a driver. With these names, an error of opening
//! a store says what the user must correct. This module must never know a value.

use std::collections::BTreeMap;

use artifact_store::{DriverInfo, Registry, StoreError, UrlForm};

/// For each option of a driver, the key, variable or part of a URL that sets it.
#[derive(Debug, Clone, Default)]
pub struct OptionNames(BTreeMap<&'static str, String>);

/// Always equal: the comparison of two configurations must not depend on where their values are written.
impl PartialEq for OptionNames {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl OptionNames {
    /// The names of all options of the driver. The function `name` returns the name of an option.
    pub(super) fn new(info: &DriverInfo, name: impl Fn(&'static str) -> String) -> Self {
        Self(info.options.iter().map(|spec| (spec.name, name(spec.name))).collect())
    }

    /// The names of the options of a store that is named by a URL. `driver` is the scheme of the URL. `source` is the
    /// argument or variable with the URL, such as `--store`.
    pub fn from_url(registry: &Registry, driver: &str, source: &str) -> Self {
        // A driver that does not exist has no options.
        let Ok(driver) = registry.driver(driver) else { return Self::default() };
        let info = driver.info();
        let pattern = info.url.pattern(info.name);
        Self::new(info, |option| match info.url {
            UrlForm::FullUrl(url) if url == option => format!("the URL in {source}"),
            UrlForm::Path(path) if path == option => format!("the {path} in {source} ({pattern})"),
            UrlForm::HostAndPath { host, path, .. } if [host, path].contains(&option) => {
                format!("the {option} in {source} ({pattern})")
            }
            _ => format!("the parameter '{option}' of the URL in {source}"),
        })
    }

    /// The message of `error`. The message names each option as the user wrote it.
    pub fn error_message(&self, error: &StoreError) -> String {
        let name =
            |option: &str| self.0.get(option).cloned().unwrap_or_else(|| format!("the option '{option}'"));
        error.display_with_option_names(name).to_string()
    }
}
