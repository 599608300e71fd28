//! A configuration as the tests give it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use artifactd::config::Settings;
use tempfile::TempDir;

/// A folder with one configuration file.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    _folder: TempDir,
}

impl File {
    pub(crate) fn new(name: &str, text: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Self { path, _folder: folder }
    }

    pub(crate) fn load(&self) -> Result<Settings, String> {
        load(Some(&self.path), &[], &[])
    }

    /// The error's line, which has to begin with the file's path; what stands behind it.
    pub(crate) fn refused(&self) -> String {
        let line = self.load().err().unwrap_or_else(|| panic!("it was accepted"));
        let start = format!("{}: ", self.path.display());
        line.strip_prefix(&start).unwrap_or_else(|| panic!("{line} does not name the file")).to_owned()
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

pub(crate) fn variable(key: &str) -> String {
    format!("ARTIFACTD__{}", key.to_uppercase().replace('.', "__"))
}
