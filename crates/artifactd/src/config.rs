//! The configuration of the server: one file, the environment and flags. The environment overrides the file, and flags
//! override both.
//!
//! [`keys::KEYS`] is the table of all keys. An error has one line for each mistake: where the value is, what is wrong and
//! what is legal. Errors and debug output contain no secret.

mod build;
mod driver_keys;
mod environment;
mod error;
mod file;
mod hint;
pub mod keys;
mod layers;
mod option_names;
mod parse;
mod settings;
mod source;
mod spellings;
mod suggest;
mod tree;
mod values;

use std::ffi::OsString;
use std::path::Path;

use artifact_store::{Registry, drivers};

pub use artifact_store_identity::IdentitySettings;
pub use artifact_store_server::{EventStreamSettings, ServerSettings};
pub use error::ConfigError;
pub use option_names::OptionNames;
pub use settings::{ArtifactsSettings, LogFormat, ProtocolSettings, Settings, TelemetrySettings};
pub use values::ConfigValues;

use error::Mistake;
use layers::Layers;

/// What a configuration is used for. The purpose determines which keys must be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// No key is required. The default driver is `inmem`, for runtimes that embed the store. This driver loses every
    /// artifact when the process ends.
    Embed,
    /// A command uses the store: `artifacts.driver` must be set.
    OpenStore,
    /// A server runs: `artifacts.driver` and a source of the keys that verify tokens must be set.
    Serve,
}

impl Settings {
    /// Loads `file` (YAML, TOML or JSON by its extension; `None` for no file), the environment
    /// (`ARTIFACTD__SERVER__BIND_ADDR=…`) and `flags` (dotted key, value). The environment overrides the file, and
    /// `flags` override both. No key is required. The legal drivers are those of this build.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake.
    pub fn load(file: Option<&Path>, flags: &[(String, String)]) -> Result<Self, ConfigError> {
        let registry = built_in_drivers()?;
        Self::load_for(Purpose::Embed, &registry, file, flags).map(|(settings, _)| settings)
    }

    /// Loads as [`load`](Self::load) does, with the drivers of `registry`, and requires what `purpose` needs. Also
    /// returns the value that is set for each key.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake.
    pub fn load_for(
        purpose: Purpose,
        registry: &Registry,
        file: Option<&Path>,
        flags: &[(String, String)],
    ) -> Result<(Self, ConfigValues), ConfigError> {
        let mut layers = read_layers(registry, file, std::env::vars_os(), flags);
        let settings = build::build_settings(&mut layers, purpose, registry)?;
        Ok((settings, layers.values()))
    }

    /// Loads as [`load`](Self::load) does, with `environment` in place of the environment of this process.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake.
    pub fn from_layers(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        Self::from_layers_for(Purpose::Embed, file, environment, flags)
    }

    /// Loads as [`from_layers`](Self::from_layers) does, and requires what `purpose` needs.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake.
    pub fn from_layers_for(
        purpose: Purpose,
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let registry = built_in_drivers()?;
        build::build_settings(&mut read_layers(&registry, file, environment, flags), purpose, &registry)
    }
}

/// The drivers of this build.
fn built_in_drivers() -> Result<Registry, ConfigError> {
    drivers().map_err(|error| ConfigError::new(vec![Mistake::without_source(error.to_string())]))
}

/// Reads the file, the environment and the flags. A later source overrides an earlier one.
fn read_layers(
    registry: &Registry,
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    flags: &[(String, String)],
) -> Layers {
    let mut layers = Layers::new(driver_keys::option_names(registry));
    if let Some(file) = file {
        layers.add_file(file);
    }
    layers.add_environment(environment);
    layers.add_arguments(flags);
    layers
}
