//! Loads a configuration from a temporary file, variables and flags.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use artifactd::config::{ConfigError, Purpose, Settings};
use tempfile::TempDir;

/// A configuration file in a temporary directory.
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    _dir: TempDir,
}

impl ConfigFile {
    pub(crate) fn new(name: &str, text: impl AsRef<[u8]>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        Self { path, _dir: dir }
    }

    pub(crate) fn load(&self) -> Result<Settings, String> {
        load(Some(&self.path), &[], &[])
    }

    /// The message of the first mistake, without the path and the position. The line must begin with the path of the
    /// file.
    pub(crate) fn load_error(&self) -> String {
        self.load_mistakes().remove(0).1
    }

    /// The position and the message of each mistake: `3` for a line, `3:4` with a column, and nothing for the whole file.
    pub(crate) fn load_mistakes(&self) -> Vec<(String, String)> {
        let lines = lines_of_error(Some(&self.path), &[], &[]);
        let path = self.path.display().to_string();
        let split = |line: &String| {
            let rest = line.strip_prefix(&path).unwrap_or_else(|| panic!("{line} does not name the file"));
            let (position, message) = rest.split_once(": ").unwrap();
            (position.trim_start_matches(':').to_owned(), message.to_owned())
        };
        lines.iter().map(split).collect()
    }
}

/// Loads a configuration in which no key is required. An error must have only one line, and this line is returned.
pub(crate) fn load(
    file: Option<&Path>,
    env: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Settings, String> {
    load_for(Purpose::Embed, file, env, flags).map_err(|error| {
        let line = error.to_string();
        assert!(!line.contains('\n'), "more than one line: {line}");
        line
    })
}

/// The line of each mistake.
pub(crate) fn lines_of_error(
    file: Option<&Path>,
    env: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Vec<String> {
    let error = load_for(Purpose::Embed, file, env, flags);
    error.err().unwrap_or_else(|| panic!("the configuration was accepted")).lines()
}

pub(crate) fn load_for(
    purpose: Purpose,
    file: Option<&Path>,
    env: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Settings, ConfigError> {
    let env = env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let flags: Vec<(String, String)> =
        flags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Settings::from_layers_for(purpose, file, env, &flags)
}

/// The variable that sets a key.
pub(crate) fn variable(key: &str) -> String {
    format!("ARTIFACTD__{}", key.to_uppercase().replace('.', "__"))
}
