//! Loads a configuration from a temporary file, variables and flags.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use artifactd::config::Settings;
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

    /// The line of the error without the path of the file, with which it must begin.
    pub(crate) fn load_error(&self) -> String {
        let line = self.load().err().unwrap_or_else(|| panic!("the file was accepted"));
        let prefix = format!("{}: ", self.path.display());
        line.strip_prefix(&prefix).unwrap_or_else(|| panic!("{line} does not name the file")).to_owned()
    }
}

pub(crate) fn load(
    file: Option<&Path>,
    env: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Settings, String> {
    let env = env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let flags: Vec<(String, String)> =
        flags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Settings::from_layers(file, env, &flags).map_err(|error| {
        let line = error.to_string();
        assert!(!line.contains('\n'), "more than one line: {line}");
        line
    })
}

/// The variable that sets a key.
pub(crate) fn variable(key: &str) -> String {
    format!("ARTIFACTD__{}", key.to_uppercase().replace('.', "__"))
}
