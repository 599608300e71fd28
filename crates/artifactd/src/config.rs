//! The configuration of the server: one file, the environment over it, flags over both.
//!
//! [`keys::KEYS`] is the table of all keys. Every error is one line that says where the value is, what is wrong and
//! what is legal. Neither errors nor debug output contain a secret.

mod build;
mod driver_keys;
mod environment;
mod error;
mod file;
pub mod keys;
mod layers;
mod option_names;
mod parse;
mod settings;
mod values;

use std::ffi::OsString;
use std::path::Path;

pub use artifact_store_identity::IdentitySettings;
pub use artifact_store_server::{EventStreamSettings, ServerSettings};
pub use error::ConfigError;
pub use option_names::OptionNames;
pub use settings::{ArtifactsSettings, LogFormat, ProtocolSettings, Settings, TelemetrySettings};
pub use values::ConfigValues;

use layers::Layers;

impl Settings {
    /// Loads `file` (YAML or TOML by its extension; `None` for defaults), the environment
    /// (`ARTIFACTD__SERVER__BIND_ADDR=…`) over it, and `flags` (dotted key, value) over both.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(file: Option<&Path>, flags: &[(String, String)]) -> Result<Self, ConfigError> {
        Self::load_with_values(file, flags).map(|(settings, _)| settings)
    }

    /// Loads as [`load`](Self::load) does, and also returns the value that is set for each key.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load_with_values(
        file: Option<&Path>,
        flags: &[(String, String)],
    ) -> Result<(Self, ConfigValues), ConfigError> {
        let layers = read_layers(file, std::env::vars_os(), flags)?;
        Ok((build::build_settings(&layers)?, layers.values()))
    }

    /// Loads as [`load`](Self::load) does, with `environment` in place of the environment of this process.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_layers(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        build::build_settings(&read_layers(file, environment, flags)?)
    }
}

fn read_layers(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    flags: &[(String, String)],
) -> Result<Layers, ConfigError> {
    let mut layers = Layers::default();
    if let Some(file) = file {
        layers.add_file(file)?;
    }
    layers.add_environment(environment)?;
    layers.add_flags(flags)?;
    Ok(layers)
}
